"""The loss of a run, read back from its `metrics.jsonl`.

A run folder enters, finished or not, and a `Curve` leaves; `reporting` wrote the lines. Without
torch.

Legend: P = reports within epochs, E = epochs that ended.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from w2v.errors import DataError
from w2v.files import unreadable
from w2v.rundir import RunDir

log = logging.getLogger(__name__)


class Point(NamedTuple):
    """One report: where in training it was made, and what it said."""

    epoch: float  # epochs passed, such as 1.5 in the middle of the second one
    loss: float  # mean over this epoch's centers so far
    ended: bool  # an epoch has
    heldout_loss: float | None  # at an epoch's end, where there is held-out text


class Curve(NamedTuple):
    """How the loss of a run fell."""

    name: str
    points: tuple[Point, ...]  # P + E of them, in the order of training

    @property
    def ends(self) -> list[Point]:
        """The reports at the ends of epochs."""
        return [point for point in self.points if point.ended]

    @property
    def heldout(self) -> list[Point]:
        """The reports that have a held-out loss."""
        return [point for point in self.points if point.heldout_loss is not None]


def read_curve(run: RunDir, *, name: str) -> Curve:
    """The loss of a run that has ended, was stopped, or is under way.

    A last line without an end, which a crash may leave, is passed over with a warning.

    Raises:
        DataError: it is no run folder, it has no report, or a line is damaged.
        StorageError: the file cannot be read.
    """
    raw_words = _raw_words(run)
    try:
        data = run.metrics.read_bytes()
    except OSError as error:
        raise unreadable(run.metrics, error) from error
    *lines, rest = data.split(b"\n")
    if rest:
        log.warning("%s: the last line is cut short, and left out", run.metrics)
    points = []
    for number, line in enumerate(lines, start=1):
        try:
            points.append(_point(json.loads(line), raw_words=raw_words))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise DataError(
                f"{run.metrics}: line {number} is damaged: {reason}",
                hint="each line is a JSON object that training wrote; train the run again",
            ) from error
    if not points:
        raise DataError(f"{run.metrics} holds no report yet", hint="the first one takes a moment")
    return Curve(name, tuple(points))


def _raw_words(run: RunDir) -> int:
    """The words of an epoch."""
    corpus = run.read_info().get("corpus")
    words = corpus.get("raw_words") if isinstance(corpus, dict) else None
    if not isinstance(words, int) or words < 1:
        raise DataError(f"{run.info} is damaged: corpus.raw_words is {words!r}")
    return words


def _point(values: Any, *, raw_words: int) -> Point:
    """A report; what is wrong with it is a ValueError, KeyError or TypeError."""
    if not isinstance(values, dict):
        raise TypeError(f"it is no object but {values!r:.40}")
    if values["event"] not in ("epoch", "progress"):
        raise ValueError(f"event is {values['event']!r:.40}")
    epoch, words, loss = _numbers(values, "epoch", "words", "loss")
    heldout = None
    if values.get("heldout_loss") is not None:
        (heldout,) = _numbers(values, "heldout_loss")
    return Point(epoch - 1 + words / raw_words, loss, values["event"] == "epoch", heldout)


def _numbers(values: Mapping[str, Any], *keys: str) -> Iterator[float]:
    for key in keys:
        value = values[key]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ValueError(f"{key} is {value!r:.40}, not a finite number")
        yield float(value)
