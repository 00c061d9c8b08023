"""Checkpoints: the state of a run in the middle of it, each written whole or not at all.

A checkpoint is two files in the run's `checkpoints/`:

    step-N.safetensors  the tables "center" and "context", the optimizer's "optimizer.NAME"
    step-N.json         schema, step, sha256 of the tensors, run (what it belongs to: settings,
                        digests), report (what was told last, with the place to go on from), and
                        digest: the SHA-256 of the file itself, sixty-four zeros in its place

The JSON is written last and is what makes a checkpoint valid. Formats do not notice a flipped bit;
the two digests do. Older checkpoints go only once the new one was read back.
"""

import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from w2v.errors import DataError, ResumeError, StorageError
from w2v.files import atomic_path, make_folder, sha256, unwritable, write_bytes
from w2v.reporting import Report
from w2v.states import SCHEMA, prune, sealed, tensors_of, verify

WAIT_S = 0.1


class Checkpointer:
    """A listener to reports that saves a checkpoint when it is time, and at each epoch's end.

    It copies the tensors and leaves the writing to a thread, while training goes on; a failure
    to write is raised at the next report or by `settle`.
    """

    def __init__(
        self,
        folder: Path,
        tensors: Mapping[str, Tensor],
        *,
        run: Mapping[str, object],
        every_s: float,
        keep: int,
        saved_at_s: float = 0.0,
        first: Callable[[], None] = lambda: None,
        about: Callable[[Report], Mapping[str, object]] = lambda report: {},
        writes: bool = True,
    ) -> None:
        """Args: the run's `checkpoints/`; the live tensors; whose they are; how often; how many.

        `saved_at_s` is when the last one was saved, in seconds of the run; `first` puts on disk
        what a checkpoint takes for granted: the lines of the log up to its step; `about` tells,
        with all processes, what more belongs to a report. Of several processes one `writes`.
        """
        self._first, self._about, self._writes = first, about, writes
        self._folder, self._tensors, self._run, self._keep = folder, tensors, run, keep
        self._every_s, self._saved_at_s = every_s, saved_at_s
        self._step: int | None = None  # that was saved last
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="w2v-checkpoints")
        self._written: Future[None] | None = None

    def __call__(self, report: Report) -> None:
        """Saves if an epoch ended or `every_s` has passed.

        Raises:
            StorageError: the checkpoint before this one could not be written.
        """
        if report.epoch_ended or report.run_seconds - self._saved_at_s >= self._every_s:
            self.save(report)

    def save(self, report: Report) -> None:
        """Saves what the report tells of. Raises `StorageError` as a call does.

        A step is saved once: between the renames of its two files an older pair would be damaged.
        """
        self.settle()
        if report.step == self._step:
            return
        self._step, self._saved_at_s = report.step, report.run_seconds
        told = {**self._run, **self._about(report)}
        if not self._writes:
            return
        tensors = {
            name: tensor.detach().to("cpu", copy=True) for name, tensor in self._tensors.items()
        }
        self._written = self._writer.submit(self._write, tensors, told, report)

    def settle(self) -> None:
        """Waits until the last checkpoint is on disk.

        Raises:
            StorageError: it could not be written.
        """
        self._wait()
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def close(self) -> None:
        """Waits for what is being written; whoever must know whether it was has settled before."""
        self._wait()
        self._writer.shutdown()

    def _wait(self) -> None:
        # Signals are handled between waits: one that another thread caught does not end a wait.
        while self._written is not None and wait([self._written], timeout=WAIT_S).not_done:
            pass

    def _write(
        self, tensors: Mapping[str, Tensor], told: Mapping[str, object], report: Report
    ) -> None:
        self._first()
        save(self._folder, tensors=tensors, run=told, report=report)
        prune(self._folder, keep=self._keep)


def save(
    folder: Path, *, tensors: Mapping[str, Tensor], run: Mapping[str, object], report: Report
) -> Path:
    """Writes the checkpoint of a report and reads it back; returns the path of its JSON.

    Args:
        folder: the run's `checkpoints/`, made where it is missing; the run folder must be there.
        tensors: tables and optimizer state, on any device.
        run: what the checkpoint belongs to, values that JSON can hold.
        report: the last one, with the place to go on from.

    Raises:
        StorageError: the folder cannot be written, or the disk gave back other bytes.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path = folder / f"step-{report.step}.json"
    tables = tensors_of(path)
    try:
        make_folder(folder, parents=False)
    except OSError as error:
        raise unwritable(folder, error) from error
    # A file takes a third of the time that bytes take.
    with atomic_path(tables, make_parents=False) as temp:
        try:
            safetensors.torch.save_file(whole, temp)
        except SafetensorError as error:
            raise unwritable(tables, _system_error(error)) from error
        digest = sha256(temp)
    about = {"schema": SCHEMA, "step": report.step, "sha256": digest, "run": dict(run)}
    told = report._asdict() | {"place": report.place._asdict()}
    write_bytes(path, sealed(about | {"report": told}), make_parents=False)
    try:
        verify(path)
    except DataError as error:
        raise StorageError(f"cannot write {path}: {error}", hint="does the disk fail?") from error
    return path


def restore(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Copies what a checkpoint holds into the live tensors.

    Raises:
        ResumeError: it cannot be read, or holds other tensors.
    """
    try:
        with safetensors.safe_open(tensors_of(path), framework="pt") as file:
            if set(file.keys()) != tensors.keys():
                raise ResumeError(f"{path} holds other tensors: {', '.join(sorted(file.keys()))}")
            for name, tensor in tensors.items():
                saved: Tensor = file.get_tensor(name)
                if (saved.shape, saved.dtype) != (tensor.shape, tensor.dtype):
                    raise ResumeError(f"{path}: {name} is of another shape or type")
                tensor.copy_(saved)
    except (SafetensorError, OSError) as error:
        raise ResumeError(f"{tensors_of(path)} is damaged: {error}") from error


def tensor(path: Path, name: str) -> Tensor:
    """One of the tensors of the checkpoint whose JSON is at `path`. Raises `ResumeError`."""
    try:
        with safetensors.safe_open(tensors_of(path), framework="pt") as file:
            found: Tensor = file.get_tensor(name)
            return found
    except (SafetensorError, OSError) as error:
        raise ResumeError(f"{tensors_of(path)} is damaged: {error}") from error


def _system_error(error: SafetensorError) -> OSError:
    """What the system said, which safetensors tells as a text."""
    number = re.search(r"\(os error ([0-9]+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))
