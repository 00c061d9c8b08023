"""The lock of a run folder: one trainer at a time.

It is an advisory lock of the system on `.w2v-lock` in the folder, so it ends with the process that
holds it, however that ends; the process id in the file only serves to name the holder. Whoever
has the lock removes the file at the end. Where the system has no such locks, there is none.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from w2v.errors import StorageError
from w2v.files import make_folder, unwritable

if sys.platform != "win32":
    import fcntl

NAME = ".w2v-lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which is made where it is missing.

    Raises:
        StorageError: another process holds it, or the folder cannot be written.
    """
    path = folder / NAME
    try:
        make_folder(folder)
        handle = _taken(path)
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        with suppress(OSError):  # the folder may be gone
            path.unlink()
            folder.rmdir()  # where nothing came of the run
        os.close(handle)


def require_free(folder: Path) -> None:
    """Refuses a folder whose lock is held; leaves no trace.

    Raises:
        StorageError: another process holds it.
    """
    try:
        handle = os.open(folder / NAME, os.O_RDONLY)
    except OSError:
        return  # nobody, or whoever writes will be told why not
    try:
        if not _locked(handle):
            raise _in_use(folder, handle)
    finally:
        os.close(handle)


def _taken(path: Path) -> int:
    """The lock file, open and locked."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _locked(handle):
                raise _in_use(path.parent, handle)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the holder before removed it: another is made


def _locked(handle: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _in_use(folder: Path, handle: int) -> StorageError:
    holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
    who = f"pid {holder}" if holder.isdigit() else "another process"
    return StorageError(
        f"{folder} is in use by {who}", hint="wait until it ends, or choose another --run DIR"
    )
