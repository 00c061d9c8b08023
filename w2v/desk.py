"""The desk of the process that writes: its run folder, while training goes on.

A `Run`, its lock and a learner enter; the files of the run folder leave. Of several processes the
first one has a desk. `record` has what the files tell.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

from w2v import locks
from w2v.learner import Learner
from w2v.leaving import resumable
from w2v.record import Run, finish_run, open_run
from w2v.reporting import Listener, LossWatch, MetricsLog, Report
from w2v.resume import Saved
from w2v.states import complete


class Desk:
    """An open run folder."""

    def __init__(
        self, run: Run, lock: locks.Lock, saved: Saved | None, *, at_the_end: ExitStack
    ) -> None:
        """Opens the folder, for a new run or to go on from `saved`; `at_the_end` closes it."""
        self._run, self._lock, self._saved = run, lock, saved
        last = None if saved is None else saved.state.report
        self._metrics = MetricsLog(at_the_end.enter_context(open_run(run, saved)), after=last)
        at_the_end.callback(self._metrics.close)
        at_the_end.enter_context(going_on(run))  # older checkpoints are gone

    @property
    def listeners(self) -> Sequence[Listener]:
        """Those that every run has: who looks after the folder, the log, and the loss."""
        return FolderWatch(self._lock), self._metrics, LossWatch()

    def settle(self) -> None:
        """Puts on disk what a checkpoint takes for granted. Raises `StorageError`."""
        self._lock.require_ours()
        self._metrics.sync()

    def finish(self, learner: Learner, last: Report) -> None:
        """Writes the finished run. Raises `StorageError`."""
        finish_run(
            self._run,
            learner,
            last,
            metrics=self._metrics.path,
            saved=self._saved,
            first=self._lock.require_ours,
        )


class FolderWatch:
    """Ends training soon where the run folder is no longer the one that was locked."""

    def __init__(self, lock: locks.Lock) -> None:
        self._lock = lock

    def __call__(self, report: Report) -> None:
        """Looks whether it is. Raises `StorageError`."""
        self._lock.require_ours()

    def close(self) -> None:
        """Nothing is held."""


def going_on(run: Run) -> AbstractContextManager[None]:
    """While it is entered, whoever ends this run is told how to go on, if a checkpoint is there."""
    return resumable(lambda: bool(complete(run.folder.checkpoints)))
