"""How the rate changes with threads, with dimensions, and with the size of the text.

Each series varies one of them and holds the others: threads 1, 2, 4 .. all cores; dimensions 50,
100, 200, 300; the first tenth of the text and the whole of it. A point that two series share is
trained once a seed. Ratios are to the first point of the series, turn by turn. Over the size of the
text centers/s tell more: a small text has fewer words in vocabulary and loses fewer to subsampling.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench_measure import Run
from bench_table import LABELS, Columns, ratios, spread

DIMS = (50, 100, 200, 300)
SHARES = (0.1, 1.0)
RATES = ("words_per_s", "centers_per_s")


class Point(NamedTuple):
    """One program at one place of a series."""

    program: str
    threads: int
    dim: int
    share: float  # of the text

    def __str__(self) -> str:
        return f"{self.program}, {self.threads} threads, {self.dim} dim, {self.share:g} of the text"


def thread_counts(most: int) -> list[int]:
    """1, 2, 4 and so on, and `most`."""
    return sorted({most, *(2**power for power in range(most.bit_length()) if 2**power < most)})


def all_series(base: Point, *, cores: int, peers: Sequence[str]) -> dict[str, list[Point]]:
    """The points of each series, the smallest first; peers are measured over threads alone."""
    over_threads = [base._replace(threads=threads) for threads in thread_counts(cores)]
    series = {"threads": over_threads}
    for peer in peers:
        series[f"threads, {peer}"] = [point._replace(program=peer) for point in over_threads]
    series["dim"] = [base._replace(dim=dim) for dim in DIMS]
    series["text"] = [base._replace(share=share) for share in SHARES]
    return series


def scaling_columns(
    series: Mapping[str, Sequence[Point]], runs_of: Mapping[str, Sequence[Run]]
) -> Columns:
    """A row a point: its rates, their ratios to the first of its series, its peak memory."""
    columns: Columns = {}
    for name, points in series.items():
        kind, *peer = name.split(", ")
        for point in points:
            place = {"threads": point.threads, "dim": point.dim, "text": f"{point.share:g}"}[kind]
            row = ", ".join([f"{kind} {place}", *peer])
            first, runs = runs_of[str(points[0])], runs_of[str(point)]
            for title, values in measures(runs, first=first).items():
                columns.setdefault(title, {})[row] = spread(values)
    return columns


def measures(runs: Sequence[Run], *, first: Sequence[Run]) -> dict[str, list[float]]:
    """What is shown of a point, turn by turn, by the title of its column."""
    found = {}
    for name in RATES:
        if name in runs[0]:
            found[LABELS[name]] = [run[name] for run in runs]
            found[f"{LABELS[name]}, ratio"] = ratios(runs, first, name)
    return found | {LABELS["peak_mb"]: [run["peak_mb"] for run in runs]}
