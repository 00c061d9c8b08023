"""Training from end to end: a config enters, a finished run folder leaves.

    source -> corpus -> learner -> reports -> metrics, checkpoints -> vectors

`prepare_run` checks all that can fail before time is spent, `execute` trains and writes.
"""

import logging
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from pathlib import Path

from w2v import checkpoints, locks, pretrained
from w2v.config import Config
from w2v.configfile import load_config
from w2v.devices import cpu_threads
from w2v.errors import StoppedError
from w2v.learner import FROZEN_TENSORS, Learner, make_learner
from w2v.leaving import Wish, resumable
from w2v.loop import reports
from w2v.memory import memory_errors, require_memory
from w2v.model import KnownRows
from w2v.preflight import require_writable
from w2v.record import ORIGIN, Run, finish_run, open_run, surroundings
from w2v.reporting import BEGINNING, Listener, LossWatch, MetricsLog, Report
from w2v.restraints import Frozen, frozen_rows
from w2v.resume import Saved, changed, is_complete, newest, require_none, require_same
from w2v.resume import settings as settings_of
from w2v.rundir import RunDir
from w2v.runs import run_of
from w2v.sources import data_folder
from w2v.states import complete
from w2v.survey import survey

log = logging.getLogger(__name__)


def train(
    config: Config | str | Path,
    *,
    run: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
) -> RunDir:
    """Trains from Python as `w2v train` does; this is the public `w2v.train`.

    Args:
        config: a `Config`, or what `w2v train --config` takes.
        run: the run folder; by default that of the config, else `runs/` and the config's name.
        force: replace a finished run, or start an unfinished one over.
        resume: go on from the newest checkpoint in the run folder; a finished run stays.

    Raises:
        W2VError: as `prepare_run` and `execute` say.
    """
    if isinstance(config, Config):
        settings, path = config, Path("python")
    else:
        loaded = load_config(str(config))
        settings, path = loaded.config, loaded.path
    folder = RunDir(Path(run)) if run else run_of(settings, path)
    prepared = prepare_run(
        settings, folder.path, data_folder=data_folder(), force=force, resume=resume
    )
    return folder if prepared is None else execute(prepared)


def prepare_run(
    config: Config,
    folder: Path,
    *,
    data_folder: Path,
    force: bool,
    resume: bool = False,
    download_progress: Callable[[int, int | None], None] | None = None,
) -> Run | None:
    """Checks all that can fail before training, the cheap first, and opens the corpus.

    Returns None where nothing is left to do: with `resume`, the run is already complete.

    Raises:
        ConfigError: the device is not to be had here; `model.init_from` has another dimension.
        StorageError: `folder` holds a run, finished or with a checkpoint, and neither `force` nor
            `resume` is set; it is not writable, or in use; a GPU has no room for the tables.
        ResumeError: with `resume`, no checkpoint of this run is there.
        DownloadError, DataError: the corpus, `model.init_from`; with `resume`, a damaged file of a
            finished run.
    """
    started_at, started = datetime.now(UTC), time.perf_counter()
    run_dir = RunDir(folder)
    if resume and is_complete(run_dir, config):
        log.info("the run in %s is already complete", folder)
        return None
    locks.require_free(folder)
    saved = newest(run_dir.checkpoints) if resume else None
    if saved is not None:
        require_same(saved, {"settings": settings_of(config)})
    else:
        require_place(run_dir, force=force)
        if config.model.init_from is not None:
            pretrained.require_fit(config.model.init_from, dim=config.model.dim)
    require_writable(folder)
    found = survey(config, data_folder=data_folder, download_progress=download_progress)
    require_memory(found.needs, found.device.device)
    told = None if saved is None else saved.state.run.get(ORIGIN)
    start = pretrained.start(config.model, found.corpus.vocab, told=told)
    prepare_s = time.perf_counter() - started
    return Run(config, run_dir, *found, started_at, prepare_s, force, resume, start)


def execute(run: Run, *, listeners: Sequence[Listener] = (), wish: Wish | None = None) -> RunDir:
    """Trains and leaves a finished run folder.

    Args:
        run: what `prepare_run` found.
        listeners: who wants the reports.
        wish: who may want training to end early.

    Raises:
        DataError: no pair to train on.
        StorageError: out of memory, or the folder cannot be written or is in use.
        DivergedError: loss or tables became NaN or infinite; earlier checkpoints stay.
        ResumeError: the checkpoint to go on from is gone, damaged or another run's.
        StoppedError: `wish` came true, and all that was done is saved.
    """
    config, wish = run.config, Wish() if wish is None else wish
    with (
        locks.held(run.folder.path) as lock,
        cpu_threads(config.train.threads),
        memory_errors(run.needs, run.device.device),
        ExitStack() as at_the_end,
    ):
        saved = _checkpoint(run)
        if saved is not None:
            at_the_end.enter_context(_resumable(run))
        started = time.perf_counter()
        known = None if run.pretrained is None else run.pretrained.take()
        learner = make_learner(
            run.corpus,
            model=config.model,
            sampling=config.sampling,
            train=config.train,
            kernel=run.kernel.kernel,
            device=run.device.device,
            known=known,
            frozen=_frozen(run, known, saved),
        )  # a kernel may have to be compiled first
        if saved is not None:
            checkpoints.restore(saved.path, learner.tensors())
        run = run._replace(prepare_s=run.prepare_s + time.perf_counter() - started)
        last = None if saved is None else saved.state.report
        metrics = MetricsLog(at_the_end.enter_context(open_run(run, saved)), after=last)
        at_the_end.enter_context(_resumable(run))  # older checkpoints are gone
        checkpointer = _checkpointer(run, learner, saved, lock=lock, metrics=metrics)
        watch: Listener = FolderWatch(lock)
        everyone = (watch, metrics, *listeners, LossWatch(), checkpointer)
        for listener in everyone:
            at_the_end.callback(listener.close)
        last = _train(run, learner, everyone, checkpointer=checkpointer, last=last, wish=wish)
        checkpointer.settle()
        finish_run(run, learner, last, metrics=metrics.path, saved=saved, first=lock.require_ours)
    return run.folder


class FolderWatch:
    """Ends training soon where the run folder is no longer the one that was locked."""

    def __init__(self, lock: locks.Lock) -> None:
        self._lock = lock

    def __call__(self, report: Report) -> None:
        """Looks whether it is. Raises `StorageError`."""
        self._lock.require_ours()

    def close(self) -> None:
        """Nothing is held."""


def require_place(run_dir: RunDir, *, force: bool) -> None:
    """Refuses to train over a run, finished or not, that somebody may want, unless `force`."""
    run_dir.require_free(force=force)
    if not force:
        require_none(run_dir)


def _checkpoint(run: Run) -> Saved | None:
    """What to go on from; looked at again now that nobody else can write here."""
    if not run.resume:
        require_place(run.folder, force=run.force)
        return None
    saved = newest(run.folder.checkpoints)
    require_same(saved, run.identity())
    if saved.passed_over:
        name = saved.path.name
        log.warning("%s; going on from the one before, %s", saved.passed_over, name)
    log.info("going on from %s", saved.path)
    if changes := changed(saved, surroundings()):
        log.warning("the bytes may differ from those of a run that never stopped: %s", changes)
    return saved


def _frozen(run: Run, known: KnownRows | None, saved: Saved | None) -> Frozen | None:
    """The rows that stay; of a run that goes on, as its checkpoint has them."""
    freeze = run.config.model.freeze
    if saved is not None and freeze != "none":
        return Frozen(*(checkpoints.tensor(saved.path, name) for name in FROZEN_TENSORS))
    if known is None:
        return None
    return frozen_rows(freeze, known, vocab_size=len(run.corpus.vocab))


def _resumable(run: Run) -> AbstractContextManager[None]:
    """While it is entered, whoever ends this run is told how to go on, if a checkpoint is there."""
    return resumable(lambda: bool(complete(run.folder.checkpoints)))


def _checkpointer(
    run: Run, learner: Learner, saved: Saved | None, *, lock: locks.Lock, metrics: MetricsLog
) -> checkpoints.Checkpointer:
    def first() -> None:
        lock.require_ours()
        metrics.sync()

    return checkpoints.Checkpointer(
        run.folder.checkpoints,
        learner.tensors(),
        run=run.identity() | run.history(saved) | run.origin() | surroundings(),
        every_s=run.config.output.checkpoint_every_s,
        keep=run.config.output.keep_checkpoints,
        saved_at_s=0.0 if saved is None else saved.state.report.run_seconds,
        first=first,
    )


def _train(
    run: Run,
    learner: Learner,
    listeners: Sequence[Listener],
    *,
    checkpointer: checkpoints.Checkpointer,
    last: Report | None,
    wish: Wish,
) -> Report:
    """Trains to the end, or as long as nobody wishes otherwise; returns the last report."""
    start = BEGINNING if last is None else last.place
    with wish.heeded():
        for report in reports(
            learner, run.corpus, run.config.train, start=start, asked=lambda: bool(wish)
        ):
            last = report
            for listener in listeners:
                listener(report)
            if wish:
                break
        else:
            if last is None:
                raise AssertionError("there is at least one epoch")
            return last
        checkpointer.save(last)
        checkpointer.settle()
    by = signal.Signals(wish.signal or signal.SIGTERM)
    where = f"at step {last.step}, which is saved in {run.folder.checkpoints}"
    raise StoppedError(by, f"ended by {by.name} {where}")
