"""Standard output: data alone goes there, a line at a time, in the encoding that it has."""

import sys

import typer


def emit(text: str) -> None:
    """Writes a line, or several, at once; what the encoding of standard output lacks is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace").decode(encoding))
