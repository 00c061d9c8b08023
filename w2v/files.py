"""Files written whole or not at all, their digests, and text that may be compressed.

What the package writes goes through `atomic_path` or `write_together`: a unique temporary file in
the target's own folder, flushed and fsynced, moved over the target in one step, the folder fsynced.
A reader therefore sees the old file or the complete new one. Some files are written in place, for
nobody takes them for something else when they are cut short: `metrics.jsonl`, which grows line by
line, `.w2v-lock`, the report of a bug, and what `growing` opens.
"""

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from w2v.errors import DataError, StorageError
from w2v.flocks import claimed
from w2v.leaving import unbroken, undoing

TEMP_PREFIX = ".w2v-tmp-"
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz")


@contextmanager
def atomic_write(path: Path, *, make_parents: bool = True) -> Iterator[BinaryIO]:
    """Yields a binary file that becomes `path` when the block ends, and vanishes if it fails.

    It can be read back meanwhile. Arguments and errors are those of `atomic_path`.
    """
    with (
        atomic_path(path, make_parents=make_parents) as temp,
        temp.open("w+b") as file,
    ):
        yield file


@contextmanager
def atomic_path(path: Path, *, make_parents: bool = True) -> Iterator[Path]:
    """Yields a place whose file becomes `path` when the block ends, and vanishes if it fails.

    For libraries that open files themselves. The file gets the mode that the umask gives new files,
    or the mode of the file it replaces.

    Args:
        path: of the file.
        make_parents: its folder is made where it is missing.

    Raises:
        StorageError: the folder or the file cannot be written (full disk, permissions).
    """
    with _failing_as_unwritable(path), _temporary(path, make_parents=make_parents) as temp:
        yield temp
        _complete(temp, path)
        temp.replace(path)
        fsync_folder(path.parent)


@contextmanager
def growing(path: Path) -> Iterator[BinaryIO]:
    """Yields a file that is written bit by bit and outlives its process, made where it is missing.

    For those who note elsewhere how far it is whole. Raises `StorageError`.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    with (
        _failing_as_unwritable(path),
        os.fdopen(os.open(path, flags, 0o666), "r+b") as file,
    ):
        yield file


def write_bytes(path: Path, data: bytes, *, make_parents: bool = True) -> None:
    """Writes `data` to `path`, whole or not at all. Raises `StorageError`."""
    with atomic_write(path, make_parents=make_parents) as file:
        file.write(data)


def write_together(
    contents: Mapping[Path, bytes | memoryview], *, first: Callable[[], None] = lambda: None
) -> None:
    """Writes several files that belong together: all complete, then renamed one after the other.

    A process that is killed, or a power cut, leaves all old or all new, but for the instant of the
    renames, for whose end signals wait. The last of `contents` can vouch for the others: it is
    renamed when their names are on disk.

    Args:
        contents: the bytes of each file.
        first: is called when all is ready to be renamed; what it raises leaves all old.

    Raises:
        StorageError: a file cannot be written.
    """
    *others, last = contents
    with ExitStack() as temporaries:
        temps = {}
        for path, data in contents.items():
            with _failing_as_unwritable(path):
                temps[path] = temporaries.enter_context(_temporary(path))
                temps[path].write_bytes(data)
                _complete(temps[path], path)
        first()
        with unbroken():
            for together in (others, [last]):
                for path in together:
                    with _failing_as_unwritable(path):
                        temps[path].replace(path)
                for folder in {path.parent for path in together}:
                    with _failing_as_unwritable(folder):
                        fsync_folder(folder)


def write_text(path: Path, text: str) -> None:
    r"""Writes `text` as UTF-8 with `\n` line ends, whole or not at all. Raises `StorageError`."""
    write_bytes(path, text.encode())


def unwritable(path: Path, error: OSError) -> StorageError:
    """The one message for a file or folder that cannot be written; a full disk tells its room."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        existing = next(parent for parent in path.absolute().parents if parent.is_dir())
        reason += f" ({shutil.disk_usage(existing).free:,} bytes free)"
    return StorageError(f"cannot write {path}: {reason}")


def unreadable(path: Path, error: OSError) -> DataError | StorageError:
    """The one error for a file or folder that is not there (bad input) or not given (storage)."""
    absent = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
    return (DataError if absent else StorageError)(f"cannot read {path}: {error.strerror or error}")


def make_folder(folder: Path, *, parents: bool = True) -> list[Path]:
    """Makes a folder, where it is missing, that survives a power cut: its name is fsynced.

    Args:
        folder: the folder.
        parents: those it lies in are made too.

    Returns:
        The folders that were made, the outermost first.

    Raises:
        OSError: as `Path.mkdir`.
    """
    if folder.is_dir():
        return []
    made = make_folder(folder.parent) if parents and folder.parent != folder else []
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():  # else another process was first
            raise
    else:
        made.append(folder)
    fsync_folder(folder.parent)
    return made


def fsync_folder(folder: Path) -> None:
    """Makes new names inside `folder` survive a power cut (POSIX; else it does nothing)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def has_temporaries(folder: Path) -> bool:
    """Whether a process is writing into `folder`, or was killed while it did."""
    return any(folder.glob(f"{TEMP_PREFIX}*"))


def sweep_temporaries(folder: Path) -> None:
    """Removes what a killed process left half-written in `folder`."""
    for stray in folder.glob(f"{TEMP_PREFIX}*"):
        if stray.is_file():
            stray.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_compressed(path: Path) -> IO[bytes]:
    """Opens a plain, `.gz`, `.bz2` or `.xz` file for reading its uncompressed bytes."""
    match path.suffix:
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        case ".bz2":
            return cast(IO[bytes], bz2.open(path, "rb"))
        case ".xz":
            return cast(IO[bytes], lzma.open(path, "rb"))
        case _:
            return path.open("rb")


@contextmanager
def _failing_as_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def _temporary(path: Path, *, make_parents: bool = True) -> Iterator[Path]:
    """Yields an empty file beside `path`, which vanishes unless it is renamed.

    It is locked meanwhile: who could take the lock would know it for a stray.
    """
    if make_parents:
        make_folder(path.parent)
    temp, handle = _new(path.parent)
    with undoing(temp.unlink):
        try:
            yield temp
        finally:
            temp.unlink(missing_ok=True)
            if handle is not None:
                os.close(handle)


def _new(folder: Path) -> tuple[Path, int | None]:
    """A new file, and what holds its lock."""
    while True:
        handle, name = tempfile.mkstemp(prefix=TEMP_PREFIX, dir=folder)
        if sys.platform == "win32":  # where an open file cannot be renamed
            os.close(handle)
            return Path(name), None
        if claimed(handle, Path(name)):
            return Path(name), handle
        os.close(handle)


def _complete(temp: Path, path: Path) -> None:
    """Puts what was written on disk and gives it the mode that the file at `path` should have."""
    with temp.open("r+b") as file:
        os.fsync(file.fileno())
    temp.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
