"""Files and folders of a format, written whole or not at all.

Vectors, a format and a place enter; the file, the file with its companion, or the folder leaves.
That the place is free and the words can be held was seen to before: `w2v.formats.write`.
"""

import gzip
import io
from pathlib import Path
from typing import BinaryIO, cast

from w2v.files import atomic_write, write_together
from w2v.folders import swapped_folder
from w2v.formats.kinds import Dtype, FolderFormat, Format, TextRule
from w2v.vectors import WordVectors

GZIP = ".gz"
GZIP_LEVEL = 4  # digits of random numbers: 6 takes three times as long for 4 % less


def write_file(vectors: WordVectors, path: Path, format: Format, *, dtype: Dtype) -> None:
    """Writes a file, with its companion where the format has one; a symbolic link is followed.

    Raises:
        DataError: the dtype cannot hold a number.
        StorageError: it cannot be written.
    """
    write = format.write_half if dtype == "f16" and format.write_half else format.write
    target = path.resolve()
    if format.companion is not None:
        buffer = io.BytesIO()
        write(vectors, buffer)
        beside = format.companion.beside(path).resolve()
        words = format.companion.encode(vectors)
        write_together({beside: words, target: buffer.getbuffer()})
        return
    with atomic_write(target) as file:
        if path.suffix.lower() != GZIP:
            write(vectors, file)
            return
        # No name and no time inside, so that equal vectors give equal bytes.
        with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as zipped:
            write(vectors, cast(BinaryIO, zipped))


def write_folder(vectors: WordVectors, path: Path, format: FolderFormat, *, rule: TextRule) -> None:
    """Writes a folder in the place of an earlier one; a symbolic link is followed.

    Raises:
        StorageError: it cannot be written.
    """
    files = format.contents(vectors, rule)
    with swapped_folder(path.resolve()) as folder:
        for name, write_to in files.items():
            with (folder / name).open("wb") as file:
                write_to(file)
