"""The record of a run: what its folder is told when it begins, goes on, and ends.

A `Run`, perhaps a checkpoint, the reports and the learner enter; files of the run folder leave.
"""

import logging
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from w2v import __version__, devices
from w2v.config import Config, dump_yaml
from w2v.encoded import Corpus
from w2v.errors import DataError
from w2v.files import make_folder, sweep_temporaries, unwritable, write_text
from w2v.group import Alone, Group
from w2v.kernels.choice import KernelChoice
from w2v.learner import Learner
from w2v.memory import Needs
from w2v.pretrained import Pretrained
from w2v.reporting import Report
from w2v.resume import Saved, identity
from w2v.rundir import METRICS, RunDir
from w2v.states import complete, drop_after, prune
from w2v.survey import Survey

ORIGIN = "init_from_vectors"  # in run.json and in checkpoints

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """What is known of a run before its first step."""

    config: Config
    folder: RunDir
    corpus: Corpus
    kernel: KernelChoice
    device: devices.Choice
    needs: Needs
    started_at: datetime
    prepare_s: float
    force: bool  # it may replace a finished run, or start one over
    resume: bool  # it goes on from a checkpoint
    pretrained: Pretrained | None  # what it starts from, or started from
    group: Group = Alone()

    @property
    def survey(self) -> Survey:
        """What it starts from."""
        return Survey(self.corpus, self.kernel, self.device, self.needs)

    def identity(self) -> dict[str, Any]:
        """What must be the same where it goes on from a checkpoint."""
        return identity(
            self.config,
            corpus=self.corpus,
            kernel=self.kernel.name,
            device=self.device.device.type,
            init_from=None if self.pretrained is None else self.pretrained.told.digest(),
        )

    def origin(self) -> dict[str, Any]:
        """What is told of the vectors that it started from."""
        return {} if self.pretrained is None else {ORIGIN: self.pretrained.told._asdict()}

    def history(self, saved: Saved | None) -> dict[str, Any]:
        """When it began, and at which steps it was gone on with."""
        if saved is None:
            return {"started_at": self.started_at.isoformat(), "resumed_at_steps": []}
        before = saved.state.run
        steps = [*before.get("resumed_at_steps", []), saved.state.step]
        return {"started_at": before.get("started_at"), "resumed_at_steps": steps}


@contextmanager
def open_run(run: Run, saved: Saved | None = None) -> Iterator[Path]:
    """Makes the folder ready, says in it what is going on, and yields the place for metrics.

    What an earlier, unfinished attempt left goes, unless this is its continuation from `saved`. A
    finished run that is to be replaced keeps its files, checkpoints aside, until `finish_run` puts
    all the new ones in their place.
    """
    run_dir, folder = run.folder, run.folder.checkpoints
    replacing = run_dir.holds_finished()
    if saved is None:
        _start_over(run_dir, replacing=replacing)
    else:
        drop_after(folder, step=saved.state.step)
        sweep_temporaries(run_dir.path)
    if replacing:
        try:
            make_folder(folder, parents=False)
        except OSError as error:
            raise unwritable(folder, error) from error
        yield folder / METRICS
        return
    run_dir.write_started(describe(run, saved))
    write_text(run_dir.config, dump_yaml(run.config))
    try:
        yield run_dir.metrics
    except DataError:
        if not complete(folder):  # nothing was trained
            run_dir.clear()
        raise


def finish_run(
    run: Run,
    learner: Learner,
    last: Report,
    *,
    metrics: Path,
    saved: Saved | None = None,
    first: Callable[[], None] = lambda: None,
) -> None:
    """Writes config, metrics, words, vectors and run.json, which makes the run finished.

    `first` is called before anything is written, and again before files are renamed.
    """
    train_s, raw_words = last.run_seconds, last.epoch * run.corpus.raw_words
    outcome = {
        "steps": last.step,
        "loss": last.loss,
        "heldout_loss": last.heldout_loss,
        "prepare_s": round(run.prepare_s, 3),
        "train_s": round(train_s, 3),
        "words_per_s": round(raw_words / train_s),
        "centers_per_s": round(last.place.earlier_centers / train_s),
    }
    try:
        told = metrics.read_bytes()
    except OSError as error:
        raise unwritable(run.folder.path, error) from error
    run.folder.write_finished(
        describe(run, saved) | outcome,
        vocab=run.corpus.vocab,
        center_VD=learner.model.center.weight.detach().cpu().contiguous().numpy(),
        context_VD=learner.model.context.weight.detach().cpu().contiguous().numpy(),
        dropped=run.corpus.dropped,
        others={
            run.folder.config: dump_yaml(run.config).encode(),
            run.folder.metrics: told,
        },
        first=first,
    )
    if metrics != run.folder.metrics:
        metrics.unlink(missing_ok=True)


def describe(run: Run, saved: Saved | None = None) -> dict[str, object]:
    """What run.json tells of a run, finished or not."""
    config, corpus = run.config, run.corpus
    return (
        run.history(saved)
        | run.origin()
        | surroundings()
        | {
            "command": sys.argv,
            "machine": f"{platform.system()} {platform.machine()}",
            "kernel": run.kernel.name,
            "kernel_reason": run.kernel.reason,
            "device": str(run.device.device),
            "device_reason": run.device.reason,
            "seed": config.train.seed,
            "epochs": config.train.epochs,
            "min_count": config.vocab.min_count,
            "corpus": {
                "name": config.corpus.name,
                "digest": corpus.digest,
                "raw_words": corpus.raw_words,
                "words": len(corpus.train.ids_N),
                "sentences": len(corpus.train.offsets_S) - 1,
            },
            "vocab_size": len(corpus.vocab),
            "dim": config.model.dim,
            "processes": run.group.world.size,
        }
    )


def surroundings() -> dict[str, Any]:
    """What the last bits of a run's numbers depend on, beside the run itself."""
    versions = {
        "w2v": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "numba": version("numba"),  # not imported: only one kernel needs it
    }
    return {"versions": versions, "threads": torch.get_num_threads()}


def _start_over(run_dir: RunDir, *, replacing: bool) -> None:
    """Removes what earlier attempts left, but for a finished run's files."""
    states = complete(run_dir.checkpoints)
    if replacing:
        log.info("the vectors in %s stay until this run ends; checkpoints go", run_dir.path)
    elif states:
        log.warning("starting over in %s: %s and older go", run_dir.path, states[-1].name)
    prune(run_dir.checkpoints, keep=0)
    with suppress(FileNotFoundError, NotADirectoryError):
        (run_dir.checkpoints / METRICS).unlink()
    if replacing:
        sweep_temporaries(run_dir.path)
    else:
        run_dir.clear()
