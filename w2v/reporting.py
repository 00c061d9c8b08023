"""What a run says of itself: the reports of the training loop, and who listens to them.

`loop.reports` yields `Report`s; here they become a progress bar (or a line now and then) on
stderr and lines of `metrics.jsonl`. A listener is called with each report, in order, and closed.

Units: words are raw words of the corpus, before vocabulary and subsampling; centers are the
words trained as centers. The loss is `model.masked_bce` averaged over the centers of the epoch.
"""

import json
import logging
import sys
from pathlib import Path
from typing import NamedTuple, Protocol

from tqdm import tqdm

from w2v.files import unwritable

QUIET_LINE_EVERY_S = 10.0  # where there is no terminal to draw a bar on

log = logging.getLogger(__name__)


class Report(NamedTuple):
    """Where training stands; counts and loss are of this epoch alone."""

    epoch: int  # from 1
    step: int  # what the kernel took as one since training began; on a GPU many updates
    words: int  # raw words passed
    centers: int
    loss: float  # mean over this epoch's centers so far
    heldout_loss: float | None  # at an epoch's end, where there is held-out text
    lr: float
    seconds: float  # since the epoch began
    run_seconds: float  # since training began
    done: float  # share of the whole run, 0 to 1
    epoch_ended: bool

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


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, for the end of each epoch and steps between.

    It is the one file that grows in place, each line flushed at once, so that a run that is
    killed leaves all it had found out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("wb", buffering=0)
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

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def progress_listener() -> Listener:
    """The bar where stderr is a terminal, else lines."""
    return ProgressBar() if sys.stderr.isatty() else ProgressLines()
