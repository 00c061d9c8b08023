"""`w2v similar`: the nearest words, one a line, or as JSON.

A query is words and, behind `--minus`, words to subtract. It comes from the command line, which is
one query; with `-` from standard input, a query a line, answered as it comes; and where no word is
given, from a prompt on the terminal, where a mistake is told and the next line asked for. Answers
are kept apart by an empty line; as JSON each has a line of its own.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, NamedTuple

import typer

from w2v.cli.options import ConfigOption, MatrixOption, RunOption, SetOption, VectorsOption
from w2v.cli.output import emit
from w2v.cli.prompt import ask_lines
from w2v.errors import ConfigError, DataError

log = logging.getLogger(__name__)

STDIN = "-"
MINUS = "--minus"
PROMPT = "similar> "
JSON_DECIMALS = 6  # of a cosine; float32 vectors carry no more

Neighbors = list[tuple[str, float]]


class Query(NamedTuple):
    """Words that are averaged, and words that are subtracted."""

    positive: list[str]
    negative: list[str]


def similar(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WORD",
            show_default=False,
            help="One query; - reads queries from stdin, one a line; none: a prompt.",
        ),
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Subtract a word; repeatable.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="K", help="How many neighbors.")] = 10,
    restrict: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the N commonest words answer.")
    ] = None,
    matrix: MatrixOption = "center",
    run: RunOption = None,
    vectors: VectorsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a query a line.")] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Show the nearest words by cosine; several words are averaged.

    Lines of stdin and of the prompt are queries as on the command line: king woman --minus man

    Example: w2v similar king woman --minus man -k 5
    """
    words = words or []
    if not words and not sys.stdin.isatty():
        raise ConfigError(
            "no word to look for, and no terminal to ask on",
            hint="w2v similar WORD..., or w2v similar - to read queries from stdin",
        )
    if STDIN in words and len(words) > 1:
        raise ConfigError("'-' reads the queries from stdin: give it alone")
    from w2v.runs import load_chosen  # numpy, only once the command line is known to be right

    table = load_chosen(run, vectors=vectors, config=config, overrides=settings or (), table=matrix)
    _note_clipping(len(table), k=k, restrict=restrict)

    def answer(query: Query) -> str:
        asked = Query(query.positive, [*query.negative, *(minus or [])])
        found = table.similar(*asked, k, restrict=restrict)
        return _as_json(asked, found) if as_json else _as_lines(found)

    if words == [STDIN]:
        _stream(answer, parted=not as_json)
    elif words:
        if block := answer(Query(words, [])):
            emit(block)
    else:
        log.info("words to look for, %s before one to subtract; Ctrl-D ends", MINUS)
        lines = ask_lines(PROMPT, completions=(MINUS, *table.words))
        _converse(answer, lines, parted=not as_json and not sys.stdout.isatty())


def parse_query(line: str) -> Query:
    """A query as it is typed: words, each one behind `--minus` subtracted.

    Raises:
        DataError: no word is behind the last `--minus`.
    """
    query = Query([], [])
    words = iter(line.split())
    for word in words:
        if word != MINUS:
            query.positive.append(word)
            continue
        subtracted = next(words, None)
        if subtracted is None:
            raise DataError(f"{MINUS} wants a word behind it")
        query.negative.append(subtracted)
    return query


def _note_clipping(num_words: int, *, k: int, restrict: int | None) -> None:
    num_most = num_words - 1 if restrict is None else min(restrict, num_words - 1)
    if k > num_most:
        log.info("-k %d is more than there is: %d other words", k, num_most)


def _stream(answer: Callable[[Query], str], *, parted: bool) -> None:
    """Answers each line of standard input as it comes; the first mistake ends it."""
    for number, (place, line) in enumerate(_stdin_lines()):
        try:
            block = answer(parse_query(line))
        except DataError as error:
            raise DataError(f"{place}: {error}", hint=error.hint) from error
        emit(f"\n{block}" if parted and number else block)


def _converse(answer: Callable[[Query], str], lines: Iterable[str], *, parted: bool) -> None:
    """Answers each line that is typed; a mistake is told in one line."""
    number = 0
    for line in filter(str.strip, lines):
        try:
            block = answer(parse_query(line))
        except DataError as error:
            hint = f"; {error.hint}" if error.hint else ""
            typer.echo(f"w2v: error: {error}{hint}", err=True)
            continue
        emit(f"\n{block}" if parted and number else block)
        number += 1


def _stdin_lines() -> Iterator[tuple[str, str]]:
    """The lines of standard input that hold words, and the place of each for errors."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        place = f"stdin, line {number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{place}: byte {error.start + 1} is not UTF-8") from error
        if line.strip():
            yield place, line


def _as_json(query: Query, found: Neighbors) -> str:
    asked = " ".join([*query.positive, *(f"{MINUS} {word}" for word in query.negative)])
    neighbors = [{"word": word, "cosine": round(cosine, JSON_DECIMALS)} for word, cosine in found]
    return json.dumps({"query": asked, "neighbours": neighbors}, allow_nan=False)


def _as_lines(found: Neighbors) -> str:
    from w2v.spelling import escaped

    # Adding 0.0 turns -0.0 into 0.0.
    return "\n".join(f"{escaped(word)}\t{round(cosine, 4) + 0.0:.4f}" for word, cosine in found)
