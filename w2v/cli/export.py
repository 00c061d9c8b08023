"""`w2v export`: vectors to files that other programs open, or to standard output as text."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from w2v.cli.options import ConfigOption, MatrixOption, RunOption, SetOption, VectorsOption
from w2v.errors import StorageError

if TYPE_CHECKING:
    from w2v.formats.kinds import Dtype, FolderFormat, Format, TextRule
    from w2v.rundir import Table
    from w2v.vectors import WordVectors

log = logging.getLogger(__name__)

STDOUT = "-"


def export(
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="A file or folder; - is stdout, for text only.")
    ],
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="word2vec, binary, npy, safetensors, parquet, glove, or a folder: projector, "
            "model2vec; by the suffix of OUT otherwise.",
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, metavar="N", help="Only the N commonest words.")
    ] = None,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Every vector at length 1.")
    ] = False,
    matrix: MatrixOption = "center",
    dtype: Annotated[
        Literal["f32", "f16"],
        typer.Option("--dtype", help="How numbers are kept; f16 by npy and safetensors only."),
    ] = "f32",
    run: RunOption = None,
    vectors: VectorsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Write the vectors: .txt .vec .bin .npy .safetensors .parquet .tsv, .gz on text, or a folder.

    Example: w2v export vectors.txt
    """
    from w2v import formats

    path = None if out == STDOUT else Path(out)
    chosen = _require_format(path, format, dtype, force=force)
    table, rule = _load(chosen, run, vectors, config=config, overrides=settings or (), table=matrix)
    table = _selected(table, top, normalize=normalize)
    if path is None:
        formats.write_stream(table, sys.stdout.buffer, format=format)
        return
    formats.write(table, path, format=format, force=force, dtype=dtype, rule=rule)
    log.info("wrote %s: %d words x %d, format %s", path, *table.matrix.shape, chosen.name)
    for line in chosen.advice(path, len(table)):
        log.info("%s", line)


def _require_format(
    path: Path | None, format: str | None, dtype: "Dtype", *, force: bool
) -> "Format | FolderFormat":
    """The format of OUT, once it is known that nothing is in the way."""
    from w2v import formats
    from w2v.rundir import is_run_file

    if path is None:
        return formats.resolve_stream(format, dtype=dtype)
    chosen = formats.resolve(path, format, dtype=dtype)
    if is_run_file(path):
        raise StorageError(f"{path} is a run's own file", hint="export to another name")
    formats.check_free(path, chosen, force=force)
    return chosen


def _load(
    chosen: "Format | FolderFormat",
    run: Path | None,
    vectors: Path | None,
    *,
    config: str | None,
    overrides: Sequence[str],
    table: "Table",
) -> tuple["WordVectors", "TextRule | None"]:
    """The vectors, and where a format asks for it how their text became words; a run knows that."""
    from w2v.formats.kinds import FolderFormat
    from w2v.runs import find_run, load_chosen, text_rule

    if vectors is not None:
        found = load_chosen(run, vectors=vectors, config=config, overrides=overrides, table=table)
        return found, None
    source = find_run(run, config=config, overrides=overrides)
    asks = isinstance(chosen, FolderFormat) and chosen.has_tokenizer
    rule = text_rule(source) if asks else None
    return source.load_vectors(table=table), rule


def _selected(table: "WordVectors", top: int | None, *, normalize: bool) -> "WordVectors":
    from w2v.selection import commonest, normalized

    if top is not None:
        if top > len(table):
            log.info("--top %d is more than there is: %d words", top, len(table))
        table = commonest(table, top)
    return normalized(table) if normalize else table
