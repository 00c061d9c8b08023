"""Folders that appear whole: built beside their place, by one process each; strays are swept.

What is half built holds a lock of its own (`flocks`), so whoever can take that lock may remove it:
its process was killed. Where locks do not hold, nobody can tell, and nothing is removed.

What takes long is built in a folder of a lasting name, if its lock can be had: when the process
ends early, however that happens, the next one goes on with what is there. One that nobody went on
with for a week is swept; a clock that is set wrong costs time at the most.
"""

import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR
from typing import NamedTuple

from w2v.files import TEMP_PREFIX, fsync_folder, make_folder, sweep_temporaries, unwritable
from w2v.flocks import alone, claimed, locked
from w2v.leaving import undoing

UNFINISHED = ".unfinished"  # the suffix of folders that can be gone on with
ABANDONED_S = 7 * 86_400


class Lasting(NamedTuple):
    """A folder that can be gone on with by a later process."""

    place: Path  # its name ends with UNFINISHED
    is_worth_it: Callable[[Path], bool]  # whether there is something in it to go on with


@contextmanager
def atomic_folder(target: Path, *, proof: str, lasting: Lasting | None = None) -> Iterator[Path]:
    """Yields a folder beside `target` that becomes it if the block ends well.

    Two processes may build at once: both build the same, and the later one lets its own go.

    Args:
        target: replaced, at the end, where it is there already.
        proof: the name of the file that is written last; it shows that another process was first.
        lasting: where it is built, unless another process builds there; what was left there
            is in it. Otherwise the folder is new.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        make_folder(target.parent)
        with _building(target.parent, lasting) as build:
            sweep_stale(target.parent)
            former = _stat(target)
            yield build
            _remove_former(target, former)
            try:
                build.rename(target)
            except OSError:
                if not (target / proof).exists():
                    raise
                shutil.rmtree(build, ignore_errors=True)  # nobody need go on with it
            fsync_folder(target.parent)
    except OSError as error:
        raise unwritable(target, error) from error


def _remove_former(target: Path, former: os.stat_result | None) -> None:
    """Removes the folder that was there before, but none that another process put there since."""
    now, old = _stat(target), _beside(target)
    if former is not None and now is not None and os.path.samestat(former, now):
        with suppress(FileNotFoundError):  # another process was faster
            target.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def _stat(folder: Path) -> os.stat_result | None:
    """Of a folder; None where none is."""
    with suppress(OSError):
        found = folder.lstat()
        return found if S_ISDIR(found.st_mode) else None
    return None


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
    """Removes what killed processes left in `folder`, and nothing of a live one.

    What can be gone on with stays for a week.
    """
    for stray in (
        *folder.glob(f"{TEMP_PREFIX}*"),
        *filter(_is_abandoned, folder.glob(f"*{UNFINISHED}")),
    ):
        if stray.is_symlink() or not (stray.is_file() or stray.is_dir()):
            continue
        with suppress(OSError), alone(stray) as ours:  # it may be another user's
            if ours and stray.is_dir():
                shutil.rmtree(stray)
            elif ours:
                stray.unlink()


def _is_abandoned(folder: Path) -> bool:
    with suppress(OSError):  # it may just be done
        return folder.stat().st_mtime < time.time() - ABANDONED_S
    return False


@contextmanager
def _building(parent: Path, lasting: Lasting | None = None) -> Iterator[Path]:
    """Yields a folder that nobody sweeps; it vanishes at the end unless it was renamed or lasts."""
    with ExitStack() as at_the_end:
        if lasting is not None and at_the_end.enter_context(_taken(lasting.place)):
            build, lasts = lasting.place, lasting.is_worth_it
        else:
            build, handle = _new(parent / "new")
            lasts = _never
            if handle is not None:
                at_the_end.callback(os.close, handle)

        ours = build.stat()

        def clear() -> None:
            with suppress(OSError):  # once it was renamed, its name may be another process's
                if os.path.samestat(ours, build.stat()) and not lasts(build):
                    shutil.rmtree(build)

        at_the_end.callback(clear)
        with undoing(clear):
            yield build


def _never(_build: Path) -> bool:
    return False


@contextmanager
def _taken(place: Path) -> Iterator[bool]:
    """Locks the folder of a lasting name, and clears it of half-written files: whether it is ours.

    It is not where another process has it, where it is another user's, or where locks do not hold.
    """
    with ExitStack() as at_the_end:
        ours = False
        with suppress(OSError):
            if not place.is_symlink():
                make_folder(place)
                may = os.access(place, os.W_OK | os.X_OK)  # it may be another user's
                ours = may and at_the_end.enter_context(alone(place))
        if ours:
            sweep_temporaries(place)
        yield ours


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
