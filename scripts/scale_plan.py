"""The tables of docs/scale.md: what the model says of large trainings, and how near it is to small.

    python scripts/scale_plan.py
    python scripts/scale_plan.py --check memory.tsv ranks.tsv

The first prints memory, disk, time and traffic as `scale_model.py` has them. `--check` puts the
model beside the runs that `bench_scale.py` left in `--out`.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench_rows import Row, read_rows
from bench_table import Cells, table
from scale_model import (
    GB,
    GBIT,
    TEXT_BYTES,
    Plan,
    corpus_bytes,
    epoch_s,
    host_rate,
    interval,
    mean_merged_rows,
    memory,
    merge_bytes,
    merges,
    open_s,
    prepare_s,
    sync_words_for,
)
from scale_tables import turned

WORDS, VOCABS, DIMENSIONS = (1e9, 1e10, 1e11, 1e12), (10**5, 10**6, 10**7), (100, 300, 1000)
HOSTS, NETWORKS = (1, 4, 16, 64), (1, 10, 100)  # Gbit/s
USUAL_VOCAB = 10**6


def memory_table() -> str:
    """What a process takes, alone and as one of many: while it trains, and at the most."""
    rows: dict[str, Cells] = {}
    for vocab in VOCABS:
        for dim in DIMENSIONS:
            alone, one_of_many = (memory(Plan(1e9, vocab, dim, hosts)) for hosts in (1, 2))
            rows[f"{scaled(vocab)} x {dim:,}"] = {
                "tables": gigabytes(alone.tables),
                "training alone": gigabytes(alone.training),
                "at most": gigabytes(max(alone.checkpoint, alone.finishing)),
                "one of many": gigabytes(one_of_many.training),
                "at most ": gigabytes(max(one_of_many.checkpoint, one_of_many.finishing)),
            }
    return table(turned(rows))


def traffic_table() -> str:
    """Bytes of a merge, and how far apart merges must be to take a tenth of the time."""
    rows: dict[str, Cells] = {}
    for vocab in VOCABS:
        for dim in DIMENSIONS:
            plan = Plan(1e11, vocab, dim, hosts=16)
            cells = {
                "all rows": gigabytes(merge_bytes(vocab, dim)),
                "a merge": gigabytes(merge_bytes(mean_merged_rows(vocab), dim)),
            }
            for network in NETWORKS:
                slower = plan._replace(network=network * GBIT)
                words = sync_words_for(slower)
                times = merges(slower, sync_words=words)
                cells[f"{network} Gbit/s"] = f"{scaled(words)}, {times:,.0f} x"
            rows[f"{scaled(vocab)} x {dim:,}"] = cells
    return table(turned(rows))


def time_table() -> str:
    """An epoch with enough merges; in brackets where they take most of the time."""
    rows: dict[str, Cells] = {}
    for words in WORDS:
        for dim in DIMENSIONS:
            cells = {}
            for hosts in HOSTS:
                plan = Plan(words, USUAL_VOCAB, dim, hosts)
                whole_s = epoch_s(plan, sync_words=interval(plan) if hosts > 1 else words)
                mostly = whole_s > 2 * words / hosts / host_rate(plan)
                told = lasting(whole_s)
                cells[f"{hosts} host{'s' * (hosts > 1)}"] = f"({told})" if mostly else told
            rows[f"{scaled(words)} words, dim {dim:,}"] = cells
    return table(turned(rows))


def disk_table() -> str:
    """What a text takes before training."""
    rows: dict[str, Cells] = {}
    for words in WORDS:
        plan = Plan(words, USUAL_VOCAB, 100)
        rows[f"{scaled(words)} words"] = {
            "text": gigabytes(words * TEXT_BYTES),
            "encoded, on each host": gigabytes(corpus_bytes(words)),
            "counting and encoding": lasting(prepare_s(plan)),
            "digests at a first start": lasting(open_s(plan)),
        }
    return table(turned(rows))


def scaled(number: float) -> str:
    """A number in two digits, by its thousands."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.995 * size:
            return f"{float(f'{number / size:.2g}'):,g} {unit}"
    return f"{number:.2g}"


def gigabytes(number: float) -> str:
    """Bytes in GB or TB, two digits."""
    if number >= 1000 * GB:
        return f"{float(f'{number / GB / 1000:.2g}'):,g} TB"
    return f"{float(f'{number / GB:.2g}'):,g} GB"


def lasting(seconds: float) -> str:
    """Seconds, minutes, hours or days, two digits."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{float(f'{seconds / size:.2g}'):,g} {unit}"
    return f"{seconds:.2g} s"


# --- beside what was measured -----------------------------------------------------------------


def check_table(rows: Sequence[Row]) -> str:
    """Measured (median), modeled, and the one over the other, for each text or layout."""
    of_name: dict[str, list[Row]] = {}
    for row in rows:
        of_name.setdefault(row["program"], []).append(row)
    return table(turned({name: beside(runs) for name, runs in of_name.items()}))


def beside(runs: Sequence[Row]) -> Cells:
    """Peak memory of training and words/s of one text or layout."""
    row = runs[0]
    words, alone = float(row["raw_words"]), row.get("processes", "1") == "1"
    plan = Plan(
        words,
        int(row["vocab_size"]),
        int(row["dim"]),
        hosts=1 if alone else int(row["processes"]),
        threads=int(row["threads"]),
    )
    found = memory(plan)
    rate = words / epoch_s(plan, sync_words=words if alone else float(row["sync_words"]))
    peak_mb = max(found.checkpoint, found.finishing) / 2**20
    cells: Cells = {}
    for name, modeled, unit in (("peak_mb", peak_mb, 1), ("words_per_s", rate, 1e6)):
        measured = statistics.median(float(run[name]) for run in runs)
        title = {"peak_mb": "peak MB", "words_per_s": "M words/s"}[name]
        cells[f"{title}, measured"] = f"{measured / unit:,.3g}"
        cells[f"{title}, modeled"] = f"{modeled / unit:,.3g}"
        cells[f"{title}, ratio"] = f"{measured / modeled:.2f}"
    return cells


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables, or the model beside what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", type=Path, nargs="+", metavar="TSV", help="of bench_scale.py")
    args = parser.parse_args(argv)
    if args.check:
        print("\n\n".join(check_table(read_rows(path)) for path in args.check))
        return
    for each in (memory_table, disk_table, time_table, traffic_table):
        print(f"{each.__doc__}\n\n{each()}\n")


if __name__ == "__main__":
    main()
