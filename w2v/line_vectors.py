r"""Lines of text with their vectors, and the files that take them as they come.

Parts enter, some lines and their rows each; a file leaves, whole or not at all, whose length need
not be known before: memory holds a part, never all. The suffix decides:

    .tsv, .txt   v1<TAB>...<TAB>vD\n, a row for each line of text; numbers as in vector files
    .npy         float32 (B, D), for `numpy.load`
    .parquet     columns `line` (int64, from 1), `text`, `vector` (float32, D of them)

Nothing says of which line a row of the first two is, so no line is ever left out.

Legend: B = lines, of a part or of all; D = dimensions.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from w2v.errors import ConfigError
from w2v.files import atomic_write
from w2v.folders import sweep_stale
from w2v.formats import npy, tsv
from w2v.preflight import require_free, require_writable

if TYPE_CHECKING:
    import polars as pl

_OS_ERROR = re.compile(r"\(os error ([0-9]+)\)")  # how polars tells an errno


class LineVectors(NamedTuple):
    """Some lines, without their ends, and a row for each."""

    lines: list[str]
    matrix_BD: NDArray[np.float32]


Parts = Iterable[LineVectors]


def check_target(path: Path, *, force: bool) -> None:
    """Refuses a place where nothing can or must be written, before anything is computed.

    Raises:
        ConfigError: the suffix names no kind of file.
        StorageError: something is there already, or the folder cannot be written.
    """
    _writer(path)
    require_free(path, force=force)
    require_writable(path.parent)


def write(parts: Parts, path: Path, *, dim: int) -> int:
    """Writes all parts to a file of the kind that its suffix names; a symbolic link is followed.

    Returns the number of lines. What the parts raise passes through, and nothing is written then.

    Raises:
        ConfigError: the suffix names no kind of file.
        StorageError: the file cannot be written.
    """
    writer = _writer(path)
    num_lines = 0

    def counted() -> Iterator[LineVectors]:
        nonlocal num_lines
        for part in parts:
            num_lines += len(part.lines)
            yield part

    sweep_stale(path.resolve().parent)
    with atomic_write(path.resolve()) as file:
        writer(counted(), file, dim)
    return num_lines


def as_tsv(part: LineVectors) -> bytes:
    """The rows of a part as text."""
    return tsv.encode(part.matrix_BD.tolist(), dim=part.matrix_BD.shape[1])


def _write_tsv(parts: Parts, file: BinaryIO, _dim: int) -> None:
    for part in parts:
        file.write(as_tsv(part))


def _write_npy(parts: Parts, file: BinaryIO, dim: int) -> None:
    num_lines = 0
    npy.write_header(file, (num_lines, dim))
    for part in parts:
        file.write(part.matrix_BD.astype("<f4", copy=False).tobytes())
        num_lines += len(part.lines)
    file.seek(0)
    npy.write_header(file, (num_lines, dim))


def _write_parquet(parts: Parts, file: BinaryIO, dim: int) -> None:
    import polars as pl  # where it is used: the other kinds do without
    from polars.io.plugins import register_io_source

    columns = {"line": pl.Int64(), "text": pl.String(), "vector": pl.Array(pl.Float32, dim)}
    schema = pl.Schema(columns)

    def frames(*_wishes: object) -> Iterator["pl.DataFrame"]:
        """What polars asks for piece by piece; it wants all columns and rows here."""
        first = 1
        for lines, matrix_BD in parts:
            numbers = np.arange(first, first + len(lines))
            texts = pl.Series(lines, dtype=pl.String).str.strip_suffix("\r")
            yield pl.DataFrame([numbers, texts, pl.Series(matrix_BD)], schema=schema)
            first += len(lines)

    try:
        register_io_source(frames, schema=schema).sink_parquet(file)
    except pl.exceptions.ComputeError as error:
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


_WRITERS: dict[str, Callable[[Parts, BinaryIO, int], None]] = {
    ".tsv": _write_tsv,
    ".txt": _write_tsv,
    ".npy": _write_npy,
    ".parquet": _write_parquet,
}


def _writer(path: Path) -> Callable[[Parts, BinaryIO, int], None]:
    found = _WRITERS.get(path.suffix.lower())
    if found is None:
        raise ConfigError(
            f"the suffix of {str(path)!r} names no kind of file; known: {', '.join(_WRITERS)}"
        )
    return found
