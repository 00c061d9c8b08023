"""The lock of a run folder: one trainer at a time.

It is a lock of the system (`flocks`) on `.w2v-lock` in the folder, so it ends with the process that
holds it, however that ends; the process id in the file only serves to name the holder. Whoever
has the lock removes the file at the end. A lock is worth something only while its file is the one
at that path: a folder that is moved or replaced takes it away, and `Lock.require_ours` notices.
Where the system has no such locks, there is none, which is told.
"""

import errno
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from w2v.errors import StorageError
from w2v.files import make_folder, unwritable
from w2v.flocks import locked
from w2v.leaving import undoing

NAME = ".w2v-lock"
# A pipe in the file's place must not block us, nor a link let us write to what it leads to.
SAFELY = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
PATIENCE_S = 0.5  # for those who only ask whether a folder is free: they hold its lock a moment
PAUSE_S = 0.01

log = logging.getLogger(__name__)


class InUseError(StorageError):
    """Another process has the lock."""


class Lock:
    """A lock that is held on a run folder."""

    def __init__(self, path: Path, handle: int) -> None:
        """Args: where the file of the lock was; that file, open and locked."""
        self._path, self._handle = path, handle

    def is_ours(self) -> bool:
        """Whether the file of the lock is still where it was. Raises `OSError`."""
        try:
            return os.path.samestat(os.fstat(self._handle), self._path.lstat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def require_ours(self) -> None:
        """Refuses to go on in a folder that is no longer the one that was locked.

        Raises:
            StorageError: it was moved, deleted or replaced, or it cannot be looked at.
        """
        folder = self._path.parent
        try:
            ours = self.is_ours()
        except OSError as error:
            raise unwritable(folder, error) from error
        if not ours:
            raise StorageError(
                f"{folder} was moved or replaced while training",
                hint="if it was moved, go on there: --run DIR --resume",
            )


@contextmanager
def held(folder: Path) -> Iterator[Lock]:
    """Holds the lock of a folder, which is made where it is missing.

    Raises:
        StorageError: another process holds it, or the folder cannot be written.
    """
    path, made = folder / NAME, list[Path]()
    try:
        handle = _taken(path, made)
    except OSError as error:
        raise unwritable(path if folder.is_dir() else folder, error) from error
    lock = Lock(path, handle)

    def release() -> None:
        with suppress(OSError):
            if lock.is_ours():
                path.unlink()
                for empty in reversed(made):  # nothing came of the run
                    empty.rmdir()

    with undoing(release):
        try:
            _sign(path, handle)
            yield lock
        finally:
            release()
            os.close(handle)


def require_free(folder: Path) -> None:
    """Refuses a folder whose lock is held; leaves no trace.

    Raises:
        StorageError: another process holds it, or what is there cannot be a lock.
    """
    try:
        handle = _opened(folder / NAME, os.O_RDONLY)
    except OSError:
        return  # nobody, or whoever writes will be told why not
    try:
        with suppress(OSError):  # no locks: whoever writes will be told
            if not locked(handle, shared=True):
                raise _in_use(folder, handle)
    finally:
        os.close(handle)


def _taken(path: Path, made: list[Path]) -> int:
    """The lock file, open and locked; folders that were made for it are added to `made`."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            made += make_folder(path.parent)
            return _attempted(path)
        except (FileNotFoundError, InUseError):
            if time.monotonic() > give_up:
                raise
        time.sleep(PAUSE_S)


def _attempted(path: Path) -> int:
    """As `_taken`, unless somebody has the lock or has just taken file or folder away."""
    handle = _opened(path, os.O_RDWR | os.O_CREAT)
    try:
        if not _locked(path.parent, handle):
            raise _in_use(path.parent, handle)
        if not Lock(path, handle).is_ours():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _opened(path: Path, flags: int) -> int:
    """A lock file, open; nothing else that may be there. Raises `OSError`, `StorageError`."""
    handle = os.open(path, flags | SAFELY, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StorageError(f"{path} is no regular file", hint="remove it: w2v locks runs with it")
    return handle


def _locked(folder: Path, handle: int) -> bool:
    """As `locked`; where there are no locks, a warning takes their place."""
    try:
        return locked(handle)
    except OSError as error:
        reason = error.strerror or error
        log.warning("%s is not locked (%s): let nobody else train there", folder, reason)
        return True


def _sign(path: Path, handle: int) -> None:
    """Writes whose lock it is into its file. Raises `StorageError`."""
    try:
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    except OSError as error:
        raise unwritable(path, error) from error


def _in_use(folder: Path, handle: int) -> InUseError:
    holder = os.read(handle, 20).decode(errors="replace").strip()
    who = f"pid {holder}" if holder.isdigit() else "another process"
    return InUseError(
        f"{folder} is in use by {who}", hint="wait until it ends, or choose another --run DIR"
    )
