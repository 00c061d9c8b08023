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
from w2v.config import DistributedSection, ModelSection, SamplingSection, TrainSection
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
from w2v.encoded import Corpus
from w2v.feed import Feed
from w2v.group import Alone, Group
from w2v.kernels.interface import Kernel, TrainSpan
from w2v.merging import STATE, Merging, NoMerging, make_merging
from w2v.model import KnownRows, SkipGram
from w2v.optimizers import Optimizer, make_optimizer, uses_of
from w2v.restraints import Frozen, Restraints
from w2v.sentences import Sentences, cut, spans
from w2v.shares import WHOLE, shares_of
from w2v.world import ALONE

HELDOUT_SEED = 0  # not the run's: runs that differ in their seed are measured on the same draws
HELDOUT_SPAN, HELDOUT_BATCH = 1 << 20, 512  # words that are drawn from, centers of a batch
HELDOUT_CENTERS = 8192  # enough for a standard error of about .003
CPU = torch.device("cpu")
ONE_PROCESS = DistributedSection()
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
    merging: Merging = NoMerging()  # when processes meet, and what they do then

    def tensors(self) -> dict[str, Tensor]:
        """All that training changes, the tables and the optimizer's state, and the frozen rows."""
        whole = _trained(self.model, self.optimizer)
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
    group: Group | None = None,
    distributed: DistributedSection = ONE_PROCESS,
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
        group: the processes that train together; None: this one alone.
        distributed: how they do.

    Raises:
        ConfigError: the kernel cannot share out its steps here.
        DataError: the text has too few sentences for so many processes.
    """
    group = group or Alone()
    shares = WHOLE if distributed.merge == "tables" else shares_of(group)
    world = group.world if distributed.merge == "tables" else ALONE
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
        shard=world.rank,
        num_shards=world.size,
    )
    options = {} if shares.size == 1 else {"shares": shares}  # which other kernels do not have
    train_span = kernel.prepare(
        tables,
        sampler,
        optimizer,
        batch_size=train.batch_size,
        objective=train.objective,
        lr=train.lr,
        restraints=Restraints(frozen, model.max_norm, model.scale_grad_by_freq),
        **options,
    )
    kept_V = corpus.vocab.known_counts_V * sampler.keep_prob_V.cpu().numpy()
    by_default = max(kernel.step_words, kernel.sync_words // group.world.size)
    merging = make_merging(
        group,
        {} if shares.size > 1 else _trained(tables, optimizer),
        words=len(corpus.train.ids_N) / world.size,
        sync_words=distributed.sync_words or by_default,
        step_words=kernel.step_words if distributed.sync_words is None else 0,
        rates=optimizer.rates,
        uses=uses_of(sampler, centers=float(kept_V.sum()), objective=train.objective),
        sums=optimizer.sums,
        is_still=lambda: not kernel.goes_on or torch.get_num_threads() == 1,
    )
    heldout = tuple(Batch(*(part.to(device) for part in batch)) for batch in fixed)
    return Learner(tables, optimizer, sampler, train_span, feed, heldout, frozen, merging)


def _trained(model: SkipGram, optimizer: Optimizer) -> dict[str, Tensor]:
    """The tables and the optimizer's state."""
    state = {f"{STATE}{name}": value for name, value in optimizer.state().items()}
    tables = {"center": model.center.weight, "context": model.context.weight}
    return {name: table.detach() for name, table in tables.items()} | state


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
