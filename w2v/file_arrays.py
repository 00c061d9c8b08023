"""Numbers in a `.npy` file, read when they are asked for.

A path enters; what stands for a one-dimensional numpy array leaves. It is no memory map: pages that
a map has shown count as memory of the process until the system wants them back, and a file that is
cut short under a map ends the process by SIGBUS. Here memory holds what is asked for, and a file
that changes meanwhile is an error in words.

Legend: N = numbers of the file.
"""

import io
import os
import re
import sys
import weakref
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from w2v.errors import DataError
from w2v.files import unreadable

Number = TypeVar("Number", bound=np.integer)

TEXT_AT = 10  # behind the magic bytes, the version, and the length of the text
MAGIC = re.compile(rb"\x93NUMPY\x01\x00(..)", re.DOTALL)
HEADER = re.compile(
    rb"\{'descr': '([<>|=][a-z][0-9]{1,2})', 'fortran_order': False, "
    rb"'shape': \(([0-9]{1,18}),\), \} *\n"
)


class FileArray(Generic[Number]):
    """The numbers of a one-dimensional `.npy` file.

    Each slice is read anew into an array of its own, so it may be written to. Numpy's functions
    refuse it where they would take all of it unasked: `array[:]` says so. Threads may share it.

    Raises:
        DataError: the file is not there, is no such `.npy` file, or is cut short; later, it was
            changed since it was opened.
        StorageError: it cannot be read.
    """

    def __init__(self, path: Path, dtype: type[Number], *, name: Path | None = None) -> None:
        """Opens the file.

        Args:
            path: the file.
            dtype: of its numbers, which are little-endian.
            name: what errors call it, where it is about to be moved.
        """
        self.path = path if name is None else name
        self.dtype: np.dtype[Number] = np.dtype(dtype).newbyteorder("<")
        self._lock = Lock()
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            weakref.finalize(self, os.close, handle)
            self._file = io.FileIO(handle, closefd=False)
            self._opened = self._stamp()
            self._start, self._size = self._read_header()
        except OSError as error:
            raise unreadable(self.path, error) from error

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """The bytes of all its numbers."""
        return self._size * self.dtype.itemsize

    @overload
    def __getitem__(self, index: int) -> Number: ...
    @overload
    def __getitem__(self, index: slice) -> npt.NDArray[Number]: ...
    def __getitem__(self, index: int | slice) -> Number | npt.NDArray[Number]:
        if isinstance(index, slice):
            places = range(self._size)[index]
            if not places:
                return np.empty(0, self.dtype)
            low, high = sorted((places[0], places[-1]))
            return self._read(low, high + 1)[:: places.step]
        place = range(self._size)[index]  # an IndexError where there is none
        number: Number = self._read(place, place + 1)[0]
        return number

    def __array__(self, *_: object, **__: object) -> npt.NDArray[Number]:
        raise TypeError(f"{self.path} is not in memory: array[:] reads all of it")

    def _read(self, start: int, stop: int) -> npt.NDArray[Number]:
        numbers_N = np.empty(stop - start, self.dtype)
        room, filled = numbers_N.view(np.uint8).data, 0
        try:
            at = self._start + start * self.dtype.itemsize
            while filled < len(room) and (got := self._read_at(at + filled, room[filled:])):
                filled += got
            changed = filled < len(room) or self._stamp() != self._opened
        except OSError as error:
            raise unreadable(self.path, error) from error
        if changed:
            raise DataError(
                f"{self.path}: changed or cut short while it was in use",
                hint="start again: what is damaged is then found, or built anew",
            )
        return numbers_N

    def _read_at(self, place: int, room: memoryview) -> int:
        """Reads from a byte on, at no position that threads or forked processes would share."""
        if sys.platform != "win32":
            return os.preadv(self._file.fileno(), [room], place)
        with self._lock:
            self._file.seek(place)
            return self._file.readinto(room) or 0

    def _stamp(self) -> tuple[int, int]:
        stat = os.fstat(self._file.fileno())
        return stat.st_size, stat.st_mtime_ns

    def _read_header(self) -> tuple[int, int]:
        """Where the numbers start, and how many there are."""
        wanted = f"{self.path}: expected a .npy file of {self.dtype.str} numbers in one dimension"
        magic = MAGIC.fullmatch(self._file.read(TEXT_AT) or b"")
        if magic is None:
            raise DataError(f"{wanted}; it does not begin as one of version 1.0 does")
        text_bytes = int.from_bytes(magic[1], "little")
        text = self._file.read(text_bytes) or b""
        header = HEADER.fullmatch(text)
        if header is None or len(text) < text_bytes or header[1].decode() != self.dtype.str:
            raise DataError(f"{wanted}; found {text[:100].decode('latin-1').strip()!r}")
        start, size = TEXT_AT + text_bytes, int(header[2])
        room = self._opened[0] - start
        if room != size * self.dtype.itemsize:
            raise DataError(f"{self.path}: {size:,} numbers by its header, but {room:,} bytes")
        return start, size
