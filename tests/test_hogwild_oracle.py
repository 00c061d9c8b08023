"""Whole pieces: the compiled loop against the same steps in plain float64."""

import numpy as np
import oracle
import pytest
import torch
from test_hogwild import (
    EIGHTS,
    NARROW,
    PAIRS,
    WIDE,
    Stretch,
    assert_same_change,
    block_batch,
    copied,
    cut,
    make_case,
    objective_of,
    run_loop,
)

from w2v.batches import Batch
from w2v.kernels.shapes import SEGMENT_WORDS

# Of two words, of a few, of more than a segment; pieces that begin and end inside a sentence.
STRETCHES = (
    Stretch(2, 0, 2),
    Stretch(3, 2, 3),
    Stretch(9, 1, 8),
    Stretch(SEGMENT_WORDS + 30, 1, SEGMENT_WORDS + 28),
    Stretch(5, 0, 5),
)


def plain_loop(case, *, lr, sums=None):
    """The loop in float64: the oracle on tile after tile, on copies of the targets' rows.

    The rows of a segment, and the noise of a block, are copied and changed, and what changed is
    added to the table at the end. With Adagrad every use of a row takes a step of its own.
    Returns the tables and the losses.
    """
    shape, words_N, losses = case.shape, case.draws.words_N, []
    center_VD, context_VD = (table.double().numpy() for table in case.tables())
    blocks = case.blocks()

    def step(row_D, gradient_D, sum_V, word):
        if sums is not None and gradient_D.any():
            sum_V[word] += np.mean(gradient_D**2)
            gradient_D = gradient_D / np.sqrt(sum_V[word])
        row_D -= lr * gradient_D

    def train_tile(place, noise_J, low, segment_ND, noise_JD):
        batch = block_batch(case, place, noise_J, block=shape.tile)
        first = place[2]
        words = [min(first + a, place[3] - 1) for a in range(shape.tile)]
        slots = [
            n - low if 0 <= n - low < len(segment_ND) else -1
            for n in range(first - shape.window, first + shape.tile + shape.window)
        ]
        rows_LD = np.concatenate([segment_ND[slots], noise_JD])
        local = Batch(np.arange(shape.tile)[None], np.arange(len(rows_LD))[None], *batch[2:])
        answer = oracle.skip_gram_step(
            center_VD[words_N[words]], rows_LD, local, objective=objective_of(shape)
        )
        losses.extend(answer.losses)
        center_sum_V, context_sum_V = sums or (None, None)
        for n, gradient_D in zip(words, answer.center_VD, strict=True):
            step(center_VD[words_N[n]], gradient_D, center_sum_V, words_N[n])
        J = shape.shared_negatives
        for j in range(J):
            step(noise_JD[j], answer.context_VD[len(slots) + j], context_sum_V, noise_J[j])
        for slot, gradient_D in zip(slots, answer.context_VD[:-J], strict=True):
            if slot >= 0:
                step(segment_ND[slot], gradient_D, context_sum_V, words_N[low + slot])

    for begin, end, first, last in case.draws.stretches_R4[: case.num_stretches].tolist():
        for _, _, start, stop in cut((begin, end, first, last), shape.segment):
            low, high = max(begin, start - shape.window), min(end, stop + shape.window)
            segment_ND = context_VD[words_N[low:high]]
            before_ND = segment_ND.copy()
            for _ in range(start, stop, shape.block):
                place, noise_J = next(blocks)
                noise_JD = context_VD[noise_J]
                noise_before_JD = noise_JD.copy()
                for tile in cut(place, shape.tile):
                    train_tile(tile, noise_J, low, segment_ND, noise_JD)
                np.add.at(context_VD, noise_J, noise_JD - noise_before_JD)
            np.add.at(context_VD, words_N[low:high], segment_ND - before_ND)
    return [center_VD, context_VD], losses


def check_a_piece(shape):
    case = make_case(shape, STRETCHES, num_words=60, scale=0.6 / shape.dim**0.25)
    before, sums = copied(case.tables()), None
    plain_sums = None
    if shape.adagrad:
        sums = [torch.linspace(0.01, 0.1, 60), torch.linspace(0.1, 0.01, 60)]
        plain_sums = [sum_V.numpy().astype(float) for sum_V in sums]
    sums_before = copied(sums or [])
    lr = 0.3 if shape.center_mean else 0.03
    expected, losses = plain_loop(case, lr=lr, sums=plain_sums)
    loss_sum, centers = run_loop(case, lr=lr, sums=sums)
    assert_same_change(before, case.tables(), expected)
    assert centers == len(losses) == sum(last - first for _, first, last in STRETCHES)
    assert loss_sum == pytest.approx(sum(losses), rel=1e-6)
    if shape.adagrad:
        assert_same_change(sums_before, sums, plain_sums)
    for whole, table in zip(case.whole_rows(), case.tables(), strict=True):
        assert not whole[:, shape.dim :].any()
        assert not table[0].any()


@pytest.mark.parametrize("shape", NARROW, ids=str)
def test_a_piece_is_the_oracle_on_tile_after_tile(shape):
    check_a_piece(shape)


@pytest.mark.parametrize("shape", [PAIRS, EIGHTS], ids=str)
def test_any_word_around_a_block_may_be_its_noise(shape):
    """Only to the centers that it is a context of does it count nothing."""
    around = shape.block + 2 * shape.window + 2
    stretch = Stretch(around, shape.window + 1, shape.window + 1 + shape.block)
    for n in range(around):
        case = make_case(shape, [stretch], num_words=60, scale=0.6, seed=n, distinct=True)
        case.draws.noise_XJ[0, 0] = case.draws.words_N[n]
        before = copied(case.tables())
        expected, losses = plain_loop(case, lr=0.1)
        loss_sum, _ = run_loop(case, lr=0.1)
        assert_same_change(before, case.tables(), expected)
        assert loss_sum == pytest.approx(sum(losses), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", WIDE, ids=str)
def test_pieces_of_other_shapes(shape):
    check_a_piece(shape)
