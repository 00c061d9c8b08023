"""How processes share out the centers of a step, and add up what each found: one step for all.

A step of batches enters and each process gets its part of it; the gradients of the parts enter and
those of the whole step leave, the same in all processes, so that their tables never differ. The
draws are those of one process with a batch as large as all parts: only the products are shared out,
so this is for proofs and for large dimensions, not for speed (see `merging`).

Alone, `WHOLE` gives what it gets. Legend: B = blocks of a step, N and M = used rows, U = of these
each once, D = dimension.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from w2v.batches import Batch
from w2v.group import Group
from w2v.optimizers import RowGradients


class Shares(Protocol):
    """How a step is shared out."""

    size: int  # among so many

    def part(self, step: Sequence[Batch]) -> Sequence[Batch]:
        """What this process does of a step."""

    def joined(
        self, step: Sequence[Batch], parts: Sequence[RowGradients]
    ) -> Sequence[RowGradients]:
        """The gradients of the whole step, from those of this process's part."""


class Whole:
    """One process does all."""

    size = 1

    def part(self, step: Sequence[Batch]) -> Sequence[Batch]:
        """The step."""
        return step

    def joined(
        self, step: Sequence[Batch], parts: Sequence[RowGradients]
    ) -> Sequence[RowGradients]:
        """The gradients."""
        return parts


WHOLE = Whole()


def shares_of(group: Group) -> Shares:
    """How the processes of a group share out a step."""
    return WHOLE if group.world.size == 1 else Shared(group)


class Shared:
    """Several processes: each takes every N-th block."""

    def __init__(self, group: Group) -> None:
        self._group, self.size = group, group.world.size

    def part(self, step: Sequence[Batch]) -> Sequence[Batch]:
        """The blocks that are this process's; of a batch there may be none."""
        rank = self._group.world.rank
        return [Batch(*(of_B[rank :: self.size] for of_B in batch)) for batch in step]

    def joined(
        self, step: Sequence[Batch], parts: Sequence[RowGradients]
    ) -> Sequence[RowGradients]:
        """Each used row once, with the sum of its gradients. Raises `PeerError`."""
        centers = [batch.centers_BT.reshape(-1) for batch in step]
        targets = [batch.targets_BL.reshape(-1) for batch in step]
        center_rows_U, center_UD = self._summed(
            centers, [part.center_rows_N for part in parts], [part.center_ND for part in parts]
        )
        context_rows_U, context_UD = self._summed(
            targets, [part.context_rows_M for part in parts], [part.context_MD for part in parts]
        )
        return [RowGradients(center_rows_U, center_UD, context_rows_U, context_UD)]

    def _summed(
        self, used: Sequence[Tensor], rows: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        rows_U = torch.unique(torch.cat(list(used)))  # of the whole step, which each process drew
        summed_UD = torch.zeros(len(rows_U), gradients[0].shape[1], device=rows_U.device)
        for rows_N, gradient_ND in zip(rows, gradients, strict=True):
            at_N = torch.searchsorted(rows_U, rows_N.contiguous())
            summed_UD.index_add_(0, at_N, gradient_ND)
        return rows_U, self._group.total(summed_UD)
