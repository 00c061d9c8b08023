"""Training from end to end: a config enters, a finished run folder leaves.

    source -> corpus -> learner -> reports -> metrics, checkpoints -> vectors

`prepare_run` checks all that can fail before time is spent, `execute` trains and writes.
"""

import logging
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import torch

from w2v import checkpoints, locks, pretrained
from w2v.accord import agree, decided, require_alike
from w2v.config import Config
from w2v.configfile import load_config
from w2v.desk import Desk, going_on
from w2v.devices import cpu_threads
from w2v.errors import ConfigError, DataError, DivergedError, StoppedError
from w2v.group import Alone, Group
from w2v.learner import FROZEN_TENSORS, Learner, make_learner
from w2v.leaving import Wish
from w2v.loop import reports
from w2v.meetings import CHUNK_ROWS
from w2v.memory import memory_errors, require_memory
from w2v.model import KnownRows
from w2v.outlook import Outlook, look, require_place
from w2v.positions import Start, starts, told
from w2v.pretrained import Pretrained
from w2v.record import Run, surroundings
from w2v.reporting import Listener, Place, Report
from w2v.restraints import Frozen, frozen_rows
from w2v.resume import (
    Saved,
    changed,
    common_settings,
    newest,
    require_same,
)
from w2v.rundir import RunDir
from w2v.runs import run_of
from w2v.sources import data_folder
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
    group: Group | None = None,
) -> Run | None:
    """Checks all that can fail before training, the cheap first, and opens the corpus.

    Of several processes the first one looks at the run folder; what it finds, all go by.

    Returns None where nothing is left to do: with `resume`, the run is already complete.

    Raises:
        ConfigError: the device is not to be had here; `model.init_from` has another dimension;
            processes have different settings.
        StorageError: `folder` holds a run, finished or with a checkpoint, and neither `force` nor
            `resume` is set; it is not writable, or in use; a GPU has no room for the tables.
        ResumeError: with `resume`, no checkpoint of this run is there.
        DownloadError, DataError: the corpus, `model.init_from`; with `resume`, a damaged file of a
            finished run.
        PeerError: another process stopped.
    """
    started_at, started = datetime.now(UTC), time.perf_counter()
    group = group or Alone()
    run_dir = RunDir(folder)
    require_alike(
        group,
        common_settings(config) | surroundings()["versions"],
        error=ConfigError,
        hint="start all processes with the same config and the same versions",
    )
    outlook = Outlook(*decided(group, lambda: look(run_dir, config, group.world, force, resume)))
    if outlook.is_complete:
        log.info("the run in %s is already complete", folder)
        return None
    found = survey(
        config, data_folder=data_folder, download_progress=download_progress, group=group
    )

    def begin() -> Pretrained | None:
        require_memory(found.needs, found.device.device)
        return pretrained.start(config.model, found.corpus.vocab, told=outlook.origin)

    start = agree(group, begin)
    prepare_s = time.perf_counter() - started
    goes_on = outlook.goes_on
    return Run(config, run_dir, *found, started_at, prepare_s, force, goes_on, start, group)


def execute(run: Run, *, listeners: Sequence[Listener] = (), wish: Wish | None = None) -> RunDir:
    """Trains and leaves a finished run folder.

    Of several processes the first one alone writes, and has listeners.

    Args:
        run: what `prepare_run` found.
        listeners: who wants the reports.
        wish: who may want training to end early.

    Raises:
        DataError: no pair to train on, or too few sentences for so many processes.
        StorageError: out of memory, or the folder cannot be written or is in use.
        DivergedError: loss or tables became NaN or infinite; earlier checkpoints stay.
        ResumeError: the checkpoint to go on from is gone, damaged or another run's.
        StoppedError: `wish` came true, and all that was done is saved.
        PeerError: another process stopped.
    """
    config, group, wish = run.config, run.group, Wish() if wish is None else wish
    writes = group.world.is_first
    group.hurry(config.distributed.timeout_s)
    with (
        cpu_threads(config.train.threads, world=group.world),
        memory_errors(run.needs, run.device.device),
        ExitStack() as at_the_end,
    ):
        folder = run.folder.path
        lock = agree(
            group, lambda: at_the_end.enter_context(locks.held(folder)) if writes else None
        )
        saved = agree(group, lambda: _checkpoint(run) if writes else None)
        if saved is not None:
            at_the_end.enter_context(going_on(run))
        place, met = decided(group, lambda: starts(saved, group.world))[group.world.rank]
        start, started = Start(Place(*place), met), time.perf_counter()
        learner = _learner(run, saved)
        ready = run._replace(prepare_s=run.prepare_s + time.perf_counter() - started)
        desk = agree(group, lambda: _desk(ready, lock, saved, at_the_end))
        checkpointer = _checkpointer(ready, learner, saved, start, desk)
        everyone = [*(desk.listeners if desk else ()), *listeners, checkpointer]
        for listener in everyone:
            at_the_end.callback(listener.close)
        last = _train(ready, learner, everyone, checkpointer=checkpointer, start=start, wish=wish)
        checkpointer.settle()
        last = last or (None if saved is None else saved.state.report)
        agree(group, lambda: _finish(desk, learner, last))
    return run.folder


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


def _learner(run: Run, saved: Saved | None) -> Learner:
    """What is trained, as it was when the run stopped; the same in all processes.

    Raises:
        W2VError: as `execute` says, of this process or another.
    """
    config, group = run.config, run.group
    known = agree(group, lambda: None if run.pretrained is None else run.pretrained.take())
    frozen = agree(group, lambda: _frozen(run, known, saved))
    for of_V in frozen or ():
        group.spread(of_V.view(torch.uint8))

    def made() -> Learner:
        learner = make_learner(
            run.corpus,
            model=config.model,
            sampling=config.sampling,
            train=config.train,
            kernel=run.kernel.kernel,
            device=run.device.device,
            known=known,
            frozen=frozen,
            group=group,
            distributed=config.distributed,
        )
        if saved is not None:
            checkpoints.restore(saved.path, learner.tensors())
        return learner

    learner = agree(group, made)  # a kernel may have to be compiled first
    for name, tensor in learner.tensors().items():
        if name not in FROZEN_TENSORS:
            for rows in torch.split(tensor if tensor.dim() else tensor[None], CHUNK_ROWS):
                rows.copy_(group.spread(rows.contiguous()))
    learner.merging.rebase()
    return learner


def _frozen(run: Run, known: KnownRows | None, saved: Saved | None) -> Frozen | None:
    """The rows that stay; of a run that goes on, as its checkpoint has them."""
    freeze, size = run.config.model.freeze, len(run.corpus.vocab)
    if run.resume and freeze != "none":
        if saved is None:  # the first process knows
            return Frozen(torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool))
        return Frozen(*(checkpoints.tensor(saved.path, name) for name in FROZEN_TENSORS))
    if known is None:
        return None
    return frozen_rows(freeze, known, vocab_size=size)


def _desk(
    run: Run, lock: locks.Lock | None, saved: Saved | None, at_the_end: ExitStack
) -> Desk | None:
    """The open run folder, in the process that has its lock."""
    return None if lock is None else Desk(run, lock, saved, at_the_end=at_the_end)


def _finish(desk: Desk | None, learner: Learner, last: Report | None) -> None:
    """Writes the finished run, in the process that has its folder."""
    if desk is not None:
        if last is None:
            raise AssertionError("there is at least one epoch")
        desk.finish(learner, last)


def _checkpointer(
    run: Run, learner: Learner, saved: Saved | None, start: Start, desk: Desk | None
) -> checkpoints.Checkpointer:
    """Who saves; of several processes the first writes, with what the others tell it."""
    return checkpoints.Checkpointer(
        run.folder.checkpoints,
        learner.tensors(),
        run=run.identity() | run.history(saved) | run.origin() | surroundings(),
        every_s=run.config.output.checkpoint_every_s,
        keep=run.config.output.keep_checkpoints,
        saved_at_s=start.place.run_seconds,
        first=desk.settle if desk else lambda: None,
        about=lambda report: told(run.group, report, met=learner.merging.met),
        writes=desk is not None,
    )


def _train(
    run: Run,
    learner: Learner,
    listeners: Sequence[Listener],
    *,
    checkpointer: checkpoints.Checkpointer,
    start: Start,
    wish: Wish,
) -> Report | None:
    """Trains to the end, or as long as nobody wishes otherwise; returns the last report, if any."""
    merging, last, number = learner.merging, None, 0

    def asked() -> int:
        return wish.signal or 0

    with wish.heeded():
        try:
            for report in reports(
                learner, run.corpus, run.config.train, start=start.place, met=start.met, asked=asked
            ):
                last = report
                for listener in listeners:
                    listener(report)
                number = merging.hear(signal=asked(), is_late=False).signal
                if number:
                    break
            else:
                return last
        except (DataError, DivergedError) as error:  # of all processes' sums: each finds it
            error.is_told = not run.group.world.is_first
            raise
        checkpointer.save(last)
        agree(run.group, checkpointer.settle)
    by = signal.Signals(number)
    where = f"at step {last.step}, which is saved in {run.folder.checkpoints}"
    stopped = StoppedError(by, f"ended by {by.name} {where}")
    stopped.is_told = not run.group.world.is_first
    raise stopped
