"""`w2v export`: vectors to a file that other programs read, or to standard output as text."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from w2v.cli.options import ConfigOption, MatrixOption, RunOption, SetOption, VectorsOption
from w2v.errors import StorageError

log = logging.getLogger(__name__)

STDOUT = "-"


def export(
    out: Annotated[str, typer.Argument(metavar="OUT", help="A file; - is stdout, for text only.")],
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="word2vec, binary, npy, safetensors or glove; by the suffix of OUT otherwise.",
        ),
    ] = None,
    matrix: MatrixOption = "center",
    run: RunOption = None,
    vectors: VectorsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Write the vectors: .txt .vec .bin .npy .safetensors, .gz on text.

    Example: w2v export vectors.txt
    """
    from w2v import formats
    from w2v.rundir import is_run_file
    from w2v.runs import load_chosen

    path = None if out == STDOUT else Path(out)
    chosen = formats.resolve_stream(format) if path is None else formats.resolve(path, format)
    if path is not None:
        if is_run_file(path):
            raise StorageError(f"{path} is a run's own file", hint="export to another name")
        formats.check_free(path, chosen, force=force)
    table = load_chosen(run, vectors=vectors, config=config, overrides=settings or (), table=matrix)
    if path is None:
        formats.write_stream(table, sys.stdout.buffer, format=format)
        return
    formats.write(table, path, format=format, force=force)
    log.info("wrote %s: %d words x %d, format %s", path, *table.matrix.shape, chosen.name)
