r"""Words and their vectors, and which words are near.

Words and a float32 table enter; neighbors leave, by cosine, the same on every machine that
agrees about the table. numpy alone: asking for neighbors must not load what training needs.

The search is exact. One float32 product finds every row that can be among the k best, and those
few are scored again in float64, each row alone; so equal vectors get equal cosines, whatever the
order in which the product adds, and ties go to the smaller id.

A table may be a view of a file mapped into memory: it is read once, for the lengths of its rows,
which also tell whether all numbers are finite, and never copied, unless the squares of a row's
numbers leave float32.

Legend: V = words, D = dimensions, C = candidates.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from w2v.errors import ConfigError, DataError
from w2v.names import BagMode
from w2v.spelling import meant, shown

if TYPE_CHECKING:
    from torch import nn

NO_DIRECTION = 1e-12  # a sum of unit vectors shorter than this is rounding, not a direction
PRODUCT_BYTES = 2**26  # of the cosines that `neighbors` has in memory at once
# Squared lengths between these are as precise in float32 as the numbers, and so are products with
# a unit vector: nothing in them overflows, and what underflows is too small to count.
LEAST_SQUARE, MOST_SQUARE = 2.0**-80, 2.0**120

Float32 = NDArray[np.float32]
Ids = Sequence[int] | NDArray[np.intp]


class WordVectors:
    """Words and the rows of a table that belong to them.

    Args:
        words: V different words; a word's id is its place.
        matrix_VD: finite numbers, kept as float32; not copied where it is that already.
        counts: how often each word occurs in the training text, where that is known.
        dropped: gives the words that were met and left out, with their counts; called only when
            an unknown word is asked for.
        min_count: the `vocab.min_count` that left them out.

    Raises:
        DataError: no word, one that is empty or comes twice, a row that is not finite, or
            numbers of words, rows and counts that differ.
    """

    def __init__(
        self,
        words: Sequence[str],
        matrix_VD: NDArray[np.floating],
        *,
        counts: Sequence[int] | NDArray[np.integer] | None = None,
        dropped: Callable[[], Mapping[str, int]] | None = None,
        min_count: int | None = None,
    ) -> None:
        self.words = tuple(words)
        with np.errstate(over="ignore"):  # what is too big for float32 is refused below
            self.matrix: Float32 = np.ascontiguousarray(matrix_VD, dtype=np.float32).view()
        self.matrix.flags.writeable = False  # lengths are computed once
        self.counts = None if counts is None else tuple(np.asarray(counts).tolist())
        self._dropped = dropped
        self._min_count = min_count
        self._ids = dict(zip(self.words, range(len(self.words)), strict=True))
        self._check_words()
        # Squared lengths; not finite where a number is not, or its square.
        self._squares_V: Float32 = np.einsum("vd,vd->v", self.matrix, self.matrix)
        self._check_numbers()

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def index(self, word: str) -> int:
        """The id of a word.

        Raises:
            DataError: it is not in the vocabulary; the hint names close spellings.
        """
        found = self._ids.get(word)
        if found is None:
            raise self._unknown(word)
        return found

    def ids(self, words: str | Iterable[str], *, unknown: int | None = None) -> NDArray[np.int64]:
        """The ids of words in their order, shape (N,), as the layers below take them.

        Args:
            words: a word or several, `line.split()`.
            unknown: the id that stands for words outside the vocabulary, such as the `padding_idx`
                of a layer; None: they are left out.
        """
        get = self._ids.get
        found = [get(word, unknown) for word in ([words] if isinstance(words, str) else words)]
        return np.array([i for i in found if i is not None], np.int64)

    def vector(self, word: str) -> Float32:
        """The row of a word, read-only, shape (D,). Raises `DataError` as `index` does."""
        row_D: Float32 = self.matrix[self.index(word)]
        return row_D

    def commonest(self, num: int) -> NDArray[np.intp]:
        """The ids of the `num` words that occur most often, or of all, by falling count.

        Ties go to the smaller id. Where counts are not known the first words are taken: vector
        files begin with the commonest.
        """
        return self._by_count_V[:num]

    def similar(
        self,
        positive: str | Sequence[str],
        negative: str | Sequence[str] = (),
        k: int = 10,
        *,
        restrict: int | None = None,
    ) -> list[tuple[str, float]]:
        """The words nearest to a query, with their cosines: falling, ties in the order of ids.

        Args:
            positive: a word or several, whose unit vectors are averaged.
            negative: a word or several, whose unit vectors are subtracted.
            k: how many; fewer come where fewer words are left. The query's own never come.
            restrict: only so many of the commonest words are answers; the words of the query may
                lie beyond.

        A query without direction (a zero vector, a word minus itself) has cosine 0 to all.

        Raises:
            ConfigError: k or `restrict` is below 1, or there is no word.
            DataError: a word is not in the vocabulary.
        """
        for name, value in (("k", k), ("restrict", restrict)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        plus = [self.index(word) for word in _as_words(positive)]
        minus = [self.index(word) for word in _as_words(negative)]
        if not plus + minus:
            raise ConfigError("a query has at least one word")
        answers = slice(None) if restrict is None else self.commonest(restrict)
        barred_V = np.ones(len(self), np.bool_)
        barred_V[answers] = False
        num_answers = int(np.flatnonzero(~barred_V)[-1]) + 1  # the rows that are worth a product
        barred_V[plus + minus] = True
        excluded = np.flatnonzero(barred_V[:num_answers])
        unit_D = _direction(self._unit64(plus).sum(axis=0) - self._unit64(minus).sum(axis=0))
        table_VD, lengths_V = self._scored
        products_V = table_VD[:num_answers] @ unit_D.astype(np.float32)
        return self._nearest(unit_D, products_V / lengths_V[:num_answers], excluded, k)

    def neighbors(self, ids: Sequence[int], k: int) -> Iterator[list[tuple[str, float]]]:
        """What `similar` says of each of these words; for many words much faster than one by one.

        Args:
            ids: of the words.
            k: how many neighbors of each, at least 1.
        """
        table_VD, lengths_V = self._scored
        block = max(1, PRODUCT_BYTES // lengths_V.nbytes)
        for start in range(0, len(ids), block):
            some = list(ids[start : start + block])
            unit_ND = np.stack([_direction(row_D) for row_D in self._unit64(some)])
            scores_NV = unit_ND.astype(np.float32) @ table_VD.T / lengths_V
            for i, unit_D, scores_V in zip(some, unit_ND, scores_NV, strict=True):
                yield self._nearest(unit_D, scores_V, [i], k)

    def _nearest(
        self, unit_D: NDArray[np.float64], scores_V: Float32, excluded: Ids, k: int
    ) -> list[tuple[str, float]]:
        """The k nearest of the first rows: those that have a float32 score against the query."""
        if not unit_D.any():
            others = np.delete(np.arange(len(scores_V)), excluded)[:k]
            return [(self.words[i], 0.0) for i in others]
        ids_C = self._candidates(scores_V, excluded, k)
        cosines_C = (self._unit64(ids_C) * unit_D).sum(axis=1).clip(-1.0, 1.0)
        order_C = np.lexsort((ids_C, -cosines_C))[:k]
        return [(self.words[ids_C[c]], float(cosines_C[c])) for c in order_C]

    def to_embedding(
        self,
        *,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> "nn.Embedding":
        """A `torch.nn.Embedding` with a copy of the vectors; row i is that of `words[i]`.

        Args:
            freeze: the vectors stay as they are; False: they are trained on.
            padding_idx: the row that fills up short sentences; it gets no gradient. `len(vectors)`
                adds a row of zeros for it, behind all words; an id below takes that word's row.
            max_norm: rows that are longer are shortened in place when they are looked up.
            norm_type: the p of that norm.
            scale_grad_by_freq: a row's gradient is divided by its uses in the batch.
            sparse: gradients are sparse tensors, for `torch.optim.SparseAdam` or `SGD`.

        Raises:
            ConfigError: a setting is out of its range, or torch has no gradient for two together.
        """
        from w2v import layers  # torch takes seconds

        return layers.embedding(
            self.matrix,
            freeze=freeze,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
        )

    def to_embedding_bag(
        self,
        *,
        mode: BagMode = "mean",
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        include_last_offset: bool = False,
    ) -> "nn.EmbeddingBag":
        """A `torch.nn.EmbeddingBag` with a copy of the vectors: one row out for a bag of ids.

        `mode` is what a bag gives: the mean, the sum or the maxima of its rows. An empty bag gives
        zeros, and the padding counts as if it were not there. With `include_last_offset` the
        offsets hold the end of the last bag too. The rest is as with `to_embedding`.

        Raises:
            ConfigError: as `to_embedding`; "max" has neither sparse nor scaled gradients.
        """
        from w2v import layers  # torch takes seconds

        return layers.embedding_bag(
            self.matrix,
            mode=mode,
            freeze=freeze,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
            include_last_offset=include_last_offset,
        )

    def _candidates(self, scores_V: Float32, excluded: Ids, k: int) -> NDArray[np.intp]:
        """Ids, rising, of all of the first rows whose true cosine can be among the k best."""
        scores_V[excluded] = -np.inf
        k = min(k, len(scores_V) - len(excluded))
        if k == 0:
            return np.empty(0, np.intp)
        kth_best = np.partition(scores_V, -k)[-k]
        # Twice what rounding can do to a sum of D products and to the two lengths under it.
        slack = 2 * (self.matrix.shape[1] + 4) * np.finfo(np.float32).eps
        return np.flatnonzero(scores_V >= kth_best - slack)

    @cached_property
    def _by_count_V(self) -> NDArray[np.intp]:
        """All ids, by falling count."""
        if self.counts is None:
            return np.arange(len(self))
        return np.argsort(-np.array(self.counts, np.int64), kind="stable")

    @cached_property
    def _scored(self) -> tuple[Float32, Float32]:
        """A table that float32 products with a query suit, and what they must be divided by.

        It is the matrix and its rows' lengths, shape (V,), or a copy with every row at length 1
        where lengths leave LEAST_SQUARE to MOST_SQUARE. A row of zeros counts as of length 1.
        """
        squares_V = self._squares_V
        odd = np.flatnonzero((squares_V < LEAST_SQUARE) | (squares_V > MOST_SQUARE))
        if not self.matrix[odd].any():
            return self.matrix, np.sqrt(np.where(squares_V > 0, squares_V, np.float32(1)))
        return unit_rows(self.matrix), np.ones(len(self), np.float32)

    def _unit64(self, ids: Sequence[int] | NDArray[np.intp]) -> NDArray[np.float64]:
        """Some rows at length 1 in float64; the value of a row depends on nothing but the row."""
        rows_CD = self.matrix[np.asarray(ids, np.intp)].astype(np.float64)
        norms_C1 = np.sqrt((rows_CD**2).sum(axis=1, keepdims=True))
        unit_CD: NDArray[np.float64] = rows_CD / np.where(norms_C1 > 0, norms_C1, 1.0)
        return unit_CD

    def _check_words(self) -> None:
        num_words = len(self.words)
        if self.matrix.ndim != 2 or len(self.matrix) != num_words:
            raise DataError(f"{num_words} words, but vectors of shape {self.matrix.shape}")
        if not self.matrix.size:
            raise DataError(f"no vectors: {num_words} words, {self.matrix.shape[1]} dimensions")
        if self.counts is not None and len(self.counts) != num_words:
            raise DataError(f"{num_words} words, but {len(self.counts)} counts")
        if len(self._ids) < num_words:
            row = next(i for i, word in enumerate(self.words) if self._ids[word] != i)
            word = self.words[row]
            raise DataError(f"{shown(word)} comes twice: words {row + 1} and {self._ids[word] + 1}")
        if "" in self._ids:
            raise DataError(f"word {self._ids[''] + 1} is empty")

    def _check_numbers(self) -> None:
        suspects = np.flatnonzero(~np.isfinite(self._squares_V))
        finite = np.isfinite(self.matrix[suspects]).all(axis=1)
        if not finite.all():
            row = int(suspects[np.argmin(finite)])
            word = self.words[row]
            raise DataError(f"the vector of {shown(word)} (word {row + 1}) is not finite")

    def _unknown(self, word: str) -> DataError:
        message = f"{shown(word)} is not in the vocabulary"
        count = self._dropped().get(word) if self._dropped else None
        if count is not None:
            message += f": it was seen {count:,} time{'s' if count > 1 else ''}"
            if self._min_count is not None and count < self._min_count:
                message += f", below vocab.min_count={self._min_count}"
            elif self._min_count is not None:
                message += ", and vocab.max_size left it out"
        return DataError(message, hint=meant(word, self.words))


def _direction(query_D: NDArray[np.float64]) -> NDArray[np.float64]:
    """The query at length 1; zeros where it has no direction."""
    length = float(np.sqrt((query_D**2).sum()))
    return query_D / length if length >= NO_DIRECTION else np.zeros_like(query_D)


def norms(matrix_VD: Float32) -> NDArray[np.float64]:
    """The length of every row, shape (V,)."""
    norms_V: NDArray[np.float64] = np.sqrt(
        np.einsum("vd,vd->v", matrix_VD, matrix_VD, dtype=np.float64)
    )
    return norms_V


def unit_rows(matrix_VD: Float32) -> Float32:
    """Every row at length 1; a zero row stays zero."""
    norms_V = norms(matrix_VD)
    norms_V1 = np.where(norms_V > 0, norms_V, 1.0)[:, None]
    # Divided in float64, since a norm may be below or above all float32.
    return np.divide(matrix_VD, norms_V1, out=np.empty_like(matrix_VD), casting="same_kind")


def _as_words(query: str | Sequence[str]) -> Sequence[str]:
    return [query] if isinstance(query, str) else query
