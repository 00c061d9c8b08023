"""What an epoch has on average: by hand, by enumeration, and by the project's own sampler."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from w2v import expectation
from w2v.draws import SpanText, draw_span, make_sampler
from w2v.expectation import expected, pairs_of
from w2v.sampling import keep_probabilities
from w2v.sentences import Sentences


def sentences(*lengths, ids_N=None):
    ids_N = np.zeros(sum(lengths)) if ids_N is None else ids_N
    return Sentences(np.asarray(ids_N, np.int32), np.cumsum([0, *lengths]))


def test_pairs_of_three_words_by_hand():
    # Four neighbors, always reached; first and last, in both directions, if the radius is 2.
    assert pairs_of(3, window=2) == 4 + 2 / 2
    assert [pairs_of(kept, window=2) for kept in (0, 1, 2)] == [0, 0, 2]


@given(st.integers(1, 12), st.integers(0, 12))
def test_long_sentences_lie_on_the_line(window, more):
    kept = window + more
    line = (window + 1) * kept - (window + 1) * (window + 2) / 3
    assert pairs_of(kept, window) == pytest.approx(line)


def test_without_subsampling_sentences_are_added_up():
    text = sentences(3, 0, 1, 7)
    found = expected(text, keep_prob_V=np.ones(1), window=3)
    assert found == pytest.approx((11, 10, pairs_of(3, 3) + pairs_of(7, 3)))


@pytest.mark.parametrize("stretch_words", [2, 5, 100])
def test_sentences_are_counted_in_stretches(stretch_words, monkeypatch):
    text = sentences(3, 0, 0, 1, 2, 0, 3, 0)
    keep_prob_V = np.ones(1)
    whole = expected(text, keep_prob_V=keep_prob_V, window=3)
    monkeypatch.setattr(expectation, "STRETCH_WORDS", stretch_words)
    assert expectation._num_nonempty(text) == 4
    if stretch_words > 3:  # else sentences are cut
        assert expected(text, keep_prob_V=keep_prob_V, window=3) == pytest.approx(whole)


def test_an_empty_text_has_nothing():
    assert expected(sentences(0, 0), keep_prob_V=np.ones(1), window=5) == (0, 0, 0)
    assert expected(sentences(), keep_prob_V=np.ones(1), window=5) == (0, 0, 0)


@pytest.mark.parametrize("window", [1, 2, 3, 9])
def test_all_that_can_happen_is_enumerated(window):
    keep_prob_V = np.array([0.0, 1.0, 0.3, 0.05, 0.6])
    lengths, ids_N = (4, 2, 1), [4, 2, 3, 1, 2, 4, 2]
    words = centers = pairs = 0.0
    for start, length in ((0, 4), (4, 2), (6, 1)):
        keep = keep_prob_V[ids_N[start : start + length]]
        for kept in product([0, 1], repeat=length):
            chance = float(np.where(kept, keep, 1 - keep).prod())
            words += chance * sum(kept)
            centers += chance * sum(kept) * (sum(kept) > 1)
            for at in range(sum(kept)):
                for radius in range(1, window + 1):
                    reached = min(radius, at) + min(radius, sum(kept) - 1 - at)
                    pairs += chance / window * reached
    found = expected(sentences(*lengths, ids_N=ids_N), keep_prob_V=keep_prob_V, window=window)
    assert found == pytest.approx((words, centers, pairs))


def zipfian_text(rng):
    """Sentences of 0 to 40 words, some of them very common, and the counts of the words."""
    lengths = rng.integers(0, 40, 200)
    ids_N = np.minimum(rng.zipf(1.3, lengths.sum()), 60)
    return sentences(*lengths, ids_N=ids_N), np.bincount(ids_N, minlength=61)


@pytest.mark.parametrize(("window", "threshold"), [(1, 1e-2), (5, 1e-3), (5, None), (10, 1e-5)])
def test_the_sampler_draws_as_much_within_its_spread(window, threshold):
    text, counts_V = zipfian_text(np.random.default_rng(3))
    rule = {"subsample": threshold, "subsample_formula": "paper"}
    sampler = make_sampler(
        counts_V, window=window, negatives=5, noise_power=0.75, block=1, shared_negatives=None,
        avoid_contexts=True, redraw=True, device=torch.device("cpu"), **rule,
    )  # fmt: skip
    drawn, tensors = [], SpanText(torch.from_numpy(text.ids_N), torch.from_numpy(text.offsets_S))
    for seed in range(60):
        span = draw_span(tensors, sampler, torch.Generator().manual_seed(seed))
        contexts_N = span.left_N + span.right_N
        drawn.append([len(span.words_N), int((contexts_N > 0).sum()), int(contexts_N.sum())])
    keep_prob_V = keep_probabilities(counts_V, threshold=threshold, formula="paper")
    found = expected(text, keep_prob_V=keep_prob_V, window=window)
    error = np.std(drawn, axis=0, ddof=1) / np.sqrt(len(drawn))
    assert np.all(np.abs(np.mean(drawn, axis=0) - found) <= 4 * error + 1e-6)


def test_stretches_change_nothing(monkeypatch):
    text, counts_V = zipfian_text(np.random.default_rng(4))
    keep_prob_V = keep_probabilities(counts_V, threshold=1e-3, formula="word2vec")
    whole = expected(text, keep_prob_V=keep_prob_V, window=5)
    monkeypatch.setattr(expectation, "STRETCH_WORDS", 100)
    assert expected(text, keep_prob_V=keep_prob_V, window=5) == pytest.approx(whole)


def test_a_text_on_one_line_is_followed_only_while_it_matters():
    text = sentences(10**6)
    found = expected(text, keep_prob_V=np.array([0.5]), window=5)
    assert found.words == pytest.approx(5e5)
    assert found.pairs == pytest.approx(6 * 5e5 - 14, abs=0.5)
