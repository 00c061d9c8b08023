r"""GloVe text: word2vec text without the header. It has no suffix of its own: `--format glove`.

    word<space>v1<space>...<space>vD\n      V times, in the order of ids

The rows are those of `w2v.formats.text_rows`. How many numbers a row has, the first one tells.
"""

from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from w2v.errors import DataError
from w2v.formats.rows import assemble
from w2v.formats.text_rows import (
    FIRST_LINE_BYTES,
    count_trailing_numbers,
    open_text,
    read_rows,
    write_rows,
)
from w2v.vectors import WordVectors

NAME = "glove"
SUFFIXES = ()


def write(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes every row."""
    write_rows(vectors, file)


def read(path: Path, *, only: Collection[str] | None = None) -> WordVectors:
    """Reads a file, plain or gzipped.

    Raises:
        DataError: it is not in this format, or damaged.
    """
    with open_text(path) as file:
        dim = count_trailing_numbers(file.readline(FIRST_LINE_BYTES))
        if not dim:
            raise DataError(f"{path}: line 1: expected a word and its numbers")
        file.seek(0)
        _, words, matrix_VD = read_rows(file, dim=dim, path=path, first_line=1, only=only)
    return assemble(path, words, matrix_VD, only=only)
