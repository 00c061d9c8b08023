"""How processes that each train on their share of the text come to one model: merged tables.

A group, a learner's tensors and how often rows are used enter; the tables change in place. Each
process trains alone for `sync_words` words, then all meet. The most frequent rows are merged each
time, twice as many every second time, and so on: all rows every 16th time, and at an
epoch's end. Words are numbered by frequency, so that "the most frequent" are the first rows. Only
rows that changed anywhere travel, or were surely used. Between two processes training goes on while
they do, but for the merges of all rows: what the other did then arrives at the next meeting.

A row that was R after its last merge is now R + d_p in process p. If each process used it seldom,
one with all the text would have added up the d_p. If each used it so often that it has come to
rest, all d_p lead to the same place and their sum N times as far: it would swing to and fro, and
with many processes training diverges. A use moves a row by the share h = rate * CURVATURE of what
is left of its way, n uses by s = 1 - (1 - h)^n, so the sum goes N s of the way. It is shortened
where that is beyond FARTHEST, which leaves it to swing and settle:

    R + g * sum of d_p,    g = min(1, FARTHEST / (N s))

Shortening more, to the mean (g = 1/N) or to what one process after the other would have done, costs
quality: a row is at rest along a few directions only, along the others its steps still add up. The
learning rate stays what it is for one process. What an optimizer sums, as Adagrad does, is added
up; moments are averaged. Results follow from the seed and the number of processes alone, if the
kernel's do: merges happen at places in the text, never at times.

Alone, `NoMerging` takes the place of all this. Legend: V = words, N = processes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Protocol

import torch
from torch import Tensor

from w2v.group import Group
from w2v.meetings import NO_USES, Heard, Meetings, MergedRows, Numbers
from w2v.vocab import UNK_ID

CURVATURE = 0.75  # sigma' * |row|^2 of a trained row, about: .15 * 5
MOST_REST = 0.999  # of a row's way in one use: where it has come to rest at once
FARTHEST = 1.75  # of a row's way in one merge; at 2 it swings for ever
STATE = "optimizer."  # begins the names of an optimizer's tensors
SQUARES = "_exp_avg_sq"  # ends the names of Adam's averages of squares


class Merging(Protocol):
    """When processes meet, and what they do then."""

    met: int  # how often, in this epoch
    ends: Sequence[float]  # shares that every process passes, though its last text had no step

    def begin(self, met: int) -> None:
        """Begins an epoch, or goes on with one after so many meetings."""

    def due(self, share: float) -> Iterator[bool]:
        """Meetings that are due once a share of the epoch is passed: whether all rows are merged.

        The end of an epoch, where all rows are merged, is none of them.
        """

    def place(self, share: float) -> float:
        """The share of the epoch that a meeting stands for, the same in all processes."""

    def merge(self, lr: float, *, whole: bool) -> None:
        """Merges rows; alone, nothing."""

    def rebase(self) -> None:
        """Takes the tables, which are now the same in all processes, for merged."""

    def hear(self, *, signal: int, is_late: bool) -> Heard:
        """Tells the others of a signal; asks whether it is time."""

    def told(self, *, sums: Numbers, first: Numbers) -> list[float]:
        """The sums over all processes, then the first one's numbers."""


class NoMerging:
    """Of one process: a meeting after every step, at which nothing is to be done."""

    met = 0
    ends: Sequence[float] = ()

    def begin(self, met: int) -> None:
        """Nothing is counted."""

    def due(self, share: float) -> Iterator[bool]:
        """Now."""
        yield True

    def place(self, share: float) -> float:
        """What is passed."""
        return share

    def merge(self, lr: float, *, whole: bool) -> None:
        """The tables are one."""

    def rebase(self) -> None:
        """Nothing is kept."""

    def hear(self, *, signal: int, is_late: bool) -> Heard:
        """What it knows itself."""
        return Heard(signal, is_late)

    def told(self, *, sums: Numbers, first: Numbers) -> list[float]:
        """The numbers."""
        return [float(number) for number in (*sums, *first)]


def blend(uses: Tensor, rate: Tensor, size: int) -> Tensor:
    """The weight g of the summed steps of `size` processes, each with so many uses of a row."""
    use = (rate * CURVATURE).clamp(max=MOST_REST)
    passed = -torch.expm1(uses * torch.log1p(-use))
    return (FARTHEST / (size * passed)).clamp(max=1.0)


def make_merging(
    group: Group,
    tensors: Mapping[str, Tensor],
    *,
    words: float,
    sync_words: int,
    step_words: int,
    rates: Callable[[float, Mapping[str, Tensor]], tuple[Tensor, Tensor]],
    uses: tuple[Tensor, Tensor],
    sums: bool,
    is_still: Callable[[], bool],
) -> Merging:
    """How the processes of a group come to one model.

    Args:
        group: the processes.
        tensors: what is to be merged: "center", "context" and the optimizer's; none where all
            processes take the same steps.
        words: of each process's text, on average.
        sync_words: of these between two meetings, about.
        step_words: of these that a kernel may train on before it can meet.
        rates: the rate of each row of both tables (V,), or of any row, at a learning rate and
            with these tensors of the optimizer.
        uses: of each row of both tables (V,) in an epoch, by all processes.
        sums: the optimizer's tensors add up what each process saw; else they are averages.
        is_still: whether nobody trains while tables are merged.
    """
    size = group.world.size
    if size == 1:
        return NoMerging()
    per_epoch = max(1, round(words / sync_words))
    interval = max(1 / per_epoch, min(1.0, step_words / words)) / size
    uses_V = [of_V.cpu() * interval for of_V in uses]

    def of_table(at: int) -> Callable[[float, Tensor], Tensor]:
        def weight(lr: float, waited_V: Tensor) -> Tensor:
            # Those of the last merge: all processes must find the same weight.
            state = {name.removeprefix(STATE): part.base for name, part in parts.items()}
            rate = rates(lr, state)[at].cpu()
            rate = rate[: len(waited_V)] if rate.dim() else rate
            return blend(uses_V[at][: len(waited_V)] * waited_V, rate, size)

        return weight

    def of_state(lr: float, waited_V: Tensor) -> Tensor:
        return torch.full_like(waited_V, 1.0 if sums else 1.0 / size)

    weights = {"center": of_table(0), "context": of_table(1)}
    squares = [name for name in tensors if name.endswith(SQUARES)]
    parts = {
        name: MergedRows(
            values, values.clone(), weights.get(name, of_state), 0.0 if name in squares else -inf
        )
        for name, values in tensors.items()
    }
    least_V = NO_USES
    if parts:
        least_V = torch.minimum(*uses_V)
        group.spread(least_V)  # what is sent must not hang on how a host rounds
        least_V[UNK_ID] = torch.inf  # never used, and the first: it goes with those behind it
    return Meetings(group, per_epoch=per_epoch, parts=parts, uses_V=least_V, is_still=is_still)
