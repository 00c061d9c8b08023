"""What each setting does to quality: one at a time, on one text. The table of docs/settings.md.

    python scripts/study.py --corpus FILE --out study.tsv [CONFIG] [--seeds 3] [-s KEY=VALUE]
    python scripts/study.py --corpus FILE --out study.tsv [CONFIG] [-s KEY=VALUE] --table

Trains CONFIG (default: text.yaml) on FILE as it is, and again with each value of FACTORS in place
of its own, every training a process of its own; all settings with one seed come before the next
seed. Each adds a line to study.tsv: seed, settings, training seconds, and the scores on the data
sets of `--eval-data` (see `bench_measure.py`). Trainings that have a line are passed over, so a
study that was stopped is started again with the same command. `--factor KEY` varies that one alone;
repeatable.

`--table` trains nothing and prints Markdown: means over the seeds, a star where one differs from
CONFIG's by more than twice the standard error of the difference, from the spread over seeds that
all settings have in common.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench_measure import SCORES, score, train
from bench_programs import RUN, w2v_program
from bench_rows import Row, as_row, read_rows, write_rows

import w2v
from w2v.configfile import load_config

FACTORS = {
    "model.dim": ("50", "100", "200", "300"),
    "sampling.window": ("2", "5", "10"),
    "sampling.subsample": ("1.0e-3", "1.0e-4", "1.0e-5", "null"),
    "train.epochs": ("1", "2", "5", "10"),
    "vocab.min_count": ("5", "10", "50"),
    "sampling.negatives": ("2", "5", "10"),
    "sampling.shared_negatives": ("8", "24", "48"),
}
COLUMNS = ("seed", "settings", "train_s", *SCORES, *(f"{name} of" for name in SCORES))
ENOUGH = 2.0  # standard errors of a difference; one in twenty is beyond them by chance


def points(config: str, shared: Sequence[str], factors: Sequence[str] = ()) -> Iterator[list[str]]:
    """What is set for each training: `shared` alone, then one other value at a time.

    Args:
        config: the config that is trained as it is.
        shared: further settings of all trainings.
        factors: the settings to vary; all of FACTORS where none is named.
    """
    yield list(shared)
    base = load_config(config, shared).config
    for name in factors or FACTORS:
        for value in FACTORS[name]:
            changed = [*shared, f"{name}={value}"]
            if load_config(config, changed).config != base:
                yield changed


def measure(config: str, settings: list[str], seed: int, eval_data: Path) -> Row:
    """Trains once, scores the vectors, and throws them away."""
    with tempfile.TemporaryDirectory(prefix="w2v-study-") as folder:
        program = w2v_program(config, settings)
        run = train(program, Path(folder), seed=seed, words=0, own_data=False)
        found: dict[str, Any] = run | score(w2v.load(Path(folder, RUN)), eval_data)
    return as_row(found | {"settings": " ".join(settings)}, COLUMNS)


def study(args: argparse.Namespace) -> None:
    """Makes every training that has no line yet."""
    rows = read_rows(args.out)
    done = {(row["seed"], row["settings"]) for row in rows}
    for seed in range(args.seeds):
        for settings in points(args.config, args.settings, args.factor):
            if (str(seed), " ".join(settings)) in done:
                continue
            rows.append(measure(args.config, settings, seed, args.eval_data))
            write_rows(args.out, rows, COLUMNS)
            print(*rows[-1].values(), sep="\t", file=sys.stderr, flush=True)


def table(args: argparse.Namespace) -> str:
    """The lines of study.tsv as Markdown, a row for each setting."""
    rows_of: dict[str, list[Row]] = {}
    for row in read_rows(args.out):
        rows_of.setdefault(row["settings"], []).append(row)
    base, *others = (" ".join(settings) for settings in points(args.config, args.settings))
    there = [settings for settings in (base, *others) if settings in rows_of]
    spreads = {name: spread([rows_of[settings] for settings in there], name) for name in SCORES}
    lines = [f"| setting | seeds | {' | '.join(SCORES)} |", f"|{'---|' * (2 + len(SCORES))}"]
    for settings in there:
        cells = [settings.removeprefix(base).strip() or Path(args.config).name]
        cells.append(str(len(rows_of[settings])))
        for name in SCORES:
            here, unchanged = (values(rows_of[some], name) for some in (settings, base))
            cells.append(_cell(here, unchanged, spread_of_seeds=spreads[name]))
        lines.append(f"| {' | '.join(cells)} |")
    told = [f"± {spreads[name]:.3f}" for name in SCORES]
    return "\n".join([*lines, f"| *seed to seed* | | {' | '.join(told)} |"])


def values(rows: Sequence[Row], name: str) -> list[float]:
    """The scores that there are on one data set."""
    return [score for row in rows if math.isfinite(score := float(row[name]))]


def spread(settings: Sequence[Sequence[Row]], name: str) -> float:
    """The standard deviation from seed to seed, pooled over all settings with several seeds.

    Two or three seeds of one setting tell little of it, those of ten settings together enough.
    """
    several = [found for rows in settings if len(found := values(rows, name)) > 1]
    squares = sum(statistics.variance(found) * (len(found) - 1) for found in several)
    freedom = sum(map(len, several)) - len(several)
    return math.sqrt(squares / freedom) if freedom else math.nan


def _cell(here: Sequence[float], unchanged: Sequence[float], *, spread_of_seeds: float) -> str:
    if not here or not unchanged:
        return "-"
    change = statistics.fmean(here) - statistics.fmean(unchanged)
    error = spread_of_seeds * math.sqrt(1 / len(here) + 1 / len(unchanged))
    return f"{statistics.fmean(here):.3f}{'*' if abs(change) > ENOUGH * error > 0 else ''}"


def main(argv: Sequence[str] | None = None) -> None:
    """Trains what is missing, or prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?", default="text.yaml")
    parser.add_argument("--corpus", type=Path, required=True, help="text, a sentence a line")
    parser.add_argument("--out", type=Path, required=True, help="study.tsv")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-s", "--set", dest="settings", action="append", default=[])
    parser.add_argument(
        "--eval-data", type=Path, default=Path(os.environ.get("W2V_TEST_DATA", "."), "eval")
    )
    parser.add_argument(
        "--factor", action="append", default=[], choices=FACTORS, help="vary it alone"
    )
    parser.add_argument("--table", action="store_true", help="print what there is as Markdown")
    args = parser.parse_args(argv)
    args.settings.append(f"corpus.path={args.corpus}")
    if args.table:
        print(table(args))
    else:
        study(args)


if __name__ == "__main__":
    main()
