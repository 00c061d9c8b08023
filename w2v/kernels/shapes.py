"""The sizes that the compiled loop of `hogwild` depends on, and the memory that it works in.

Legend: V = words; D = padded dimension; T = centers in a block; J = its noise words; A = centers of
a tile; L = candidates of a tile: the noise words, then the words around it; W = window;
K = negatives for a context.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from w2v.kernels.pieces import Floats, Longs
from w2v.kernels.tiles import FLOAT_BYTES, LANES, LINE_BYTES, TARGETS
from w2v.model import padded

SEGMENT_WORDS = 128  # centers whose context rows are copied together

Marks: TypeAlias = NDArray[np.bool_]
NO_MARKS: Marks = np.zeros(0, np.bool_)


class Shape(NamedTuple):
    """All that the compiled loop depends on."""

    dim: int
    window: int  # W
    block: int  # T
    shared_negatives: int  # J
    negatives: int  # K
    avoid_contexts: bool
    center_mean: bool
    adagrad: bool
    frozen_centers: bool = False  # some rows of the center table stay
    frozen_contexts: bool = False

    @property
    def padded_dim(self) -> int:
        """D."""
        return padded(self.dim, LANES)

    @property
    def tile(self) -> int:
        """A."""
        return 1 if self.block % 2 else 2

    @property
    def noise_slots(self) -> int:
        """Candidates before the first context: J, and as many as fill a tile."""
        return padded(self.shared_negatives, TARGETS)

    @property
    def context_slots(self) -> int:
        """Candidates that may be contexts."""
        return padded(self.tile + 2 * self.window, TARGETS)

    @property
    def candidates(self) -> int:
        """L."""
        return padded(self.noise_slots + self.context_slots, LANES)

    @property
    def steps_apart(self) -> bool:
        """Whether targets do not change at once: what is to be added is looked at first."""
        return self.adagrad or self.frozen_contexts

    @property
    def segment(self) -> int:
        """Centers of a segment: whole blocks."""
        return padded(SEGMENT_WORDS, self.block)


class Tables(NamedTuple):
    """The tables by the addresses of their first rows, and what is known of each row.

    Adagrad's sums are empty for SGD, the marks of frozen rows where none is.
    """

    center_at: int
    context_at: int
    center_sum_V: Floats
    context_sum_V: Floats
    frozen_center_V: Marks = NO_MARKS
    frozen_context_V: Marks = NO_MARKS


class Buffers(NamedTuple):
    """A thread's own memory."""

    segment_rows: Floats  # context rows at hand, and as they came
    segment_before: Floats
    noise_rows: Floats
    noise_before: Floats
    center_steps: Floats  # what a tile adds to its centers
    target_steps: Floats  # and, where that is not done at once, to its targets
    spare_row: Floats  # takes the steps of frozen rows
    center_at_A: Longs
    scores_AL: Floats
    weights_AL: Floats
    square: Floats
    tally: NDArray[np.float64]  # sum of the losses, number of centers


def aligned_zeros(*shape: int) -> Floats:
    """Float32 zeros that begin on a cache line: other rows straddle lines, a quarter slower."""
    memory = np.zeros(math.prod(shape) * FLOAT_BYTES + LINE_BYTES, np.uint8)
    skip = -memory.ctypes.data % LINE_BYTES
    return memory[skip : len(memory) - LINE_BYTES + skip].view(np.float32).reshape(shape)


def make_buffers(shape: Shape) -> Buffers:
    """The memory that one thread needs."""
    A, D, L = shape.tile, shape.padded_dim, shape.candidates
    segment_rows = shape.segment + 2 * shape.window + TARGETS
    return Buffers(
        segment_rows=aligned_zeros(segment_rows, D),
        segment_before=aligned_zeros(segment_rows, D),
        noise_rows=aligned_zeros(shape.noise_slots, D),
        noise_before=aligned_zeros(shape.noise_slots, D),
        center_steps=aligned_zeros(A, D),
        target_steps=aligned_zeros(L if shape.steps_apart else 0, D),
        spare_row=aligned_zeros(1, D),
        center_at_A=np.zeros(A, np.int64),
        scores_AL=aligned_zeros(A, L),
        weights_AL=aligned_zeros(A, L),
        square=np.zeros(1, np.float32),
        tally=np.zeros(2),
    )
