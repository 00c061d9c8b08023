r"""numpy's own, `.npy`: the table for `numpy.load`, the words in `OUT.vocab`.

    \x93NUMPY\x01\x00                                   version 1.0
    N                                                   uint16, little-endian
    {'descr': '<f4', 'fortran_order': False, 'shape': (V, D), }
                                                        N bytes of ASCII, spaces and \n at the end
    v11 ... vVD                                         little-endian float32, row after row

or '<f2' and float16, half the size and three digits.

The header is matched, not evaluated, and an array of objects is a pickle: both are refused here.
Words: see `w2v.formats.word_list`. Nothing ties the two files together but their lengths; take
`.safetensors` where that matters.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from w2v.errors import DataError
from w2v.files import unreadable
from w2v.formats import word_list
from w2v.formats.rows import Header, assemble, check_header, halved
from w2v.vectors import WordVectors

NAME = "npy"
SUFFIXES = (".npy",)
MAGIC = b"\x93NUMPY"

_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(..)"
    rb"\{'descr': '<f(2|4)', 'fortran_order': (False|True), "
    rb"'shape': \(([0-9]{1,18}), ([0-9]{1,18})\), \} *\n",
    re.DOTALL,
)
_LENGTH_AT = len(MAGIC) + 2
_TEXT_AT = _LENGTH_AT + 2


def write(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes the table."""
    _write(vectors.matrix.astype("<f4", copy=False), file)


def write_half(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes the table in float16. Raises `DataError` where a number is too great."""
    _write(halved(vectors), file)


def read(path: Path, *, only: Collection[str] | None = None) -> WordVectors:
    """Reads a table and the word list beside it.

    Raises:
        DataError: it is not in this format, damaged, or differs from the word list.
    """
    try:
        with path.open("rb") as file:
            header, width, order = _read_header(file, path)
            room = path.stat().st_size - file.tell()
            check_header(path, header, row_bytes=width * header.dim, available=room)
            if room > width * header.num_words * header.dim:
                raise DataError(f"{path}: more bytes than the table of {header} has")
            flat = np.fromfile(file, f"<f{width}")
    except OSError as error:
        raise unreadable(path, error) from error
    matrix_VD = flat.reshape(header, order=order)
    listed = word_list.read(path)
    return assemble(path, listed.words, matrix_VD, counts=listed.counts, only=only)


def dim(path: Path) -> int:
    """How many numbers a row has. Raises `DataError` as `read` does."""
    try:
        with path.open("rb") as file:
            return _read_header(file, path)[0].dim
    except OSError as error:
        raise unreadable(path, error) from error


def _read_header(file: BinaryIO, path: Path) -> tuple[Header, int, Literal["C", "F"]]:
    """The shape, the bytes of a number, and whether row follows on row or column on column."""
    start = file.read(_TEXT_AT)
    length = int.from_bytes(start[_LENGTH_AT:], "little")
    match = _HEADER.fullmatch(start + file.read(length))
    if match is None:
        raise DataError(f"{path}: expected a .npy of float32 in two dimensions")
    header = Header(int(match[4]), int(match[5]))
    return header, int(match[2]), "F" if match[3] == b"True" else "C"


def _write(matrix_VD: NDArray[np.floating], file: BinaryIO) -> None:
    write_header(file, matrix_VD.shape, matrix_VD.dtype.str)
    # Not numpy's write_array: its C buffer loses the error of a full disk.
    file.write(matrix_VD.tobytes())


def write_header(file: BinaryIO, shape: tuple[int, ...], descr: str = "<f4") -> None:
    """Writes what stands before the rows; however many there are, it has the same length."""
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
