"""Your own text: files, folders and globs become the list of files to read.

Nothing is opened here. Order is that of the arguments, within a folder or glob by path, so that
the same files give the same corpus on every machine.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from w2v.errors import DataError
from w2v.files import COMPRESSED_SUFFIXES, unreadable
from w2v.sources import Source

# What is taken from a folder; a file that is named, or matched by a glob, may be called anything.
TEXT_SUFFIXES = (".txt", *(f".txt{suffix}" for suffix in COMPRESSED_SUFFIXES))


def find(paths: str | Sequence[str]) -> Source:
    """The files that `paths` name: a file, a folder (searched to its depths), a glob, or several.

    A file that is named twice is read once.

    Raises:
        DataError: a path is missing, is no regular file, or names no text at all.
        StorageError: a folder cannot be read.
    """
    files: dict[Path, None] = {}
    for path in [paths] if isinstance(paths, str) else paths:
        try:
            files.update(dict.fromkeys(_expand(path)))
        except OSError as error:
            raise unreadable(Path(path), error) from error
    return Source("text", train=tuple(files), heldout=())


def _expand(name: str) -> Iterator[Path]:
    path = Path(name).expanduser()
    if path.exists():
        yield from _files_of(path)
        return
    if not any(char in name for char in "*?["):
        raise DataError(f"corpus.path: no such file or folder: {path}")
    matches = _glob(path)
    if not matches:
        raise DataError(f"corpus.path: no file matches {path}")
    for match in matches:
        yield from _files_of(match)


def _glob(pattern: Path) -> list[Path]:
    start = Path(pattern.anchor)
    try:
        return sorted(start.glob(str(pattern.relative_to(start))))
    except ValueError as error:
        raise DataError(f"corpus.path: {pattern} is no glob: {error}") from error


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"corpus.path: {path} is neither a file nor a folder")
    found = [
        Path(folder, name)
        for folder, _, names in os.walk(path, onerror=_reraise)
        for name in names
        if name.endswith(TEXT_SUFFIXES)
    ]
    files = sorted(file for file in found if file.is_file())
    if not files:
        raise DataError(
            f"corpus.path: no text in {path}",
            hint=f"a folder is searched for {' '.join(TEXT_SUFFIXES)}; name other files one by one",
        )
    return files


def _reraise(error: OSError) -> None:
    raise error
