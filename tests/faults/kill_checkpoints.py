"""`python -m faults.kill_checkpoints TIMES FOLDER`: kills a process that saves, again and again.

The process is forked from this one, which has torch imported. It is killed at a random moment, or,
where TIMES is "each", before its first operation on files, its second, and so on. It tells through
a pipe which steps are saved; afterwards the newest whole checkpoint is at least that. Prints what
was done.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import safetensors.torch
import torch

from w2v import checkpoints, resume
from w2v.files import has_temporaries
from w2v.reporting import Report
from w2v.states import prune, tensors_of

REPORT = Report(
    epoch=1, step=1, words=1, centers=1, loss=0.5, heldout_loss=None, lr=0.1, seconds=1.0,
    run_seconds=1.0, done=0.1, epoch_ended=False,
)  # fmt: skip
LONGEST_S = 0.02  # some saves
OPERATIONS = ("open", "mkdir", "fsync", "chmod", "replace", "unlink")


def save_step(folder: Path, step: int, *, rows: int = 400, keep: int = 1) -> None:
    """One checkpoint whose every number is its step."""
    tensors = {name: torch.full((rows, 50), float(step)) for name in ("center", "context")}
    checkpoints.save(folder, tensors=tensors, run={}, report=REPORT._replace(step=step))
    prune(folder, keep=keep)


def whole_step(folder: Path) -> int:
    """The step of the newest whole checkpoint, which has its own numbers."""
    saved = resume.newest(folder)
    tensors = safetensors.torch.load_file(tensors_of(saved.path))
    assert all(bool((table == saved.state.step).all()) for table in tensors.values())
    return saved.state.step


def killed(work: Callable[[Callable[[int], None]], None], *, after_s: float | None) -> list[int]:
    """Forks a process that works until it is killed; returns the steps that it told."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work(lambda step: os.write(writer, f"{step}\n".encode()))
        finally:
            os._exit(0)
    os.close(writer)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as told:
        return [int(line) for line in told]


def at_random(times: int, folder: Path) -> None:
    """Kills so often, and checks each time."""
    rng = random.Random(times)
    save_step(folder, 1)
    step, met = 1, 0
    for _ in range(times):
        first, keep = step + 1, rng.choice((1, 2))

        def save_for_ever(tell: Callable[[int], None], first: int = first, keep: int = keep):
            for step in count(first):
                save_step(folder, step, keep=keep)
                tell(step)

        done = killed(save_for_ever, after_s=rng.uniform(0, LONGEST_S))
        met += has_temporaries(folder)
        found = whole_step(folder)
        assert found >= max([step, *done])
        step = found
    sys.stdout.write(f"{times} kills, {met} in the middle of a file, {step} steps, 0 lost\n")


def at_each(folder: Path) -> None:
    """Kills before each operation of a save and the removal of the older one."""
    for number in count(1):
        target = folder / str(number)
        save_step(target, 1, rows=3)

        def save_until(tell: Callable[[int], None], target: Path = target, number: int = number):
            die_before(number)
            save_step(target, 2, rows=3)
            tell(2)

        done = killed(save_until, after_s=None)
        assert whole_step(target) >= max([1, *done])
        save_step(target, 3, rows=3)  # the next good run
        assert sorted(path.name for path in target.iterdir()) == [
            "step-3.json",
            "step-3.safetensors",
        ]
        if done:
            sys.stdout.write(f"{number - 1} operations, 0 lost\n")
            return


def die_before(number: int) -> None:
    """Lets this process be killed before so many operations are done."""
    calls = count(1)

    def counting(operation):
        def call(*arguments, **options):
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **options)

        return call

    for name in OPERATIONS:
        setattr(os, name, counting(getattr(os, name)))


if __name__ == "__main__":
    if sys.argv[1] == "each":
        at_each(Path(sys.argv[2]))
    else:
        at_random(int(sys.argv[1]), Path(sys.argv[2]))
