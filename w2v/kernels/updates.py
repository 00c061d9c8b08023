"""The parts of the compiled loop of `hogwild` that change rows: what is added, and to which.

As in `steps`, what is written in capitals is a constant in these functions, too.

Legend: N = words of a piece; D = padded dimension; A = centers of a tile; L = candidates of a tile:
J noise words, padded to NOISE_SLOTS, then CONTEXT_SLOTS words around it; DIM = dimension.
"""

from typing import Any

import numpy as np

from w2v.kernels.jit import inlined
from w2v.kernels.shapes import Buffers
from w2v.kernels.steps import row
from w2v.kernels.tiles import FLOAT_BYTES, TARGETS, square_sum, take_step, tile_update


@inlined
def update_tiles(
    buffers: Buffers,
    around_at: int,
    around_tiles: int,
    NOISE_TILES: int,
    APART: bool,
    A: int,
    D: int,
    L: int,
) -> None:
    """Adds slopes times rows to the centers' steps, and to the targets, or APART to their steps."""
    centers_at, slopes_at = buffers.center_at_A.ctypes.data, buffers.scores_AL.ctypes.data
    noise_at, steps_at = buffers.noise_rows.ctypes.data, buffers.center_steps.ctypes.data
    for q in range(NOISE_TILES + around_tiles):
        slot = q * TARGETS
        if q < NOISE_TILES:
            rows_at = row(noise_at, slot, D)
        else:
            rows_at = row(around_at, slot - NOISE_TILES * TARGETS, D)
        to = row(buffers.target_steps.ctypes.data, slot, D) if APART else rows_at
        tile_update(centers_at, rows_at, slopes_at + slot * FLOAT_BYTES, steps_at, to, A, D, L)


@inlined
def drop_steps(
    steps_at: int, words: Any, begin: int, end: int, frozen_V: Any, spare_at: int, D: int
) -> None:
    """Clears the steps of those rows of words[begin:end] that are frozen."""
    for n in range(begin, end):
        if frozen_V[words[n]]:
            take_step(spare_at, row(steps_at, n - begin, D), np.float32(0), D)


@inlined
def step_centers(
    buffers: Buffers, words: Any, i0: int, i1: int, frozen_V: Any, FROZEN: bool, A: int, D: int
) -> None:
    """Adds the centers' steps to their rows, to frozen ones not even zeros; clears them."""
    for a in range(A):
        if FROZEN and frozen_V[words[min(i0 + a, i1 - 1)]]:
            continue
        step_at = row(buffers.center_steps.ctypes.data, a, D)
        take_step(buffers.center_at_A[a], step_at, np.float32(1), D)


@inlined
def step_targets(rows_at: int, steps_at: int, num_rows: int, D: int) -> None:
    """Adds the targets' steps to their copied rows; clears them."""
    for place in range(num_rows):
        take_step(row(rows_at, place, D), row(steps_at, place, D), np.float32(1), D)


@inlined
def adagrad_step(
    row_at: int, step_at: int, sum_V: Any, word: Any, lr: Any, square: Any, D: int, DIM: int
) -> None:
    """A step as `RowAdagrad` takes it; clears it."""
    square_sum(step_at, square.ctypes.data, D)
    if square[0] != 0:  # a NaN is taken, too: it must be noticed
        sum_V[word] += square[0] / np.float32(DIM)
        take_step(row_at, step_at, lr / np.sqrt(sum_V[word]), D)


@inlined
def adagrad_centers(
    buffers: Buffers, sum_V: Any, words: Any, i0: int, i1: int, lr: Any, A: int, D: int, DIM: int
) -> None:
    """`adagrad_step` for the centers of a tile."""
    for a in range(A):
        row_at, word = buffers.center_at_A[a], words[min(i0 + a, i1 - 1)]
        step_at = row(buffers.center_steps.ctypes.data, a, D)
        adagrad_step(row_at, step_at, sum_V, word, lr, buffers.square, D, DIM)


@inlined
def adagrad_targets(
    rows_at: int,
    steps_at: int,
    sum_V: Any,
    words: Any,
    begin: int,
    end: int,
    lr: Any,
    square: Any,
    D: int,
    DIM: int,
) -> None:
    """`adagrad_step` for the copied rows of words[begin:end]."""
    for n in range(begin, end):
        row_at, step_at = row(rows_at, n - begin, D), row(steps_at, n - begin, D)
        adagrad_step(row_at, step_at, sum_V, words[n], lr, square, D, DIM)
