import numpy as np
import pytest
from numba import njit

from w2v.kernels.shapes import aligned_zeros
from w2v.kernels.steps import exp_negative, log_one_plus
from w2v.kernels.tiles import (
    LANES,
    TARGETS,
    add_difference,
    copy_row,
    prefetch_row,
    square_sum,
    take_step,
    tile_scores,
    tile_update,
)

D, L = 3 * LANES, 2 * TARGETS
TINY = np.finfo(np.float32).tiny


def matrix(*shape, seed=0):
    """Random rows; those of an odd seed do not begin on a cache line."""
    rows, width = shape
    whole = aligned_zeros(rows * width + 1)
    part = whole[seed % 2 :][: rows * width].reshape(shape)
    part[:] = np.random.default_rng(seed).normal(size=shape)
    return part


def addresses_of(table, rows):
    return np.array([table[row:].ctypes.data for row in rows])


@pytest.mark.parametrize("A", [1, 2, 4])
def test_a_tiles_scores_are_its_dot_products(A):
    @njit
    def run(centers_at, targets_at, scores_at):
        tile_scores(centers_at, targets_at, scores_at, A, D, L)

    for seed in (0, 1):
        table, targets = matrix(9, D, seed=seed), matrix(TARGETS, D, seed=seed + 2)
        rows = [7, 2, 2, 5][:A]
        scores, at = np.full((A, L), 9, np.float32), addresses_of(table, rows)
        run(at.ctypes.data, targets.ctypes.data, scores[:, TARGETS:].ctypes.data)
        expected = table[rows].astype(float) @ targets.T.astype(float)
        np.testing.assert_allclose(scores[:, TARGETS:], expected, rtol=1e-5, atol=1e-5)
        assert (scores[:, :TARGETS] == 9).all()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("A", [1, 2, 4])
def test_a_tiles_update_adds_slopes_times_rows(A, in_place):
    @njit
    def run(centers_at, targets_at, slopes_at, center_steps_at, target_steps_at):
        tile_update(centers_at, targets_at, slopes_at, center_steps_at, target_steps_at, A, D, L)

    table, targets = matrix(9, D), matrix(TARGETS, D, seed=1)
    slopes, center_steps = matrix(A, L, seed=2), matrix(A, D, seed=3)
    target_steps = targets if in_place else matrix(TARGETS, D, seed=4)
    rows = [7, 2, 2, 5][:A]
    slopes_AB = slopes[:, TARGETS:].copy()
    expected_centers = center_steps + slopes_AB @ targets
    expected_targets = target_steps + slopes_AB.T @ table[rows]
    before, at = table.copy(), addresses_of(table, rows)
    run(
        *(at.ctypes.data, targets.ctypes.data, slopes[:, TARGETS:].ctypes.data),
        *(center_steps.ctypes.data, target_steps.ctypes.data),
    )
    np.testing.assert_allclose(center_steps, expected_centers, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(target_steps, expected_targets, rtol=1e-5, atol=1e-5)
    assert np.array_equal(table, before)


def test_rows_travel_and_bring_back_what_changed():
    @njit
    def run(row_at, first_at, second_at, other_at):
        prefetch_row(row_at, D)
        copy_row(row_at, first_at, second_at, D)
        add_difference(other_at, row_at, first_at, D)

    row, other = matrix(1, D, seed=1), matrix(3, D, seed=2)
    first, second, before = matrix(3, D), matrix(3, D), other.copy()
    run(row.ctypes.data, first[1:].ctypes.data, second[1:].ctypes.data, other[1:].ctypes.data)
    for copies in (first, second):
        assert np.array_equal(copies[1], row[0])
        assert np.array_equal(copies[::2], matrix(3, D)[::2])
    assert np.array_equal(other, before)

    @njit
    def bring_back(row_at, after_at, before_at):
        add_difference(row_at, after_at, before_at, D)

    bring_back(other[1:].ctypes.data, row.ctypes.data, first.ctypes.data)
    assert np.array_equal(other[1], before[1] + (row[0] - first[0]))
    assert np.array_equal(other[::2], before[::2])


def test_a_step_is_scaled_taken_and_cleared():
    @njit
    def run(row_at, step_at, scale):
        take_step(row_at, step_at, scale, D)

    row, step = matrix(3, D), matrix(3, D, seed=1)
    before, steps = row.copy(), step.copy()
    run(row[1:].ctypes.data, step[1:].ctypes.data, np.float32(-0.3))
    np.testing.assert_allclose(row[1], before[1] - np.float32(0.3) * steps[1], rtol=1e-5, atol=1e-6)
    assert not step[1].any()
    assert np.array_equal(row[::2], before[::2])
    assert np.array_equal(step[::2], steps[::2])


@pytest.mark.parametrize("width", [LANES, 5 * LANES])
def test_the_sum_of_squares(width):
    @njit
    def run(row_at, sum_at):
        square_sum(row_at, sum_at, width)

    row, total = matrix(1, width, seed=1), np.full(3, 9, np.float32)
    run(row.ctypes.data, total[1:].ctypes.data)
    assert total[1] == pytest.approx(float((row.astype(float) ** 2).sum()), rel=1e-6)
    assert total[0] == total[2] == 9


@njit(fastmath={"contract", "reassoc", "nsz", "arcp", "afn"})
def mapped(x_N, exp_N, log_N):
    for i in range(len(x_N)):
        exp_N[i] = exp_negative(x_N[i])
        log_N[i] = log_one_plus(exp_N[i])


def test_exp_and_log_are_as_exact_as_they_say():
    x_N = np.linspace(-87, 0, 400_001, dtype=np.float32)
    exp_N, log_N = np.empty_like(x_N), np.empty_like(x_N)
    mapped(x_N, exp_N, log_N)
    error_N = np.abs(exp_N / np.exp(x_N.astype(float)) - 1)
    # Far from zero the rounding of x * log2(e) is the larger error.
    assert (error_N <= 1.5e-7 * (1 + np.abs(x_N))).all()
    assert np.abs(log_N / np.log1p(exp_N.astype(float)) - 1).max() <= 3.5e-7
    assert (log_N > 0).all()


def test_exp_of_what_is_far_below_zero_is_tiny_and_positive():
    x_N = np.array([-88, -1e3, -1e30, -np.inf], np.float32)
    exp_N, log_N = np.empty_like(x_N), np.empty_like(x_N)
    mapped(x_N, exp_N, log_N)
    np.testing.assert_allclose(exp_N, TINY, rtol=1e-6)
    np.testing.assert_allclose(log_N, TINY, rtol=1e-6)
