"""The training loop: passes over a corpus, as a generator of reports.

A `Learner` and a corpus enter, `Report`s leave; the tables change in place. The loop knows nothing
of files, bars or checkpoints: those belong to its reader.

An epoch passes over the spans of a `Feed`, in shuffled order. A span is drawn as a whole.

Every random draw follows from `train.seed` and the place in the run where it is used. On a CPU the
same seed gives the same tables, to the byte: with `bmm` on the same build and number of threads,
with `hogwild` on one thread. A GPU adds up rows in no fixed order. So a run that goes on from a
`Place` draws what it would have drawn: the steps of the span that were done are passed over.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from w2v.config import TrainSection
from w2v.devices import finest_float
from w2v.draws import (
    DRAWS_STREAM,
    ORDER_STREAM,
    SPANS_STREAM,
    Sampler,
    Streams,
    generator_at,
)
from w2v.encoded import Corpus
from w2v.errors import DataError, DivergedError
from w2v.kernels import bmm
from w2v.kernels.interface import Tally
from w2v.learner import Learner
from w2v.model import whole_sum
from w2v.reporting import BEGINNING, Place, Report
from w2v.schedule import learning_rate

REPORT_EVERY_S = 1.0  # also how often loss and tables are checked for NaN and infinity


@dataclass
class _Epoch:
    """The running sums of an epoch; loss and centers stay on the device until they are asked."""

    number: int  # from 1
    began: float
    loss_sum: Tensor
    centers: Tensor
    earlier_centers: int  # of the epochs before
    spans: int  # that are done
    steps: int  # that are done of the span after them
    ids: float = 0.0  # words in vocabulary that are passed
    all_steps: int = 0  # since it began, or was gone on with

    def add(self, tally: Tally, *, ids: float) -> None:
        """Takes in what one update tells; `ids` words are passed after it."""
        self.loss_sum += tally.loss_sum
        self.centers += tally.centers
        self.steps += 1
        self.all_steps += 1
        self.ids = ids

    def end_span(self, *, ids: float) -> None:
        """Goes on to the next span; a span without a pair has had no step."""
        self.spans, self.steps, self.ids = self.spans + 1, 0, ids


def reports(
    learner: Learner,
    corpus: Corpus,
    section: TrainSection,
    *,
    start: Place = BEGINNING,
    met: int = 0,
    asked: Callable[[], int] = lambda: 0,
) -> Iterator[Report]:
    """Trains; yields a report about every second and one at the end of each epoch.

    Args:
        learner: its tables and its optimizer's state change in place.
        corpus: the text.
        section: how to train on it.
        start: where an earlier run stopped; the learner is as it was then.
        met: how often several processes had met in that epoch.
        asked: the signal that wants training to end, or 0; a report comes as soon as can be.

    Raises:
        DataError: an epoch had no pair to train on.
        DivergedError: a loss or a table became NaN or infinite.
        PeerError: another process stopped.
    """
    reported_at = time.perf_counter()
    began = reported_at - start.run_seconds
    merging = learner.merging
    while start.epoch <= section.epochs:
        epoch = _epoch_from(start, learner.sampler.noise_cdf_V.device)
        report = partial(_report, epoch, learner, corpus, section, began=began, before=start.step)
        merging.begin(met)
        for done in chain(_passed(epoch, learner, section, skip=start.steps), merging.ends):
            for whole in merging.due(done):
                rate = _rate(section, epoch.number - 1 + merging.place(done))
                merging.merge(rate, whole=whole)
                is_late = time.perf_counter() - reported_at >= REPORT_EVERY_S
                if whole and any(merging.hear(signal=asked(), is_late=is_late)):
                    yield report(ended=False)
                    reported_at = time.perf_counter()
        merging.merge(_rate(section, epoch.number), whole=True)
        ended = report(ended=True)
        start, met = ended.place, 0
        yield ended


def _passed(
    epoch: _Epoch, learner: Learner, section: TrainSection, *, skip: int
) -> Iterator[float]:
    """Trains one epoch, `skip` steps of its first span aside; yields what share each step ends."""
    feed, before = learner.feed, epoch.number - 1
    order = _order(len(feed.cuts), section.seed, epoch.number)
    epoch.ids = sum(end - begin for begin, end in (feed.cuts[i] for i in order[: epoch.spans]))
    for index in order[epoch.spans :]:
        text = feed[index]
        passed, length = epoch.ids, len(text.ids_N)
        first, last = (
            _rate(section, before + at / feed.num_words) for at in (passed, passed + length)
        )
        number = feed.first_number + index
        for update in learner.train_span(
            text,
            lr=(first, last),
            streams=_streams(learner.sampler, section.seed, epoch.number, number),
            skip=skip,
        ):
            epoch.add(update.tally, ids=passed + update.done * length)
            yield epoch.ids / feed.num_words
        epoch.end_span(ids=passed + length)
        skip = 0


def _report(
    epoch: _Epoch,
    learner: Learner,
    corpus: Corpus,
    section: TrainSection,
    *,
    began: float,
    before: int,
    ended: bool,
) -> Report:
    """Adds up the sums of all processes, read from the device, and checks that all is finite."""
    centers, loss_sum = int(epoch.centers), float(epoch.loss_sum)  # which waits for the device
    # A sum is finite unless a number is not, or the numbers have left all reason.
    tables = sum(float(whole_sum(table.detach())) for table in learner.model.parameters())
    now = time.perf_counter()
    told = learner.merging.told(
        sums=(centers, epoch.all_steps, learner.feed.num_words, epoch.ids, loss_sum, tables),
        first=(now - epoch.began, now - began),
    )
    centers, steps, all_ids = map(int, told[:3])
    ids, loss_sum, tables, seconds, run_seconds = told[3:]
    step = before + steps
    if ended and centers == 0:
        raise _no_pairs(corpus, learner.sampler)
    loss, share = loss_sum / max(centers, 1), ids / all_ids
    epochs = epoch.number - 1 + share
    lr = _rate(section, epochs)
    heldout = bmm.mean_loss(learner.model, learner.heldout) if ended and learner.heldout else None
    found = {"the loss": loss, "the held-out loss": heldout, "the sum of the tables": tables}
    _require_finite(found, f"epoch {epoch.number}, step {step}, lr {lr:g}", section)
    earlier = epoch.earlier_centers
    place = Place(
        epoch.number, epoch.spans, epoch.steps, step, loss_sum, centers, earlier, seconds,
        run_seconds,
    )  # fmt: skip
    if ended:
        place = Place(epoch.number + 1, 0, 0, step, 0.0, 0, earlier + centers, 0.0, run_seconds)
    return Report(
        epoch=epoch.number,
        step=step,
        words=round(share * corpus.raw_words),
        centers=centers,
        loss=loss,
        heldout_loss=heldout,
        lr=lr,
        seconds=seconds,
        run_seconds=run_seconds,
        done=epochs / section.epochs,
        epoch_ended=ended,
        place=place,
    )


def _rate(section: TrainSection, epochs: float) -> float:
    """The learning rate after so many epochs."""
    return learning_rate(section.lr_schedule, lr=section.lr, done=epochs / section.epochs)


def _no_pairs(corpus: Corpus, sampler: Sampler) -> DataError:
    num_words = len(corpus.train.ids_N)
    found = f"no training pairs: no sentence has two of the {num_words:,} words in vocabulary"
    if bool((sampler.keep_prob_V < 1).any()):
        return DataError(
            f"{found} after subsampling", hint="raise sampling.subsample, or set it to null"
        )
    return DataError(found, hint="a line is a sentence; lower vocab.min_count, or join lines")


def _require_finite(found: Mapping[str, float | None], where: str, section: TrainSection) -> None:
    for name, value in found.items():
        if value is not None and not math.isfinite(value):
            raise DivergedError(
                f"training diverged: {name} became {value} ({where})",
                hint=f"lower train.lr, now {section.lr:g}",
            )


def _epoch_from(start: Place, device: torch.device) -> _Epoch:
    return _Epoch(
        start.epoch,
        time.perf_counter() - start.seconds,
        torch.tensor(start.loss_sum, dtype=finest_float(device), device=device),
        torch.tensor(start.centers, dtype=torch.int64, device=device),
        start.earlier_centers,
        start.spans,
        start.steps,
    )


def _order(num_spans: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch's spans."""
    order: list[int] = (
        np.random.default_rng([seed, SPANS_STREAM, epoch]).permutation(num_spans).tolist()
    )
    return order


def _streams(sampler: Sampler, seed: int, epoch: int, span: int) -> Streams:
    device = sampler.noise_cdf_V.device
    drawn_in = epoch if sampler.redraw else 0
    draws = generator_at(device, seed, DRAWS_STREAM, drawn_in, span)
    return Streams(draws, order=generator_at(device, seed, ORDER_STREAM, epoch, span))
