r"""word2vec text, `.txt` and `.vec`: what gensim, spaCy and fastText read.

    V<space>D\n
    word<space>v1<space>...<space>vD\n      V times, in the order of ids

V and D are decimal numbers of ASCII digits; the rows are those of `w2v.formats.text_rows`.
Counts and the other table are not in it.
"""

from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from w2v.errors import DataError
from w2v.formats.rows import (
    HEADER_BYTES,
    assemble,
    check_header,
    header_expected,
    parse_header,
)
from w2v.formats.text_rows import bytes_available, open_text, read_rows, write_rows
from w2v.vectors import WordVectors

NAME = "word2vec"
SUFFIXES = (".txt", ".vec")


def write(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes the header and every row."""
    num_words, dim = vectors.matrix.shape
    file.write(f"{num_words} {dim}\n".encode())
    write_rows(vectors, file)


def read(path: Path, *, only: Collection[str] | None = None) -> WordVectors:
    """Reads a file, plain or gzipped.

    Raises:
        DataError: it is not in this format, damaged, or holds other than it says.
    """
    with open_text(path) as file:
        header = parse_header(file.readline(HEADER_BYTES))
        if header is None:
            raise header_expected(path)
        # A letter and a line end, a space and a digit for each number.
        row_bytes = 2 + 2 * header.dim
        check_header(path, header, row_bytes=row_bytes, available=bytes_available(file, path))
        num_rows, words, matrix_VD = read_rows(
            file, dim=header.dim, path=path, first_line=2, only=only
        )
    if num_rows != header.num_words:
        raise DataError(f"{path}: the header says {header.num_words} words, found {num_rows}")
    return assemble(path, words, matrix_VD, only=only)
