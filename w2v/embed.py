r"""Lines of text become vectors: the mean, the sum or the maxima of their words' vectors.

Blocks of whole lines enter, lines with their rows leave, in the same order and none left out;
`torch.nn.EmbeddingBag` does the sums. Memory holds a block and its rows, however long the text.
Words outside the vocabulary count for nothing, as in sentence-transformers' `StaticEmbedding`; a
line without a known word gets zeros. Both are told to a `Tally`.

Words may be weighted by rarity, a / (a + p), with p a word's share of the training text: the
weights of Arora, Liang, Ma 2017, "A simple but tough-to-beat baseline for sentence embeddings",
eq. 3. Their sentence is the weighted sum divided by the number of words; the mean here divides by
the sum of the weights, which has the same direction, and the length of a mean. The common
component that they then take away is not taken away: it needs all sentences at once.

Legend: N = known words of some lines; B = lines; V = words of the vocabulary; D = dimensions.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from w2v.errors import ConfigError, DataError
from w2v.formats.text_rows import CHUNK_NUMBERS
from w2v.line_vectors import LineVectors
from w2v.names import BagMode
from w2v.spelling import MAX_SHOWN
from w2v.tokens import TokenRule, cut_pieces, require_usable
from w2v.vectors import WordVectors

SPLIT = TokenRule()
RARITY = 1e-3  # a of a/(a+p): Arora, Liang, Ma 2017, sec. 4.1.1
RARITY_RANGE = (1e-9, 1e9)  # beyond, all words weigh the same, or nothing in float32
BLOCK_BYTES = 2**20  # of text; its tokens take some ten times as much
LINES_AT_ONCE = 10_000  # of those that come as a list
MOST_REMEMBERED = 10_000  # different unknown words
UNKNOWN = -1  # in the place of an id

Ints = NDArray[np.int64]
Float32 = NDArray[np.float32]


class Bags(NamedTuple):
    """The known words of some lines: their ids end to end, and where each line's begin."""

    ids_N: Ints
    starts_B: Ints

    def lines(self, first: int, last: int) -> "Bags":
        """The lines from `first` up to `last`, which is left out."""
        starts_B = self.starts_B[first:last]
        end = self.starts_B[last] if last < len(self.starts_B) else len(self.ids_N)
        return Bags(self.ids_N[starts_B[0] : end], starts_B - starts_B[0])


class Tally:
    """What was met on the way: lines, words, and those that are not in the vocabulary.

    Of different unknown words it remembers MOST_REMEMBERED, whatever comes: where there are more,
    all counts are lowered until so few are left (Misra, Gries 1982), which can lose no word that
    is more than that share of them.
    """

    def __init__(self) -> None:
        self.num_lines = 0
        self.num_empty = 0  # lines without a known word
        self.num_words = 0
        self.num_unknown = 0
        self._unknown: Counter[str] = Counter()

    def note_lines(self, sizes_B: Ints) -> None:
        """Adds lines, by the number of their known words."""
        self.num_lines += len(sizes_B)
        self.num_empty += int((sizes_B == 0).sum())
        self.num_words += int(sizes_B.sum())

    def note_unknown(self, words: pl.Series) -> None:
        """Adds words that are not in the vocabulary."""
        if not len(words):
            return
        self.num_words += len(words)
        self.num_unknown += len(words)
        counts = words.str.head(MAX_SHOWN + 1).value_counts(name="count")
        self._unknown.update(dict(counts.iter_rows()))
        if len(self._unknown) > MOST_REMEMBERED:
            surplus = self._unknown.most_common(MOST_REMEMBERED + 1)[-1][1]
            self._unknown = Counter(
                {word: count - surplus for word, count in self._unknown.items() if count > surplus}
            )

    def commonest_unknown(self, number: int) -> list[str]:
        """The words that were missed most often, the commonest first; long ones are cut."""
        by_count = sorted(self._unknown.items(), key=lambda item: (-item[1], item[0]))
        return [word for word, _ in by_count[:number]]


def rarity_weights(vectors: WordVectors, *, a: float = RARITY) -> Float32:
    """The weight a / (a + p) of each word, shape (V,); p is its share of all that have vectors.

    Raises:
        ConfigError: a is out of RARITY_RANGE.
        DataError: the vectors have no counts.
    """
    least, most = RARITY_RANGE
    if not least <= a <= most:
        raise ConfigError(f"weights by rarity, a/(a+p), need a from {least:g} to {most:g}; got {a}")
    if vectors.counts is None:
        raise DataError("no counts, which weights by rarity need: how often each word occurs")
    counts_V = np.array(vectors.counts, np.float64)
    shares_V = counts_V / max(counts_V.sum(), 1)
    weights_V: Float32 = (a / (a + shares_V)).astype(np.float32)
    return weights_V


def to_bags(
    vectors: WordVectors, text: str, *, rule: TokenRule, tally: Tally | None = None
) -> Bags:
    r"""Cuts whole lines into words and looks them up; a line ends at `\n`, the last one anyway."""
    ids: list[Ints] = []
    ends: list[NDArray[np.bool_]] = []
    for piece in cut_pieces(text, rule):
        tokens = piece.filter(piece != "")
        ids_N = vectors.ids(tokens.to_list(), unknown=UNKNOWN)
        is_end_N = (tokens == "\n").to_numpy()
        is_unknown_N = (ids_N == UNKNOWN) & ~is_end_N
        if tally is not None:
            tally.note_unknown(tokens.filter(pl.Series(is_unknown_N)))
        ids.append(ids_N[~is_unknown_N])
        ends.append(is_end_N[~is_unknown_N])
    is_end_N = np.concatenate(ends)
    ends_B = np.flatnonzero(is_end_N)
    ends_B -= np.arange(len(ends_B))  # as if the line ends were not there
    starts_B = np.concatenate([[0], ends_B[:-1]])
    if tally is not None:
        tally.note_lines(ends_B - starts_B)
    return Bags(np.concatenate(ids)[~is_end_N], starts_B)


def embed_blocks(
    vectors: WordVectors,
    blocks: Iterable[str],
    *,
    mode: BagMode = "mean",
    weights_V: Float32 | None = None,
    rule: TokenRule = SPLIT,
    tally: Tally | None = None,
) -> Iterator[LineVectors]:
    """Yields all lines with their rows, a part at a time.

    Args:
        vectors: of the words.
        blocks: text in pieces of whole lines.
        mode: what a line's row is of the rows of its words.
        weights_V: how much each word counts, above 0; not with "max".
        rule: how lines are cut into words: as the text was that the vectors come from.
        tally: is told what was met.

    Raises:
        ConfigError: weights with "max", or a rule that cannot be used.
    """
    if mode == "max" and weights_V is not None:
        raise ConfigError("mode max takes no weights: only sums and means can be weighted")
    require_usable(rule)
    bag = vectors.to_embedding_bag(mode="sum" if weights_V is not None else mode)
    weights = None if weights_V is None else torch.from_numpy(weights_V)
    num_at_once = max(1, CHUNK_NUMBERS // bag.embedding_dim)
    for text in blocks:
        lines = text.removesuffix("\n").split("\n")
        bags = to_bags(vectors, text, rule=rule, tally=tally)
        for first in range(0, len(lines), num_at_once):
            part = lines[first : first + num_at_once]
            rows_BD = _rows(bag, bags.lines(first, first + len(part)), weights, mode)
            yield LineVectors(part, rows_BD)


def embed(
    vectors: WordVectors,
    texts: Sequence[str],
    *,
    mode: BagMode = "mean",
    weights_V: Float32 | None = None,
    rule: TokenRule = SPLIT,
    tally: Tally | None = None,
) -> Float32:
    """A row for each text, shape (B, D); the settings are those of `embed_blocks`.

    Raises:
        ConfigError: as `embed_blocks`.
    """
    blocks = (
        "".join(text.replace("\n", " ") + "\n" for text in texts[start : start + LINES_AT_ONCE])
        for start in range(0, len(texts), LINES_AT_ONCE)
    )
    parts = embed_blocks(vectors, blocks, mode=mode, weights_V=weights_V, rule=rule, tally=tally)
    nothing = np.empty((0, vectors.matrix.shape[1]), np.float32)
    return np.concatenate([nothing, *(part.matrix_BD for part in parts)])


def _rows(bag: nn.EmbeddingBag, bags: Bags, weights_V: Tensor | None, mode: BagMode) -> Float32:
    """The rows of some lines."""
    ids_N, starts_B = map(torch.from_numpy, bags)
    with torch.inference_mode():
        if weights_V is None:
            rows_BD = bag(ids_N, starts_B)
        else:
            weights_N = weights_V[ids_N]
            rows_BD = bag(ids_N, starts_B, per_sample_weights=weights_N)
            if mode == "mean":
                sums_B1 = nn.functional.embedding_bag(
                    ids_N, weights_V[:, None], starts_B, mode="sum"
                )
                # A line without words is zeros already.
                rows_BD /= torch.where(sums_B1 > 0, sums_B1, 1.0)
    numpy_BD: Float32 = rows_BD.numpy()
    return numpy_BD
