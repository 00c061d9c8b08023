"""The options that several commands share, declared once."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="A YAML file: a path, or the name of a shipped one such as ptb.yaml.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="SECTION.KEY=VALUE", help="Override one setting; repeatable."
    ),
]
RunOption = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", help="The run folder; the newest finished one otherwise."),
]
VectorsOption = Annotated[
    Path | None,
    typer.Option("--vectors", metavar="FILE", help="A vector file, instead of a run."),
]
MatrixOption = Annotated[
    Literal["center", "context", "sum"],
    typer.Option("--matrix", help="Which table of a run; sum: of the two, row by row."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def set_verbosity(*, quiet: bool, silent: bool = False) -> None:
    """With `--quiet` only warnings and errors are said; the silent leave talking to another."""
    level = logging.WARNING if quiet else logging.INFO
    logging.getLogger().setLevel(logging.CRITICAL if silent else level)
