"""`w2v eval`: how well vectors agree with people, file by file.

On a terminal the columns are aligned; in a pipe they stand between tabs, under the same names:

    file  section  measure  score  low  high  found  given

`section` is `total` in the last row of a file. `measure` is `spearman`, or `accuracy` for
analogies. `low` and `high` bound the 95 % interval; what is undefined is `nan`. `found` of the
`given` items have all their words in the vocabulary, and score.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from w2v.cli.options import ConfigOption, MatrixOption, RunOption, SetOption, VectorsOption
from w2v.cli.output import emit
from w2v.errors import ConfigError, DataError

if TYPE_CHECKING:
    from w2v.evaluate import Score
    from w2v.testsets import Analogies, Pairs
    from w2v.vectors import WordVectors

TOTAL = "total"
DECIMALS, JSON_DECIMALS = 4, 6


class Row(NamedTuple):
    """A line of the report."""

    file: str
    section: str
    measure: str
    score: float
    low: float
    high: float
    found: int
    given: int


def evaluate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            readable=False,  # is told as every file is that cannot be read
            help="Word pairs with a score, or analogies; the content tells which.",
        ),
    ] = None,
    restrict: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Only the N commonest words answer an analogy."),
    ] = 30_000,
    matrix: MatrixOption = "center",
    run: RunOption = None,
    vectors: VectorsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Score the vectors on word similarity and analogies, with 95 % intervals.

    Example: w2v eval ws353.tsv questions-words.txt
    """
    if not files:
        raise ConfigError(
            "no file to judge the vectors by",
            hint="WordSim-353, SimLex-999, MEN, Google's questions-words.txt or your own; "
            "docs/evaluating.md says where to get them",
        )
    from w2v.runs import load_chosen
    from w2v.testsets import read

    testsets = [read(path) for path in files]
    table = load_chosen(run, vectors=vectors, config=config, overrides=settings or (), table=matrix)
    for testset in testsets:  # all of them before the first is scored, which may take a while
        _require_known(table, testset)
    reports = [_rows(table, testset, restrict=restrict) for testset in testsets]
    if as_json:
        emit(json.dumps({"files": [_as_object(rows) for rows in reports]}, allow_nan=False))
    else:
        lines = [Row._fields, *(_cells(row) for rows in reports for row in rows)]
        emit(_aligned(lines) if sys.stdout.isatty() else "\n".join(map("\t".join, lines)))


def _require_known(table: "WordVectors", testset: "Pairs | Analogies") -> None:
    from w2v.evaluate import is_known

    if not any(is_known(table, words) for words in testset.words()):
        given = sum(1 for _ in testset.words())
        raise DataError(
            f"{testset.path}: of {given:,} items none has all its words in the vocabulary",
            hint="is it of the language, and of the tokens, that the vectors were trained on?",
        )


def _rows(table: "WordVectors", testset: "Pairs | Analogies", *, restrict: int) -> list[Row]:
    """The rows of a file, that of its total last."""
    from w2v.evaluate import section_scores, share_interval, similarity, spearman_interval
    from w2v.testsets import Pairs

    if isinstance(testset, Pairs):
        total = similarity(table, testset.pairs, name=TOTAL)
        interval = spearman_interval(total.value, total.num_items)
        return [_row(testset.path, total, "spearman", interval)]
    scores = section_scores(table, testset.sections, restrict=restrict)
    return [
        _row(testset.path, score, "accuracy", share_interval(score.value, score.num_items))
        for score in scores
    ]


def _row(path: Path, score: "Score", measure: str, interval: tuple[float, float]) -> Row:
    given = score.num_items + score.num_oov
    return Row(str(path), score.name, measure, score.value, *interval, score.num_items, given)


def _cells(row: Row) -> list[str]:
    from w2v.spelling import escaped

    # Adding 0.0 turns -0.0 into 0.0.
    numbers = [f"{round(value, DECIMALS) + 0.0:.{DECIMALS}f}" for value in row[3:6]]
    return [*map(escaped, row[:3]), *numbers, *map(str, row[6:])]


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    names = 3  # columns of text, which begin together; numbers end together
    padded = (
        [cell.ljust(w) if at < names else cell.rjust(w) for at, (cell, w) in enumerate(pairs)]
        for pairs in (zip(line, widths, strict=True) for line in lines)
    )
    return "\n".join("  ".join(cells) for cells in padded)


def _as_object(rows: Sequence[Row]) -> dict[str, Any]:
    *sections, total = [_as_fields(row) for row in rows]
    del total["section"]
    kept = ("section", "score", "low", "high", "found", "given")
    return total | {"sections": [{name: section[name] for name in kept} for section in sections]}


def _as_fields(row: Row) -> dict[str, Any]:
    """The row, its numbers rounded; null is what is undefined."""
    fields = row._asdict()
    for name in ("score", "low", "high"):
        value = fields[name]
        fields[name] = round(value, JSON_DECIMALS) if math.isfinite(value) else None
    return fields
