"""Checkpoints: the state of a run in the middle of it, each written whole or not at all.

A checkpoint is two files in the run's `checkpoints/`: `step-N.safetensors` with the tables
("center", "context") and the optimizer's tensors ("optimizer.NAME"), and `step-N.json` with its
SHA-256 and the position in the run. The JSON is written last and is what makes it valid. They
keep the last good state of a run that stops early; continuing from one is still to come.
"""

import json
import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from w2v.files import atomic_path, sha256, sweep_temporaries, unwritable, write_text
from w2v.reporting import Report

SCHEMA = 1
STATE_NAME = re.compile(r"step-([0-9]+)\.json")


class Checkpointer:
    """A listener to reports that saves a checkpoint when it is time, and at each epoch's end.

    It copies the tensors and leaves the writing to a thread, while training goes on; a failure
    to write is raised at the next report or by `settle`.
    """

    def __init__(
        self, folder: Path, tensors: Mapping[str, Tensor], *, every_s: float, keep: int
    ) -> None:
        """Args: the run's `checkpoints/`; the live tensors; how often; how many stay."""
        self._folder, self._tensors, self._keep = folder, tensors, keep
        self._every_s, self._saved_at_s = every_s, 0.0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="w2v-checkpoints")
        self._written: Future[None] | None = None

    def __call__(self, report: Report) -> None:
        """Saves if an epoch ended or `every_s` has passed.

        Raises:
            StorageError: the checkpoint before this one could not be written.
        """
        if not report.epoch_ended and report.run_seconds - self._saved_at_s < self._every_s:
            return
        told = ("epoch", "epoch_ended", "done", "loss", "heldout_loss")
        position = {name: getattr(report, name) for name in told}
        self.settle()
        tensors = {
            name: tensor.detach().to("cpu", copy=True) for name, tensor in self._tensors.items()
        }
        self._written = self._writer.submit(self._write, report.step, tensors, position)
        self._saved_at_s = report.run_seconds

    def settle(self) -> None:
        """Waits until the last checkpoint is on disk.

        Raises:
            StorageError: it could not be written.
        """
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def close(self) -> None:
        """Waits for what is being written; whoever must know whether it was has settled before."""
        self._writer.shutdown()

    def _write(
        self, step: int, tensors: Mapping[str, Tensor], position: Mapping[str, object]
    ) -> None:
        save(self._folder, step=step, tensors=tensors, position=position)
        prune(self._folder, keep=self._keep)


def save(
    folder: Path, *, step: int, tensors: Mapping[str, Tensor], position: Mapping[str, object]
) -> Path:
    """Writes the checkpoint of a step; returns the path of its JSON.

    Args:
        folder: the run's `checkpoints/`; made where it is missing.
        step: updates since training began.
        tensors: tables and optimizer state, on any device.
        position: what a reader of the JSON wants to know, such as epoch and loss.

    Raises:
        StorageError: the folder cannot be written.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    tables, state = folder / f"step-{step}.safetensors", folder / f"step-{step}.json"
    with atomic_path(tables) as temp:  # a file takes a third of the time that bytes take
        try:
            safetensors.torch.save_file(whole, temp)
        except SafetensorError as error:
            raise unwritable(tables, OSError(str(error))) from error
        digest = sha256(temp)
    about = {"schema": SCHEMA, "step": step, "sha256": digest}
    write_text(state, json.dumps(about | dict(position), indent=2) + "\n")
    return state


def prune(folder: Path, *, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints, and what a killed process left behind."""
    states = complete(folder)
    for state in states[: max(0, len(states) - keep)]:
        state.unlink(missing_ok=True)
    for tensors in folder.glob("step-*.safetensors"):
        state = tensors.with_suffix(".json")
        if STATE_NAME.fullmatch(state.name) and not state.exists():
            tensors.unlink(missing_ok=True)
    sweep_temporaries(folder)


def complete(folder: Path) -> list[Path]:
    """The JSON files of the checkpoints in `folder`, by step, oldest first."""
    steps = {
        int(match[1]): path
        for path in folder.glob("step-*.json")
        if (match := STATE_NAME.fullmatch(path.name))
    }
    return [steps[step] for step in sorted(steps)]
