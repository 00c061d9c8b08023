"""What commands print on standard output: data alone, in the encoding that it has."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import typer


def emit(text: str) -> None:
    """Writes a line, or several, at once; what the encoding of standard output lacks is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def echo_report(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Writes names and values: as one JSON object, or as lines of columns between tabs.

    A value has a line `name<TAB>value`. What is within an object is named `outer.inner`. Each
    entry of a list has a line that begins with the list's name; an entry that is an object gives
    its values in the order of its names. None is `-`.
    """
    if as_json:
        emit(json.dumps(values, indent=2, allow_nan=False))
    else:
        emit("\n".join("\t".join(columns) for columns in _lines(values)))


def _lines(values: Mapping[str, Any], *, prefix: str = "") -> Iterator[list[str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _lines(value, prefix=f"{prefix}{name}.")
        elif isinstance(value, list):
            for entry in value:
                columns = entry.values() if isinstance(entry, Mapping) else [entry]
                yield [prefix + name, *map(_shown, columns)]
        else:
            yield [prefix + name, _shown(value)]


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    from w2v.spelling import escaped  # numpy, only once there is something to print

    return escaped(value) if isinstance(value, str) else str(value)
