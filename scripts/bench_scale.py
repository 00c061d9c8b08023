"""Past memory and past one process: speed, memory and quality as text and ranks grow.

    python scripts/bench_scale.py make BIG.txt --gb 3 --from reviews.txt
    python scripts/bench_scale.py memory --from reviews.txt --out memory.tsv [--sizes 0.1 0.5 1 3]
    python scripts/bench_scale.py ranks --from reviews.txt --out ranks.tsv [--sync-words N ...]

and with the last two each `[--seeds N] [-s KEY=VALUE] [--config text.yaml]`. `make` writes a text
of that size out of a real one (`scale_text.py` says how its words grow).

`memory` trains one epoch on the real text and on texts of each size, which it makes in a temporary
folder (`TMPDIR`: all texts, and as much again as the largest). Each is started three times: to
count and encode alone, to train alone on what that left, and to do both in one process. A peak is
the process's own. Ratios are words/s over those of the real text; the vocabulary grows with the
text, and with it the time of a word: `-s vocab.max_size=40000` holds it.

`ranks` trains one process with 1 thread and with as many as there are ranks, and that many ranks
with one thread each under torchrun, meeting after each of the --sync-words; then scores them.

Runs take turns, every second turn in reverse order. stdout has Markdown, stderr the talk, `--out`
each run as a line of TSV; what has a line there is not run again, so that a measurement that was
stopped goes on with the same command. Run it on a quiet machine.
"""

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from bench_measure import SCORES, Run, machine, score, spend, take_turns, train
from bench_programs import RUN, Program, w2v_program
from bench_rows import Row, as_row, read_rows, write_rows
from bench_table import table
from scale_tables import TEXTS, mean_runs, memory_columns, rank_columns
from scale_text import make_text

import w2v
from w2v.configfile import load_config
from w2v.encoded import SPECTRUM
from w2v.errors import ConfigError, W2VError
from w2v.preflight import require_readable, require_writable
from w2v.rundir import INFO
from w2v.sources import DATA_FOLDER_VARIABLE

REAL = "real text"
SETTINGS = ["vocab.min_count=10", "corpus.name=text"]  # as README and docs/settings.md measure
GB = 10**9
FACTS = ("raw_words", "vocab_size", "dim", "threads")  # of run.json
SPEED = ("prepare_s", "train_s", "words_per_s", "centers_per_s", "peak_mb", "wall_s")
MEMORY_COLUMNS = (
    "program", "seed", "settings", *FACTS, "types", "build_s", "build_mb", *SPEED, "whole_mb"
)  # fmt: skip
RANK_COLUMNS = (
    "program", "seed", "settings", *FACTS, "processes", "sync_words", *SPEED,
    *SCORES, *(f"{name} of" for name in SCORES),
)  # fmt: skip
MEAN = "mean over sync_words"

Measure = Callable[[Program, Path, int], Run]


def make(args: argparse.Namespace) -> None:
    """Writes one text."""
    made = make_text(args.real, args.target, num_bytes=round(args.gb * GB), seed=args.seed)
    print(
        f"{made.path}: {made.bytes:,} bytes, {made.words:,} words in {made.lines:,} lines, "
        f"{made.repetitions} repetitions, types as words ** {made.growth:.2f}"
    )


def memory(args: argparse.Namespace) -> None:
    """Measures each size of text."""
    settings = [*SETTINGS, "train.epochs=1", *args.settings]
    describe(args.config, settings, args.real)
    with tempfile.TemporaryDirectory(prefix="w2v-scale-") as folder:
        size_of = {f"{size:g} GB": round(size * GB) for size in args.sizes}
        texts = {REAL: args.real} | {name: Path(folder, f"{name}.txt") for name in size_of}
        programs = [_program(args.config, settings, path, name) for name, path in texts.items()]
        own = {DATA_FOLDER_VARIABLE: str(Path(folder, "data"))}
        spend(programs[0].command(Path(folder), 0), environment=own)  # compiles, once for all

        def measure(program: Program, folder: Path, seed: int) -> Run:
            text = texts[program.name]
            if not text.exists():
                print(f"making {program.name}", file=sys.stderr, flush=True)
                make_text(args.real, text, num_bytes=size_of[program.name])
            return measure_size(program, args.config, [*settings, _corpus(text)], folder, seed)

        measured = kept(measure, args.out, MEMORY_COLUMNS, [*settings, _corpus(args.real)])
        runs_of = take_turns(programs, seeds=args.seeds, measure=measured)
    print(table(memory_columns(runs_of)))


def measure_size(
    program: Program, config: str, settings: Sequence[str], folder: Path, seed: int
) -> Run:
    """One size: counts and encodes, trains on that, then does both in one process."""
    stats = [sys.executable, "-m", "w2v", "corpus", "stats", "--no-time", "-c", config]
    data = folder / "data"  # where `train` looks with own_data
    built = spend(
        [*stats, *(f"--set={setting}" for setting in settings)],
        environment={DATA_FOLDER_VARIABLE: str(data)},
    )
    found = train(program, folder, seed=seed, words=0, own_data=True) | facts(folder)
    (counted,) = data.glob(f"corpora/*/{SPECTRUM}")
    found["types"] = int(np.load(counted)[:, 1].sum())
    shutil.rmtree(data)
    (folder / "whole").mkdir()
    whole = train(program, folder / "whole", seed=seed, words=0, own_data=True)
    found |= {"build_s": built["wall_s"], "build_mb": built["peak_mb"]}
    return found | {"wall_s": whole["wall_s"], "whole_mb": whole["peak_mb"]}


def ranks(args: argparse.Namespace) -> None:
    """Measures one process against several."""
    settings = [*SETTINGS, *args.settings]
    alone = [_threads(args.config, settings, args.real, threads) for threads in (args.ranks, 1)]
    shared = [*settings, _corpus(args.real)]
    words_of = {
        f"{args.ranks} ranks x 1 thread, sync_words {words:,}": words for words in args.sync_words
    }
    together = [
        ranks_program(name, args.config, shared, args.ranks, words)
        for name, words in words_of.items()
    ]
    describe(args.config, settings, args.real)
    with tempfile.TemporaryDirectory(prefix="w2v-scale-") as folder:
        warm_up = _program(args.config, [*settings, "train.epochs=1"], args.real, "warm-up")
        spend(warm_up.command(Path(folder), 0))  # and encodes the text for all

    def measure(program: Program, folder: Path, seed: int) -> Run:
        run = train(program, folder, seed=seed, words=0, own_data=False)
        run |= facts(folder) | {"processes": args.ranks if program.name in words_of else 1}
        run |= {"sync_words": words_of.get(program.name, math.nan)}
        return run | score(w2v.load(folder / program.vectors), args.eval_data)

    measured = kept(measure, args.out, RANK_COLUMNS, shared)
    runs_of = take_turns([*alone, *together], seeds=args.seeds, measure=measured)
    if len(together) > 1:
        runs_of[MEAN] = mean_runs([runs_of[program.name] for program in together])
    print(table(rank_columns(runs_of)))


def ranks_program(
    name: str, config: str, settings: Sequence[str], num_ranks: int, sync_words: int
) -> Program:
    """`w2v train` as that many processes of a thread each, which torchrun starts."""
    own = ["train.threads=1", f"distributed.sync_words={sync_words}"]
    alone = w2v_program(config, [*settings, *own])
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]

    def command(folder: Path, seed: int) -> list[str]:
        python, module, *rest = alone.command(folder, seed)
        # Without -- it would take --run for an option of its own.
        return [python, *start, module, "--", *rest]

    return Program(name, command)


def kept(
    measure: Measure, path: Path | None, columns: Sequence[str], settings: Sequence[str]
) -> Measure:
    """`measure`, whose runs become lines of a file; what has a line there is not measured again."""
    told = " ".join(settings)
    rows = [] if path is None else read_rows(path)
    row_of = {(row["program"], row["seed"], row["settings"]): row for row in rows}

    def measured(program: Program, folder: Path, seed: int) -> Run:
        row = row_of.get((program.name, str(seed), told))
        if row is None:
            about = {"program": program.name, "seed": seed, "settings": told}
            row = as_row(measure(program, folder, seed) | about, columns)
            rows.append(row)
            if path is not None:
                write_rows(path, rows, columns)
        return as_run(row)

    return measured


def as_run(row: Row) -> Run:
    """A line with its numbers as numbers, without those that it lacks."""
    run: Run = {name: value if name in TEXTS else float(value) for name, value in row.items()}
    return {name: value for name, value in run.items() if name in TEXTS or math.isfinite(value)}


def facts(folder: Path) -> Run:
    """What run.json tells of the text, the tables and the threads of a process."""
    told = json.loads((folder / RUN / INFO).read_text())
    return {name: (told["corpus"] | told)[name] for name in FACTS}


def describe(config: str, settings: Sequence[str], real: Path) -> None:
    """Checks the settings, and prints them and what the machine is. Raises `W2VError`."""
    load_config(config, [*settings, _corpus(real)])
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(f"`{' '.join([config, *(f'-s {setting}' for setting in settings)])}`\n", flush=True)


def _program(config: str, settings: Sequence[str], path: Path, name: str) -> Program:
    return w2v_program(config, [*settings, _corpus(path)], name=name)


def _threads(config: str, settings: Sequence[str], path: Path, threads: int) -> Program:
    name = f"1 process x {threads} thread{'s' * (threads > 1)}"
    return _program(config, [*settings, f"train.threads={threads}"], path, name)


def _corpus(path: Path) -> str:
    return f"corpus.path={path.absolute()}"


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    parts = {
        command.__name__: commands.add_parser(command.__name__, help=command.__doc__)
        for command in (make, memory, ranks)
    }
    for command, part in zip((make, memory, ranks), parts.values(), strict=True):
        part.set_defaults(command=command)
        text = "a real text, a sentence a line; may be compressed"
        part.add_argument("--from", dest="real", type=Path, required=True, help=text)
        if command is make:
            continue
        part.add_argument("--config", default="text.yaml")
        part.add_argument("-s", "--set", dest="settings", action="append", default=[])
        part.add_argument("--seeds", type=int, default=1 if command is memory else 3)
        part.add_argument("--out", type=Path, help="each run as a line of TSV")
    parts["make"].add_argument("target", type=Path)
    parts["make"].add_argument("--gb", type=float, required=True, help="10 ** 9 bytes")
    parts["make"].add_argument("--seed", type=int, default=0)
    parts["memory"].add_argument("--sizes", type=float, nargs="+", default=[0.1, 0.5, 1.0, 3.0])
    parts["ranks"].add_argument("--ranks", type=int, default=2)
    parts["ranks"].add_argument(
        "--sync-words", type=int, nargs="+", default=[125_000, 250_000, 500_000, 1_000_000]
    )
    parts["ranks"].add_argument("--eval-data", type=Path, default=_eval_data())
    return parser.parse_args(argv)


def _eval_data() -> Path | None:
    test_data = os.environ.get("W2V_TEST_DATA")
    return Path(test_data, "eval") if test_data else None


def check(args: argparse.Namespace) -> None:
    """Refuses what cannot be measured before time is spent. Raises `W2VError`."""
    least = {"gb": 0, "seeds": 1, "ranks": 2}
    for name, low in least.items():
        if getattr(args, name, math.inf) < low or getattr(args, name, 1) <= 0:
            raise ConfigError(f"--{name} {getattr(args, name)}: expected {low or 'more than 0'}")
    if min(getattr(args, "sizes", [1])) <= 0:
        raise ConfigError("--sizes: expected more than 0")
    require_readable(args.real)
    if getattr(args, "out", None) is not None:
        require_writable(args.out.parent)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs, and turns what a user can mend into one line and an exit code."""
    args = parse_arguments(argv)
    try:
        check(args)
        args.command(args)
    except W2VError as error:
        print(f"bench_scale: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
