"""What `bench_scale.py` measured, as columns of a table: runs enter, by name; cells leave.

Rates and peaks are medians (least .. most) over the seeds, scores and what they differ by are means
± standard deviations. Ratios and differences are taken between runs of one seed, which follow each
other.
"""

import statistics
from collections.abc import Mapping, Sequence

from bench_measure import SCORES, Run
from bench_table import LABELS, Cells, Columns, mean, ratios, spread

TEXTS = ("program", "settings", *(f"{name} of" for name in SCORES))  # what is no number


def memory_columns(runs_of: Mapping[str, Sequence[Run]]) -> Columns:
    """A row a text: its sizes, the rates of both phases and their ratios to the first's, peaks."""
    rated = {name: [run | built_rate(run) for run in runs] for name, runs in runs_of.items()}
    base = next(iter(rated.values()))
    rows: dict[str, Cells] = {}
    for name, runs in rated.items():
        first = runs[0]
        rows[name] = {
            "M words": f"{first['raw_words'] / 1e6:,.1f}",
            "types": f"{first['types']:,.0f}",
            "vocabulary": f"{first['vocab_size']:,.0f}",
            "counting, encoding: M words/s": _millions(runs, "built_words_per_s"),
            "ratio": spread(ratios(runs, base, "built_words_per_s")),
            "training: M words/s": _millions(runs, "words_per_s"),
            "its ratio": spread(ratios(runs, base, "words_per_s")),
            "M centers/s": _millions(runs, "centers_per_s"),
            "peak MB, counting": spread([run["build_mb"] for run in runs]),
            "training": spread([run["peak_mb"] for run in runs]),
            "both in one": spread([run["whole_mb"] for run in runs]),
            "its wall s": spread([run["wall_s"] for run in runs]),
        }
    return turned(rows)


def built_rate(run: Run) -> Run:
    """Words/s of counting and encoding; the start of the process is in it."""
    return {"built_words_per_s": run["raw_words"] / run["build_s"]}


def rank_columns(runs_of: Mapping[str, Sequence[Run]]) -> Columns:
    """A row a layout: rate, speed-up over the first one, scores and their differences from it."""
    base = next(iter(runs_of.values()))
    rows: dict[str, Cells] = {}
    for name, runs in runs_of.items():
        cells = rows[name] = {
            "M words/s": _millions(runs, "words_per_s"),
            "speed-up": spread(ratios(runs, base, "words_per_s")),
            LABELS["peak_mb"]: spread([run["peak_mb"] for run in runs]),
        }
        for title in SCORES:
            if title in runs[0]:
                cells[title] = mean([run[title] for run in runs])
                cells[f"{title}, difference"] = change(runs, base, title)
    return turned(rows)


def mean_runs(several: Sequence[Sequence[Run]]) -> list[Run]:
    """For each seed the means of what all have measured."""
    together = []
    for runs in zip(*several, strict=True):
        shared = set.intersection(*(set(run) for run in runs)) - set(TEXTS)
        together.append({name: statistics.fmean(run[name] for run in runs) for name in shared})
    return together


def change(runs: Sequence[Run], base: Sequence[Run], name: str) -> str:
    """How much more than the base's, seed by seed: mean and standard deviation."""
    of_seed = {run["seed"]: run[name] for run in base}
    changes = [run[name] - of_seed[run["seed"]] for run in runs]
    middle = f"{statistics.fmean(changes):+.4f}"
    return f"{middle} ± {statistics.stdev(changes):.4f}" if len(changes) > 1 else middle


def turned(rows: Mapping[str, Cells]) -> Columns:
    """Columns out of rows."""
    columns: Columns = {}
    for name, cells in rows.items():
        for title, cell in cells.items():
            columns.setdefault(title, {})[name] = cell
    return columns


def _millions(runs: Sequence[Run], name: str) -> str:
    return spread([run[name] / 1e6 for run in runs])
