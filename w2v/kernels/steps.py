"""The parts of the compiled loop of `hogwild`: rows that travel, weights, slopes.

numba puts these functions into the loop as they stand, so what is written in capitals is a
constant in them, too.

Legend: N = words of a piece; D = padded dimension; A = centers of a tile; L = candidates of a tile:
J noise words, padded to NOISE_SLOTS, then CONTEXT_SLOTS words around it; DIM = dimension.
"""

import math
from typing import Any

import numpy as np

from w2v.kernels.jit import inlined
from w2v.kernels.pieces import Draws
from w2v.kernels.shapes import Buffers
from w2v.kernels.tiles import (
    FLOAT_BYTES,
    TARGETS,
    add_difference,
    copy_row,
    prefetch_row,
    tile_scores,
)

ROWS_AHEAD = 8  # rows that are asked for before they are copied
LOG2_E = np.float32(math.log2(math.e))


@inlined
def row(table_at: int, number: Any, D: int) -> Any:
    """The address of a row."""
    return table_at + np.int64(number) * D * FLOAT_BYTES


@inlined
def prefetch_rows(table_at: int, words: Any, begin: int, end: int, D: int) -> None:
    """Asks for the rows of words[begin:end]."""
    for n in range(begin, end):
        prefetch_row(row(table_at, words[n], D), D)


@inlined
def copy_rows(
    table_at: int, words: Any, begin: int, end: int, copies_at: int, before_at: int, D: int
) -> None:
    """Copies the rows of words[begin:end] to two places."""
    for n in range(begin, end):
        if n + ROWS_AHEAD < end:
            prefetch_row(row(table_at, words[n + ROWS_AHEAD], D), D)
        place = n - begin
        copy_row(row(table_at, words[n], D), row(copies_at, place, D), row(before_at, place, D), D)


@inlined
def return_rows(
    table_at: int,
    words: Any,
    begin: int,
    end: int,
    copies_at: int,
    before_at: int,
    frozen_V: Any,
    FROZEN: bool,
    D: int,
) -> None:
    """Adds to the table what has changed in the copies; to frozen rows not even zeros."""
    for n in range(begin, end):
        if FROZEN and frozen_V[words[n]]:
            continue
        place = n - begin
        add_difference(
            row(table_at, words[n], D), row(copies_at, place, D), row(before_at, place, D), D
        )


@inlined
def any_shared(words_N: Any, begin: int, end: int, noise_J: Any, J: int) -> Any:
    """Whether a noise word is among words_N[begin:end]."""
    shared = np.int32(0)
    for n in range(begin, end):
        for j in range(J):
            shared |= np.int32(noise_J[j] == words_N[n])
    return shared > 0


@inlined
def gather_tile(
    draws: Draws, buffers: Buffers, center_at: int, i0: int, i1: int, A: int, D: int
) -> Any:
    """Notes where the rows of the centers from i0 to i1 are; returns the reach of their windows.

    Where the last center is alone it stands there twice, the second time without effect.
    """
    around, around_end = i0, i0
    for a in range(A):
        i = min(i0 + a, i1 - 1)
        buffers.center_at_A[a] = row(center_at, draws.words_N[i], D)
        around = min(around, i - draws.left_N[i])
        around_end = max(around_end, i + draws.right_N[i] + 1)
    return around, around_end


@inlined
def score_tiles(
    buffers: Buffers, around_at: int, around_tiles: int, NOISE_TILES: int, A: int, D: int, L: int
) -> None:
    """The scores of a tile's centers against the noise and the words around them."""
    centers_at, scores_at = buffers.center_at_A.ctypes.data, buffers.scores_AL.ctypes.data
    noise_at = buffers.noise_rows.ctypes.data
    for q in range(NOISE_TILES):
        to = scores_at + q * TARGETS * FLOAT_BYTES
        tile_scores(centers_at, row(noise_at, q * TARGETS, D), to, A, D, L)
    for q in range(around_tiles):
        to = scores_at + (NOISE_TILES + q) * TARGETS * FLOAT_BYTES
        tile_scores(centers_at, row(around_at, q * TARGETS, D), to, A, D, L)


@inlined
def weigh(
    weights_L: Any, distance: Any, left: Any, right: Any, each: Any, SLOTS: tuple[int, int, int]
) -> None:
    """A center's weights: `each` for noise, 1 for what is inside its window.

    `distance` is from the center to the first of the words around its tile.
    """
    J, NOISE_SLOTS, CONTEXT_SLOTS = SLOTS
    for j in range(J):
        weights_L[j] = each
    for p in range(CONTEXT_SLOTS):
        at = np.int32(distance + p)
        inside = (at >= -left) & (at <= right) & (at != 0)
        weights_L[NOISE_SLOTS + p] = np.float32(1 if inside else 0)


@inlined
def leave_out_contexts(
    weights_L: Any, words_N: Any, i: int, left: Any, right: Any, noise_J: Any, total: Any, J: int
) -> None:
    """Lets the noise words that are no contexts of the center at i count `total` together."""
    allowed = 0
    for j in range(J):
        met = False
        for n in range(i - left, i + right + 1):
            met |= (noise_J[j] == words_N[n]) & (n != i)
        weights_L[j] = np.float32(0 if met else 1)
        allowed += 0 if met else 1
    for j in range(J):
        weights_L[j] *= total / np.float32(max(allowed, 1))


@inlined
def slopes_of(scores_L: Any, weights_L: Any, NOISE_SLOTS: int, L: int) -> Any:
    """Turns a center's scores into slopes, -d loss / d score; returns the loss and the weight.

    With x a score, its slope is weight * (label - sigmoid(x)), its loss weight * softplus(z), where
    z, -x for a context and x for noise, says how wrong the score is (see `model.masked_bce`).
    """
    loss = np.float32(0)
    weight = np.float32(0)
    for p in range(L):
        z = scores_L[p] if p < NOISE_SLOTS else -scores_L[p]
        u = exp_negative(-abs(z))
        near = np.float32(1) / (np.float32(1) + u)
        slope = weights_L[p] * (near if z >= 0 else u * near)
        loss += weights_L[p] * (max(z, np.float32(0)) + log_one_plus(u))
        weight += weights_L[p]
        scores_L[p] = -slope if p < NOISE_SLOTS else slope
    return loss, weight


@inlined
def slope_tile(
    draws: Draws,
    buffers: Buffers,
    i0: int,
    i1: int,
    around: int,
    noise_J: Any,
    clash: Any,
    rate: Any,
    MEAN: bool,
    A: int,
    K: int,
    SLOTS: tuple[int, int, int],
    L: int,
) -> None:
    """Turns the scores of a tile into slopes times `rate`; adds its losses to the tally.

    `clash` says that noise words may be contexts, which are then left out; `MEAN` that every
    center counts the same.
    """
    J, NOISE_SLOTS, _ = SLOTS
    for a in range(A):
        i, left, right = i0 + a, np.int32(0), np.int32(0)
        if i < i1:
            left, right = draws.left_N[i], draws.right_N[i]
        weights_L, scores_L = buffers.weights_AL[a], buffers.scores_AL[a]
        total = np.float32(left + right) * np.float32(K)
        weigh(weights_L, around - i, left, right, total / np.float32(J), SLOTS)
        if clash:
            leave_out_contexts(weights_L, draws.words_N, i, left, right, noise_J, total, J)
        loss, weight = slopes_of(scores_L, weights_L, NOISE_SLOTS, L)
        if left + right > 0:
            buffers.tally[0] += np.float64(loss / weight)
            buffers.tally[1] += 1
            scale = rate / weight if MEAN else rate
            for p in range(L):
                scores_L[p] *= scale


@inlined
def exp_negative(x: Any) -> Any:
    """Exp(x) for x <= 0, as a float32; never below 2 ** -126.

    The relative error is 1.5e-7 * (1 + |x|): x * log2(e) is rounded before it is split.
    """
    power = max(x * LOG2_E, np.float32(-126))
    whole = np.floor(power)
    t = power - whole  # 2 ** t on [0, 1] by the Chebyshev interpolation of degree 5
    p = np.float32(0.001893754058)
    p = p * t + np.float32(0.008949590423)
    p = p * t + np.float32(0.05586033708)
    p = p * t + np.float32(0.2401418182)
    p = p * t + np.float32(0.6931544897)
    p = p * t + np.float32(0.9999998984)
    exponent = np.int32(np.int32(whole) + np.int32(127)) << np.int32(23)
    return p * np.int32(exponent).view(np.float32)


@inlined
def log_one_plus(u: Any) -> Any:
    """ln(1 + u) for 0 <= u <= 1, as a float32 with a relative error of 3.5e-7."""
    p = np.float32(-0.008371152549)  # ln(1 + u) / u by the Chebyshev interpolation of degree 7
    p = p * u + np.float32(0.04349389981)
    p = p * u + np.float32(-0.1068500286)
    p = p * u + np.float32(0.176874767)
    p = p * u + np.float32(-0.2447477418)
    p = p * u + np.float32(0.3327192838)
    p = p * u + np.float32(-0.4999717452)
    p = p * u + np.float32(0.9999997808)
    return p * u
