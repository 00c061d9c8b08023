"""Tables of what was measured, as Markdown that can be read as it is.

Runs enter, lines leave. Times and rates are shown as median (least .. most) over the seeds, losses
and scores as mean ± standard deviation. Ratios are taken turn by turn, between runs of one seed, so
that a machine that slows down does so on both sides, and are shown like rates.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench_measure import LOSSES, SCORES, Run

LABELS = {
    "train_s": "training s",
    "prepare_s": "preparing s",
    "wall_s": "wall s",
    "words_per_s": "raw words/s",
    "centers_per_s": "centers/s",
    "peak_mb": "peak MB",
}
RATIOS = ("words_per_s", "centers_per_s", "wall_s", "peak_mb")
NOTHING = "-"

Cells = dict[str, str]  # a column: the names of its rows and what they show
Columns = dict[str, Cells]  # by their titles


def spread(values: Sequence[float]) -> str:
    """Median, least and most, in three or more digits."""
    digits = 0 if min(values) >= 100 else 2
    middle, low, high = (
        f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} ({low} .. {high})"


def mean(values: Sequence[float]) -> str:
    """Mean and standard deviation of a loss or a score."""
    middle = f"{statistics.fmean(values):.4f}"
    return f"{middle} ± {statistics.stdev(values):.4f}" if len(values) > 1 else middle


def column(runs: Sequence[Run]) -> Cells:
    """What the table shows of one program."""
    first = runs[0]

    def over_seeds(name: str) -> list[Any]:
        return [run[name] for run in runs]

    cells = {"kernel": f"{first['kernel']} on {first['device']}"} if "kernel" in first else {}
    for name in LABELS:
        if name in first:
            cells[LABELS[name]] = spread(over_seeds(name))
    if first.get("train_is_wall"):
        cells[LABELS["train_s"]] += ", the whole command"
    for name in LOSSES:
        for epoch, values in enumerate(
            zip(*over_seeds(name), strict=True) if name in first else ()
        ):
            if None not in values:
                cells[f"{name} {epoch + 1}"] = mean(values)
    for name in SCORES:
        if name in first:
            cells[name] = f"{mean(over_seeds(name))}, {first[f'{name} of']}"
    if "neighbors" in first:
        cells["similar s"] = spread(over_seeds("similar_s"))
        cells |= {f"neighbor {i}": near for i, near in enumerate(first["neighbors"], start=1)}
    return cells


def ratios(ours: Sequence[Run], theirs: Sequence[Run], name: str) -> list[float]:
    """One value over the other's, between runs of one seed; empty where one has no such value."""
    of_seed = {run["seed"]: run[name] for run in theirs if name in run}
    return [run[name] / of_seed[run["seed"]] for run in ours if name in run and of_seed]


def ratios_to(
    peers: Mapping[str, Sequence[Run]], ours: Sequence[Run]
) -> dict[str, dict[str, list[float]]]:
    """The ratios to each of the peers: by peer, by value, one a turn."""
    turns_of = {
        peer: {name: ratios(ours, theirs, name) for name in RATIOS}
        for peer, theirs in peers.items()
    }
    return {
        peer: {name: values for name, values in turns.items() if values}
        for peer, turns in turns_of.items()
    }


def ratio_columns(ratios_of: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> Columns:
    """Columns of ratios, out of what `ratios_to` gave for each of our programs."""
    return {
        f"{ours} / {peer}": {LABELS[name]: spread(values) for name, values in turns.items()}
        for ours, peers in ratios_of.items()
        for peer, turns in peers.items()
    }


def table(columns: Columns) -> str:
    """A column a program, a row a measure; the fullest column decides the order of rows."""
    fullest_first = sorted(columns.values(), key=len, reverse=True)
    names = list(dict.fromkeys(name for cells in fullest_first for name in cells))
    rows = [["", *columns]]
    rows += [[name, *(cells.get(name, NOTHING) for cells in columns.values())] for name in names]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = (
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(f"| {line} |" for line in lines)
