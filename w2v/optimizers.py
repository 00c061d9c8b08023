"""How the gradients of table rows become updates, in place and without dense gradients.

A step hands over, for each table, which rows were used and the gradient of each use; a row that
was used n times stands there n times. Every optimizer treats the sum of a row's gradients as
that row's gradient, so each equals the textbook optimizer on the dense gradient.

Legend: V = words, D = dimension, N and M = used rows of the center and the context table, with
repetitions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from w2v.draws import Sampler
from w2v.model import SkipGram
from w2v.names import Objective, OptimizerName

Rate: TypeAlias = float | Tensor  # a learning rate; a 0-d float32 tensor where a GPU keeps it

STEADY_USES = 2.0  # lr x uses of a row in a step that are stable; 20 are not
FIRST_ACCUMULATOR = 1e-10  # so small that a row's first step has length lr * sqrt(D)


class RowGradients(NamedTuple):
    """What one step asks of the two tables."""

    center_rows_N: Tensor  # int64
    center_ND: Tensor
    context_rows_M: Tensor  # int64
    context_MD: Tensor


class Optimizer(Protocol):
    """Updates the tables it was made for; its state can be saved and restored."""

    sums: bool  # whether the state adds up what was seen; else it is an average

    def step(self, parts: Sequence[RowGradients], *, lr: Rate) -> None:
        """Applies the gradients of one step, given in parts; may overwrite their memory."""

    def state(self) -> dict[str, Tensor]:
        """The tensors that a resumed run needs, by name; changing them changes the optimizer."""

    def rates(self, lr: float, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """By how much a use moves each row (V,), or any row, of both tables; `state` is as ours."""


def make_optimizer(name: OptimizerName, model: SkipGram) -> Optimizer:
    """The optimizer of that name for the model's two tables."""
    kinds: dict[str, Callable[[Tensor, Tensor], Optimizer]]
    kinds = {"adam": Adam, "sgd": SGD, "adagrad": RowAdagrad}
    return kinds[name](model.center.weight.data, model.context.weight.data)


class SGD:
    """row -= lr * gradient; once steadied, frequent rows move less.

    A step's gradients are all taken at the same tables. A row that n centers use moves n times as
    far as for one, where one after the other each would have seen what the ones before did; many
    such rows overshoot together, and training diverges. So a row with lr * n > STEADY_USES takes
    the rate STEADY_USES / n at the highest rate of the run, and in proportion as the rate falls. On
    23 M words, steps of 16,384 centers then scored like one by one (one seed); without, 6,144
    diverge (docs/log.md).
    """

    def __init__(self, center_VD: Tensor, context_VD: Tensor) -> None:
        self.sums = True
        self.center_VD, self.context_VD = center_VD, context_VD
        self.factors: tuple[Tensor, Tensor] | None = None  # of each row's rate, in both tables

    def steady(self, sampler: Sampler, *, centers: int, objective: Objective, lr: float) -> None:
        """Holds back the rows that a step uses often.

        Args:
            sampler: knows how much a center uses each row.
            centers: of a step.
            objective: "center_mean" divides a center's gradients by the weight of its targets.
            lr: the highest learning rate of the run.
        """
        center_V, context_V = (
            (STEADY_USES / (lr * uses_V)).clamp_(max=1)
            for uses_V in uses_of(sampler, centers=centers, objective=objective)
        )
        self.factors = center_V, context_V

    def step(self, parts: Sequence[RowGradients], *, lr: Rate) -> None:
        """One step of plain gradient descent."""
        # index_add_ on a CPU is fast only with alpha == 1 and int64 indices: scale beforehand.
        for center_rows_N, center_ND, context_rows_M, context_MD in parts:
            center_rate, context_rate = -lr, -lr
            if self.factors is not None:
                center_rate = -lr * self.factors[0][center_rows_N, None]
                context_rate = -lr * self.factors[1][context_rows_M, None]
            self.center_VD.index_add_(0, center_rows_N, center_ND.mul_(center_rate))
            self.context_VD.index_add_(0, context_rows_M, context_MD.mul_(context_rate))

    def state(self) -> dict[str, Tensor]:
        """Plain descent remembers nothing."""
        return {}

    def rates(self, lr: float, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The learning rate, less for steadied rows."""
        if self.factors is None:
            return torch.tensor(lr), torch.tensor(lr)
        return lr * self.factors[0], lr * self.factors[1]


class RowAdagrad:
    """Adagrad with one accumulator for each row, not each number.

    accumulator += mean(gradient ** 2); row -= lr * gradient / sqrt(accumulator), where gradient
    is the row's summed gradient of the step. Frequent words get small steps, rare words large
    ones. Source: Duchi et al. 2011, row-wise as in PyTorch-BigGraph (Lerer et al. 2019, sec. 3).
    """

    def __init__(self, center_VD: Tensor, context_VD: Tensor) -> None:
        self.sums = True
        self.center_VD, self.context_VD = center_VD, context_VD
        self.center_sum_V = torch.full_like(center_VD[:, 0], FIRST_ACCUMULATOR)
        self.context_sum_V = torch.full_like(context_VD[:, 0], FIRST_ACCUMULATOR)
        self._slot_V = torch.zeros(len(center_VD), dtype=torch.int64, device=center_VD.device)

    def step(self, parts: Sequence[RowGradients], *, lr: Rate) -> None:
        """One step on the rows that were used."""
        g = _joined(parts)
        self._step(self.center_VD, self.center_sum_V, g.center_rows_N, g.center_ND, lr)
        self._step(self.context_VD, self.context_sum_V, g.context_rows_M, g.context_MD, lr)

    def state(self) -> dict[str, Tensor]:
        """The two accumulators."""
        return {"center_sum": self.center_sum_V, "context_sum": self.context_sum_V}

    def rates(self, lr: float, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What the accumulators leave of the learning rate."""
        return lr * state["center_sum"].rsqrt(), lr * state["context_sum"].rsqrt()

    def _step(
        self, table_VD: Tensor, sum_V: Tensor, rows_N: Tensor, gradient_ND: Tensor, lr: Rate
    ) -> None:
        # Each row's gradients are summed into the slot of one of its uses; the other uses keep a
        # gradient of zero and change nothing below. No sort, no unique, no size that depends on
        # the data, so nothing here waits for the device.
        self._slot_V[rows_N] = torch.arange(len(rows_N), device=rows_N.device)
        summed_ND = torch.zeros_like(gradient_ND)
        summed_ND.index_add_(0, self._slot_V[rows_N], gradient_ND)
        mean_square_N = torch.linalg.vector_norm(summed_ND, dim=1).square_().div_(table_VD.shape[1])
        sum_V.index_add_(0, rows_N, mean_square_N)
        scale_N = sum_V[rows_N].rsqrt_().mul_(-lr)
        table_VD.index_add_(0, rows_N, summed_ND.mul_(scale_N[:, None]))


class Adam:
    """Adam on the whole tables, absent rows included, as the chapter trains (Kingma 2015).

    The moments of rows that a step does not touch still decay and still move them, so each step
    passes over both tables: faithful, and slow for large vocabularies.
    """

    def __init__(self, center_VD: Tensor, context_VD: Tensor) -> None:
        self.sums = False
        self._tables = [center_VD, context_VD]
        self._grads = [torch.zeros_like(table_VD) for table_VD in self._tables]
        for table_VD, grad_VD in zip(self._tables, self._grads, strict=True):
            table_VD.grad = grad_VD
        kind = center_VD.device.type
        self._adam = torch.optim.Adam(
            self._tables, fused=kind in ("cpu", "cuda"), capturable=kind == "cuda"
        )
        self._adam.step()  # with zero gradients: makes the moments exist, moves nothing
        for table_VD in self._tables:
            self._adam.state[table_VD]["step"].zero_()

    def step(self, parts: Sequence[RowGradients], *, lr: Rate) -> None:
        """One step of dense Adam."""
        center_grad_VD, context_grad_VD = (grad_VD.zero_() for grad_VD in self._grads)
        for part in parts:
            center_grad_VD.index_add_(0, part.center_rows_N, part.center_ND)
            context_grad_VD.index_add_(0, part.context_rows_M, part.context_MD)
        self._adam.param_groups[0]["lr"] = lr
        self._adam.step()

    def state(self) -> dict[str, Tensor]:
        """First and second moments and the step count, of each table."""
        names = ("center", "context")
        return {
            f"{name}_{key}": value
            for name, table_VD in zip(names, self._tables, strict=True)
            for key, value in self._adam.state[table_VD].items()
        }

    def rates(self, lr: float, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Without measure: a step is about as long for any gradient."""
        return torch.tensor(torch.inf), torch.tensor(torch.inf)


def uses_of(sampler: Sampler, *, centers: float, objective: Objective) -> tuple[Tensor, Tensor]:
    """How much so many centers use each row of both tables, on average, counted in gradients.

    "center_mean" divides a center's gradients by the weight of its targets.
    """
    if objective == "center_mean":
        centers /= (sampler.window + 1) * (1 + sampler.negatives)  # the weight, on average
    return centers * sampler.center_uses_V, centers * sampler.context_uses_V


def _joined(parts: Sequence[RowGradients]) -> RowGradients:
    return parts[0] if len(parts) == 1 else RowGradients(*map(torch.cat, zip(*parts, strict=True)))
