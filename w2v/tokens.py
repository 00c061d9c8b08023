r"""Tokens: how lines are cut into them, and how they are numbered and noted while being counted.

Text enters in blocks of whole lines; numbers leave. Each distinct token has a number from its
first use on, so text is cut once: the numbers wait on disk until all is counted, then become ids.
As many threads work ahead as there are cores, up to a dozen, while one reads and notes, in order.
The line end is a token of its own, so that a text is one flat column: lists of lists cost polars
half as much again. Cutting and numbering are its column operations, outside the interpreter.

Legend: N = tokens of a text, line ends included; S = its lines; W = distinct tokens.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from w2v.cores import workers
from w2v.errors import ConfigError, DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint32]

# What `str.split` takes for white space, less the space itself and the line end.
OTHER_SPACES = "".join(
    char for char in map(chr, range(0x3001)) if char.isspace() and char not in " \n"
)
EMPTY = 0  # the number of the empty token, which stands between two spaces and counts as none
END = 1  # the number of the line end, which closes every line and counts as no token
PIECE_CHARS = 2**23  # split at once; far above a block of ordinary lines
CHUNK_NUMBERS = 2**19  # read back at once; about those of a block of text
THREADS = workers()  # polars and numpy leave the interpreter free; each holds some 60 MB


class TokenRule(NamedTuple):
    """How a line becomes tokens. The default is `str.split`."""

    lowercase: bool = False  # before `pattern` is applied
    pattern: str | None = None  # a Rust regex; tokens are its whole matches


class TokenPool:
    """All distinct tokens met so far, numbered as they come.

    Raises:
        ConfigError: the rule's pattern is no regex that polars knows.
    """

    def __init__(self, rule: TokenRule) -> None:
        self._rule = rule
        self._categories = pl.Categories.random()
        # The categories live as long as a column of them does: this one, which numbers the first.
        self._anchor = pl.Series(["", "\n"], dtype=pl.Categorical(self._categories))
        require_usable(rule)

    def number(self, text: str) -> Numbers:
        """Cuts whole lines into tokens and numbers them; END closes each line."""
        parts = [self._number(tokens) for tokens in cut_pieces(text, self._rule)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _number(self, tokens: pl.Series) -> Numbers:
        numbers_N = tokens.cast(self._anchor.dtype).to_physical().to_numpy()
        empty_N = numbers_N == EMPTY
        return numbers_N[~empty_N] if empty_N.any() else numbers_N

    def number_all(self, texts: Iterable[str]) -> Iterator[Numbers]:
        """Yields `number(text)` of each text, in order, by several threads.

        Which number a token gets then depends on timing; which tokens share one does not.
        """
        return map_ahead(self.number, texts)

    def words(self) -> pl.Series:
        """The distinct tokens, each at its number: EMPTY, END, then the words.

        Raises:
            DataError: the rule's pattern cut a token with white space in it.
        """
        words = self._categories.to_series()
        if self._rule.pattern is not None:
            found = words[END + 1 :]
            spaced = found.filter(found.str.contains(rf"[\s{OTHER_SPACES}]"))
            if len(spaced):
                raise DataError(
                    f"corpus.token_pattern matches {spaced[0]!r}, but words hold no white space"
                )
        return words


class TokenLog:
    """Tokens noted in a file from its present position on, in order, and counted."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._start = file.tell()
        self._counts_W = np.zeros(1024, np.int64)
        self.num_distinct = 0  # tokens of the pool, up to the last one noted

    @property
    def num_lines(self) -> int:
        """The lines noted so far."""
        return int(self._counts_W[END])

    def note(self, numbers_N: Numbers) -> None:
        """Adds the tokens of further lines."""
        self.num_distinct = max(self.num_distinct, int(numbers_N.max(initial=0)) + 1)
        if self.num_distinct > len(self._counts_W):
            more = 2 * self.num_distinct - len(self._counts_W)
            self._counts_W = np.pad(self._counts_W, (0, more))
        np.add.at(self._counts_W, numbers_N, 1)
        self.file.write(numbers_N.data)

    def counts(self, num_distinct: int) -> Ints:
        """How often each of the first `num_distinct` tokens of the pool was noted; END 0 times."""
        counts_W = np.zeros(num_distinct, np.int64)
        known = self._counts_W[:num_distinct]
        counts_W[: len(known)] = known
        counts_W[END] = 0
        return counts_W

    def __iter__(self) -> Iterator[Numbers]:
        """The tokens again; what comes before those to come may be overwritten meanwhile."""
        return read_numbers(self.file, self._start, self.file.seek(0, os.SEEK_END))


def read_numbers(file: BinaryIO, start: int, end: int) -> Iterator[Numbers]:
    """Numbers out of a file, from one byte of it to another; between two, it may be moved about."""
    size = CHUNK_NUMBERS * np.dtype(np.uint32).itemsize
    for at in range(start, end, size):
        file.seek(at)
        yield np.frombuffer(file.read(min(size, end - at)), np.uint32)


def require_usable(rule: TokenRule) -> None:
    """Checks that text can be cut by a rule. Raises `ConfigError` if its pattern is no regex."""
    try:
        cut("", rule)
    except pl.exceptions.ComputeError as error:
        raise ConfigError(
            f"corpus.token_pattern={rule.pattern!r} is no regex of the Rust kind",
            hint="that kind has neither look-around nor back-references",
        ) from error


def cut(text: str, rule: TokenRule) -> pl.Series:
    r"""The tokens of all lines end to end, `\n` after each line; some may be empty, to be dropped.

    Lines end at `\n` alone, and one at the very end of `text` begins no further line. Without a
    pattern the tokens of a line are `line.split()`.
    """
    return pl.concat(list(cut_pieces(text, rule)))


def cut_pieces(text: str, rule: TokenRule) -> Iterator[pl.Series]:
    """The tokens of `cut`, those of a long text in several pieces, so that none is ever big."""
    if rule.lowercase:
        text = text.lower()
    if rule.pattern is not None:
        lines = pl.Series([text.removesuffix("\n")]).str.split("\n").list.explode()
        found = lines.str.extract_all(rule.pattern).list.concat(pl.Series([["\n"]]))
        yield found.list.explode()
        return
    for space in OTHER_SPACES:  # all of these searches take a tenth of the time of one regex
        if space in text:
            text = text.replace(space, " ")
    if not text.endswith("\n"):
        text += "\n"
    marked = text.replace("\n", " \n ")[:-1]
    for piece in _pieces(marked):
        yield pl.Series([piece]).str.split(" ").list.explode(empty_as_null=False)


def _pieces(text: str) -> Iterator[str]:
    """Cuts a text at a space after about every PIECE_CHARS, and leaves that space out.

    polars sets aside 16 bytes for each byte of a string that it splits, and ends the process where
    it does not get them: too much for a line of hundreds of megabytes.
    """
    start = 0
    while len(text) - start > PIECE_CHARS and (end := text.find(" ", start + PIECE_CHARS)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:] if start else text


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yields `function(item)` of each item, in order, THREADS of them worked on ahead."""
    with ThreadPoolExecutor(THREADS) as threads:
        ahead: deque[Future[Result]] = deque()
        for item in items:
            ahead.append(threads.submit(function, item))
            if len(ahead) > THREADS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
