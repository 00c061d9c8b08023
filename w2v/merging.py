"""How processes that each train on their share of the text come to one model: merged tables.

A group, a learner's tensors and how often rows are used enter; the tables change in place. Each
process trains alone for `sync_words` words, then all meet. The most frequent rows are merged each
time, twice as many every second time, and so on: all rows every 2**LEVELS-th time, and at an
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

Alone, `NoMerging` takes the place of all this. Legend: V = words, D = dimension, N = processes,
U = rows that changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, inf
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from w2v.group import Group
from w2v.vocab import UNK_ID

LEVELS = 4
CURVATURE = 0.75  # sigma' * |row|^2 of a trained row, about: .15 * 5
MOST_REST = 0.999  # of a row's way in one use: where it has come to rest at once
FARTHEST = 1.75  # of a row's way in one merge; at 2 it swings for ever
MOST_DELAYED = 2  # processes whose sums may arrive a meeting later; those of more would diverge
STATE = "optimizer."  # begins the names of an optimizer's tensors
SQUARES = "_exp_avg_sq"  # ends the names of Adam's averages of squares
CHUNK_ROWS = 1 << 16  # that are merged at once: the buffers of a merge
SURELY = 8.0  # uses on average, where nobody need ask whether a row was used at all
NO_USES = torch.zeros(0)


Numbers = Sequence[float | Tensor]


class Heard(NamedTuple):
    """What all processes know after they met."""

    signal: int  # that one of them got and all heed; 0: none
    is_late: bool  # the first one says that it is time for a report


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


class MergedRows(NamedTuple):
    """A tensor whose rows are merged."""

    values: Tensor  # (V, ...), by word; or a number
    base: Tensor  # as all had it after the last merge
    # g of the first rows: of the learning rate, and of the meetings that each has waited (V,)
    weight: Callable[[float, Tensor], Tensor]
    least: float = -inf  # that a number can be; rounding of an average may fall below


class _Message(NamedTuple):
    """The steps of some rows on their way to becoming sums."""

    wait: Callable[[], Tensor]
    parts: list[tuple[MergedRows, Tensor, Tensor, Tensor]]  # rows, sums, own steps, weights


class Meetings:
    """Of several processes; the tables may be merged, or be equal all the time."""

    ends: Sequence[float] = (1.0,)

    def __init__(
        self,
        group: Group,
        *,
        per_epoch: int,
        parts: Mapping[str, MergedRows],
        uses_V: Tensor = NO_USES,
        is_still: Callable[[], bool] = lambda: True,
    ) -> None:
        """Plans the meetings of an epoch.

        Args:
            group: who meets.
            per_epoch: how often, at equal distances in each one's text.
            parts: what is merged, by name.
            uses_V: of each row between two meetings, by one process; of unknown rows 0.
            is_still: whether nobody trains while tables are merged, as kernels with threads do.
        """
        self.met = 0
        self.per_epoch = per_epoch
        self._group, self._is_still = group, is_still
        by_dim = [
            {name: part for name, part in parts.items() if part.values.dim() == dim}
            for dim in range(3)
        ]
        self._numbers, self._sums, self._rows = by_dim
        both = (*self._rows.values(), *self._sums.values())
        most = max((len(part.values) for part in both), default=0)
        self._waited_V = torch.zeros(most)  # meetings since a row was merged
        self._uses_V = torch.cat([uses_V, torch.zeros(most - len(uses_V))])
        of_a_row = sum(part.base[0].numel() for part in self._rows.values())
        device = next((part.base.device for part in self._rows.values()), None)
        room = min(most, CHUNK_ROWS) * of_a_row
        self._moved, self._own = torch.empty(2, room, device=device)
        self._sent: _Message | None = None

    def begin(self, met: int) -> None:
        """Begins an epoch; see `Merging`."""
        self.met = met

    def due(self, share: float) -> Iterator[bool]:
        """Meetings that are due; see `Merging`."""
        while self.met + 1 < self.per_epoch and self.met + 1 <= share * self.per_epoch:
            self.met += 1
            yield not len(self._waited_V) or self.level() == LEVELS

    def place(self, share: float) -> float:
        """Where the plan has this meeting; see `Merging`."""
        return self.met / self.per_epoch

    def level(self) -> int:
        """Of this meeting: how often the number of merged rows is doubled."""
        return min((self.met & -self.met).bit_length() - 1, LEVELS)

    def merge(self, lr: float, *, whole: bool) -> None:
        """Takes in the merge before, and begins that of the rows whose turn it is.

        The sums are on their way while training goes on; those of all rows are waited for.

        Raises:
            PeerError: another process stopped.
        """
        self._receive()
        self._waited_V += 1
        num_rows = len(self._waited_V)
        turn = num_rows if whole else ceil(num_rows / 2 ** (LEVELS - self.level()))
        waited_V = self._waited_V[:turn]
        for part in self._sums.values():  # first: tables are weighed by what all have seen
            weight_V = part.weight(lr, waited_V).to(part.base.device)
            self._merge_changed(part.values[:turn], part.base[:turn], weight_V)
        weights = {
            name: part.weight(lr, waited_V).to(part.base.device)
            for name, part in self._rows.items()
        }
        seldom_V = self._uses_V[:turn] * waited_V < SURELY
        used = int(seldom_V.nonzero()[0]) if seldom_V.any() else turn
        for start in range(used, turn, CHUNK_ROWS):
            end = min(start + CHUNK_ROWS, turn)
            for name, part in self._rows.items():
                rows = part.values[start:end], part.base[start:end]
                self._merge_changed(*rows, weights[name][start:end])
        for start in range(0, used, CHUNK_ROWS):
            self._receive()  # there is one message on its way at a time
            self._send(start, min(start + CHUNK_ROWS, used), weights)
        if whole or self._group.world.size > MOST_DELAYED:
            self._receive()
        if whole:
            for part in self._rows.values():
                if self._is_still():  # else threads have gone on
                    part.values[:used] = part.base[:used]
            for part in self._numbers.values():
                weight_V = part.weight(lr, torch.ones(1)).to(part.base.device)
                self._merge_changed(part.values[None], part.base[None], weight_V)
        waited_V.zero_()

    def rebase(self) -> None:
        """Begins anew from the tables; see `Merging`."""
        for part in (*self._rows.values(), *self._sums.values(), *self._numbers.values()):
            part.base.copy_(part.values)

    def hear(self, *, signal: int, is_late: bool) -> Heard:
        """Exchanges two numbers; see `Merging`. Raises `PeerError`."""
        late = int(is_late and self._group.world.is_first)
        found, wanted = self._group.most(torch.tensor([signal, late])).tolist()
        return Heard(found, bool(wanted))

    def told(self, *, sums: Numbers, first: Numbers) -> list[float]:
        """The sums and the first one's; see `Merging`. Raises `PeerError`."""
        own = first if self._group.world.is_first else [0.0] * len(first)
        numbers = [float(number) for number in (*sums, *own)]
        found: list[float] = self._group.total(torch.tensor(numbers, dtype=torch.float64)).tolist()
        return found

    def _send(self, start: int, end: int, weights: Mapping[str, Tensor]) -> None:
        """Begins to merge the rows between, of all tensors at once: each was surely used."""
        parts, size = {}, 0
        for name, part in self._rows.items():
            base = part.base[start:end]
            place = slice(size, size := size + base.numel())
            moved, own = (of[place].view(base.shape) for of in (self._moved, self._own))
            torch.sub(part.values[start:end], base, out=moved)
            own.copy_(moved)
            rows = part._replace(values=part.values[start:end], base=base)
            parts[name] = rows, moved, own, _beside(weights[name][start:end], base)
        self._sent = _Message(self._group.begin_total(self._moved[:size]), list(parts.values()))

    def _receive(self) -> None:
        """Waits for the sums that are on their way, and adds what others did to the rows."""
        if self._sent is None:
            return
        self._sent.wait()
        for rows, moved, own, weight in self._sent.parts:
            rows.base.add_(moved.mul_(weight))
            rows.values.add_(moved.sub_(own))  # what was trained since stays
            for of in (rows.base, rows.values):
                if rows.least > -inf:
                    of.clamp_(min=rows.least)
        self._sent = None

    def _merge_changed(self, values: Tensor, base: Tensor, weight_V: Tensor) -> None:
        """Merges those rows, or numbers, that changed anywhere; threads may train meanwhile."""
        mine = values.clone()
        moved = mine - base
        changed_V = (moved != 0).reshape(len(moved), -1).any(1)
        at_U = self._group.most(changed_V.to(torch.uint8)).nonzero()[:, 0]
        if len(at_U) == 0:
            return
        moved = self._group.total(moved[at_U])
        merged = base[at_U] + moved * _beside(weight_V[at_U], moved)
        base[at_U] = merged
        mine, now = mine[at_U], values[at_U]
        # What a thread added since is kept; untouched numbers are the same in all processes.
        values[at_U] = torch.where(now == mine, merged, now + (merged - mine))


def _beside(weight_V: Tensor, rows: Tensor) -> Tensor:
    """The weights, to be multiplied with rows."""
    return weight_V.reshape(-1, *[1] * (rows.dim() - 1))


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
