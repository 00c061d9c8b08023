"""The vocabulary: the words that have ids, in their order, and the file that keeps them.

Words and counts enter, chosen by `ranking`; ids leave. `<unk>` is id 0, then words by count,
commonest first, ties by code point: equal text gives equal ids. Encoding is done by polars, which
is imported where it is used: those who only read words start without it.

`vocab.tsv`: UTF-8, one `word<TAB>count` a line in the order of ids, the first line `<unk>` with
the number of tokens outside the vocabulary. A word holds no white space.

Legend: V = words of the vocabulary, `<unk>` included; W = words that have counts.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from w2v.errors import DataError

if TYPE_CHECKING:
    import polars as pl

UNK_ID = 0
UNK_WORD = "<unk>"

ROW = re.compile(r"(\S+)\t([0-9]{1,18})")  # 18 digits fit an int64
ROWS = re.compile(r"(?:\S++\t[0-9]{1,18}+(?:\n|\Z))*+")

Ints = npt.NDArray[np.int64]


class WordCounts(NamedTuple):
    """Words and how often each occurs."""

    words: tuple[str, ...]
    counts_W: Ints


@dataclass(frozen=True, eq=False)
class Vocab:
    """The words that get vectors; a word's id is its place."""

    words: tuple[str, ...]
    counts_V: Ints  # of the training text; counts_V[UNK_ID]: its tokens outside the vocabulary

    def __len__(self) -> int:
        return len(self.words)

    @property
    def known_counts_V(self) -> Ints:
        """The counts of what is drawn and trained: that of `<unk>` is 0."""
        counts_V = self.counts_V.copy()
        counts_V[UNK_ID] = 0
        return counts_V

    @cached_property
    def index(self) -> dict[str, int]:
        """The id of each word, `<unk>` included."""
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def _enum(self) -> "pl.Enum":
        """The words as polars looks them up."""
        import polars as pl  # see the module docstring

        return pl.Enum(self.words)

    def encode(self, tokens: "pl.Series") -> npt.NDArray[np.int32]:
        """The id of each token; UNK_ID for those outside the vocabulary."""
        import polars as pl  # see the module docstring

        known = tokens.cast(self._enum, strict=False)
        return known.to_physical().fill_null(UNK_ID).cast(pl.Int32).to_numpy(writable=True)

    def to_tsv(self) -> str:
        """The text of `vocab.tsv`."""
        return to_tsv(WordCounts(self.words, self.counts_V))

    @classmethod
    def from_tsv(cls, text: str, *, path: object) -> Self:
        """Reads what `to_tsv` wrote; `path` is named in errors.

        Raises:
            DataError: a line is not `word<TAB>count`, or the first is not `<unk>`.
        """
        words, counts_V = from_tsv(text, path=path)
        if not words or words[UNK_ID] != UNK_WORD:
            raise DataError(f"{path}: line 1: expected {UNK_WORD} and its count")
        return cls(words, counts_V)


def to_tsv(counted: WordCounts) -> str:
    """One `word<TAB>count` a line."""
    pairs = zip(counted.words, counted.counts_W.tolist(), strict=True)
    return "".join(f"{word}\t{count}\n" for word, count in pairs)


def from_tsv(text: str, *, path: object) -> WordCounts:
    """Reads what `to_tsv` wrote; `path` is named in errors.

    Raises:
        DataError: a line is not `word<TAB>count`, or a word comes twice.
    """
    fields = text.split()  # of a text that matches, at tabs and line ends alone
    words = tuple(fields[::2])
    if not ROWS.fullmatch(text) or len(set(words)) < len(words):
        raise _bad_row(text, path=path)
    return WordCounts(words, np.array(list(map(int, fields[1::2])), np.int64))


def _bad_row(text: str, *, path: object) -> DataError:
    """Which line of a text is no row, or the second of its word."""
    seen: set[str] = set()
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        match = ROW.fullmatch(line)
        if match is None:
            return DataError(f"{path}: line {number}: expected word<TAB>count, got {line[:80]!r}")
        if match[1] in seen:
            return DataError(f"{path}: line {number}: {match[1]!r} comes twice")
        seen.add(match[1])
    raise AssertionError(f"{path}: every line is a row, and no word comes twice")
