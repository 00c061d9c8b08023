r"""Rows of text: a word and its numbers, as word2vec and GloVe write them.

    word<space>v1<space>...<space>vD\n

Written: UTF-8, `%.9g`, which gives every float32 back bit by bit; no space before the line end.
Read: the same, and also a space or carriage return before the line end, as C and fastText and
Windows leave them. The numbers are the last D fields, so a word may hold spaces (GloVe's do).
The last line must be ended too, since nothing else betrays a file that was cut short.

Legend: V = words, D = dimensions.
"""

import gzip
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from w2v.errors import DataError
from w2v.files import unreadable
from w2v.formats.rows import MAX_WORD_BYTES, decode_word, parse_header
from w2v.vectors import WordVectors

GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # zlib.net/zlib_tech.html: no stream grows more than that
MAX_NUMBER_BYTES = 64
FIRST_LINE_BYTES = 1 << 22  # enough to see what a row is
CHUNK_NUMBERS = 1 << 18  # formatted at once, some 10 MB

NUMBER_CHARS = b"0123456789+-.eE "
NOT_FINITE_CHARS = b"aAfFiInNtTyY"  # of NaN and infinity
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_NOT_FINITE = rb"[+-]?(?i:nan|inf|infinity)"
_FINITE = rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NUMBER = re.compile(_FINITE + rb"|" + _NOT_FINITE)


def write_rows(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes every row, in the order of ids."""
    row_format = "%s" + " %.9g" * vectors.matrix.shape[1] + "\n"
    for words, rows in row_chunks(vectors):
        pairs = zip(words, rows, strict=True)
        file.write("".join([row_format % (word, *numbers) for word, numbers in pairs]).encode())


def row_chunks(vectors: WordVectors) -> Iterator[tuple[Sequence[str], list[list[float]]]]:
    """Words and their numbers, as many as are formatted at once, in the order of ids."""
    num_words, dim = vectors.matrix.shape
    step = max(1, CHUNK_NUMBERS // dim)
    for start in range(0, num_words, step):
        stop = start + step
        yield vectors.words[start:stop], vectors.matrix[start:stop].tolist()


def read_rows(
    file: BinaryIO,
    *,
    dim: int,
    path: Path,
    first_line: int,
    only: Collection[str] | None = None,
) -> tuple[int, list[str], NDArray[np.float32]]:
    """Reads rows up to the end of the file; memory grows with what is there, not what is said.

    Args:
        file: stands at the first row.
        dim: numbers in a row.
        path: named in errors.
        first_line: the line number of the first row.
        only: keep the rows of these words; the numbers of others are not looked at.

    Returns:
        How many rows there are; the words that were kept, and their matrix of shape (V, D).

    Raises:
        DataError: a row is not a word and `dim` finite numbers, or its line is not ended.
    """
    words: list[str] = []
    numbers = bytearray()
    limit = MAX_WORD_BYTES + dim * MAX_NUMBER_BYTES
    num_rows = 0
    while line := file.readline(limit):
        place = f"{path}: line {first_line + num_rows}"
        num_rows += 1
        if not line.endswith(b"\n"):
            raise DataError(_unended(place, line, limit), hint="is the file complete?")
        raw, fields = _cut(line.rstrip(b" \r\n"), dim)
        word = decode_word(raw, place=place)
        if only is None or word in only:
            numbers += _parse(fields, dim=dim, place=place)
            words.append(word)
    return num_rows, words, np.frombuffer(numbers, np.float32).reshape(len(words), dim)


def dim(path: Path) -> int:
    """How many numbers a row has, by the first line: a header, or else a row. 0: by neither."""
    with open_text(path) as file:
        line = file.readline(FIRST_LINE_BYTES)
    header = parse_header(line)
    return count_trailing_numbers(line) if header is None else header.dim


def count_trailing_numbers(line: bytes) -> int:
    """How many numbers end a line that begins with a word."""
    _, *fields = line.rstrip(b" \r\n").split(b" ")
    count = 0
    while count < len(fields) and _NUMBER.fullmatch(fields[-1 - count]):
        count += 1
    return count


def looks_like_row(line: bytes, *, named_text: bool) -> bool:
    """Whether a line is a row of text, and not the start of a binary one.

    Args:
        line: bytes up to a line end.
        named_text: whether the file's name says text; then a damaged row is one too.
    """
    fields = line.partition(b" ")[2].rstrip(b"\r\n")
    if fields and not fields.translate(None, NUMBER_CHARS + NOT_FINITE_CHARS):
        return True
    return named_text and not _CONTROL.search(line)


@contextmanager
def open_text(path: Path) -> Iterator[BinaryIO]:
    """Opens a text file, also one that gzip compressed, whatever its name.

    Raises:
        DataError: it cannot be read, or its gzip stream is damaged or cut short.
    """
    try:
        with path.open("rb") as plain:
            zipped = plain.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            plain.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=plain)) if zipped else plain
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: the gzip stream is damaged or cut short: {error}") from error
    except OSError as error:
        raise unreadable(path, error) from error


def bytes_available(file: BinaryIO, path: Path) -> int:
    """How many bytes can follow in a file that `open_text` opened."""
    zipped = isinstance(file, gzip.GzipFile)
    return path.stat().st_size * (DEFLATE_RATIO if zipped else 1) - file.tell()


def _cut(row: bytes, dim: int) -> tuple[bytes, bytes]:
    """A row as its word and its numbers, which are all of it where the row is too long."""
    if row.count(b" ") > dim:
        word, *fields = row.rsplit(b" ", dim)
        if not _NUMBER.fullmatch(word.rpartition(b" ")[2]) and word == word.strip(b" "):
            return word, b" ".join(fields)
    word, _, numbers = row.partition(b" ")
    return word, numbers


def _parse(fields: bytes, *, dim: int, place: str) -> bytes:
    """`dim` numbers as the bytes of float32; numpy's parser, once nothing can mislead it."""
    if fields and not fields.translate(None, NUMBER_CHARS):
        try:
            row_D = np.fromstring(fields, dtype=np.float32, sep=" ")
        except ValueError:
            row_D = np.empty(0, np.float32)
        if len(row_D) == dim and fields.count(b" ") == dim - 1 and np.isfinite(row_D).all():
            return row_D.tobytes()
    raise DataError(f"{place}: {_what_is_wrong(fields, dim=dim)}")


def _what_is_wrong(fields: bytes, *, dim: int) -> str:
    found = fields.split(b" ") if fields else []
    for field in found:
        if not _NUMBER.fullmatch(field):
            return f"expected a number, found {field[:40]!r}"
    if len(found) != dim:
        return f"{len(found)} numbers, expected {dim}"
    return "a number is not finite in float32"


def _unended(place: str, line: bytes, limit: int) -> str:
    if len(line) == limit:
        return f"{place}: the line is longer than {limit:,} bytes"
    return f"{place}: the last line has no line end"
