"""How well vectors agree with people: word similarity and analogies.

In: `WordVectors` and what `w2v.testsets` read (pairs of words with a human score; questions
`a b c expected`). Out: a `Score`, and the 95 % interval of its value. The scoring is the one of the
published tables, so that numbers compare: cosine, Spearman's rank correlation over the pairs whose
words are known; 3CosAdd among the commonest words with the words of the question left out, over
the questions whose words are known. A word is known as it is written, else lower-cased.

Shapes: N items (pairs, questions), R candidate words, D dimensions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from w2v.testsets import Pair, Question, Section
from w2v.vectors import WordVectors

NO_CANDIDATE = -1
RESTRICT = 30_000  # candidates of an analogy, as in Mikolov's compute-accuracy
QUESTIONS_PER_PRODUCT = 256  # 256 x 30,000 float32 scores are 31 MB
SCORES_PER_PRODUCT = QUESTIONS_PER_PRODUCT * RESTRICT
ROWS_AT_ONCE = 16_384  # as float64: 39 MB of 300 dimensions
UNKNOWN, WRONG, RIGHT = -1, 0, 1  # what becomes of a question
Z_95 = 1.959964  # standard deviations on either side that hold 95 % of a normal distribution
SYNTACTIC = "gram"  # how Google's sections of grammar begin; the others are semantic


class Score(NamedTuple):
    """One result: `value` over `num_items` items; `num_oov` more had a word out of vocabulary.

    The value is Spearman's correlation or the share of right answers; nan where nothing scores.
    """

    name: str
    value: float
    num_items: int
    num_oov: int


class Interval(NamedTuple):
    """Where a value would lie, 95 of 100 times, with other items of the same kind."""

    low: float
    high: float


UNDEFINED = Interval(math.nan, math.nan)


def is_known(vectors: WordVectors, words: Sequence[str]) -> bool:
    """Whether all words are in the vocabulary, so that their item scores."""
    return all(_row(vectors, word) is not None for word in words)


def similarity(vectors: WordVectors, pairs: Sequence[Pair], *, name: str = "similarity") -> Score:
    """Spearman's correlation between the cosines and the human scores of the known pairs."""
    known, ids_N2 = _known(vectors, [(pair.first, pair.second) for pair in pairs])
    first_ND, second_ND = (_unit_rows(vectors, ids_N) for ids_N in ids_N2.T)
    cosines_N = np.einsum("nd,nd->n", first_ND, second_ND)
    value = spearman(cosines_N, [pairs[n].score for n in known])
    return Score(name, value, len(known), len(pairs) - len(known))


def analogies(
    vectors: WordVectors,
    questions: Sequence[Question],
    *,
    restrict: int = RESTRICT,
    name: str = "analogies",
) -> Score:
    """The share of known questions whose best candidate is the expected word.

    Candidates are the `restrict` commonest words; an expected word beyond them counts as wrong.
    All four words must be in the vocabulary.
    """
    return _share(_judged(vectors, questions, restrict=restrict), name=name)


def section_scores(
    vectors: WordVectors, sections: Sequence[Section], *, restrict: int = RESTRICT
) -> list[Score]:
    """A score for each section with a name, the semantic and the syntactic ones, and all of them.

    "semantic" and "syntactic" come where there are both, by the names that sections have in the
    file of Mikolov et al. 2013a (section 4.1); the last is "total".
    """
    questions = [question for section in sections for question in section.questions]
    judged_N = _judged(vectors, questions, restrict=restrict)
    ends = np.cumsum([len(section.questions) for section in sections])
    parts = np.split(judged_N, ends[:-1])
    named = [(part, section) for part, section in zip(parts, sections, strict=True) if section.name]
    scores = [_share(part, name=section.name) for part, section in named]
    is_syntactic = [section.name.startswith(SYNTACTIC) for section in sections]
    if len(set(is_syntactic)) == 2:
        syntactic_N = np.repeat(is_syntactic, [len(part) for part in parts])
        scores.append(_share(judged_N[~syntactic_N], name="semantic"))
        scores.append(_share(judged_N[syntactic_N], name="syntactic"))
    return [*scores, _share(judged_N, name="total")]


def spearman_interval(value: float, num_items: int) -> Interval:
    """The 95 % interval of Spearman's correlation; undefined below 4 items and at -1 and 1.

    Fisher's z with the variance (1 + value^2 / 2) / (n - 3).
    Source: Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and
    Spearman correlations"; 1.06 / (n - 3), of Fieller et al. 1957, is too narrow from .7 on.
    """
    if num_items < 4 or not abs(value) < 1:
        return UNDEFINED
    reach = Z_95 * math.sqrt((1 + value**2 / 2) / (num_items - 3))
    return Interval(math.tanh(math.atanh(value) - reach), math.tanh(math.atanh(value) + reach))


def share_interval(value: float, num_items: int) -> Interval:
    """The 95 % interval of a share of `num_items`; undefined where there is none.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not num_items:
        return UNDEFINED
    extra = Z_95**2 / num_items
    middle = (value + extra / 2) / (1 + extra)
    reach = math.sqrt(value * (1 - value) * extra + extra**2 / 4) / (1 + extra)
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


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


def _judged(
    vectors: WordVectors, questions: Sequence[Question], *, restrict: int
) -> NDArray[np.int8]:
    """UNKNOWN, WRONG or RIGHT for each question."""
    judged_N = np.full(len(questions), UNKNOWN, np.int8)
    known, ids_N4 = _known(vectors, questions)
    candidates_R = np.sort(vectors.commonest(restrict))
    place_V = np.full(len(vectors), NO_CANDIDATE)
    place_V[candidates_R] = np.arange(len(candidates_R))
    candidates_RD = _unit_rows(vectors, candidates_R)
    step = min(QUESTIONS_PER_PRODUCT, max(1, SCORES_PER_PRODUCT // len(candidates_RD)))
    for start in range(0, len(known), step):
        batch_N4 = ids_N4[start : start + step]
        answers_N = _answers(vectors, batch_N4[:, :3], candidates_RD, place_V)
        is_right_N = answers_N == place_V[batch_N4[:, 3]]
        judged_N[known[start : start + step]] = np.where(is_right_N, RIGHT, WRONG)
    return judged_N


def _share(judged_N: NDArray[np.int8], *, name: str) -> Score:
    num_known = int((judged_N != UNKNOWN).sum())
    value = int((judged_N == RIGHT).sum()) / num_known if num_known else math.nan
    return Score(name, value, num_known, len(judged_N) - num_known)


def _answers(
    vectors: WordVectors,
    question_N3: NDArray[np.intp],
    candidates_RD: NDArray[np.float32],
    place_V: NDArray[np.intp],
) -> NDArray[np.intp]:
    """Row numbers of the candidates x, none of a, b, c, with the largest cos(x, b - a + c).

    `place_V` tells the row of each word among the candidates, or NO_CANDIDATE.

    Source: Mikolov et al. 2013, "Linguistic Regularities in Continuous Space Word
    Representations", section 4; Levy and Goldberg 2014 call it 3CosAdd.
    """
    a_ND, b_ND, c_ND = (_unit_rows(vectors, ids_N) for ids_N in question_N3.T)
    scores_NR = (b_ND - a_ND + c_ND) @ candidates_RD.T
    place_N3 = place_V[question_N3]
    rows_N, columns_N = np.nonzero(place_N3 != NO_CANDIDATE)
    scores_NR[rows_N, place_N3[rows_N, columns_N]] = -np.inf
    answers_N: NDArray[np.intp] = scores_NR.argmax(axis=1)
    return answers_N


def _known(
    vectors: WordVectors, items: Sequence[tuple[str, ...]]
) -> tuple[list[int], NDArray[np.intp]]:
    """Which items have all their words in the vocabulary, and the ids of these, a row an item."""
    found = [[_row(vectors, word) for word in item] for item in items]
    known = [n for n, ids in enumerate(found) if None not in ids]
    width = len(items[0]) if items else 0
    return known, np.array([found[n] for n in known], np.intp).reshape(len(known), width)


def _row(vectors: WordVectors, word: str) -> int | None:
    """The id of a word as it is written, else lower-cased; None where it is in neither form."""
    form = next((form for form in (word, word.lower()) if form in vectors), None)
    return None if form is None else vectors.index(form)


def _unit_rows(
    vectors: WordVectors, ids: Sequence[int] | NDArray[np.intp] | range
) -> NDArray[np.float32]:
    """Those rows of the table at length 1; a row of zeros stays zero."""
    ids_N = np.asarray(ids, np.intp)
    unit_ND = np.empty((len(ids_N), vectors.matrix.shape[1]), np.float32)
    for start in range(0, len(ids_N), ROWS_AT_ONCE):
        # In float64, since the square of a number may be below or above all float32.
        rows_ND = vectors.matrix[ids_N[start : start + ROWS_AT_ONCE]].astype(np.float64)
        norms_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
        unit_ND[start : start + ROWS_AT_ONCE] = rows_ND / np.where(norms_N1 > 0, norms_N1, 1)
    return unit_ND
