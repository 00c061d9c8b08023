"""How well vectors agree with people: word similarity and analogies.

In: `WordVectors` and a data set (pairs of words with a human score; questions `a b c expected`).
Out: a `Score`. The scoring is the one of the published tables, so that numbers compare: cosine,
Spearman's rank correlation over the pairs whose words are known; 3CosAdd among the commonest
words with the words of the question left out, over the questions whose words are known.
Both readers fold case, because the vocabularies that these data sets meet are lower-cased.

Shapes: N items (pairs, questions), R candidate words, D dimensions.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from w2v.errors import DataError
from w2v.files import unreadable
from w2v.vectors import WordVectors

RESTRICT = 30_000  # candidates of an analogy, as in Mikolov's compute-accuracy
QUESTIONS_PER_PRODUCT = 256  # 256 x 30,000 float32 scores are 31 MB
MAX_SHOWN = 60  # characters of a bad line that its error repeats


class Pair(NamedTuple):
    """Two words and how alike people find them."""

    first: str
    second: str
    score: float


class Question(NamedTuple):
    """The analogy `a` is to `b` as `c` is to `expected`."""

    a: str
    b: str
    c: str
    expected: str


class Score(NamedTuple):
    """One result: `value` over `num_items` items; `num_oov` more had a word out of vocabulary.

    The value is Spearman's correlation or the share of right answers; nan where nothing scores.
    """

    name: str
    value: float
    num_items: int
    num_oov: int


def similarity(vectors: WordVectors, pairs: Sequence[Pair], *, name: str = "similarity") -> Score:
    """Spearman's correlation between the cosines and the human scores of the known pairs."""
    known = [pair for pair in pairs if pair.first in vectors and pair.second in vectors]
    first_ND = _unit_rows(vectors, [vectors.index(pair.first) for pair in known])
    second_ND = _unit_rows(vectors, [vectors.index(pair.second) for pair in known])
    cosines_N = np.einsum("nd,nd->n", first_ND, second_ND)
    value = spearman(cosines_N, [pair.score for pair in known])
    return Score(name, value, len(known), len(pairs) - len(known))


def analogies(
    vectors: WordVectors,
    questions: Sequence[Question],
    *,
    restrict: int = RESTRICT,
    name: str = "analogies",
) -> Score:
    """The share of known questions whose best candidate is the expected word.

    Candidates are the first `restrict` words, which are the commonest; an expected word beyond
    them counts as wrong. All four words must be in the vocabulary.
    """
    known = [question for question in questions if all(word in vectors for word in question)]
    ids_N4 = np.array([[vectors.index(word) for word in question] for question in known])
    candidates_RD = _unit_rows(vectors, range(min(restrict, len(vectors.words))))
    num_right = 0
    for start in range(0, len(known), QUESTIONS_PER_PRODUCT):
        batch_N4 = ids_N4[start : start + QUESTIONS_PER_PRODUCT]
        answers_N = _answers(vectors, batch_N4[:, :3], candidates_RD)
        num_right += int((answers_N == batch_N4[:, 3]).sum())
    value = num_right / len(known) if known else math.nan
    return Score(name, value, len(known), len(questions) - len(known))


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of two samples of one length; equal values share a rank.

    It is nan where it is undefined: fewer than two items, or a sample of one value only.
    """
    a_N, b_N = (rank_data(sample) - (np.size(sample) + 1) / 2 for sample in (a, b))
    norm = math.sqrt(float(a_N @ a_N) * float(b_N @ b_N))
    return float(a_N @ b_N) / norm if norm else math.nan


def rank_data(values: ArrayLike) -> NDArray[np.float64]:
    """The ranks from 1 of a sample; equal values share the mean of their ranks."""
    _, value_of_N, counts = np.unique(
        np.asarray(values, np.float64), return_inverse=True, return_counts=True
    )
    last_rank = np.cumsum(counts)
    mean_rank: NDArray[np.float64] = last_rank - (counts - 1) / 2
    return mean_rank[value_of_N]


def read_pairs(path: Path) -> list[Pair]:
    """Reads lines of word, word, score between tabs; `#` lines and empty lines are skipped.

    Raises:
        DataError: the file cannot be read, or a line has no three columns or no finite score.
    """
    pairs = []
    for number, line in _lines(path):
        if line.startswith("#"):
            continue
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) < 3 or not all(columns[:3]):
            raise _bad_line(path, number, line, expected="word, word and score between tabs")
        score = _number(columns[2])
        if not math.isfinite(score):
            raise _bad_line(path, number, line, expected="a number in the third column")
        pairs.append(Pair(columns[0].lower(), columns[1].lower(), score))
    return pairs


def read_questions(path: Path) -> list[Question]:
    """Reads the format of `questions-words.txt`: four words a line; `: section` lines are skipped.

    Raises:
        DataError: the file cannot be read, or a line has another number of words.
    """
    questions = []
    for number, line in _lines(path):
        if line.startswith(":"):
            continue
        words = line.lower().split()
        if len(words) != 4:
            raise _bad_line(path, number, line, expected="four words")
        questions.append(Question(*words))
    return questions


def _answers(
    vectors: WordVectors, question_N3: NDArray[np.intp], candidates_RD: NDArray[np.float32]
) -> NDArray[np.intp]:
    """Row numbers of the candidates x, none of a, b, c, with the largest cos(x, b - a + c).

    Source: Mikolov et al. 2013, "Linguistic Regularities in Continuous Space Word
    Representations", section 4; Levy and Goldberg 2014 call it 3CosAdd.
    """
    a_ND, b_ND, c_ND = (_unit_rows(vectors, ids_N) for ids_N in question_N3.T)
    scores_NR = (b_ND - a_ND + c_ND) @ candidates_RD.T
    rows_N, columns_N = np.nonzero(question_N3 < len(candidates_RD))
    scores_NR[rows_N, question_N3[rows_N, columns_N]] = -np.inf
    answers_N: NDArray[np.intp] = scores_NR.argmax(axis=1)
    return answers_N


def _unit_rows(
    vectors: WordVectors, ids: Sequence[int] | NDArray[np.intp] | range
) -> NDArray[np.float32]:
    """Those rows of the table at length 1; a row of zeros stays zero."""
    # In float64, since the square of a number may be below or above all float32.
    rows_ND = vectors.matrix[np.asarray(ids, np.intp)].astype(np.float64)
    norms_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return (rows_ND / np.where(norms_N1 > 0, norms_N1, 1)).astype(np.float32)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file that are not empty, with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: byte {error.start}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _bad_line(path: Path, number: int, line: str, *, expected: str) -> DataError:
    shown = line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}..."
    return DataError(f"{path}, line {number}: expected {expected}, found {shown!r}")
