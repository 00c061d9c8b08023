"""`w2v similar`: the nearest words, one a line, or as JSON.

Queries come from the command line (all its words are one query) or, with `-`, from standard input
(each line is one). Answers are kept apart by an empty line; as JSON each has a line of its own.
"""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from w2v.cli.options import ConfigOption, RunOption, SetOption, VectorsOption
from w2v.errors import ConfigError, DataError

if TYPE_CHECKING:
    from w2v.vectors import WordVectors

log = logging.getLogger(__name__)

STDIN = "-"
JSON_DECIMALS = 6  # of a cosine; float32 vectors carry no more

Neighbors = list[tuple[str, float]]


def similar(
    words: Annotated[
        list[str],
        typer.Argument(metavar="WORD...", help="One query; - reads them from stdin, one a line."),
    ],
    minus: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Subtract a word; repeatable.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="K", help="How many neighbors.")] = 10,
    run: RunOption = None,
    vectors: VectorsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a query a line.")] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Show the nearest words by cosine; several words are averaged.

    Example: w2v similar king woman --minus man -k 5
    """
    from w2v.runs import load_chosen  # numpy, only once the command line is known to be right

    if STDIN in words and len(words) > 1:
        raise ConfigError("'-' reads the queries from stdin: give it alone")
    table = load_chosen(run, vectors=vectors, config=config, overrides=settings or ())
    num_most = len(table) - 1
    if k > num_most:
        log.info("-k %d is more than there is: %d other words", k, num_most)
    queries = _stdin_queries() if words == [STDIN] else iter([("", words)])
    for number, (place, query) in enumerate(queries):
        found = _answer(table, query, minus or (), k=k, place=place)
        block = _as_json(query, minus or (), found) if as_json else _as_lines(found)
        _print(block if as_json or not number else f"\n{block}")


def _stdin_queries() -> Iterator[tuple[str, list[str]]]:
    """The words of each line of standard input that has any, and the line's place for errors."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        place = f"stdin, line {number}: "
        try:
            words = raw.decode("utf-8-sig" if number == 1 else "utf-8").split()
        except UnicodeDecodeError as error:
            raise DataError(f"{place}byte {error.start + 1} is not UTF-8") from error
        if words:
            yield place, words


def _answer(
    table: "WordVectors", query: Sequence[str], minus: Sequence[str], *, k: int, place: str
) -> Neighbors:
    try:
        return table.similar(query, minus, k)
    except DataError as error:
        raise DataError(f"{place}{error}", hint=error.hint) from error


def _as_json(query: Sequence[str], minus: Sequence[str], found: Neighbors) -> str:
    asked = " ".join([*query, *(f"--minus {word}" for word in minus)])
    neighbors = [{"word": word, "cosine": round(cosine, JSON_DECIMALS)} for word, cosine in found]
    return json.dumps({"query": asked, "neighbours": neighbors}, allow_nan=False)


def _as_lines(found: Neighbors) -> str:
    from w2v.vectors import escaped

    # Adding 0.0 turns -0.0 into 0.0.
    return "\n".join(f"{escaped(word)}\t{round(cosine, 4) + 0.0:.4f}" for word, cosine in found)


def _print(text: str) -> None:
    """Writes to standard output, escaping what its encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace").decode(encoding))
