from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from w2v.kernels import pieces
from w2v.kernels.pieces import Draws, Noise, alias_table, draw_piece, empty_draws, piece_words
from w2v.sampling import keep_probabilities, noise_distribution

KEY = np.uint64(0x5EED)
WITHOUT_HASTE = settings(deadline=None)  # the first call may compile
NO_LUCK = 1e-4  # a p-value below it is no accident
WALL = 2  # rows behind the room for the draws that nothing may be written to


@cache
def walled_room(window, block, J):
    parts, walls = [], []
    for part in empty_draws(window=window, block=block, shared_negatives=J):
        whole = np.full((len(part) + WALL, *part.shape[1:]), -7, part.dtype)
        parts.append(whole[:-WALL])
        walls.append(whole[-WALL:])
    return Draws(*parts), walls


def noise_of(probability_V):
    return Noise(*alias_table(np.array(probability_V, np.float64)))


TEN_WORDS = noise_of(np.full(10, 0.1))


def draw(
    ids_N, offsets_S, start, end, *, keep_prob_V, window=3, block=4, J=5, key=KEY, noise=TEN_WORDS
):
    """One piece: its draws, its stretches, and how many blocks have noise."""
    draws, walls = walled_room(window, block, J)
    draws.noise_XJ[:] = -1
    num_stretches = draw_piece(
        ids_N, offsets_S, start, end, key, keep_prob_V, noise, window, block, draws
    )
    assert all((wall == -7).all() for wall in walls)
    stretches = draws.stretches_R4[:num_stretches].tolist()
    num_blocks = sum(-(-(last - first) // block) for _, _, first, last in stretches)
    assert (draws.noise_XJ[:num_blocks] >= 0).all()
    # The loop looks ahead to the noise of the block after the last one.
    assert num_blocks < len(draws.noise_XJ)
    assert (draws.noise_XJ[num_blocks:] == -1).all()
    return draws, stretches, num_blocks


def centers_of(draws, stretches):
    """Every center with its contexts to the left and to the right."""
    words = draws.words_N.tolist()
    for begin, end, first, last in stretches:
        for i in range(first, last):
            left, right = int(draws.left_N[i]), int(draws.right_N[i])
            assert begin <= i - left
            assert i + right < end
            yield words[i], words[i - left : i], words[i + 1 : i + 1 + right]


def check_cuts(lengths, cuts, *, window, block, J, keep_prob):
    """Cuts a span in which every word stands once; compares with whole sentences, in plain Python.

    Each kept word with a neighbor is a center once, in order; its contexts are all words within
    one radius from 1 to W, to the ends of its sentence.
    """
    offsets_S = np.cumsum([0, *lengths])
    ids_N = np.arange(offsets_S[-1], dtype=np.int32)
    keep_prob_V = np.full(len(ids_N) + 1, keep_prob, np.float32)
    kept = [
        [n for n in range(start, end) if pieces.is_kept(ids_N, n, KEY, keep_prob_V)]
        for start, end in zip(offsets_S[:-1].tolist(), offsets_S[1:].tolist(), strict=True)
    ]
    expected = [(words, i) for words in kept if len(words) > 1 for i in range(len(words))]
    found, borders = [], [*cuts, len(ids_N)]
    for start, end in zip([0, *borders[:-1]], borders, strict=True):
        draws, stretches, _ = draw(
            ids_N, offsets_S, start, end, keep_prob_V=keep_prob_V, window=window, block=block, J=J
        )
        several = list(centers_of(draws, stretches))
        assert all(start <= word < end for word, _, _ in several)
        found += several
    assert len(found) == len(expected)
    for (word, left, right), (words, i) in zip(found, expected, strict=True):
        radius = max(len(left), len(right))
        assert 1 <= radius <= window
        assert word == words[i]
        assert left == words[max(0, i - radius) : i]
        assert right == words[i + 1 : i + 1 + radius]


@WITHOUT_HASTE
@given(
    lengths=st.lists(st.integers(0, 40), max_size=12),
    size=st.integers(1, 60),
    window=st.sampled_from([1, 2, 5, 12]),
    block=st.sampled_from([1, 4]),
    keep_prob=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_no_window_is_cut_where_pieces_meet(lengths, size, window, block, keep_prob):
    cuts = range(size, sum(lengths), size)
    check_cuts(lengths, cuts, window=window, block=block, J=1, keep_prob=keep_prob)


@pytest.mark.parametrize("keep_prob", [0.3, 1.0])
def test_a_sentence_much_longer_than_a_piece_loses_nothing(keep_prob):
    size = piece_words(16)
    assert size < 20_000
    cuts = range(size, 100_000, size)
    check_cuts([100_000], cuts, window=5, block=16, J=16, keep_prob=keep_prob)


@pytest.mark.parametrize("window", [1, 100])
@pytest.mark.parametrize(("J", "block"), [(65536, 1), (65536, 1024), (1, 1), (1, 2)])
@pytest.mark.parametrize("start", [0, 1])
def test_the_room_is_enough_for_the_worst_text(J, block, window, start):
    """Two-word sentences make most stretches and blocks, one long sentence the most words."""
    size = piece_words(J)
    num_words = 3 * size + 2 * window + 2
    keep_prob_V = np.ones(10, np.float32)
    ids_N = np.ones(num_words, np.int32)
    pairs_S = np.arange(0, num_words + 1, 2)
    for offsets_S in (pairs_S, np.array([0, num_words])):
        for begin in (start, size + window + start):
            draw(
                ids_N, offsets_S, begin, begin + size, keep_prob_V=keep_prob_V, window=window,
                block=block, J=J,
            )  # fmt: skip


def test_a_piece_is_never_empty_and_never_has_more_noise_than_it_may():
    for J in (1, 16, 1000, 65536):
        assert 1 <= piece_words(J) <= pieces.PIECE_WORDS
        assert piece_words(J) * J <= pieces.MOST_NOISE


# --- what is drawn, by distribution -------------------------------------------------------------


def one_sentence(num_words, *, num_ids=9):
    ids_N = np.random.default_rng(0).integers(1, num_ids, num_words).astype(np.int32)
    return ids_N, np.array([0, num_words])


@pytest.mark.parametrize("window", [1, 2, 5, 12])
def test_radii_are_uniform(window):
    draws, ((_, _, first, last),), _ = draw(
        *one_sentence(20_000), 1000, 17_000, keep_prob_V=np.ones(9, np.float32), window=window
    )
    assert last - first == 16_000
    left_N, right_N = draws.left_N[first:last], draws.right_N[first:last]
    assert np.array_equal(left_N, right_N)
    counts = np.bincount(left_N, minlength=window + 1)
    assert counts[0] == 0
    assert len(counts) == window + 1
    assert window == 1 or stats.chisquare(counts[1:]).pvalue > NO_LUCK
    if window > 1:  # the next radius does not depend on this one
        table = np.zeros((window, window))
        np.add.at(table, (left_N[:-1:2] - 1, left_N[1::2] - 1), 1)
        assert stats.chi2_contingency(table).pvalue > NO_LUCK


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
def test_noise_has_its_distribution(power):
    counts_V = np.array([0, 5000, 900, 0, 300, 40, 0, 8, 2, 1, 0])
    probability_V = noise_distribution(counts_V, power=power)
    ids_N, offsets_S = one_sentence(16_000)
    found = []
    for key in range(1, 5):
        draws, _, num_blocks = draw(
            ids_N, offsets_S, 0, 16_000, keep_prob_V=np.ones(9, np.float32), block=1, J=16,
            key=np.uint64(key), noise=noise_of(probability_V),
        )  # fmt: skip
        assert num_blocks == 16_000
        found.append(draws.noise_XJ[:num_blocks].copy())
    drawn = np.concatenate(found)
    counts = np.bincount(drawn.ravel(), minlength=len(counts_V))
    assert not counts[counts_V == 0].any()
    used = counts_V > 0
    expected = probability_V[used] * drawn.size
    assert stats.chisquare(counts[used], expected).pvalue > NO_LUCK
    # Nor is the second noise word of a block bound to the first, or a block's to the next one's.
    frequent = (drawn == 1).astype(int)
    for one, other in ((frequent[:, 0], frequent[:, 1]), (frequent[:-1:2, 0], frequent[1::2, 0])):
        table = np.zeros((2, 2))
        np.add.at(table, (one, other), 1)
        assert stats.chi2_contingency(table).pvalue > NO_LUCK


def test_noise_of_many_words_has_its_distribution():
    """Slot and share of a draw come from other bits: else the two would be bound to each other."""
    counts_V = 1e7 / np.arange(1, 50_001)
    probability_V = np.random.default_rng(0).permutation(counts_V / counts_V.sum())
    ids_N, offsets_S = one_sentence(16_000)
    draws, _, num_blocks = draw(
        ids_N, offsets_S, 0, 16_000, keep_prob_V=np.ones(9, np.float32), block=1, J=64,
        noise=noise_of(probability_V),
    )  # fmt: skip
    drawn = draws.noise_XJ[:num_blocks]
    counts, expected = np.bincount(drawn.ravel(), minlength=50_000), probability_V * drawn.size
    often = expected > 5
    assert often.sum() > 10_000
    found = [*counts[often], counts[~often].sum()]
    assert stats.chisquare(found, [*expected[often], expected[~often].sum()]).pvalue > NO_LUCK


@pytest.mark.parametrize("formula", ["paper", "word2vec"])
def test_words_are_kept_with_their_probability(formula):
    rng = np.random.default_rng(1)
    share_V = np.array([0, *1 / np.arange(1, 30)])
    ids_N = rng.choice(30, 300_000, p=share_V / share_V.sum()).astype(np.int32)
    counts_V = np.bincount(ids_N, minlength=30)
    keep_V = keep_probabilities(counts_V, threshold=0.02, formula=formula)
    assert 0.2 < keep_V.min() < 0.5
    keep_prob_V, kept_V = keep_V.astype(np.float32), np.zeros(30, int)
    size = piece_words(5)
    for start in range(0, len(ids_N), size):
        end = min(start + size, len(ids_N))
        offsets_S = np.array([0, len(ids_N)])
        draws, ((_, _, first, last),), _ = draw(
            ids_N, offsets_S, start, end, keep_prob_V=keep_prob_V
        )
        kept_V += np.bincount(draws.words_N[first:last], minlength=30)
    thinned = keep_V < 1
    assert np.array_equal(kept_V[~thinned], counts_V[~thinned])
    expected, total = (counts_V * keep_V)[thinned], counts_V[thinned]
    squares = (kept_V[thinned] - expected) ** 2 / (expected * (1 - expected / total))
    assert stats.chi2.sf(squares.sum(), thinned.sum()) > NO_LUCK
    assert stats.chi2.sf(squares.sum(), thinned.sum()) < 1 - NO_LUCK


def test_other_keys_and_other_pieces_draw_otherwise():
    ids_N, offsets_S = one_sentence(3000)
    keep_prob_V = np.full(9, 0.5, np.float32)
    drawn = []
    for key, start in ((1, 0), (1, 0), (2, 0), (1, 1000)):
        draws, ((_, _, first, last),), num_blocks = draw(
            ids_N, offsets_S, start, start + 1000, keep_prob_V=keep_prob_V, key=np.uint64(key),
            block=1, J=12,
        )  # fmt: skip
        words = draws.words_N[first:last].tolist()
        drawn.append((words, {tuple(row) for row in draws.noise_XJ[:num_blocks].tolist()}))
    assert drawn[0] == drawn[1]
    for words, rows in drawn[2:]:
        assert words != drawn[0][0]
        assert not rows & drawn[0][1]


# --- the alias table ----------------------------------------------------------------------------


def implied(share_V, other_V):
    """The distribution that an alias table stands for."""
    given_V = np.bincount(other_V, weights=1 - share_V.astype(float), minlength=len(share_V))
    return (share_V + given_V) / len(share_V)


def check_alias(weights_V):
    probability_V = np.asarray(weights_V, float) / np.sum(weights_V)
    before = probability_V.copy()
    share_V, other_V = alias_table(probability_V)
    assert np.array_equal(probability_V, before)
    assert (share_V.dtype, other_V.dtype) == (np.float32, np.int32)
    assert ((share_V >= 0) & (share_V <= 1)).all()
    assert ((other_V >= 0) & (other_V < len(share_V))).all()
    found_V = implied(share_V, other_V)
    np.testing.assert_allclose(found_V, probability_V, rtol=1e-6, atol=1e-7)
    assert not found_V[probability_V == 0].any()


@pytest.mark.parametrize(
    "weights_V",
    [[1], [3, 1], [1, 3], [0, 1], [1, 1, 1, 1], [0] * 50 + [1], [0, 0, 5, 0, 1e-9, 2]],
    ids=str,
)
def test_an_alias_table_of_few_words(weights_V):
    check_alias(weights_V)


@WITHOUT_HASTE
@given(
    st.lists(st.sampled_from([0.0]) | st.floats(1e-9, 1e9), min_size=1, max_size=200).filter(any)
)
def test_an_alias_table_is_its_distribution(weights_V):
    check_alias(weights_V)


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0, 2.0])
def test_an_alias_table_of_many_words(power):
    counts_V = (1e8 / np.arange(1, 300_001)).astype(int)
    counts_V[[0, 17, 299_999]] = 0
    check_alias(noise_distribution(counts_V, power=power))
