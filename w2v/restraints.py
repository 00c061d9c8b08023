"""What holds rows back: some are frozen, none is too long, frequent ones share their gradient.

The settings and the rows that are known before training enter; what a kernel asks of every step
leaves. `max_norm` and `scale_grad_by_freq` mean what they mean to `torch.nn.Embedding`, and speak
of a step's rows, with repetitions: every place of a batch counts, scored or not, but `<unk>`. A
frozen row keeps its bytes because nobody writes to it, or writes back what was there.

Legend: V = words, D = dimension, N and M = used rows of the center and the context table, with
repetitions; X = used rows of either.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from w2v.batches import Batch
from w2v.model import KnownRows, SkipGram
from w2v.names import Freeze
from w2v.optimizers import RowGradients
from w2v.vocab import UNK_ID

NO_DIVISION_BY_ZERO = 1e-7  # as torch.embedding_renorm_ has it


class Frozen(NamedTuple):
    """Which rows keep their bytes."""

    center_V: Tensor  # bool
    context_V: Tensor


class Restraints(NamedTuple):
    """What holds a run's rows back; by default nothing."""

    frozen: Frozen | None = None
    max_norm: float | None = None
    scale_grad_by_freq: bool = False


FREE = Restraints()


def frozen_rows(freeze: Freeze, known: KnownRows, *, vocab_size: int) -> Frozen | None:
    """The rows that `model.freeze` holds.

    "pretrained" are the rows that were known, of the tables in which they were; "all" is every
    row of the center table, so that contexts alone are trained.
    """
    if freeze == "none":
        return None
    frozen = Frozen(*torch.zeros(2, vocab_size, dtype=torch.bool))
    if freeze == "all":
        frozen.center_V.fill_(value=True)
        return frozen
    frozen.center_V[known.ids_N] = True
    frozen.context_V[known.ids_N] = known.context_ND is not None
    return frozen


class Restrainer:
    """Holds back the rows of a model, step by step; it never waits for the device."""

    def __init__(self, restraints: Restraints, model: SkipGram) -> None:
        self._tables = model.center.weight.detach(), model.context.weight.detach()
        self._max_norm, self._by_freq = restraints.max_norm, restraints.scale_grad_by_freq
        self._frozen, device = restraints.frozen, self._tables[0].device
        self._routes = () if self._frozen is None else tuple(map(_route, self._frozen))
        size = len(self._tables[0]) if self._by_freq else 0
        self._uses_V = torch.zeros(size, device=device)  # of the step at hand

    def shorten(self, step: Sequence[Batch]) -> None:
        """Shortens the rows that a step looks up to `max_norm`, before they are used."""
        if self._max_norm is None:
            return
        looked_up = (
            torch.cat([batch.centers_BT.reshape(-1) for batch in step]),
            torch.cat([batch.targets_BL.reshape(-1) for batch in step]),
        )
        for at, (table_VD, rows_X) in enumerate(zip(self._tables, looked_up, strict=True)):
            rows_XD = table_VD[rows_X]
            norm_X = torch.linalg.vector_norm(rows_XD, dim=1)
            stays_X = norm_X <= self._max_norm
            if self._frozen is not None:
                stays_X |= self._frozen[at][rows_X]
            scale_X = (self._max_norm / (norm_X + NO_DIVISION_BY_ZERO)).masked_fill_(stays_X, 1.0)
            # A row that is used twice is written twice, the same.
            table_VD[rows_X] = rows_XD.mul_(scale_X[:, None])

    def share(self, parts: Sequence[RowGradients], step: Sequence[Batch]) -> None:
        """Divides, in place, each gradient by how often the step uses its row."""
        if not self._by_freq:
            return
        centers = [(part.center_rows_N, part.center_ND) for part in parts]
        contexts = [(part.context_rows_M, part.context_MD) for part in parts]
        self._share(centers, [batch.centers_BT.reshape(-1) for batch in step])
        self._share(contexts, [batch.targets_BL.reshape(-1) for batch in step])

    def _share(self, parts: Sequence[tuple[Tensor, Tensor]], used: Sequence[Tensor]) -> None:
        for rows_X in used:
            self._uses_V.index_fill_(0, rows_X, 0.0)
        for rows_X in used:
            self._uses_V.index_add_(0, rows_X, torch.ones_like(rows_X, dtype=torch.float32))
        for rows_X, gradient_XD in parts:
            gradient_XD /= self._uses_V[rows_X][:, None]

    def withhold(self, part: RowGradients) -> RowGradients:
        """The gradients without those of frozen rows: zeros for rows that may move instead."""
        if self._frozen is None:
            return part
        frozen, (center_V, context_V) = self._frozen, self._routes
        part.center_ND.masked_fill_(frozen.center_V[part.center_rows_N][:, None], 0.0)
        part.context_MD.masked_fill_(frozen.context_V[part.context_rows_M][:, None], 0.0)
        return part._replace(
            center_rows_N=center_V[part.center_rows_N],
            context_rows_M=context_V[part.context_rows_M],
        )


def _route(frozen_V: Tensor) -> Tensor:
    """Where the gradient of each row goes: to itself; of a frozen one to some row that is not.

    They are dealt out to all such rows, because a GPU adds to one row one after the other.
    """
    own_V = torch.arange(len(frozen_V), device=frozen_V.device)
    free_X = own_V[~frozen_V]
    if not len(free_X):
        free_X = own_V.new_tensor([UNK_ID])
    return torch.where(frozen_V, free_X[own_V % len(free_X)], own_V)
