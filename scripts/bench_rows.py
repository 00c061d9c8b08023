"""Figures that outlast a stop: a line of a TSV file for each training, its columns in a heading.

A long measurement writes all lines anew after each training, and passes over what has one when it
is started again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from w2v.files import write_text

Row = dict[str, str]  # a line, by the names of its columns


def read_rows(path: Path) -> list[Row]:
    """The lines of the file; none where it is not there."""
    if not path.exists():
        return []
    columns, *lines = (line.split("\t") for line in path.read_text().splitlines())
    return [dict(zip(columns, line, strict=True)) for line in lines]


def write_rows(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Writes the file whole."""
    lines = [columns, *([row[name] for name in columns] for row in rows)]
    write_text(path, "".join("\t".join(line) + "\n" for line in lines))


def as_row(values: Mapping[str, object], columns: Sequence[str]) -> Row:
    """The line of a training; `nan` for what it does not tell."""
    return {name: _shown(values.get(name, float("nan"))) for name in columns}


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
