"""Tokens: how a line is cut into them, and how they are numbered and noted while being counted.

Text enters in blocks of whole lines; numbers leave. Each distinct token has a number from its
first use on, so text is cut once: the numbers wait on disk until all is counted, then become ids.
Cutting and numbering are column operations of polars, outside the interpreter.

Legend: N = tokens of a text; S = its lines; W = distinct tokens.
"""

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from w2v.errors import ConfigError, DataError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# What `str.split` takes for white space, less the space itself and the line end.
OTHER_SPACES = "".join(
    char for char in map(chr, range(0x3001)) if char.isspace() and char not in " \n"
)
EMPTY = 0  # the number of the empty token, which stands between two spaces and counts as none
THREADS = 2  # that cut text; polars leaves the interpreter free, more wait for the writer


class TokenRule(NamedTuple):
    """How a line becomes tokens. The default is `str.split`."""

    lowercase: bool = False  # before `pattern` is applied
    pattern: str | None = None  # a Rust regex; tokens are its whole matches


class Tokens(NamedTuple):
    """The tokens of some lines, by their number in a `TokenPool`."""

    numbers_N: npt.NDArray[np.uint32]
    lengths_S: Ints  # tokens of each line

    def of_lines(self, chosen_S: Bools) -> "Tokens":
        """The tokens of the chosen lines alone."""
        chosen_N = np.repeat(chosen_S, self.lengths_S)
        return Tokens(self.numbers_N[chosen_N], self.lengths_S[chosen_S])

    def of_kind(self, kept_N: Bools) -> "Tokens":
        """The kept tokens alone; every line stays, and may become empty."""
        if kept_N.all():
            return self
        before_N = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept_N)])
        ends_S = np.cumsum(self.lengths_S)
        kept_S = before_N[ends_S] - before_N[ends_S - self.lengths_S]
        return Tokens(self.numbers_N[kept_N], kept_S)


class TokenPool:
    """All distinct tokens met so far, numbered as they come.

    Raises:
        ConfigError: the rule's pattern is no regex that polars knows.
    """

    def __init__(self, rule: TokenRule) -> None:
        self._rule = rule
        self._categories = pl.Categories.random()
        # The categories live as long as a column of them does: this one, which numbers "" EMPTY.
        self._anchor = pl.Series([""], dtype=pl.Categorical(self._categories))
        try:
            token_lists("", rule)
        except pl.exceptions.ComputeError as error:
            raise ConfigError(
                f"corpus.token_pattern={rule.pattern!r} is no regex of the Rust kind",
                hint="that kind has neither look-around nor back-references",
            ) from error

    def number(self, text: str) -> Tokens:
        """Cuts whole lines into tokens and numbers them."""
        lists = token_lists(text, self._rule)
        cut = lists.list.explode(empty_as_null=False).cast(self._anchor.dtype)
        numbers_N = cut.to_physical().to_numpy()
        lengths_S = lists.list.len().cast(pl.Int64).to_numpy()
        return Tokens(numbers_N, lengths_S).of_kind(numbers_N != EMPTY)

    def number_all(self, texts: Iterable[str]) -> Iterator[Tokens]:
        """Yields `number(text)` of each text, in order, THREADS of them worked on ahead.

        Which number a token gets then depends on timing; which tokens share one does not.
        """
        with ThreadPoolExecutor(THREADS) as threads:
            ahead: deque[Future[Tokens]] = deque()
            for text in texts:
                ahead.append(threads.submit(self.number, text))
                if len(ahead) > THREADS:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def words(self) -> pl.Series:
        """The distinct tokens, each at its number; the first is the empty one.

        Raises:
            DataError: the rule's pattern cut a token with white space in it.
        """
        words = self._categories.to_series()
        spaced = words.filter(words.str.contains(rf"[\s{OTHER_SPACES}]"))
        if len(spaced):
            raise DataError(
                f"corpus.token_pattern matches {spaced[0]!r}, but words hold no white space"
            )
        return words


class TokenLog:
    """Tokens noted on disk, in order, and counted; the file is nameless and goes by itself."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by __exit__
        self._sizes: list[tuple[int, int]] = []  # tokens and lines of each note
        self._counts_W = np.zeros(1024, np.int64)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def num_lines(self) -> int:
        """The lines noted so far."""
        return sum(num_lines for _, num_lines in self._sizes)

    def note(self, tokens: Tokens) -> None:
        """Adds the tokens of further lines."""
        num_distinct = int(tokens.numbers_N.max(initial=0)) + 1
        if num_distinct > len(self._counts_W):
            self._counts_W = self.counts(2 * num_distinct)
        np.add.at(self._counts_W, tokens.numbers_N, 1)
        self._file.write(tokens.numbers_N.tobytes())
        self._file.write(tokens.lengths_S.tobytes())
        self._sizes.append((len(tokens.numbers_N), len(tokens.lengths_S)))

    def counts(self, num_distinct: int) -> Ints:
        """How often each of the first `num_distinct` tokens of the pool was noted."""
        counts_W = np.zeros(num_distinct, np.int64)
        known = self._counts_W[:num_distinct]
        counts_W[: len(known)] = known
        return counts_W

    def __iter__(self) -> Iterator[Tokens]:
        self._file.seek(0)
        for num_tokens, num_lines in self._sizes:
            numbers = self._file.read(num_tokens * np.uint32().itemsize)
            lengths = self._file.read(num_lines * np.int64().itemsize)
            yield Tokens(np.frombuffer(numbers, np.uint32), np.frombuffer(lengths, np.int64))


def token_lists(text: str, rule: TokenRule) -> pl.Series:
    r"""The tokens of each line of `text`, as lists; some tokens may be empty and count as none.

    Lines end at `\n` alone, and one at the very end of `text` begins no further line. Without a
    pattern a list equals `line.split()`, less the empty tokens.
    """
    text = text.removesuffix("\n")
    if rule.lowercase:
        text = text.lower()
    if rule.pattern is None:
        for space in OTHER_SPACES:  # all of these searches take a tenth of the time of one regex
            if space in text:
                text = text.replace(space, " ")
    lines = pl.Series([text]).str.split("\n").list.explode()
    if rule.pattern is None:
        return lines.str.split(" ")
    return lines.str.extract_all(rule.pattern)
