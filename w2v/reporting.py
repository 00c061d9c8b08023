"""What a run says of itself: the reports of the training loop, and who listens to them.

`loop.reports` yields `Report`s; here they become a progress bar (or a line now and then) on
stderr and lines of `metrics.jsonl`. A listener is called with each report, in order, and closed.

Units: words are raw words of the corpus, before vocabulary and subsampling; centers are the
words trained as centers. The loss is `model.masked_bce` averaged over the centers of the epoch.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from operator import index
from pathlib import Path
from typing import NamedTuple, Protocol

from tqdm import tqdm

from w2v.files import fsync_folder, unwritable, write_bytes

QUIET_LINE_EVERY_S = 10.0  # where there is no terminal to draw a bar on
LOSS_FACTOR, LOSS_STEPS = 3, 1000  # a loss so far above the first one, for so many steps, is told

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where a run goes on: all that it must know beside the tables and the optimizer's state.

    Numbers alone, which JSON keeps exactly; what is random follows from the place.
    """

    epoch: int  # that is passed, from 1
    spans: int  # of its order that are done
    steps: int  # of the span after them that are done
    step: int  # updates since training began, of all processes
    loss_sum: float  # over the centers of this epoch so far
    centers: int
    earlier_centers: int  # of the epochs before
    seconds: float  # in this epoch
    run_seconds: float  # since training began; pauses are not counted


BEGINNING = Place(1, 0, 0, 0, 0.0, 0, 0, 0.0, 0.0)


class Report(NamedTuple):
    """Where training stands; counts and loss are of this epoch alone."""

    epoch: int  # from 1
    step: int  # what kernels took as one since training began; on a GPU many updates
    words: int  # raw words passed
    centers: int
    loss: float  # mean over this epoch's centers so far
    heldout_loss: float | None  # at an epoch's end, where there is held-out text
    lr: float
    seconds: float  # since the epoch began
    run_seconds: float  # since training began
    done: float  # share of the whole run, 0 to 1
    epoch_ended: bool
    place: Place = BEGINNING  # where a run that ends now goes on

    @property
    def words_per_s(self) -> float:
        """Raw words a second in this epoch."""
        return self.words / max(self.seconds, 1e-9)

    @property
    def centers_per_s(self) -> float:
        """Centers a second in this epoch."""
        return self.centers / max(self.seconds, 1e-9)

    @property
    def remaining_s(self) -> float:
        """Seconds until the run ends, at the rate so far."""
        return self.run_seconds * (1 / max(self.done, 1e-9) - 1)


class Listener(Protocol):
    """Somebody who wants to know."""

    def __call__(self, report: Report) -> None:
        """Takes one report."""

    def close(self) -> None:
        """Is told that no more will come."""


def describe(report: Report) -> str:
    """One line for people."""
    heldout = "" if report.heldout_loss is None else f", held-out {report.heldout_loss:.4f}"
    return (
        f"epoch {report.epoch}: loss {report.loss:.4f}{heldout}, "
        f"{report.centers_per_s:,.0f} centers/s, {report.words_per_s:,.0f} words/s"
    )


class ProgressBar:
    """A bar on a terminal, with loss, rates and the time left; one line an epoch stays."""

    def __init__(self) -> None:
        self._bar = tqdm(total=1.0, bar_format="{percentage:3.0f}%|{bar}| {desc}", leave=False)

    def __call__(self, report: Report) -> None:
        """Moves the bar."""
        if report.epoch_ended:
            with suppress(OSError):  # the terminal is gone; the bar itself knows of that
                self._bar.write(describe(report), file=sys.stderr)
        text = f"{describe(report)}, {report.remaining_s:,.0f} s left"
        self._bar.set_description_str(text, refresh=False)
        self._bar.n = report.done
        self._bar.refresh()

    def close(self) -> None:
        """Takes the bar away."""
        self._bar.close()


class ProgressLines:
    """Where no terminal is: a line at the end of each epoch, and every 10 s within long ones."""

    def __init__(self, *, every_s: float = QUIET_LINE_EVERY_S) -> None:
        self._every_s, self._spoke_at_s = every_s, 0.0

    def __call__(self, report: Report) -> None:
        """Logs the report if it is time to."""
        if report.epoch_ended:
            log.info(describe(report))
        elif report.run_seconds - self._spoke_at_s >= self._every_s:
            log.info("%s, %.0f s left", describe(report), report.remaining_s)
        else:
            return
        self._spoke_at_s = report.run_seconds

    def close(self) -> None:
        """Nothing is held."""


class LossWatch:
    """Warns, once, where the loss has long been far above what it was at the start.

    The tables are finite then, yet training has gone wrong, and the end is near.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._high_since: int | None = None  # the step
        self._warned = False

    def __call__(self, report: Report) -> None:
        """Compares the loss with the first one."""
        if self._first is None:
            self._first = report.loss
        if report.loss <= LOSS_FACTOR * self._first:
            self._high_since = None
        elif self._high_since is None:
            self._high_since = report.step
        elif report.step - self._high_since >= LOSS_STEPS and not self._warned:
            self._warned = True
            log.warning(
                "the loss is %.3g, it began with %.3g: lower train.lr?", report.loss, self._first
            )

    def close(self) -> None:
        """Nothing is held."""


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, for the end of each epoch and steps between.

    It is the one file that grows in place, each line flushed at once, so that a run that is
    killed leaves all it had found out; `sync` makes it outlast a power cut.
    """

    def __init__(self, path: Path, *, after: Report | None = None) -> None:
        """Begins the file anew, or goes on with the lines up to the report `after`."""
        self.path = path
        if after is not None:
            write_bytes(path, b"".join(_lines_until(path, after)))
        try:
            self._file = path.open("wb" if after is None else "ab", buffering=0)
            fsync_folder(path.parent)  # or `sync` would keep lines of a file without a name
        except OSError as error:
            raise unwritable(path, error) from error

    def __call__(self, report: Report) -> None:
        """Appends the report."""
        values: dict[str, object] = {"event": "epoch" if report.epoch_ended else "progress"}
        values |= {name: getattr(report, name) for name in ("epoch", "step", "loss")}
        if report.epoch_ended:
            values["heldout_loss"] = report.heldout_loss
        values |= {name: getattr(report, name) for name in ("centers", "words", "lr")}
        values["seconds"] = round(report.seconds, 3)
        try:
            self._file.write(json.dumps(values, allow_nan=False).encode() + b"\n")
        except OSError as error:
            raise unwritable(self.path, error) from error

    def sync(self) -> None:
        """Waits until the lines are on disk.

        Raises:
            StorageError: they cannot be written.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _lines_until(path: Path, last: Report) -> Iterator[bytes]:
    """The lines of a metrics file up to a report, or to one that a crash cut short or damaged."""
    data = path.read_bytes() if path.exists() else b""
    for line in data.splitlines(keepends=True):
        try:
            values = json.loads(line)
            at = (index(values["step"]), values["event"] == "epoch")
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if not line.endswith(b"\n") or at > (last.step, last.epoch_ended):
            return
        yield line


def progress_listener() -> Listener:
    """The bar where stderr is a terminal, else lines."""
    return ProgressBar() if sys.stderr.isatty() else ProgressLines()
