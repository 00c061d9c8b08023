"""Folders that appear whole: built beside their place, by one process each; strays are swept.

What is half built holds a lock of its own (`flocks`), so whoever can take that lock may remove it:
its process was killed. Where locks do not hold, nobody can tell, and nothing is removed.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from w2v.files import TEMP_PREFIX, fsync_folder, make_folder, sweep_temporaries, unwritable
from w2v.flocks import alone, claimed, locked
from w2v.leaving import undoing


@contextmanager
def atomic_folder(target: Path, *, proof: str) -> Iterator[Path]:
    """Yields a new folder beside `target` that becomes it if the block ends well.

    Two processes may build at once: both build the same, and the later one lets its own go.

    Args:
        target: replaced where it is there already.
        proof: the name of the file that is written last; it shows that another process was first.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        make_folder(target.parent)
        sweep_stale(target.parent)
        shutil.rmtree(target, ignore_errors=True)
        with _building(target.parent) as build:
            yield build
            try:
                build.rename(target)
            except OSError:
                if not (target / proof).exists():
                    raise
            fsync_folder(target.parent)
    except OSError as error:
        raise unwritable(target, error) from error


@contextmanager
def swapped_folder(target: Path) -> Iterator[Path]:
    """Yields a new folder beside `target`, for files, that takes its place if the block ends well.

    What is there stays until then, and is removed whole. A process that is killed leaves the old
    folder or the new one, but for the instant between two renames, when there is neither.

    Raises:
        StorageError: the folder cannot be written.
    """
    old = _beside(target)

    def restore() -> None:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)

    try:
        make_folder(target.parent)
        with _building(target.parent) as build, undoing(restore), _held(target):
            try:
                yield build
                for path in build.iterdir():
                    with path.open("r+b") as file:
                        os.fsync(file.fileno())
                fsync_folder(build)
                if target.exists():
                    target.rename(old)
                build.rename(target)
            finally:
                restore()
        fsync_folder(target.parent)
    except OSError as error:
        raise unwritable(target, error) from error


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, and clears it of files that a killed process left half-written.

    Only the clearing needs the lock, since every file appears complete, whoever writes it.

    Raises:
        StorageError: the folder cannot be made or opened.
    """
    with ExitStack() as at_the_end:
        try:
            make_folder(folder)
            ours = at_the_end.enter_context(alone(folder, wait=True))
        except OSError as error:
            raise unwritable(folder, error) from error
        if ours:
            with suppress(OSError):  # of a read-only folder, which may hold all that is needed
                sweep_temporaries(folder)
        yield


def sweep_stale(folder: Path) -> None:
    """Removes what killed processes left half-written in `folder`, and nothing of a live one."""
    for stray in folder.glob(f"{TEMP_PREFIX}*"):
        if stray.is_symlink() or not (stray.is_file() or stray.is_dir()):
            continue
        with suppress(OSError), alone(stray) as ours:  # it may be another user's
            if ours and stray.is_dir():
                shutil.rmtree(stray)
            elif ours:
                stray.unlink()


@contextmanager
def _building(parent: Path) -> Iterator[Path]:
    """Yields a new folder that nobody sweeps; it vanishes at the end unless it was renamed."""
    build, handle = _new(parent / "new")

    def clear() -> None:
        shutil.rmtree(build, ignore_errors=True)

    with undoing(clear):
        try:
            yield build
        finally:
            clear()
            if handle is not None:
                os.close(handle)


def _new(target: Path) -> tuple[Path, int | None]:
    """A new folder beside another, and what holds its lock."""
    while True:
        build = _beside(target)
        build.mkdir()
        if sys.platform == "win32":  # where a folder cannot be opened
            return build, None
        with suppress(FileNotFoundError):  # taken for a stray
            handle = os.open(build, os.O_RDONLY)
            if claimed(handle, build):
                return build, handle
            os.close(handle)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, where it is there, so that nobody sweeps it by another name."""
    with ExitStack() as at_the_end:
        if sys.platform != "win32":
            with suppress(OSError):
                handle = os.open(folder, os.O_RDONLY)
                at_the_end.callback(os.close, handle)
                locked(handle)
        yield


def _beside(target: Path) -> Path:
    return target.with_name(f"{TEMP_PREFIX}{secrets.token_hex(8)}")
