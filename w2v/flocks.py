"""The system's locks on open files and folders, which tell a process at work from a killed one.

They are advisory and end with the process that holds them, however that ends; no clock, host name
or process id has a part in it. Some file systems have none, and some network ones grant one twice:
nothing that must be right rests on them alone.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl


def locked(handle: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Locks an open file or folder until its handle is closed; False where another has it.

    Raises:
        OSError: there are no locks here.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, "no locks of files that others may read")
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def claimed(handle: int, path: Path) -> bool:
    """Locks what was just made at `path`; False where it was taken for a stray, and removed.

    Where there are no locks nobody removes it.
    """
    try:
        ours = locked(handle)
    except OSError:
        return True
    return ours and path.exists()


@contextmanager
def alone(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Locks a file or folder for a block: whether we have its lock, and nobody else can.

    What was moved away, or replaced, before it was locked is not ours.

    Raises:
        OSError: it cannot be opened.
    """
    handles: list[int] = []
    try:
        found = False
        if sys.platform != "win32":  # where a folder cannot be opened
            handles += [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for _ in range(2)]
            with suppress(OSError):  # there are no locks, or nothing is there any more
                found = (
                    locked(handles[0], wait=wait)
                    and not locked(handles[1])
                    and os.path.samestat(os.fstat(handles[0]), path.stat())
                )
        yield found
    finally:
        for handle in handles:
            os.close(handle)
