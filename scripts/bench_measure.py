"""One training, measured: a `Program` enters, a `Run` of names and values leaves.

    wall_s, peak_mb                           the whole command, imports and writing included
    train_s, prepare_s, words_per_s,          as the program's run.json has them; where it has none,
    centers_per_s                             train_s is wall_s and words_per_s the words / wall_s
    loss, heldout_loss                        by epoch, from metrics.jsonl, where there is one
    WS-353, SimLex-999, MEN, analogies        w2v.evaluate on the files of a folder, where they are

Words are raw words of the text, before vocabulary and subsampling, times epochs; centers are what
both leave. Programs take turns, and every second turn is in reverse order, so that a machine that
slows down slows them all alike.
"""

import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench_programs import RUN, Program

import w2v
from w2v.cores import usable_cores
from w2v.errors import W2VError
from w2v.evaluate import analogies, similarity
from w2v.sources import DATA_FOLDER_VARIABLE
from w2v.testsets import read_pairs, read_questions
from w2v.vectors import WordVectors

SPEND = Path(__file__).with_name("bench_spend.py")
SIMILARITY_FILES = {"WS-353": "ws353.tsv", "SimLex-999": "simlex999.tsv", "MEN": "men.tsv"}
QUESTIONS_FILE = "questions-words.txt"
SCORES = (*SIMILARITY_FILES, "analogies")
FACTS = ("kernel", "device", "train_s", "prepare_s", "words_per_s", "centers_per_s")
LOSSES = ("loss", "heldout_loss")
PACKAGES = ("numpy", "torch", "numba", "polars", "gensim")
NUM_NEIGHBORS = 5
NUM_SIMILAR = 5

Run = dict[str, Any]  # one training: names and values, lists for what there is by epoch


def spend(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Run:
    """Runs a command to its end and returns its wall_s and peak_mb.

    Raises:
        W2VError: it failed; with all that it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="w2v-bench-") as folder:
        note = Path(folder, "spent.json")
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(SPEND), str(note), *command],
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        spent: Run = json.loads(note.read_text()) if note.exists() else {"exit_code": "unknown"}
    exit_code = spent.pop("exit_code")
    if exit_code != 0:
        raise W2VError(f"exit code {exit_code}: {' '.join(command)}\n{done.stdout}".rstrip())
    return spent


def train(program: Program, folder: Path, *, seed: int, words: int, own_data: bool) -> Run:
    """Trains into `folder` and returns what the program says of its speed and its losses.

    Args:
        program: what to train.
        folder: a new one; the program's files stay in it.
        seed: of this training.
        words: raw words times epochs, for programs that say nothing.
        own_data: whether caches are to start empty, so that preparing the text is measured.
    """
    environment = {DATA_FOLDER_VARIABLE: str(folder / "data")} if own_data else {}
    command = program.command(folder, seed)
    spent = spend(command, environment=environment)
    if not (folder / program.vectors).exists():
        raise W2VError(f"{program.name} ended well, but wrote no {folder / program.vectors}")
    found: Run = {"program": program.name, "seed": seed, "command": command, **spent}
    info = folder / RUN / "run.json"
    if not info.exists():
        wall_s = spent["wall_s"]
        return found | {"train_s": wall_s, "words_per_s": words / wall_s, "train_is_wall": True}
    facts = json.loads(info.read_text())
    found |= {name: facts[name] for name in FACTS}
    metrics = folder / RUN / "metrics.jsonl"
    if metrics.exists():
        events = [json.loads(line) for line in metrics.read_text().splitlines()]
        epochs = [event for event in events if event["event"] == "epoch"]
        found |= {name: [epoch.get(name) for epoch in epochs] for name in LOSSES}
    return found


def score(vectors: WordVectors, folder: Path | None) -> Run:
    """The scores on whichever data sets lie in the folder and have words in common."""
    scores = []
    for name, file in SIMILARITY_FILES.items():
        if folder and (folder / file).is_file():
            scores.append(similarity(vectors, read_pairs(folder / file), name=name))
    if folder and (folder / QUESTIONS_FILE).is_file():
        scores.append(analogies(vectors, read_questions(folder / QUESTIONS_FILE)))
    scores = [found for found in scores if math.isfinite(found.value)]
    values = {name: value for name, value, _, _ in scores}
    coverage = {f"{name} of": f"{used} of {used + oov}" for name, _, used, oov in scores}
    return values | coverage


def ask(vectors: WordVectors, place: Path, word: str) -> Run:
    """A word's neighbors, and the least wall time of `w2v similar` for them; nothing if unknown."""
    if word not in vectors:
        return {}
    option = "--run" if place.is_dir() else "--vectors"
    command = [sys.executable, "-m", "w2v", "similar", word, "-k", "3", option, str(place)]
    return {
        "neighbors": [near for near, _ in vectors.similar(word, k=NUM_NEIGHBORS)],
        "similar_s": min(spend(command)["wall_s"] for _ in range(NUM_SIMILAR)),
    }


def take_turns(
    programs: Sequence[Program], *, seeds: int, measure: Callable[[Program, Path, int], Run]
) -> dict[str, list[Run]]:
    """Measures every program once a seed, in turns; returns the runs of each by its name.

    `measure` is given the program, a new folder, which goes afterwards, and the seed.
    """
    runs_of: dict[str, list[Run]] = {program.name: [] for program in programs}
    with tempfile.TemporaryDirectory(prefix="w2v-bench-") as parent:
        for seed in range(seeds):
            for program in programs if seed % 2 == 0 else reversed(programs):
                folder = Path(parent, "training")
                folder.mkdir()
                run = measure(program, folder, seed)
                rate = f"{run['words_per_s']:,.0f} raw words/s, {run['wall_s']:.1f} s in all"
                print(f"{program.name}, seed {seed}: {rate}", file=sys.stderr)
                runs_of[program.name].append(run)
                shutil.rmtree(folder)
    return runs_of


def machine() -> dict[str, str | int | None]:
    """What the figures depend on beside the code."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": models[0] if models else platform.machine(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "w2v": w2v.__version__,
    } | {name: found for name in PACKAGES if (found := installed(name))}


def installed(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
