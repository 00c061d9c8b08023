"""The compiled loop of `hogwild`: trains the tables, in place, on the draws of a piece.

The mathematics is that of `blocked_batch` and `bmm`: T neighboring centers share J noise words,
and a negative of a center with c contexts counts K * c / J. What makes it fast:

- A centers are a tile with TARGETS targets at a time, see `tiles`;
- a tile's update follows at once, so the next centers of the block meet updated targets;
- the context rows of a segment of a sentence are copied to one small buffer, and what changed in
  them is added to the table at its end; a block's noise rows likewise: few rows travel, once;
- rows are asked for before they are needed;
- frozen rows cost nothing where there are none: the loop is compiled without them;
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

from w2v.kernels import jit, pieces, shapes, steps, tiles, updates
from w2v.kernels.jit import compiled_fast
from w2v.kernels.pieces import Draws
from w2v.kernels.shapes import Buffers, Shape, Tables
from w2v.kernels.steps import (
    any_shared,
    copy_rows,
    gather_tile,
    prefetch_rows,
    return_rows,
    row,
    score_tiles,
    slope_tile,
)
from w2v.kernels.tiles import TARGETS
from w2v.kernels.updates import (
    adagrad_centers,
    adagrad_targets,
    drop_steps,
    step_centers,
    step_targets,
    update_tiles,
)


def compile_loop(shape: Shape) -> Callable[[Draws, int, float, Tables, Buffers], None]:
    """The loop for these sizes: (draws, number of stretches, learning rate, tables, buffers).

    Adds to `buffers.tally`. Compiled at the first call, or taken from numba's cache on disk.
    """
    DIM, D, A, L = shape.dim, shape.padded_dim, shape.tile, shape.candidates
    W, T, J, K = shape.window, shape.block, shape.shared_negatives, shape.negatives
    NOISE_SLOTS, SEGMENT = shape.noise_slots, shape.segment
    SLOTS, NOISE_TILES = (J, NOISE_SLOTS, shape.context_slots), NOISE_SLOTS // TARGETS
    AVOID, MEAN, ADAGRAD = shape.avoid_contexts, shape.center_mean, shape.adagrad
    APART, FROZEN_CENTERS = shape.steps_apart, shape.frozen_centers
    FROZEN_CONTEXTS = shape.frozen_contexts

    def train_piece(
        draws: Draws, num_stretches: int, lr: Any, tables: Tables, buffers: Buffers
    ) -> None:
        words_N, center_at, context_at = draws.words_N, tables.center_at, tables.context_at
        segment_at, before_at = buffers.segment_rows.ctypes.data, buffers.segment_before.ctypes.data
        noise_at, old_noise_at = buffers.noise_rows.ctypes.data, buffers.noise_before.ctypes.data
        centers_at, steps_at = buffers.center_steps.ctypes.data, buffers.target_steps.ctypes.data
        stay_V, contexts_stay_V = tables.frozen_center_V, tables.frozen_context_V
        spare_at = buffers.spare_row.ctypes.data
        next_block = 0
        for stretch in range(num_stretches):
            begin, end, first, last = draws.stretches_R4[stretch]
            for segment in range(first, last, SEGMENT):
                segment_end = min(segment + SEGMENT, last)
                low, high = max(begin, segment - W), min(end, segment_end + W)
                copy_rows(context_at, words_N, low, high, segment_at, before_at, D)
                for block in range(segment, segment_end, T):
                    block_end = min(block + T, segment_end)
                    noise_J, next_J = draws.noise_XJ[next_block], draws.noise_XJ[next_block + 1]
                    next_block += 1
                    copy_rows(context_at, noise_J, 0, J, noise_at, old_noise_at, D)
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

                        around, around_end = gather_tile(draws, buffers, center_at, i0, i1, A, D)
                        around_at = row(segment_at, around - low, D)
                        around_tiles = (around_end - around + TARGETS - 1) // TARGETS
                        score_tiles(buffers, around_at, around_tiles, NOISE_TILES, A, D, L)
                        rate = np.float32(1) if ADAGRAD else lr
                        slope_tile(
                            draws,
                            buffers,
                            i0,
                            i1,
                            around,
                            noise_J,
                            clash,
                            rate,
                            MEAN,
                            A,
                            K,
                            SLOTS,
                            L,
                        )
                        update_tiles(buffers, around_at, around_tiles, NOISE_TILES, APART, A, D, L)
                        around_steps_at = row(steps_at, NOISE_SLOTS, D)
                        if FROZEN_CENTERS:
                            drop_steps(centers_at, words_N, i0, i1, stay_V, spare_at, D)
                        if FROZEN_CONTEXTS:
                            drop_steps(steps_at, noise_J, 0, J, contexts_stay_V, spare_at, D)
                            drop_steps(
                                around_steps_at, words_N, around, around_end, contexts_stay_V,
                                spare_at, D,
                            )  # fmt: skip
                        if ADAGRAD:
                            sum_V, square = tables.context_sum_V, buffers.square
                            adagrad_centers(
                                buffers, tables.center_sum_V, words_N, i0, i1, lr, A, D, DIM
                            )
                            adagrad_targets(
                                noise_at, steps_at, sum_V, noise_J, 0, J, lr, square, D, DIM
                            )
                            adagrad_targets(
                                around_at,
                                around_steps_at,
                                sum_V,
                                words_N,
                                around,
                                around_end,
                                lr,
                                square,
                                D,
                                DIM,
                            )
                        else:
                            step_centers(buffers, words_N, i0, i1, stay_V, FROZEN_CENTERS, A, D)
                            if APART:
                                step_targets(noise_at, steps_at, J, D)
                                step_targets(around_at, around_steps_at, around_end - around, D)
                    return_rows(
                        context_at, noise_J, 0, J, noise_at, old_noise_at, contexts_stay_V,
                        FROZEN_CONTEXTS, D,
                    )  # fmt: skip
                return_rows(
                    context_at, words_N, low, high, segment_at, before_at, contexts_stay_V,
                    FROZEN_CONTEXTS, D,
                )  # fmt: skip

    # numba's cache has a file for each name, and looks at this source alone: the name must tell
    # loops apart by their sizes and by the code that goes into them from other files.
    train_piece.__qualname__ = f"train_piece_{_digest(shape):08x}"
    return compiled_fast(train_piece)


def _digest(shape: Shape) -> int:
    sources = map(inspect.getsource, (jit, pieces, shapes, steps, tiles, updates))
    return zlib.crc32("".join([repr(shape), *sources]).encode())
