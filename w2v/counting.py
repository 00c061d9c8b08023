"""Counting: blocks of text become numbers on disk and distinct words in memory, for a while.

Blocks enter; a `Count` leaves, a segment of the text: it is full after SEGMENT_CHARS of text,
SEGMENT_TOKENS distinct tokens or what half of the free memory holds, whichever comes first, at the
end of a block. It has a pool of tokens, and so numbers, of its own.

Legend: N = tokens of a text, line ends included; S = its lines.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np
import polars as pl

from w2v.room import words_with_room
from w2v.tokens import END, TokenLog, TokenPool, TokenRule

PARTS = ("train", "heldout")
SEGMENT_CHARS = 2**28
SEGMENT_TOKENS = 2**20


class Blocks:
    """The text of a corpus in blocks of whole lines, from some line on."""

    def __init__(self, blocks: Iterable[tuple[str, str]], *, skip_lines: int) -> None:
        """Args: the part of each block and its text; so many lines of them are left out."""
        self._blocks = _without(blocks, skip_lines)
        self._next = next(self._blocks, None)

    @property
    def part(self) -> str | None:
        """The part that the next block is of; None where there is none."""
        return None if self._next is None else self._next[0]

    def of(self, part: str, *, until: Callable[[], bool]) -> Iterator[str]:
        """The next blocks, if they are of that part; `until` is asked before each."""
        while self._next is not None and self._next[0] == part and not until():
            text = self._next[1]
            self._next = next(self._blocks, None)
            yield text


class Count:
    """A segment while it is counted."""

    def __init__(self, rule: TokenRule, files: Iterable[BinaryIO]) -> None:
        """Args: how text is cut; where the numbers of both parts are noted."""
        self._pool = TokenPool(rule)
        self.train, self.heldout = (TokenLog(file) for file in files)
        self._most_tokens = words_with_room(SEGMENT_TOKENS)
        self._chars = 0

    def read(self, blocks: Blocks, *, every: int | None, lines_before: int) -> None:
        """Takes blocks until the segment is full or the text ends.

        Args:
            blocks: of the text.
            every: the n-th, 2n-th, ... training line is held out.
            lines_before: of the segments before.
        """
        num_lines = lines_before
        for numbers_N in self._pool.number_all(self._taken(blocks, "train")):
            if every is None:
                self.train.note(numbers_N)
                continue
            ends_S = np.flatnonzero(numbers_N == END)
            lines_S = np.arange(1, len(ends_S) + 1) + num_lines
            num_lines += len(lines_S)
            aside_N = np.repeat(lines_S % every == 0, np.diff(ends_S, prepend=-1))
            self.train.note(numbers_N[~aside_N])
            self.heldout.note(numbers_N[aside_N])
        for numbers_N in self._pool.number_all(self._taken(blocks, "heldout")):
            self.heldout.note(numbers_N)

    def _taken(self, blocks: Blocks, part: str) -> Iterator[str]:
        for text in blocks.of(part, until=self._is_full):
            self._chars += len(text)
            yield text

    def _is_full(self) -> bool:
        num_distinct = max(self.train.num_distinct, self.heldout.num_distinct)
        return self._chars >= SEGMENT_CHARS or num_distinct > self._most_tokens

    def rows(self) -> pl.DataFrame:
        """The distinct words: word, train, heldout (how often each occurs there) and number.

        Raises:
            DataError: the rule's pattern cut a token with white space in it.
        """
        words = self._pool.words()
        counts = {part: log.counts(len(words)) for part, log in self.logs.items()}
        numbers = np.arange(len(words))
        return pl.DataFrame({"word": words, **counts, "number": numbers})[END + 1 :]

    @property
    def logs(self) -> dict[str, TokenLog]:
        """The numbers of either part."""
        return dict(zip(PARTS, (self.train, self.heldout), strict=True))


def _without(blocks: Iterable[tuple[str, str]], skip_lines: int) -> Iterator[tuple[str, str]]:
    """The blocks of a text without its first lines."""
    for part, text in blocks:
        if skip_lines:
            num_lines = text.count("\n") + (not text.endswith("\n"))
            if num_lines <= skip_lines:
                skip_lines -= num_lines
                continue
            text, skip_lines = text.split("\n", skip_lines)[skip_lines], 0
        yield part, text
