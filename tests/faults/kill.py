"""`python -m faults.kill JOB TIMES FOLDER ...`: starts a job and kills it, again and again.

A job is forked from this process, which has all it needs imported, so that a kill costs some
milliseconds; it is killed at a random moment within the time that the whole job takes, and as many
are started as it takes to kill so many before their end. After each the folder is checked, and its
lasting files are removed every other time, so that jobs begin in all the states that kills leave.
At the end a job runs to its end. Prints how many were started.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import safetensors.numpy

from faults.treebank import COMPLETE, FAST, published, tree
from w2v import formats
from w2v.files import TEMP_PREFIX
from w2v.formats import model2vec
from w2v.sources import ptb


def fetch(folder: Path, url: str) -> Callable[[], object]:
    """Downloads, or takes the archive that lies there, and unpacks."""
    return lambda: ptb.fetch(data_folder=folder, published=published(url), patience=FAST)


def export(folder: Path, source: str) -> Callable[[], object]:
    """Writes vectors over vectors."""
    vectors = formats.read(Path(source))
    target = folder / "v.txt"
    return lambda: formats.write(vectors, target, force=True)


def export_folder(folder: Path, source: str) -> Callable[[], object]:
    """Writes a folder in the place of a folder."""
    vectors = formats.read(Path(source))
    return lambda: formats.write(vectors, folder / "m", format=model2vec.NAME, force=True)


def whole_treebank(folder: Path) -> None:
    """Raises AssertionError where a file is there, yet not the one published."""
    for name, content in tree(folder).items():
        assert TEMP_PREFIX in name or COMPLETE[name] == content, f"{name} is cut short"


def whole_vectors(folder: Path) -> None:
    """Raises where the vectors are there, yet not complete."""
    if (folder / "v.txt").exists():
        formats.read(folder / "v.txt")


def whole_model(folder: Path) -> None:
    """Raises where the folder is there, yet not complete."""
    found = {path.name for path in (folder / "m").glob("*")}
    assert found in (set(), model2vec.FILES), f"only {found}"
    for name in found - {model2vec.MODEL, model2vec.README}:
        json.loads((folder / "m" / name).read_bytes())
    if found:
        safetensors.numpy.load_file(folder / "m" / model2vec.MODEL)


# How the longest delay follows what the last kill met: three of four jobs die before their end.
LATER, SOONER = 1.03, 0.9
JOBS = {
    "fetch": (fetch, whole_treebank),
    "export": (export, whole_vectors),
    "export-folder": (export_folder, whole_model),
}


def main(job: str, times: int, folder: Path, argument: str) -> None:
    """Kills so many jobs before their end, checks after each, and prints how many it took."""
    make, check = JOBS[job]
    work = make(folder, argument)
    rng = random.Random(times)
    begun = time.perf_counter()
    run(work)
    longest_s = time.perf_counter() - begun
    started = killed = 0
    while killed < times:
        started += 1
        if started % 2:
            remove(folder, keep=argument)
        was_killed = run(work, kill_after_s=rng.uniform(0, longest_s)) == -signal.SIGKILL
        longest_s *= LATER if was_killed else SOONER
        killed += was_killed
        check(folder)
    assert run(work) == 0
    check(folder)
    sys.stdout.write(f"{started}\n")


def run(work: Callable[[], object], *, kill_after_s: float | None = None) -> int:
    """Forks a process that works; returns its exit code, or the signal that ended it, negative."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def remove(folder: Path, *, keep: str) -> None:
    """Removes what earlier jobs finished, but for a file that all of them need."""
    for path in folder.rglob("*"):
        if path.is_file() and TEMP_PREFIX not in path.name and path.name != Path(keep).name:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
