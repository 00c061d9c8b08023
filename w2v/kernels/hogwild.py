"""The kernel for CPUs: threads that share the tables without locks (Hogwild, Niu et al. 2011).

A span is cut into pieces of some thousand words. Each thread takes the next piece, draws its
windows and its noise (`pieces`) and trains on them (`compiled`), both without the interpreter's
lock. The calling thread yields a `Step` for every piece that is done. With one thread it does the
work itself: the same seed gives the same bytes. With several, the draws are the same, but which
updates meet which is not: results differ, a third as much as those of two seeds.

Objectives, weights and losses are those of `bmm` with shared negatives. The optimizers are SGD
and row-wise Adagrad, which here takes every use of a row in a tile for a gradient of its own.

Legend: N = ids of a span; S = its sentences; V = words; D = dimension.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from w2v.draws import Sampler, SpanText, Streams
from w2v.errors import StorageError
from w2v.kernels.compiled import compile_loop
from w2v.kernels.interface import Kernel, Step, Tally, TrainSpan
from w2v.kernels.jit import first_call
from w2v.kernels.pieces import (
    Draws,
    Floats,
    Ints,
    Longs,
    Noise,
    alias_table,
    draw_piece,
    empty_draws,
    piece_words,
)
from w2v.kernels.shapes import NO_MARKS, Buffers, Shape, Tables, make_buffers
from w2v.kernels.tiles import LANES
from w2v.model import SkipGram
from w2v.names import Objective
from w2v.optimizers import SGD, Optimizer, RowAdagrad
from w2v.restraints import FREE, Frozen, Restraints

SPAN_WORDS = 1 << 23  # at the end of a span threads wait for each other; it takes half a second
SYNC_WORDS = 1 << 19  # of all processes between two merges
SAY_AFTER_S = 1.0  # a compilation that takes longer is announced

log = logging.getLogger(__name__)


class KeyedText(NamedTuple):
    """A run of sentences, and what makes its draws its own."""

    ids_N: Ints
    offsets_S: Longs
    key: np.uint64


class Piece(NamedTuple):
    """The words of a span that one thread takes at a time."""

    start: int
    end: int
    lr: float


class Worker(NamedTuple):
    """A thread's own memory."""

    draws: Draws
    buffers: Buffers


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@dataclass(frozen=True, eq=False)
class Hogwild:
    """What lasts from span to span."""

    shape: Shape
    tables: Tables
    keep_prob_V: Floats
    noise: Noise
    loop: Any
    workers: list[Worker]  # as many as threads were asked for so far
    alive: tuple[Tensor, ...]  # the tensors behind the addresses in `tables`

    def train_piece(
        self, span: KeyedText, piece: Piece, worker: Worker, *, call: Callable[..., Any] = _call
    ) -> Tally:
        """Trains on one piece; `call` calls the compiled functions."""
        shape = self.shape
        num_stretches = call(
            draw_piece,
            *(span.ids_N, span.offsets_S, piece.start, piece.end, span.key),
            *(self.keep_prob_V, self.noise, shape.window, shape.block, worker.draws),
        )
        worker.buffers.tally[:] = 0
        lr = np.float32(piece.lr)
        call(self.loop, worker.draws, num_stretches, lr, self.tables, worker.buffers)
        loss_sum, centers = worker.buffers.tally.tolist()
        return Tally(torch.tensor(loss_sum, dtype=torch.float64), torch.tensor(int(centers)))

    def workers_for(self, num_threads: int) -> list[Worker]:
        """The memory of so many threads, made where it is missing."""
        shape = self.shape
        while len(self.workers) < num_threads:
            draws = empty_draws(
                window=shape.window, block=shape.block, shared_negatives=shape.shared_negatives
            )
            self.workers.append(Worker(draws, make_buffers(shape)))
        return self.workers[:num_threads]


def prepare(
    model: SkipGram,
    sampler: Sampler,
    optimizer: Optimizer,
    *,
    batch_size: int | None,
    objective: Objective,
    lr: float,
    restraints: Restraints = FREE,
) -> TrainSpan:
    """Compiles the loop, or fetches it from numba's cache, and returns what trains on spans.

    Raises:
        ValueError: what the config's rules for this kernel refuse, or tables whose rows are not a
            multiple of LANES apart.
    """
    if batch_size is not None or not sampler.shared_negatives:
        raise ValueError("hogwild shares negatives and has no batches")
    if not isinstance(optimizer, SGD | RowAdagrad):
        raise ValueError(f"hogwild cannot do {type(optimizer).__name__}")
    if restraints._replace(frozen=None) != FREE:
        raise ValueError("hogwild has no steps whose rows could be shortened or share gradients")
    kernel = _kernel(model, sampler, optimizer, objective, restraints.frozen)

    def train_span(
        text: SpanText, *, lr: tuple[float, float], streams: Streams, skip: int = 0
    ) -> Iterator[Step]:
        key = np.uint64(int(torch.randint(2**63 - 1, (), generator=streams.draws)))
        span = KeyedText(text.ids_N.numpy(), text.offsets_S.numpy(), key)
        workers = kernel.workers_for(torch.get_num_threads())
        pieces = _pieces(len(text.ids_N), kernel.shape, lr)
        done = sum(piece.end - piece.start for piece in pieces[:skip])
        for piece, tally in _train(kernel, span, pieces[skip:], workers):
            done += piece.end - piece.start
            yield Step(tally, done / len(text.ids_N))

    return train_span


KERNEL = Kernel(
    prepare, row_multiple=LANES, span_words=SPAN_WORDS, sync_words=SYNC_WORDS, goes_on=True
)


def _kernel(
    model: SkipGram,
    sampler: Sampler,
    optimizer: SGD | RowAdagrad,
    objective: Objective,
    frozen: Frozen | None,
) -> Hogwild:
    """All that lasts, with its code compiled."""
    center_VD, context_VD = model.center.weight.detach(), model.context.weight.detach()
    marks = [NO_MARKS, NO_MARKS]
    if frozen is not None:
        marks = [of_V.numpy() if of_V.any() else NO_MARKS for of_V in frozen]
    shape = Shape(
        dim=center_VD.shape[1],
        window=sampler.window,
        block=sampler.block,
        shared_negatives=sampler.shared_negatives,
        negatives=sampler.negatives,
        avoid_contexts=sampler.avoid_contexts,
        center_mean=objective == "center_mean",
        adagrad=isinstance(optimizer, RowAdagrad),
        frozen_centers=len(marks[0]) > 0,
        frozen_contexts=len(marks[1]) > 0,
    )
    if {center_VD.stride(0), context_VD.stride(0)} != {shape.padded_dim}:
        raise ValueError(f"rows must lie {shape.padded_dim} floats apart")
    sums = [torch.zeros(0), torch.zeros(0)]
    if isinstance(optimizer, RowAdagrad):
        sums = [optimizer.center_sum_V, optimizer.context_sum_V]
    with _announced(shape):
        kernel = Hogwild(
            shape,
            Tables(
                center_VD.data_ptr(), context_VD.data_ptr(), *(of.numpy() for of in sums), *marks
            ),
            sampler.keep_prob_V.numpy(),
            Noise(*alias_table(np.diff(sampler.noise_cdf_V.numpy(), prepend=0.0))),
            compile_loop(shape),
            workers=[],
            alive=(center_VD, context_VD, *sums, *(frozen or ())),
        )
        nothing = KeyedText(np.zeros(0, np.int32), np.zeros(1, np.int64), np.uint64(0))
        kernel.train_piece(nothing, Piece(0, 0, 0.0), *kernel.workers_for(1), call=first_call)
    return kernel


def _pieces(num_words: int, shape: Shape, lr: tuple[float, float]) -> list[Piece]:
    """The pieces of a span; the learning rate falls from one to the next."""
    size = piece_words(shape.shared_negatives)
    return [
        Piece(start, min(start + size, num_words), lr[0] + (lr[1] - lr[0]) * start / num_words)
        for start in range(0, num_words, size)
    ]


def _train(
    kernel: Hogwild, span: KeyedText, pieces: list[Piece], workers: list[Worker]
) -> Iterator[tuple[Piece, Tally]]:
    """Trains on all pieces; yields each when it is done.

    Whatever ends the generator early, an error or Ctrl-C, ends the threads with their pieces.
    """
    if len(workers) == 1:
        for piece in pieces:
            yield piece, kernel.train_piece(span, piece, workers[0])
        return
    waiting: SimpleQueue[Piece] = SimpleQueue()
    for piece in pieces:
        waiting.put(piece)
    finished: SimpleQueue[tuple[Piece, Tally] | Exception] = SimpleQueue()

    def work(worker: Worker) -> None:
        try:
            while True:
                piece = waiting.get_nowait()
                finished.put((piece, kernel.train_piece(span, piece, worker)))
        except Empty:
            return
        except Exception as error:  # goes on in the calling thread
            finished.put(error)

    with ThreadPoolExecutor(len(workers), thread_name_prefix="w2v-hogwild") as threads:
        try:
            for worker in workers:
                _start(threads, work, worker, len(workers))
            for _ in pieces:
                result = finished.get()
                if isinstance(result, Exception):
                    raise result
                yield result
        finally:
            _empty(waiting)


def _start(
    threads: ThreadPoolExecutor, work: Callable[[Worker], None], worker: Worker, number: int
) -> None:
    try:
        threads.submit(work, worker)
    except RuntimeError as error:
        raise StorageError(
            f"cannot start {number} threads: {error}", hint="lower train.threads"
        ) from error


def _empty(queue: SimpleQueue[Piece]) -> None:
    try:
        while True:
            queue.get_nowait()
    except Empty:
        return


@contextmanager
def _announced(shape: Shape) -> Iterator[None]:
    """Says that the loop is being compiled, if it takes so long that one would wonder."""
    told = f"compiling the hogwild kernel for dim {shape.dim}: some seconds, once for these sizes"
    timer = threading.Timer(SAY_AFTER_S, log.info, [told])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
