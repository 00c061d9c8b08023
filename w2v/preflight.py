"""What is asked of a path before time is spent: may it be written, can it be read?

A path enters; nothing leaves but a refusal. Nothing is opened: a pipe stays whole, and a file that
is there stays as it is.
"""

import errno
import os
import stat
from pathlib import Path

from w2v.errors import StorageError
from w2v.files import unreadable, unwritable


def require_free(path: Path, *, force: bool, otherwise: str | None = None) -> None:
    """Refuses a place where a file must not be written.

    Args:
        path: the place.
        force: a regular file there may be replaced.
        otherwise: the hint where something is there that is no file.

    Raises:
        StorageError: something other than a file is there, or a file is and not `force`.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(path, error) from error
    if stat.S_ISDIR(mode):
        raise StorageError(f"{path} is a folder")
    # A link to a file that has no name any more, as /dev/stdout may be, leads nowhere.
    if not stat.S_ISREG(mode) or not path.resolve().exists():
        raise StorageError(f"{path} is no regular file", hint=otherwise)
    if not force:
        raise StorageError(f"{path} exists already", hint="--force replaces it")


def require_readable(path: Path) -> None:
    """Checks, without opening it, that `path` is there to be read; it may be a pipe.

    Raises:
        DataError: there is nothing, or a folder.
        StorageError: it may not be read.
    """
    try:
        is_folder = path.is_dir()
        if not is_folder:
            path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if is_folder:
        raise unreadable(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if not os.access(path, os.R_OK):
        raise unreadable(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def require_writable(folder: Path) -> None:
    """Checks, without touching anything, that `folder` exists or can be made, and be written to.

    Raises:
        StorageError: it cannot.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise StorageError(f"cannot write {folder}: {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write {folder}: {existing} is read-only")
