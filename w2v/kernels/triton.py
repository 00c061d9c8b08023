"""The kernel for GPUs with Triton: a block's whole step in one program, no tensor in between.

A program takes one block of T neighboring centers after the other. It weighs their targets, gathers
the rows, scores them, and adds the updates to the tables atomically: the mathematics of `bmm` on a
block, with the updates in place. At most IN_FLIGHT centers are on their way at a time, so a
row is no more than that many centers old when it is used; plain descent is steadied to that number
(`optimizers.SGD`), and synchronous steps of that size keep the quality (docs/log.md). A
block's targets are met MOST_TARGETS at a time, and with Adagrad every use of a row takes a step of
its own, as in `hogwild`. What chance decides, `draws` decides on the device, for a whole span. The
program itself stands in `program`.

Triton compiles the program for the sizes it is given: some seconds, once; it keeps the result.
With TRITON_INTERPRET=1 in the environment the same program runs on a CPU, for the tests.

Legend: N = words of a span, X = its blocks, T = centers of a block, J = noise words of a block,
W = window, V = words of the vocabulary, D = dimension.
"""

from collections.abc import Iterator
from subprocess import SubprocessError
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from w2v.draws import Sampler, SpanText, Streams, draw_noise, draw_span
from w2v.errors import ConfigError
from w2v.kernels.interface import Kernel, Step, Tally, TrainSpan
from w2v.kernels.program import train_blocks
from w2v.model import SkipGram
from w2v.names import Objective
from w2v.optimizers import SGD, Optimizer, RowAdagrad
from w2v.restraints import FREE, Frozen, Restraints
from w2v.vocab import UNK_ID

SPAN_WORDS = 1 << 22  # ids that are drawn at once
SYNC_WORDS = 1 << 23  # of all processes between two merges
IN_FLIGHT = 4096  # centers on their way at once, where the config leaves it open
SECTOR = 8  # floats that a GPU moves at once: rows begin on a border
LEAST_TILE = 16  # rows and columns of a product, at least
MOST_TARGETS, MOST_COLUMNS = 64, 128  # L and E of the program
WARPS = 8
PRECISION = "tf32x3"  # factors in three parts of TF32: float32's exactness on tensor cores


class Launch(NamedTuple):
    """How a program is compiled; `scripts/bench_gpu.py` tries others."""

    in_flight: int = IN_FLIGHT  # centers
    targets: int = MOST_TARGETS  # L, at most
    columns: int = MOST_COLUMNS  # E, at most
    warps: int = WARPS
    precision: str = PRECISION


def prepare(
    model: SkipGram,
    sampler: Sampler,
    optimizer: Optimizer,
    *,
    batch_size: int | None,
    objective: Objective,
    lr: float,
    restraints: Restraints = FREE,
    launch: Launch | None = None,
) -> TrainSpan:
    """Compiles the program, or fetches it from Triton's cache; returns what trains on spans.

    Args:
        model: its tables are updated in place.
        sampler: the distributions and sizes; its tensors are on the model's device.
        optimizer: made for the model's tables.
        batch_size: centers that are on their way at once; None: IN_FLIGHT, and plain descent is
            steadied.
        objective: what is minimized, see `bmm.gradients`.
        lr: the highest learning rate of the run.
        restraints: which rows stay; it knows no others.
        launch: how the program is compiled.

    Raises:
        ConfigError: a block needs more registers or shared memory than the GPU has, or Triton
            cannot compile here.
        ValueError: what the config's rules for this kernel refuse.
    """
    if not sampler.shared_negatives:
        raise ValueError("the triton kernel shares negatives")
    if not isinstance(optimizer, SGD | RowAdagrad):
        raise ValueError(f"the triton kernel cannot do {type(optimizer).__name__}")
    if restraints._replace(frozen=None) != FREE:
        raise ValueError("the triton kernel has no steps whose rows could be shortened or share")
    launch = launch or Launch()
    if batch_size is not None:
        launch = launch._replace(in_flight=batch_size)
    elif isinstance(optimizer, SGD):
        optimizer.steady(sampler, centers=launch.in_flight, objective=objective, lr=lr)
    trainer = Trainer(model, sampler, optimizer, objective, launch, frozen=restraints.frozen)
    nothing = torch.zeros(0, dtype=torch.int32, device=sampler.noise_cdf_V.device)
    try:
        trainer.train(nothing, nothing, nothing, nothing, num_blocks=0, lr=(0.0, 0.0))
    except triton.runtime.errors.OutOfResources as error:
        raise ConfigError(
            f"train.kernel=triton: sampling.block={sampler.block} is too large here: {error}",
            hint="lower sampling.block, or use train.kernel=bmm",
        ) from error
    except (triton.TritonError, SubprocessError, OSError) as error:
        raise ConfigError(
            f"train.kernel=triton: Triton cannot compile here: {str(error).splitlines()[0]}",
            hint="use train.kernel=bmm",
        ) from error
    return trainer.train_span


class Trainer:
    """What lasts from span to span."""

    def __init__(
        self,
        model: SkipGram,
        sampler: Sampler,
        optimizer: SGD | RowAdagrad,
        objective: Objective,
        launch: Launch,
        *,
        frozen: Frozen | None = None,
    ) -> None:
        """Fixes the sizes that the program is compiled for."""
        center_VD, context_VD = model.center.weight.detach(), model.context.weight.detach()
        states = (center_VD, context_VD)  # plain descent has none, and reads none
        if isinstance(optimizer, RowAdagrad):
            states = (optimizer.center_sum_V, optimizer.context_sum_V)
        elif optimizer.factors is not None:
            states = optimizer.factors
        marks = states  # not read, either
        if frozen is not None:
            marks = frozen.center_V.to(torch.uint8), frozen.context_V.to(torch.uint8)
        stride, T, W, J = (
            center_VD.stride(0), sampler.block, sampler.window, sampler.shared_negatives
        )  # fmt: skip
        if context_VD.stride(0) != stride:
            raise ValueError("the rows of both tables must lie equally far apart")
        self._sampler, self._tables = sampler, (center_VD, context_VD, *states, *marks)
        self._programs = max(1, launch.in_flight // T)
        self._sizes = {
            "DIM": center_VD.shape[1], "STRIDE": stride, "T": T, "W": W, "J": J,
            "K": sampler.negatives, "C": _tile(T, LEAST_TILE),
            "L": min(_tile(T + 2 * W + J, LEAST_TILE), launch.targets),
            "E": min(_tile(stride, LEAST_TILE), launch.columns),
            "AVOID": sampler.avoid_contexts, "CENTER_MEAN": objective == "center_mean",
            "STEADY": isinstance(optimizer, SGD) and optimizer.factors is not None,
            "ADAGRAD": isinstance(optimizer, RowAdagrad), "FROZEN": frozen is not None,
            "PRECISION": launch.precision,
        }  # fmt: skip
        self._options = {"num_warps": launch.warps, "num_stages": 1, "enable_fp_fusion": True}

    def train_span(
        self, text: SpanText, *, lr: tuple[float, float], streams: Streams, skip: int = 0
    ) -> Iterator[Step]:
        """Trains on a run of sentences; one `Step` tells of all of it."""
        if skip:
            return
        sampler = self._sampler
        T, W = sampler.block, sampler.window
        span = draw_span(text, sampler, streams.draws)
        num_blocks = -(-len(span.words_N) // T)
        tail = num_blocks * T - len(span.words_N)  # of places without contexts
        pad = torch.nn.functional.pad
        words_N = pad(span.words_N, (W, W + tail), value=UNK_ID).int()
        left_N, right_N = (pad(reach_N, (0, tail)).int() for reach_N in span[1:])
        shape = (num_blocks, sampler.shared_negatives)
        noise_XJ = draw_noise(shape, sampler, streams.draws).int()
        tally = self.train(words_N, left_N, right_N, noise_XJ, num_blocks=num_blocks, lr=lr)
        yield Step(tally, 1.0)

    def train(
        self,
        words_N: Tensor,
        left_N: Tensor,
        right_N: Tensor,
        noise_XJ: Tensor,
        *,
        num_blocks: int,
        lr: tuple[float, float],
    ) -> Tally:
        """Trains on drawn blocks, all int32; W words of padding before and behind `words_N`."""
        device = words_N.device
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        centers = torch.zeros((), dtype=torch.int64, device=device)
        train_blocks[(self._programs,)](
            *self._tables, words_N, left_N, right_N, noise_XJ, loss_sum, centers, num_blocks, *lr,
            **self._sizes, **self._options,
        )  # fmt: skip
        return Tally(loss_sum, centers)


KERNEL = Kernel(
    prepare,
    row_multiple=SECTOR,
    span_words=SPAN_WORDS,
    sync_words=SYNC_WORDS,
    step_words=SPAN_WORDS,
)


def _tile(size: int, least: int) -> int:
    """The power of two that holds so many."""
    return max(least, int(triton.next_power_of_2(size)))
