r"""word2vec binary, `.bin`: what gensim, flair and the C tools read.

    V<space>D\n
    word<space>                 UTF-8
    v1 ... vD                   little-endian float32, 4 D bytes
    \n                          V times, in the order of ids

The line end after a vector is there in the files of C and of this writer, and not in gensim's;
the first row tells the reader which kind of file it has. Nothing may follow the last row.
"""

from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np

from w2v.errors import DataError
from w2v.files import unreadable
from w2v.formats.rows import (
    HEADER_BYTES,
    MAX_WORD_BYTES,
    Header,
    assemble,
    check_header,
    decode_word,
    header_expected,
    parse_header,
)
from w2v.spelling import shown
from w2v.vectors import WordVectors

NAME = "binary"
SUFFIXES = (".bin",)
BLOCK_BYTES = 1 << 22  # read at once


def write(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes the header and every row."""
    num_words, dim = vectors.matrix.shape
    file.write(f"{num_words} {dim}\n".encode())
    for word, row_D in zip(vectors.words, vectors.matrix.astype("<f4", copy=False), strict=True):
        file.write(b"%b %b\n" % (word.encode(), row_D.tobytes()))


def read(path: Path, *, only: Collection[str] | None = None) -> WordVectors:
    """Reads a file of either kind.

    Raises:
        DataError: it is not in this format, damaged, or holds other than it says.
    """
    try:
        with path.open("rb") as file:
            first_line = file.readline(HEADER_BYTES)
            header = parse_header(first_line)
            if header is None:
                raise header_expected(path)
            size = path.stat().st_size
            row_bytes = 2 + 4 * header.dim  # a letter, a space, the numbers
            check_header(path, header, row_bytes=row_bytes, available=size - len(first_line))
            return _read_rows(file, path=path, header=header, only=only)
    except OSError as error:
        raise unreadable(path, error) from error


def _read_rows(
    file: BinaryIO, *, path: Path, header: Header, only: Collection[str] | None
) -> WordVectors:
    """Reads all rows of a file that stands behind its header; keeps those of `only`."""
    num_words, dim = header
    words: list[str] = []
    matrix_VD = np.empty((num_words if only is None else min(num_words, len(only)), dim), "<f4")
    longest = MAX_WORD_BYTES + 1 + 4 * dim + 1
    base, block, at = file.tell(), b"", 0  # the block begins at byte `base` of the file
    line_end = b""
    for row in range(num_words):
        if len(block) - at < longest:
            base, block, at = base + at, block[at:] + file.read(longest + BLOCK_BYTES), 0
        place = f"{path}: byte {base + at} (word {row + 1} of {num_words})"
        space = block.find(b" ", at, at + MAX_WORD_BYTES + 1)
        if space < 0:
            raise DataError(f"{place}: no space ends the word")
        end = space + 1 + 4 * dim
        if end > len(block):
            raise DataError(f"{place}: the file ends within the vector")
        word = decode_word(block[at:space], place=place)
        if only is None or word in only:
            if len(words) == len(matrix_VD):  # there are no more words in `only`
                raise DataError(f"{place}: {shown(word)} comes twice")
            matrix_VD[len(words)] = np.frombuffer(block, "<f4", dim, space + 1)
            words.append(word)
        if row == 0:
            line_end = b"\n" if block[end : end + 1] == b"\n" else b""
        at = end + len(line_end)
        if block[end:at] != line_end:
            raise DataError(f"{place}: no line end after the vector, as the first word has")
    if block[at:] or file.read(1):
        raise DataError(f"{path}: byte {base + at}: more follows the last of {num_words} words")
    return assemble(path, words, matrix_VD[: len(words)], only=only)
