"""Where a format may be written: a free place, or with `force` over an earlier export.

A path and a format enter; nothing leaves but a refusal. A file is replaced whatever it holds, as
`--force` says; a folder only where every file in it is one that the format writes, and one of them
bears its mark, so that no work of others goes with it.
"""

import stat
from pathlib import Path

from w2v.errors import StorageError
from w2v.files import unwritable
from w2v.formats.kinds import FolderFormat, Format
from w2v.preflight import require_free

MARK_BYTES = 1 << 16  # of a file that bears a mark


def check_free(path: Path, format: Format | FolderFormat, *, force: bool) -> None:
    """Refuses a place where that format must not be written.

    Raises:
        StorageError: something of another kind is there, or an earlier export and not `force`.
    """
    if isinstance(format, FolderFormat):
        _check_folder(path, format, force=force)
        return
    for target in format.paths(path):
        require_free(target, force=force, otherwise="OUT - writes text to stdout")


def _check_folder(path: Path, format: FolderFormat, *, force: bool) -> None:
    mode = _mode(path)
    if mode is None:
        return
    if not stat.S_ISDIR(mode):
        raise StorageError(f"{path} is a file", hint=f"format {format.name} is a folder")
    hint = "name a folder that is not there yet"
    try:
        found = sorted(entry.name for entry in path.iterdir())
        if not found:
            return
        foreign = [name for name in found if name not in format.files]
        if foreign:
            raise StorageError(f"{path} holds {foreign[0]}, no part of a {format.name}", hint=hint)
        name, mark = format.mark
        if name not in found or mark not in _head(path / name):
            raise StorageError(f"{path} holds a {format.name} of others", hint=hint)
    except OSError as error:
        raise unwritable(path, error) from error
    if not force:
        raise StorageError(f"{path} exists already", hint="--force replaces it")


def _mode(path: Path) -> int | None:
    """What is at a place, as `stat` has it; None: nothing."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unwritable(path, error) from error


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MARK_BYTES)
