r"""What all vector files have in common: the header, what a word may be, how a reader ends.

A reader trusts nothing: sizes are compared with the length of the file before anything of that
size is made, words and numbers are checked, and every error names the file and the place.

Legend: V = words, D = dimensions.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from w2v.errors import DataError
from w2v.spelling import shown
from w2v.vectors import WordVectors

HEADER_BYTES = 64  # more than two numbers of 19 digits
MAX_WORD_BYTES = 1 << 16

_HEADER = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18}) ?\r?\n")
_UNSUITABLE = re.compile("[\0\ud800-\udfff]")  # a NUL ends C strings, a surrogate has no UTF-8


class Header(NamedTuple):
    """The first line of a word2vec file."""

    num_words: int
    dim: int


def parse_header(line: bytes) -> Header | None:
    r"""`V D\n` as numbers; None where the line is something else."""
    match = _HEADER.fullmatch(line)
    return Header(int(match[1]), int(match[2])) if match else None


def header_expected(path: Path) -> DataError:
    """The one message for a file that does not begin as it must."""
    return DataError(f"{path}: line 1: expected 'COUNT DIM'")


def check_header(path: Path, header: Header, *, row_bytes: int, available: int) -> None:
    """Refuses sizes that the file cannot hold.

    Args:
        path: named in errors.
        header: what the file says.
        row_bytes: the fewest bytes that a row of so many dimensions takes.
        available: how many bytes can follow the header at the most.

    Raises:
        DataError: a size is 0, or the rows do not fit.
    """
    num_words, dim = header
    if not num_words or not dim:
        raise DataError(f"{path}: line 1: a file of {num_words} words with {dim} dimensions")
    if num_words * row_bytes > available:
        raise DataError(
            f"{path}: line 1: the header says {num_words} words with {dim} dimensions, at least "
            f"{num_words * row_bytes:,} bytes; the file has room for {available:,}"
        )


def check_words(vectors: WordVectors, *, format: str) -> None:
    """Refuses a word that a vector file cannot hold, before anything is written.

    That words are different and not empty and numbers finite, `WordVectors` has seen to.

    Raises:
        DataError: a word holds white space, a NUL or what has no UTF-8, or is too long.
    """
    for word in vectors.words:
        if word.split() != [word] or _UNSUITABLE.search(word):
            raise DataError(
                f"format {format} cannot hold the word {shown(word)}: it has white space or a NUL"
            )
        if len(word) * 4 > MAX_WORD_BYTES and len(word.encode()) > MAX_WORD_BYTES:
            raise DataError(
                f"format {format} cannot hold the word {shown(word)}: "
                f"it is longer than {MAX_WORD_BYTES} bytes"
            )


def halved(vectors: WordVectors) -> NDArray[np.float16]:
    """The table in float16: three digits, numbers up to 65,504.

    Raises:
        DataError: a number is beyond that.
    """
    with np.errstate(over="ignore"):
        half_VD = vectors.matrix.astype("<f2")
    if not np.isfinite(half_VD).all():
        row = int(np.argmin(np.isfinite(half_VD).all(axis=1)))
        raise DataError(
            f"float16 cannot hold the vector of {shown(vectors.words[row])}: it ends at 65,504",
            hint="--dtype f32 holds all, and --normalize makes every number at most 1",
        )
    return half_VD


def decode_word(raw: bytes, *, place: str) -> str:
    """A word of a file as text; `place` begins the message where it is none.

    Raises:
        DataError: it is empty, holds a line end, or is not UTF-8.
    """
    if not raw:
        raise DataError(f"{place}: the word is empty")
    try:
        word = raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: the word is not UTF-8: {raw[:40]!r}") from error
    if "\n" in word:
        raise DataError(f"{place}: a line end inside the word {shown(word)}")
    return word


def assemble(
    path: Path,
    words: Sequence[str],
    matrix_VD: NDArray[np.floating],
    *,
    counts: Sequence[int] | None = None,
    only: Collection[str] | None = None,
) -> WordVectors:
    """The vectors that a reader found; what is wrong with them is told with the file's name.

    Where `only` are the words of a vocabulary, the rows of other words are left out.
    """
    if only is not None and not words:
        raise nothing_in_common(path)
    try:
        vectors = WordVectors(words, matrix_VD, counts=counts)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return vectors if only is None else _of_vocabulary(vectors, only, path)


def nothing_in_common(path: Path, *, hint: str | None = None) -> DataError:
    """The one message for vectors of other words than those of a vocabulary."""
    return DataError(f"{path} has no word in common with the vocabulary", hint=hint)


def _of_vocabulary(vectors: WordVectors, only: Collection[str], path: Path) -> WordVectors:
    """The rows of these words alone; an error where there is none."""
    kept = [row for row, word in enumerate(vectors.words) if word in only]
    if not kept:
        raise nothing_in_common(path)
    if len(kept) == len(vectors):
        return vectors
    return WordVectors([vectors.words[row] for row in kept], vectors.matrix[kept])
