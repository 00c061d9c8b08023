"""The canonical kernel: skip-gram as one masked, batched matrix product a step, on any device.

A span of sentences enters, the tables are updated in place, and a tally of the loss leaves after
each step. It reads like the formula:

    logits_BTL = bmm(center_BTD, context_BLD.mT)
    loss = masked_bce(logits_BTL, labels_BTL, weights_BTL)

The gradients are written in closed form, d loss / d logit = weight * (sigmoid(logit) - label), so
no graph is kept and no dense (V, D) gradient is made; autograd on `SkipGram` is the oracle that
tests them.

Legend: V = words of the vocabulary, D = dimension, B = blocks, T = centers in a block, L = targets
of a block; N and M = used rows of the two tables; of a span, N = ids and S = sentences.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from w2v.batches import Batch, steps
from w2v.devices import finest_float
from w2v.draws import Sampler, SpanText, Streams, count_slots, draw_span
from w2v.errors import ConfigError
from w2v.fixed import FixedSteps
from w2v.kernels.interface import Kernel, Step, Tally, TrainSpan
from w2v.kernels.recorded import Recorded
from w2v.model import CenterLoss, SkipGram, divisor, masked_bce
from w2v.names import Objective
from w2v.optimizers import SGD, Optimizer, RowGradients
from w2v.restraints import FREE, Restrainer, Restraints
from w2v.shares import WHOLE, Shares
from w2v.vocab import UNK_ID

SPAN_WORDS = 1 << 20  # ids that are subsampled and shuffled together; PTB fits in one span
SYNC_WORDS = 1 << 16  # of all processes between two merges
STEP_CENTERS = 4096  # where the config leaves it open
TELL_EVERY = 64  # steps on a GPU: their sums are handed over together


def prepare(
    model: SkipGram,
    sampler: Sampler,
    optimizer: Optimizer,
    *,
    batch_size: int | None,
    objective: Objective,
    lr: float,
    restraints: Restraints = FREE,
    shares: Shares = WHOLE,
) -> TrainSpan:
    """What trains on spans, with lr at most `lr`.

    `batch_size` None takes whole blocks of about STEP_CENTERS, and steadies plain descent, unless
    the uses of a row share its gradient anyway. It is that of one process: with `shares`, a step
    has as many centers for each.

    Raises:
        ConfigError: a GPU's steps cannot be shared out.
    """
    if batch_size is None:
        batch_size = max(1, STEP_CENTERS // sampler.block) * sampler.block
        if isinstance(optimizer, SGD) and not restraints.scale_grad_by_freq:
            centers = batch_size * shares.size
            optimizer.steady(sampler, centers=centers, objective=objective, lr=lr)
    how: dict[str, Any] = {
        "batch_size": batch_size, "objective": objective, "restraints": restraints
    }  # fmt: skip
    if sampler.noise_cdf_V.device.type == "cuda":
        if shares.size > 1:
            raise ConfigError(
                "distributed.merge=gradients needs train.device=cpu: a GPU's steps are recorded",
                hint="distributed.merge=tables trains on GPUs",
            )
        steady = SteadySteps(model, sampler, optimizer, **how)
        steady.record()
        return steady.train_span
    return partial(train_span, model, sampler, optimizer, shares=shares, **how)


@torch.no_grad()
def train_span(
    model: SkipGram,
    sampler: Sampler,
    optimizer: Optimizer,
    text: SpanText,
    *,
    batch_size: int,
    objective: Objective,
    lr: tuple[float, float],
    streams: Streams,
    skip: int = 0,
    restraints: Restraints = FREE,
    shares: Shares = WHOLE,
) -> Iterator[Step]:
    """Trains on a run of sentences; yields after each step.

    Args:
        model: its tables are updated in place.
        sampler: the distributions and sizes of the batches.
        optimizer: made for the model's tables.
        text: the sentences, on the model's device.
        batch_size: centers in a step, of each process.
        objective: what a step minimizes, see `gradients`.
        lr: learning rate at the first and the last center; linear between them.
        streams: all that is random; of the model's device.
        skip: steps that an earlier run did; they are drawn, since draws follow on each other.
        restraints: what holds rows of the model back.
        shares: how processes share out each step; the tally is of this one's part.
    """
    restrainer = Restrainer(restraints, model)
    span = draw_span(text, sampler, streams.draws)
    total, passed = count_slots(span, sampler), 0
    whole_size = batch_size * shares.size
    for number, step in enumerate(steps(span, sampler, streams, batch_size=whole_size)):
        step_lr = lr[0] + (lr[1] - lr[0]) * passed / total
        passed = min(total, passed + sum(batch.centers_BT.numel() for batch in step))
        if number < skip:
            continue
        restrainer.shorten(step)
        parts = [gradients(model, batch, objective=objective) for batch in shares.part(step)]
        restrainer.share([rows for rows, _ in parts], step)
        joined = shares.joined(step, [rows for rows, _ in parts])
        optimizer.step([restrainer.withhold(rows) for rows in joined], lr=step_lr)
        loss_sums, centers = zip(*(tally for _, tally in parts), strict=True)
        yield Step(Tally(sum(loss_sums), sum(centers)), passed / total)


class SteadySteps:
    """The same on a GPU, which never waits: the host replays steps and asks for nothing.

    What changes from step to step, the learning rate, the sums of the loss, the place in the span,
    lives on the device. See `fixed` for the batches.
    """

    def __init__(
        self,
        model: SkipGram,
        sampler: Sampler,
        optimizer: Optimizer,
        *,
        batch_size: int,
        objective: Objective,
        most_words: int = SPAN_WORDS,
        restraints: Restraints = FREE,
    ) -> None:
        """Takes the memory for spans of at most `most_words`."""
        device = sampler.noise_cdf_V.device
        self._model, self._sampler, self._optimizer = model, sampler, optimizer
        self._objective, self._restrainer = objective, Restrainer(restraints, model)
        self._steps = FixedSteps(sampler, batch_size=batch_size, most_words=most_words)
        self._passed, self._lr, self._lr_change = torch.zeros(3, device=device)
        self._loss_sum = torch.zeros((), dtype=finest_float(device), device=device)
        self._centers = torch.zeros((), dtype=torch.int64, device=device)
        self._step = Recorded(self._one_step, device=device, generators=[self._steps.draws])

    def record(self) -> None:
        """Makes the step ready to be replayed, by steps without a center: the tables stay."""
        self._step.record()
        for counter in (state for state in self._optimizer.state().values() if state.dim() == 0):
            counter.zero_()

    def train_span(
        self, text: SpanText, *, lr: tuple[float, float], streams: Streams, skip: int = 0
    ) -> Iterator[Step]:
        """Trains on a run of sentences that has `room`; yields every TELL_EVERY steps."""
        num_steps = self._steps.load(draw_span(text, self._sampler, streams.draws), streams)
        self._passed.zero_()
        self._lr.fill_(lr[0])
        self._lr_change.fill_((lr[1] - lr[0]) / max(1, num_steps))
        first = min(skip * TELL_EVERY, num_steps)
        self._steps.advance(first)
        self._passed += first
        for number in range(first + 1, num_steps + 1):
            self._step()
            if number % TELL_EVERY == 0 or number == num_steps:
                yield Step(self._told(), number / num_steps)

    @torch.no_grad()
    def _one_step(self) -> None:
        batch = self._steps.next_batch()
        self._restrainer.shorten([batch])
        rows, tally = gradients(self._model, batch, objective=self._objective)
        self._restrainer.share([rows], [batch])
        rows = rows._replace(
            center_rows_N=self._spread(rows.center_rows_N),
            context_rows_M=self._spread(rows.context_rows_M),
        )
        rows = self._restrainer.withhold(rows)
        self._optimizer.step([rows], lr=self._lr + self._passed * self._lr_change)
        self._passed += 1
        self._loss_sum += tally.loss_sum
        self._centers += tally.centers

    def _spread(self, rows_X: Tensor) -> Tensor:
        """The rows, padding dealt to all rows of the table: its gradients are zeros.

        Half of a textbook batch is padding; added to one row, they would wait for each other.
        """
        any_X = torch.arange(len(rows_X), device=rows_X.device) % len(self._model.center.weight)
        return torch.where(rows_X == UNK_ID, any_X, rows_X)

    def _told(self) -> Tally:
        tally = Tally(self._loss_sum.clone(), self._centers.clone())
        self._loss_sum.zero_()
        self._centers.zero_()
        return tally


@torch.no_grad()
def gradients(model: SkipGram, batch: Batch, *, objective: Objective) -> tuple[RowGradients, Tally]:
    """The gradient of the batch's objective at each used row, and the batch's loss.

    "center_mean" is the sum over centers of `masked_bce`: every center counts the same (the
    chapter). "pair_sum" weighs a center by the weight of its targets, about (1 + K) for each of
    its contexts: every pair and every negative counts the same (word2vec.c).
    """
    D = model.center.embedding_dim
    center_BTD, context_BLD = model.center(batch.centers_BT), model.context(batch.targets_BL)
    logits_BTL = torch.bmm(center_BTD, context_BLD.mT)
    loss = masked_bce(logits_BTL, batch.labels_BTL, batch.weights_BTL)
    error_BTL = logits_BTL.sigmoid_().sub_(batch.labels_BTL).mul_(batch.weights_BTL)
    if objective == "center_mean":
        error_BTL /= divisor(loss.weight_BT)[..., None]
    rows = RowGradients(
        center_rows_N=batch.centers_BT.reshape(-1),
        center_ND=torch.bmm(error_BTL, context_BLD).view(-1, D),
        context_rows_M=batch.targets_BL.reshape(-1),
        context_MD=torch.bmm(error_BTL.mT, center_BTD).view(-1, D),
    )
    return rows, _tally(loss)


@torch.no_grad()
def mean_loss(model: SkipGram, fixed: Iterable[Batch]) -> float:
    """The loss of ready-made batches, without training on them: the mean over their centers."""
    tallies = [
        _tally(masked_bce(model(b.centers_BT, b.targets_BL), b.labels_BTL, b.weights_BTL))
        for b in fixed
    ]
    centers = sum(int(tally.centers) for tally in tallies)
    return sum(float(tally.loss_sum) for tally in tallies) / centers


KERNEL = Kernel(prepare, row_multiple=1, span_words=SPAN_WORDS, sync_words=SYNC_WORDS)


def _tally(loss: CenterLoss) -> Tally:
    fine = finest_float(loss.loss_BT.device)
    return Tally(loss.loss_BT.sum(dtype=fine), (loss.weight_BT > 0).sum())
