"""Speed, memory and quality of training, measured as a user would see them.

    make bench
    python scripts/bench.py [CONFIG ...] [--seeds 3] [-s KEY=VALUE] [--reference] [--json FILE]

Each CONFIG (default: ptb-d2l.yaml and ptb.yaml) is trained by `w2v train` in a process of its own,
once per seed. Programs take turns, seed by seed, so that a machine that slows down slows them
all. `--reference` lets `scripts/chapter.py`, the textbook's own loop, take its turn as well.

    train_s, prepare_s, words/s, centers/s    as the run's run.json has them
    wall_s                                    the whole command, imports and writing included
    peak_MB                                   the largest resident set of any of its processes
    loss, heldout_loss                        by epoch, from metrics.jsonl
    WS-353, SimLex-999, MEN, analogies        w2v.evaluate on the files of --eval-data
    similar_s                                 `w2v similar WORD -k 3`, best of 5

Times and rates are shown as median (least .. most) over the seeds, losses and scores as mean and
standard deviation. Run it on a quiet machine.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import w2v
from w2v.evaluate import analogies, read_pairs, read_questions, similarity
from w2v.sources import data_folder
from w2v.vectors import WordVectors

CONFIGS = ["ptb-d2l.yaml", "ptb.yaml"]
CHAPTER = Path(__file__).with_name("chapter.py")
SIMILARITY_FILES = {"WS-353": "ws353.tsv", "SimLex-999": "simlex999.tsv", "MEN": "men.tsv"}
QUESTIONS_FILE = "questions-words.txt"
FACTS = ("kernel", "device", "train_s", "prepare_s", "words_per_s", "centers_per_s")
LOSSES = ("loss", "heldout_loss")
NUM_NEIGHBORS = 5
NUM_SIMILAR = 5
RSS_PER_MB = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes or in KiB
COLUMN = 34

Run = dict[str, Any]  # one training: names and values, lists for what there is by epoch


class Spent(NamedTuple):
    """What one command took."""

    wall_s: float
    peak_mb: float


def spend(command: list[str]) -> Spent:
    """Runs a command to its end; where it fails, shows what it wrote and exits."""
    started_at = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started_at
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)}\n{output.read()}exit code {process.returncode}")
    return Spent(wall_s, usage.ru_maxrss / RSS_PER_MB)


def train_config(config: str, run: Path, *, seed: int, settings: list[str]) -> Spent:
    """Trains one config as a user would."""
    overrides = [f"--set={setting}" for setting in [*settings, f"train.seed={seed}"]]
    command = [sys.executable, "-m", "w2v", "train", "-c", config, "--run", str(run), "--force"]
    return spend([*command, *overrides])


def train_chapter(run: Path, *, seed: int) -> Spent:
    """Trains the textbook's loop on the Penn Treebank that the configs have put into place."""
    places = [data_folder() / "ptb" / "ptb.train.txt", data_folder() / "ptb.zip"]
    corpus = next((place for place in places if place.is_file()), None)
    if corpus is None:
        sys.exit(f"--reference needs {' or '.join(map(str, places))}")
    command = [sys.executable, str(CHAPTER), "--corpus", str(corpus)]
    return spend([*command, "--out", str(run), "--seed", str(seed)])


def read_run(run: Path) -> Run:
    """What a run folder says about its speed and its losses."""
    facts = json.loads((run / "run.json").read_text())
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [event for event in events if event["event"] == "epoch"]
    losses = {name: [epoch.get(name) for epoch in epochs] for name in LOSSES}
    return {name: facts[name] for name in FACTS} | losses


def score(vectors: WordVectors, folder: Path | None) -> Run:
    """The scores on whichever data sets lie in the folder."""
    scores = []
    for name, file in SIMILARITY_FILES.items():
        if folder and (folder / file).is_file():
            scores.append(similarity(vectors, read_pairs(folder / file), name=name))
    if folder and (folder / QUESTIONS_FILE).is_file():
        scores.append(analogies(vectors, read_questions(folder / QUESTIONS_FILE)))
    values = {name: value for name, value, _, _ in scores}
    coverage = {f"{name} of": f"{used} of {used + oov}" for name, _, used, oov in scores}
    return values | coverage


def time_similar(source: list[str], word: str) -> float:
    """The least wall time of asking for a word's neighbors, in seconds."""
    command = [sys.executable, "-m", "w2v", "similar", word, "-k", "3", *source]
    return min(spend(command).wall_s for _ in range(NUM_SIMILAR))


def measure(program: str, run: Path, *, seed: int, args: argparse.Namespace) -> Run:
    """Trains one program into the folder `run` and gathers all that the table shows."""
    if program == CHAPTER.name:
        spent = train_chapter(run, seed=seed)
        file = run / "vectors.vec"
        vectors, source = w2v.load(file), ["--vectors", str(file)]
    else:
        spent = train_config(program, run, seed=seed, settings=args.settings)
        vectors, source = w2v.load(run), ["--run", str(run)]
    found: Run = {"program": program, "seed": seed, **spent._asdict(), **read_run(run)}
    found |= score(vectors, args.eval_data)
    if args.word in vectors:
        found["neighbors"] = [near for near, _ in vectors.similar(args.word, k=NUM_NEIGHBORS)]
        found["similar_s"] = time_similar(source, args.word)
    return found


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


def column(runs: list[Run]) -> dict[str, str]:
    """One program's column of the table: the names of its rows and what they show."""
    first = runs[0]

    def over_seeds(name: str) -> list[Any]:
        return [run[name] for run in runs]

    cells = {"kernel": f"{first['kernel']} on {first['device']}"}
    for name in ("train_s", "prepare_s", "wall_s", "words_per_s", "centers_per_s", "peak_mb"):
        cells[name] = spread(over_seeds(name))
    for name in LOSSES:
        for epoch, values in enumerate(zip(*over_seeds(name), strict=True), start=1):
            if None not in values:
                cells[f"{name} {epoch}"] = mean(values)
    for name in [*SIMILARITY_FILES, "analogies"]:
        if name in first:
            cells[name] = f"{mean(over_seeds(name))}, {first[f'{name} of']}"
    if "neighbors" in first:
        cells["similar_s"] = spread(over_seeds("similar_s"))
        cells |= {f"neighbor {i}": near for i, near in enumerate(first["neighbors"], start=1)}
    return cells


def print_table(runs_of: dict[str, list[Run]]) -> None:
    """Prints a column a program, a row a measure."""
    columns = {program: column(runs) for program, runs in runs_of.items()}
    fullest_first = sorted(columns.values(), key=len, reverse=True)
    rows = list(dict.fromkeys(name for cells in fullest_first for name in cells))
    print(f"{'':16}" + "".join(f"{program:{COLUMN}}" for program in columns))
    for row in rows:
        print(
            f"{row:16}" + "".join(f"{cells.get(row, '-'):{COLUMN}}" for cells in columns.values())
        )
    if CHAPTER.name in runs_of:
        rate = {
            program: statistics.median(run["centers_per_s"] for run in runs)
            for program, runs in runs_of.items()
        }
        for program in rate.keys() - {CHAPTER.name}:
            print(f"{program}: {rate[program] / rate[CHAPTER.name]:.1f} x the chapter's centers/s")


def machine() -> dict[str, str | int | None]:
    """What the figures depend on beside the code."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "w2v": w2v.__version__,
    }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    test_data = os.environ.get("W2V_TEST_DATA")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", metavar="CONFIG", default=CONFIGS)
    parser.add_argument("--seeds", type=int, default=3, help="how often each is trained")
    parser.add_argument("--reference", action="store_true", help="measure the textbook's loop too")
    parser.add_argument("--word", default="chip", help="whose neighbors to show")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures there")
    parser.add_argument(
        "-s", "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE"
    )
    parser.add_argument(
        "--eval-data",
        type=Path,
        metavar="DIR",
        default=Path(test_data, "eval") if test_data else None,
        help="a folder with ws353.tsv, simlex999.tsv, men.tsv, questions-words.txt; "
        "default: $W2V_TEST_DATA/eval",
    )
    return parser.parse_args()


def main() -> None:
    """Trains every program once a seed, in turns, and reports."""
    args = parse_arguments()
    programs = [*args.configs, *([CHAPTER.name] if args.reference else [])]
    runs_of: dict[str, list[Run]] = {program: [] for program in programs}
    with tempfile.TemporaryDirectory(prefix="w2v-bench-") as folder:
        for seed in range(args.seeds):
            for number, program in enumerate(programs):
                print(f"{program}, seed {seed}", file=sys.stderr)
                run = Path(folder, f"{number}-{seed}")
                runs_of[program].append(measure(program, run, seed=seed, args=args))
    facts = machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print_table(runs_of)
    if args.json:
        runs = [run for program_runs in runs_of.values() for run in program_runs]
        args.json.write_text(json.dumps({"machine": facts, "runs": runs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
