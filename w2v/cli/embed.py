"""`w2v embed`: a vector for each line of text, to standard output or to a file.

There is a row for every line, in the same order, whatever is on it: rows carry no names.
"""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from w2v.cli.options import ConfigOption, MatrixOption, RunOption, SetOption, VectorsOption
from w2v.errors import ConfigError, DataError, StorageError
from w2v.names import BagMode

if TYPE_CHECKING:
    from io import BufferedIOBase

    from w2v.embed import Tally
    from w2v.formats.kinds import TextRule
    from w2v.line_vectors import Parts
    from w2v.vectors import WordVectors

log = logging.getLogger(__name__)

STDIN = STDOUT = "-"
MOST_LISTED = 5  # unknown words


def embed(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Text, a line a vector; - is stdin.")
    ] = STDIN,
    out: Annotated[
        str,
        typer.Option("--out", "-o", metavar="OUT", help="A .tsv, .npy or .parquet; - is stdout."),
    ] = STDOUT,
    mode: Annotated[
        BagMode, typer.Option("--mode", help="What a line gets of its words' vectors.")
    ] = "mean",
    weights: Annotated[
        float | None,
        typer.Option(metavar="A", help="Weigh words by rarity, A / (A + share); try 0.001."),
    ] = None,
    lowercase: Annotated[
        bool | None, typer.Option(help="Whatever was done with the text of the run.")
    ] = None,
    matrix: MatrixOption = "center",
    run: RunOption = None,
    vectors: VectorsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Turn lines of text into vectors, a row a line: TSV, .npy or .parquet.

    Words are cut as those of the run's text were, or as --set corpus.token_pattern=REGEX says.

    Example: w2v embed reviews.txt -o reviews.npy --weights 0.001
    """
    from w2v.runs import choose, load_table, text_rule

    if mode == "max" and weights is not None:
        raise ConfigError("--mode max takes no --weights: only sums and means can be weighted")
    text, path = (None if name == STDIN else Path(name) for name in (file, out))
    _check_files(text, path, force=force)
    overrides = settings or ()
    chosen = choose(run, vectors=vectors, config=config, overrides=overrides, table=matrix)
    rule = text_rule(chosen, config=config, overrides=overrides, lowercase=lowercase)
    table = load_table(chosen, matrix)

    from w2v.embed import Tally, embed_blocks, rarity_weights  # torch takes seconds
    from w2v.tokens import TokenRule

    try:
        weights_V = None if weights is None else rarity_weights(table, a=weights)
    except DataError as error:
        raise DataError(f"{vectors} has {error}") from error
    tally = Tally()
    parts = embed_blocks(
        table, _blocks(text), mode=mode, weights_V=weights_V, rule=TokenRule(*rule), tally=tally
    )
    _write(parts, path, dim=table.matrix.shape[1])
    _report(tally, table, rule)


def _check_files(text: Path | None, path: Path | None, *, force: bool) -> None:
    """What can be wrong with the files is told before anything is loaded."""
    from w2v.line_vectors import check_target
    from w2v.preflight import require_readable
    from w2v.rundir import is_run_file

    if path is not None:
        check_target(path, force=force)
        if is_run_file(path):
            raise StorageError(f"{path} is a run's own file", hint="write to another name")
    if text is not None:
        require_readable(text)
    elif sys.stdin.isatty():
        log.info("reading lines from the terminal; Ctrl-D ends them")


def _blocks(text: Path | None) -> Iterator[str]:
    from w2v.embed import BLOCK_BYTES
    from w2v.sources import read_stream, read_texts

    if text is not None:
        return read_texts([text], block_bytes=BLOCK_BYTES)
    stdin = cast("BufferedIOBase", sys.stdin.buffer)
    return read_stream(stdin, name="stdin", block_bytes=BLOCK_BYTES)


def _write(parts: "Parts", path: Path | None, *, dim: int) -> None:
    from w2v import line_vectors

    if path is not None:
        num_lines = line_vectors.write(parts, path, dim=dim)
        log.info("wrote %s: %s lines x %d", path, f"{num_lines:,}", dim)
        return
    for part in parts:
        sys.stdout.buffer.write(line_vectors.as_tsv(part))
        sys.stdout.buffer.flush()  # whoever sends lines one by one waits for the rows


def _report(tally: "Tally", table: "WordVectors", rule: "TextRule") -> None:
    """Says which words counted for nothing."""
    from w2v.spelling import shown

    if tally.num_unknown:
        missed = tally.commonest_unknown(MOST_LISTED)
        log.info(
            "%s of %s words (%.1f %%) are not in the vocabulary, most often %s",
            *(f"{tally.num_unknown:,}", f"{tally.num_words:,}"),
            *(100 * tally.num_unknown / tally.num_words, ", ".join(map(shown, missed))),
        )
        if not rule.lowercase and any(word.lower() in table for word in missed):
            log.info("in lower case more of them would be: --lowercase")
    if tally.num_empty:
        log.info(
            "%s of %s lines have no word of the vocabulary: their vectors are zeros",
            *(f"{tally.num_empty:,}", f"{tally.num_lines:,}"),
        )
