"""The compiled loop of `hogwild`: trains the tables, in place, on the draws of a piece.

The mathematics is that of `blocked_batch` and `bmm`: T neighboring centers share J noise words,
and a negative of a center with c contexts counts K * c / J. What makes it fast:

- A centers are a tile with TARGETS targets at a time, see `tiles`;
- a tile's update follows at once, so the next centers of the block meet updated targets;
- the context rows of a segment of a sentence are copied to one small buffer, and what changed in
  them is added to the table at its end; a block's noise rows likewise: few rows travel, once;
- rows are asked for before they are needed;
- all sizes are constants of the compiled code (at run time, the dimension alone costs a fifth).

Threads share the tables without locks: where two change a row at once, one change may be lost
(Hogwild, Niu et al. 2011).

Legend: N = words of a piece; T = centers in a block; J = its noise words; K = negatives for a
context; W = window; D = padded dimension; A = centers of a tile; L = candidates of a tile: the
noise words, then the words around it.
"""

import inspect
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from w2v.kernels import jit, pieces, shapes, steps, tiles
from w2v.kernels.jit import compiled_fast
from w2v.kernels.pieces import Draws
from w2v.kernels.shapes import Buffers, Shape, Tables
from w2v.kernels.steps import (
    adagrad_step,
    any_shared,
    copy_rows,
    leave_out_contexts,
    prefetch_rows,
    return_rows,
    row,
    score_tiles,
    slopes_of,
    update_tiles,
    weigh,
)
from w2v.kernels.tiles import TARGETS, take_step


def sources() -> int:
    """A number that changes with the code that goes into the loop from other files."""
    return zlib.crc32("".join(map(inspect.getsource, (jit, pieces, shapes, steps, tiles))).encode())


def compile_loop(shape: Shape) -> Callable[[Draws, int, float, Tables, Buffers], None]:
    """The loop for these sizes: (draws, number of stretches, learning rate, tables, buffers).

    Adds to `buffers.tally`. Compiled at the first call, or taken from numba's cache on disk, which
    tells loops apart by this file and by the numbers below.
    """
    SOURCES = sources()
    DIM, D, A, L = shape.dim, shape.padded_dim, shape.tile, shape.candidates
    W, T, J, K = shape.window, shape.block, shape.shared_negatives, shape.negatives
    NOISE_SLOTS, CONTEXT_SLOTS, SEGMENT = shape.noise_slots, shape.context_slots, shape.segment
    AVOID, MEAN, ADAGRAD = shape.avoid_contexts, shape.center_mean, shape.adagrad
    NOISE_TILES = NOISE_SLOTS // TARGETS

    @compiled_fast
    def train_piece(
        draws: Draws, num_stretches: int, lr: Any, tables: Tables, buffers: Buffers
    ) -> None:
        if SOURCES < 0:  # never; the mention puts the number among those that the cache looks at
            return
        words_N, left_N, right_N = draws.words_N, draws.left_N, draws.right_N
        center_at, context_at = tables.center_at, tables.context_at
        segment_at = buffers.segment_rows.ctypes.data
        segment_before_at = buffers.segment_before.ctypes.data
        noise_at = buffers.noise_rows.ctypes.data
        noise_before_at = buffers.noise_before.ctypes.data
        steps_at, target_steps_at = (
            buffers.center_steps.ctypes.data,
            buffers.target_steps.ctypes.data,
        )
        next_block = 0
        for stretch in range(num_stretches):
            begin, end, first, last = draws.stretches_R4[stretch]
            for segment in range(first, last, SEGMENT):
                segment_end = min(segment + SEGMENT, last)
                low, high = max(begin, segment - W), min(end, segment_end + W)
                copy_rows(context_at, words_N, low, high, segment_at, segment_before_at, D)
                for block in range(segment, segment_end, T):
                    block_end = min(block + T, segment_end)
                    noise_J, next_J = draws.noise_XJ[next_block], draws.noise_XJ[next_block + 1]
                    next_block += 1
                    copy_rows(context_at, noise_J, 0, J, noise_at, noise_before_at, D)
                    near, near_end = max(low, block - W), min(high, block_end + W)
                    clash = AVOID and any_shared(words_N, near, near_end, noise_J, J)
                    for i0 in range(block, block_end, A):
                        i1 = min(i0 + A, block_end)
                        # What comes next: the centers, the next segment's rows, the next noise.
                        prefetch_rows(center_at, words_N, i1, i1 + A, D)
                        later = high - segment
                        prefetch_rows(context_at, words_N, later + i0, later + i1, D)
                        upto = (i0 - block + A) * J // T if i1 < block_end else J
                        prefetch_rows(context_at, next_J, (i0 - block) * J // T, upto, D)

                        around, around_end = high, low
                        for a in range(
                            A
                        ):  # a last center alone is there twice, once without effect
                            i = min(i0 + a, i1 - 1)
                            buffers.center_at_A[a] = row(center_at, words_N[i], D)
                            around = min(around, i - left_N[i])
                            around_end = max(around_end, i + right_N[i] + 1)
                        around_at = row(segment_at, around - low, D)
                        around_tiles = (around_end - around + TARGETS - 1) // TARGETS
                        score_tiles(buffers, around_at, around_tiles, NOISE_TILES, A, D, L)

                        for a in range(A):
                            i, left, right = i0 + a, np.int32(0), np.int32(0)
                            if i < i1:
                                left, right = left_N[i], right_N[i]
                            weights_L, scores_L = buffers.weights_AL[a], buffers.scores_AL[a]
                            total = np.float32(left + right) * np.float32(K)
                            slots = (J, NOISE_SLOTS, CONTEXT_SLOTS)
                            weigh(weights_L, around - i, left, right, total / np.float32(J), slots)
                            if clash:
                                leave_out_contexts(
                                    weights_L, words_N, i, left, right, noise_J, total, J
                                )
                            loss, weight = slopes_of(scores_L, weights_L, NOISE_SLOTS, L)
                            if left + right > 0:
                                buffers.tally[0] += np.float64(loss / weight)
                                buffers.tally[1] += 1
                                rate = np.float32(1) if ADAGRAD else lr
                                rate = rate / weight if MEAN else rate
                                for p in range(L):
                                    scores_L[p] *= rate

                        update_tiles(
                            buffers, around_at, around_tiles, NOISE_TILES, ADAGRAD, A, D, L
                        )
                        for a in range(A):
                            row_at, step_at = buffers.center_at_A[a], row(steps_at, a, D)
                            if ADAGRAD:
                                word = words_N[min(i0 + a, i1 - 1)]
                                adagrad_step(
                                    row_at,
                                    step_at,
                                    tables.center_sum_V,
                                    word,
                                    lr,
                                    buffers.square,
                                    D,
                                    DIM,
                                )
                            else:
                                take_step(row_at, step_at, np.float32(1), D)
                        if ADAGRAD:
                            for j in range(J):
                                adagrad_step(
                                    row(noise_at, j, D),
                                    row(target_steps_at, j, D),
                                    tables.context_sum_V,
                                    noise_J[j],
                                    lr,
                                    buffers.square,
                                    D,
                                    DIM,
                                )
                            for n in range(around, around_end):
                                adagrad_step(
                                    row(segment_at, n - low, D),
                                    row(target_steps_at, NOISE_SLOTS + n - around, D),
                                    tables.context_sum_V,
                                    words_N[n],
                                    lr,
                                    buffers.square,
                                    D,
                                    DIM,
                                )
                    return_rows(context_at, noise_J, 0, J, noise_at, noise_before_at, D)
                return_rows(context_at, words_N, low, high, segment_at, segment_before_at, D)

    return train_piece
