"""What each setting does to quality: one at a time, on one text. The table of docs/settings.md.

    python scripts/study.py --corpus FILE --out study.tsv [CONFIG] [--seeds 3] [-s KEY=VALUE]
    python scripts/study.py --corpus FILE --out study.tsv [CONFIG] [-s KEY=VALUE] --table

Trains CONFIG (default: text.yaml) on FILE as it is, and again with each value of FACTORS in place
of its own, every training a process of its own; all settings with one seed come before the next
seed. Each adds a line to study.tsv: seed, settings, training seconds, and the scores on the data
sets of `--eval-data` (see `bench_measure.py`). Trainings that have a line are passed over, so a
study that was stopped is started again with the same command. `--factor KEY` varies that one alone;
repeatable.

`--table` trains nothing and prints Markdown: mean ± standard error of the mean over the seeds, and
a star where a score differs from CONFIG's by more than twice the standard error of the difference.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_measure import SCORES, score, train
from bench_programs import RUN, w2v_program

import w2v
from w2v.configfile import load_config
from w2v.files import write_text

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

Row = dict[str, str]  # a line of study.tsv, by COLUMNS


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


def read_rows(path: Path) -> list[Row]:
    """The lines of study.tsv; none where it is not there."""
    lines = path.read_text().splitlines()[1:] if path.exists() else []
    return [dict(zip(COLUMNS, line.split("\t"), strict=True)) for line in lines]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes study.tsv whole."""
    lines = [COLUMNS, *([row[name] for name in COLUMNS] for row in rows)]
    write_text(path, "".join("\t".join(line) + "\n" for line in lines))


def measure(config: str, settings: list[str], seed: int, eval_data: Path) -> Row:
    """Trains once, scores the vectors, and throws them away."""
    with tempfile.TemporaryDirectory(prefix="w2v-study-") as folder:
        program = w2v_program(config, settings)
        run = train(program, Path(folder), seed=seed, words=0, own_data=False)
        found: dict[str, Any] = run | score(w2v.load(Path(folder, RUN)), eval_data)
    found |= {"settings": " ".join(settings)}
    return {name: _shown(found.get(name, math.nan)) for name in COLUMNS}


def study(args: argparse.Namespace) -> None:
    """Makes every training that has no line yet."""
    rows = read_rows(args.out)
    done = {(row["seed"], row["settings"]) for row in rows}
    for seed in range(args.seeds):
        for settings in points(args.config, args.settings, args.factor):
            if (str(seed), " ".join(settings)) in done:
                continue
            rows.append(measure(args.config, settings, seed, args.eval_data))
            write_rows(args.out, rows)
            print(*rows[-1].values(), sep="\t", file=sys.stderr, flush=True)


def table(args: argparse.Namespace) -> str:
    """The lines of study.tsv as Markdown, a row for each setting."""
    rows_of: dict[str, list[Row]] = {}
    for row in read_rows(args.out):
        rows_of.setdefault(row["settings"], []).append(row)
    base, *others = (" ".join(settings) for settings in points(args.config, args.settings))
    names = ("setting", "seeds", *SCORES)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for settings in (base, *others):
        if settings in rows_of:
            title = settings.removeprefix(base).strip() or Path(args.config).name
            lines.append(_line(title, rows_of[settings], base=rows_of[base]))
    return "\n".join(lines)


def _line(title: str, rows: Sequence[Row], *, base: Sequence[Row]) -> str:
    cells = [title, str(len(rows))]
    for name in SCORES:
        here, there = (_mean(several, name) for several in (rows, base))
        error = math.hypot(here[1], there[1])
        star = "*" if abs(here[0] - there[0]) > ENOUGH * error > 0 else ""
        cells.append(f"{here[0]:.3f} ± {here[1]:.3f}{star}".replace(" ± nan", ""))
    return f"| {' | '.join(cells)} |"


def _mean(rows: Sequence[Mapping[str, str]], name: str) -> tuple[float, float]:
    """Mean and its standard error, which one run alone does not tell; nan without a score."""
    values = [value for row in rows if math.isfinite(value := float(row[name]))]
    if len(values) < 2:
        return values[0] if values else math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


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
