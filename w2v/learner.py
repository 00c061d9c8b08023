"""What is trained, and what trains it: made from the settings before the first step.

A corpus, the settings and a kernel enter, a `Learner` leaves, all of it on the device: tables,
optimizer, sampler, the text, the prepared kernel, and the batches of the held-out loss.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from w2v.batches import Batch
from w2v.batches import steps as batch_steps
from w2v.config import ModelSection, SamplingSection, TrainSection
from w2v.corpus import Corpus
from w2v.draws import (
    HELDOUT_STREAM,
    INIT_STREAM,
    Sampler,
    SpanText,
    Streams,
    draw_span,
    generator_at,
    make_sampler,
)
from w2v.feed import Feed
from w2v.kernels.interface import Kernel, TrainSpan
from w2v.model import KnownRows, SkipGram
from w2v.optimizers import Optimizer, make_optimizer
from w2v.restraints import Frozen, Restraints
from w2v.sentences import Sentences, cut, spans

HELDOUT_SEED = 0  # not the run's: runs that differ in their seed are measured on the same draws
HELDOUT_SPAN, HELDOUT_BATCH = 1 << 20, 512  # words that are drawn from, centers of a batch
HELDOUT_CENTERS = 8192  # enough for a standard error of about .003
CPU = torch.device("cpu")
FROZEN_TENSORS = ("frozen.center", "frozen.context")  # in a checkpoint


class Learner(NamedTuple):
    """What is trained, and what trains it."""

    model: SkipGram
    optimizer: Optimizer
    sampler: Sampler
    train_span: TrainSpan  # the prepared kernel
    feed: Feed  # the text, as spans on the device
    heldout: tuple[Batch, ...]  # empty without held-out text
    frozen: Frozen | None = None  # rows that stay

    def tensors(self) -> dict[str, Tensor]:
        """All that training changes, the tables and the optimizer's state, and the frozen rows."""
        state = {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}
        tables = {"center": self.model.center.weight, "context": self.model.context.weight}
        whole = {name: table.detach() for name, table in tables.items()} | state
        if self.frozen is not None:
            whole |= dict(zip(FROZEN_TENSORS, self.frozen, strict=True))
        return whole


def make_learner(
    corpus: Corpus,
    *,
    model: ModelSection,
    sampling: SamplingSection,
    train: TrainSection,
    kernel: Kernel,
    device: torch.device,
    known: KnownRows | None = None,
    frozen: Frozen | None = None,
) -> Learner:
    """Tables, optimizer, sampler, text and held-out batches, on the device.

    Args:
        corpus: the text.
        model: the tables' settings.
        sampling: those of the draws.
        train: those of the loop.
        kernel: which is to train.
        device: where.
        known: vectors to start from; the other rows are as they would be without them.
        frozen: the rows that stay.
    """
    tables = SkipGram(
        len(corpus.vocab),
        model.dim,
        init=model.init,
        generator=generator_at(CPU, train.seed, INIT_STREAM),
        row_multiple=kernel.row_multiple,
    )
    if known is not None:
        tables.take(known)
    tables.on(device)
    if frozen is not None:
        frozen = Frozen(*(of_V.to(device) for of_V in frozen))
    draws = sampling.model_dump() | {"counts_V": corpus.vocab.known_counts_V}
    fixed = heldout_batches(corpus.heldout, make_sampler(**draws, device=CPU))
    sampler, optimizer = (
        make_sampler(**draws, device=device),
        make_optimizer(train.optimizer, tables),
    )
    feed = Feed(
        corpus.train,
        max_words=kernel.span_words,
        keep_prob_V=sampler.keep_prob_V.cpu().numpy(),
        device=device,
    )
    train_span = kernel.prepare(
        tables,
        sampler,
        optimizer,
        batch_size=train.batch_size,
        objective=train.objective,
        lr=train.lr,
        restraints=Restraints(frozen, model.max_norm, model.scale_grad_by_freq),
    )
    return Learner(
        tables,
        optimizer,
        sampler,
        train_span,
        feed,
        heldout=tuple(Batch(*(part.to(device) for part in batch)) for batch in fixed),
        frozen=frozen,
    )


def heldout_batches(sentences: Sentences, sampler: Sampler) -> Iterator[Batch]:
    """The batches that the held-out loss is measured on.

    Equal corpora and `sampling` settings give equal batches, whatever the seed, kernel or device.

    They are textbook batches of some HELDOUT_CENTERS centers, drawn with HELDOUT_SEED
    from the first span of the held-out text.
    """
    textbook = sampler._replace(block=1, shared_negatives=0, redraw=True)
    draws = generator_at(CPU, HELDOUT_SEED, HELDOUT_STREAM)
    for start, end in spans(sentences, max_words=HELDOUT_SPAN)[:1]:
        ids_N, offsets_S = map(torch.from_numpy, cut(sentences, start, end))
        span = draw_span(SpanText(ids_N, offsets_S), textbook, draws)
        several = batch_steps(span, textbook, Streams(draws, draws), batch_size=HELDOUT_BATCH)
        for step in islice(several, HELDOUT_CENTERS // HELDOUT_BATCH):
            yield from step
