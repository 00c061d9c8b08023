"""Meetings of several processes: when they come, which rows travel, and how.

The tensors to be merged, the weights of their rows (`merging` has the mathematics) and a group
enter; the tensors change in place. What was surely used travels without asking, all tensors in one
message; of the rest, each process tells which rows changed, and those travel. Nothing here depends
on times: a meeting stands at a place in each one's text.

Legend: V = words, U = rows that changed anywhere.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, inf
from typing import NamedTuple

import torch
from torch import Tensor

from w2v.group import Group

LEVELS = 4  # the number of merged rows is doubled so often, up to all
MOST_DELAYED = 2  # processes whose sums may arrive a meeting later; those of more would diverge
CHUNK_ROWS = 1 << 16  # that are merged at once: the buffers of a merge
SURELY = 8.0  # uses on average, where nobody need ask whether a row was used at all
NO_USES = torch.zeros(0)

Numbers = Sequence[float | Tensor]


class Heard(NamedTuple):
    """What all processes know after they met."""

    signal: int  # that one of them got and all heed; 0: none
    is_late: bool  # the first one says that it is time for a report


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
