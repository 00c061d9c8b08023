import numpy as np
import pytest

from w2v.sampling import keep_probabilities, noise_distribution, row_uses

COUNTS_V = np.array([0, 90, 9, 1])  # shares .9, .09, .01


def test_the_papers_keep_probability_by_hand():
    keep_V = keep_probabilities(COUNTS_V, threshold=0.01, formula="paper")
    assert keep_V[1:] == pytest.approx([np.sqrt(0.01 / 0.9), np.sqrt(0.01 / 0.09), 1.0])


def test_word2vecs_keep_probability_by_hand():
    keep_V = keep_probabilities(COUNTS_V, threshold=0.01, formula="word2vec")
    assert keep_V[1:] == pytest.approx(
        [np.sqrt(0.01 / 0.9) + 0.01 / 0.9, np.sqrt(0.01 / 0.09) + 0.01 / 0.09, 1.0]
    )


def test_word2vecs_formula_drops_nothing_below_2_6_thresholds():
    # x + sqrt(x) reaches 1 at x = t / f = 0.382, that is f = 2.618 t.
    counts_V = np.array([0, 2610, 2630, 10**6 - 2610 - 2630])
    keep_V = keep_probabilities(counts_V, threshold=1e-3, formula="word2vec")
    assert keep_V[1] == 1.0
    assert keep_V[2] < 1.0


@pytest.mark.parametrize("formula", ["paper", "word2vec"])
def test_words_at_or_below_the_threshold_are_kept_for_certain(formula):
    keep_V = keep_probabilities(np.array([0, 1, 2, 97]), threshold=0.02, formula=formula)
    assert keep_V[:3].tolist() == [1.0, 1.0, 1.0]
    assert 0 < keep_V[3] < 1


def test_without_a_threshold_everything_is_kept():
    assert keep_probabilities(COUNTS_V, threshold=None, formula="paper").tolist() == [1.0] * 4


def test_the_noise_distribution_by_hand():
    noise_V = noise_distribution(np.array([0, 16, 1, 81]), power=0.75)  # 8, 1, 27
    assert noise_V == pytest.approx([0, 8 / 36, 1 / 36, 27 / 36])


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_a_word_that_never_occurs_is_never_noise(power):
    noise_V = noise_distribution(np.array([0, 3, 0, 5]), power=power)
    assert noise_V[[0, 2]].tolist() == [0.0, 0.0]
    assert noise_V.sum() == pytest.approx(1.0)


def test_uses_of_rows_by_hand():
    keep_V, noise_V = np.array([1.0, 0.5, 1.0, 1.0]), np.array([0.0, 0.6, 0.3, 0.1])
    center_V, context_V = row_uses(
        COUNTS_V, keep_prob_V=keep_V, noise_V=noise_V, window=4, negatives=2
    )
    share_V = np.array([0, 45, 9, 1]) / 55
    assert center_V == pytest.approx(15 * share_V)  # 5 contexts on average, each with 2 negatives
    assert context_V == pytest.approx(5 * share_V + 10 * noise_V)
    assert center_V.sum() == pytest.approx(context_V.sum())  # a score uses one row of each table


def test_a_vocabulary_that_never_occurs_is_not_used():
    nothing = np.zeros(2)
    uses = row_uses(nothing, keep_prob_V=nothing, noise_V=nothing, window=4, negatives=2)
    assert np.array(uses).tolist() == [[0, 0], [0, 0]]
