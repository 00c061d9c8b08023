import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from w2v.batches import assemble, steps, textbook_batch
from w2v.draws import SpanText, Streams, count_slots, draw_noise, draw_span, make_sampler
from w2v.sampling import keep_probabilities, noise_distribution
from w2v.vocab import UNK_ID

CPU = torch.device("cpu")
DEFAULTS = {
    "window": 2,
    "negatives": 5,
    "noise_power": 0.75,
    "subsample": None,
    "subsample_formula": "paper",
    "block": 1,
    "shared_negatives": None,
    "avoid_contexts": True,
    "redraw": True,
}


def sampler_for(counts, **changes):
    shared = {"shared_negatives": 8} if changes.get("block", 1) > 1 else {}
    return make_sampler(np.array([0, *counts[1:]]), device=CPU, **(DEFAULTS | shared | changes))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def streams(seed=0, order=None):
    return Streams(seeded(seed), seeded(1000 + (seed if order is None else order)))


def span_of(sentences, sampler, seed=0):
    ids_N = torch.tensor([word for sentence in sentences for word in sentence], dtype=torch.int64)
    offsets_S = torch.tensor([0, *np.cumsum([len(sentence) for sentence in sentences])])
    return draw_span(SpanText(ids_N, offsets_S), sampler, seeded(seed))


def contexts_of(batch, row):
    labels_L = batch.labels_BTL[row, 0].bool()
    return batch.targets_BL[row][labels_L].tolist()


# --- the chapter's own examples ---------------------------------------------------------------


def test_the_chapters_batch():
    batch = assemble(
        torch.tensor([1, 1]),
        torch.tensor([[2, 2, UNK_ID], [2, 2, 2]]),
        torch.tensor([2, 3]),
        torch.tensor([[3, 3, 3, 3], [3, 3, UNK_ID, UNK_ID]]),
        torch.tensor([4, 2]),
    )
    assert batch.centers_BT.tolist() == [[1], [1]]
    assert batch.targets_BL.tolist() == [[2, 2, 3, 3, 3, 3], [2, 2, 2, 3, 3, 0]]
    assert batch.weights_BTL[:, 0].tolist() == [[1] * 6, [1] * 5 + [0]]
    assert batch.labels_BTL[:, 0].tolist() == [[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]


def test_the_windows_of_the_chapters_two_sentences():
    # The chapter's sentences range(7) and range(7, 10), window 2; ids are shifted by one because
    # id 0 is <unk>. A radius is 1 or 2, so the contexts are one of two lists.
    sentences = [list(range(1, 8)), list(range(8, 11))]
    sampler = sampler_for([0] + [1] * 200)
    possible = {}
    for sentence in sentences:
        for i, center in enumerate(sentence):
            for radius in (1, 2):
                around = sentence[max(0, i - radius) : i] + sentence[i + 1 : i + 1 + radius]
                possible.setdefault(center, set()).add(tuple(around))
    seen = {center: set() for center in possible}
    for seed in range(40):
        span = span_of(sentences, sampler, seed)
        batch = textbook_batch(span, torch.arange(10), sampler, draws=seeded(seed))
        for row, center in enumerate(batch.centers_BT[:, 0].tolist()):
            seen[center].add(tuple(contexts_of(batch, row)))
    assert seen == possible


# --- distributions ----------------------------------------------------------------------------


def test_noise_follows_the_distribution():
    counts = [50, 1000, 300, 100, 30, 10, 3, 1]
    sampler = sampler_for(counts)
    drawn = draw_noise((200_000,), sampler, seeded())
    expected_V = noise_distribution(np.array([0, *counts[1:]]), power=0.75)
    seen_V = np.bincount(drawn.numpy(), minlength=len(counts))
    assert seen_V[UNK_ID] == 0
    assert stats.chisquare(seen_V[1:], 200_000 * expected_V[1:]).pvalue > 1e-4


def test_noise_reaches_the_rarest_of_a_million_words_as_often_as_it_should():
    counts = np.ones(1_000_000, np.int64)
    counts[1] = 10**9
    sampler = make_sampler(
        counts - np.eye(1, len(counts), 0, dtype=np.int64)[0], device=CPU, **DEFAULTS
    )
    drawn = draw_noise((2_000_000,), sampler, seeded()).numpy()
    rare = noise_distribution(np.array([0, *counts[1:]]), power=0.75)[2:].sum()
    assert (drawn > 1).mean() == pytest.approx(rare, abs=4 * np.sqrt(rare / 2e6))
    last_tenth = (drawn >= 900_000).mean()
    assert last_tenth == pytest.approx(rare / 10, abs=4 * np.sqrt(rare / 10 / 2e6))


@pytest.mark.parametrize("formula", ["paper", "word2vec"])
def test_words_are_kept_as_often_as_the_formula_says(formula):
    counts = np.array([0, 6000, 3000, 900, 100])
    sampler = sampler_for(counts.tolist(), subsample=0.01, subsample_formula=formula)
    ids_N = torch.from_numpy(np.repeat(np.arange(5), counts * 10))
    offsets_S = torch.tensor([0, len(ids_N)])
    span = draw_span(SpanText(ids_N, offsets_S), sampler, seeded())
    kept_V = np.bincount(span.words_N.numpy(), minlength=5)[1:]
    keep_V = keep_probabilities(counts, threshold=0.01, formula=formula)[1:]
    trials_V = counts[1:] * 10
    z_V = (kept_V - trials_V * keep_V) / np.sqrt(trials_V * keep_V * (1 - keep_V) + 1e-9)
    assert np.abs(z_V).max() < 4


def test_radii_are_uniform_on_1_to_window():
    sampler = sampler_for([0] + [1] * 50, window=5)
    span = span_of([list(range(1, 51)) * 400], sampler)
    inside = slice(5, -5)
    assert torch.equal(span.left_N[inside], span.right_N[inside])
    seen = np.bincount(span.left_N[inside].numpy(), minlength=6)[1:]
    assert stats.chisquare(seen).pvalue > 1e-4


# --- windows, masks and labels, whatever the text ---------------------------------------------

texts = st.lists(st.lists(st.integers(1, 9), max_size=12), max_size=8)


def naive_reach(sentences, span):
    """The contexts of each word of a span that nothing was dropped from, by plain slicing."""
    at = 0
    for sentence in sentences:
        for i, word in enumerate(sentence):
            left, right = int(span.left_N[at]), int(span.right_N[at])
            assert int(span.words_N[at]) == word
            yield at, sentence[i - left : i] + sentence[i + 1 : i + 1 + right]
            at += 1


@given(texts, st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_window_has_one_radius_and_never_leaves_its_sentence(sentences, window, seed):
    sampler = sampler_for([0] + [1] * 9, window=window)
    span = span_of(sentences, sampler, seed)
    places = [(len(sentence), i) for sentence in sentences for i in range(len(sentence))]
    reaches = zip(span.left_N.tolist(), span.right_N.tolist(), strict=True)
    for (length, i), reach in zip(places, reaches, strict=True):
        assert reach in {(min(i, r), min(length - 1 - i, r)) for r in range(1, window + 1)}


@given(texts, st.integers(1, 3), st.integers(1, 4), st.booleans(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_textbook_rows_hold_contexts_then_negatives_then_padding(
    sentences, window, negatives, avoid_contexts, seed
):
    sampler = sampler_for(
        [0] + [1] * 9, window=window, negatives=negatives, avoid_contexts=avoid_contexts
    )
    span = span_of(sentences, sampler, seed)
    expected = dict(naive_reach(sentences, span))
    at_B = torch.tensor([at for at, contexts in expected.items() if contexts], dtype=torch.int64)
    assert count_slots(span, sampler) == len(at_B)
    if len(at_B) == 0:
        return
    batch = textbook_batch(span, at_B, sampler, draws=seeded(seed))
    for row, at in enumerate(at_B.tolist()):
        c = len(expected[at])
        targets = batch.targets_BL[row].tolist()
        assert int(batch.centers_BT[row, 0]) == int(span.words_N[at])
        assert targets[:c] == expected[at]
        assert batch.labels_BTL[row, 0].tolist() == [1.0] * c + [0.0] * (len(targets) - c)
        drawn = targets[c : c * (1 + negatives)]
        assert set(targets[c * (1 + negatives) :]) <= {UNK_ID}
        assert batch.weights_BTL[row, 0].tolist() == [float(word != UNK_ID) for word in targets]
        if avoid_contexts:
            assert not set(drawn) & set(expected[at])
        else:
            assert UNK_ID not in drawn


@given(texts, st.integers(1, 3), st.booleans(), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_blocked_batches_score_each_centers_own_window(
    sentences, window, avoid_contexts, block, seed
):
    K, S = 3, 8
    sampler = sampler_for(
        [0] + [1] * 9,
        window=window,
        negatives=K,
        block=block,
        shared_negatives=S,
        avoid_contexts=avoid_contexts,
    )
    span = span_of(sentences, sampler, seed)
    expected = {at: contexts for at, contexts in naive_reach(sentences, span) if contexts}
    H = block + 2 * window
    found = []
    for (batch,) in steps(span, sampler, streams(seed), batch_size=2 * block):
        for b, t in np.ndindex(*batch.centers_BT.shape):
            weights_L, labels_L = batch.weights_BTL[b, t], batch.labels_BTL[b, t]
            contexts = batch.targets_BL[b][labels_L.bool()].tolist()
            assert torch.equal(weights_L[:H], labels_L[:H])
            assert not labels_L[H:].any()
            negatives = batch.targets_BL[b, H:].tolist()
            allowed = [not (avoid_contexts and word in contexts) for word in negatives]
            each = K * len(contexts) / max(1, sum(allowed))
            assert weights_L[H:].tolist() == pytest.approx([each * may for may in allowed])
            if contexts:
                found.append((int(batch.centers_BT[b, t]), contexts))
    assert sorted(found) == sorted(
        (int(span.words_N[at]), contexts) for at, contexts in expected.items()
    )


@pytest.mark.parametrize("avoid_contexts", [True, False])
def test_both_makers_expect_the_same_of_every_negative(avoid_contexts):
    # Word 1 occurs so often that it is noise half of the time, and is a context of most centers.
    counts, sentences = [0, 60, 9, 9, 9, 9, 9], [[1, 2, 1, 3, 1, 4, 5, 6]] * 400
    expected = {}
    for block in (1, 4):
        sampler = sampler_for(counts, block=block, shared_negatives=64, window=1,
                              avoid_contexts=avoid_contexts)  # fmt: skip
        weight_VV = np.zeros((7, 7))
        for step in steps(span_of(sentences, sampler), sampler, streams(), batch_size=64):
            for batch in step:
                negative_BTL = batch.weights_BTL * (1 - batch.labels_BTL)
                centers_BTL = batch.centers_BT[..., None].expand_as(negative_BTL)
                targets_BTL = batch.targets_BL[:, None].expand_as(negative_BTL)
                np.add.at(weight_VV, (centers_BTL.numpy(), targets_BTL.numpy()), negative_BTL)
        expected[block] = weight_VV / weight_VV.sum(axis=1, keepdims=True).clip(min=1)
        totals = weight_VV.sum(axis=1)[1:] / 400
        pairs = np.array([5, 2, 2, 2, 2, 1])  # contexts a sentence: 1 stands first and inside
        assert totals == pytest.approx(5 * pairs)
    np.testing.assert_allclose(expected[1], expected[4], atol=0.02)


# --- steps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 4])
def test_every_center_comes_once_an_epoch_in_shuffled_order(block):
    words = list(range(1, 101))
    sampler = sampler_for([0] + [1] * 200, block=block)
    span = span_of([words], sampler)
    order = [
        word
        for step in steps(span, sampler, streams(), batch_size=16)
        for batch in step
        for word, scored in zip(
            batch.centers_BT.flatten().tolist(),
            batch.weights_BTL.any(dim=2).flatten().tolist(),
            strict=True,
        )
        if scored
    ]
    assert sorted(order) == words
    assert order != words


def test_a_textbook_step_has_batch_size_centers_and_little_padding():
    sampler = sampler_for([0] + [1] * 500, window=5)
    span = span_of([list(range(1, 501)) * 4], sampler)
    all_steps = list(steps(span, sampler, streams(), batch_size=512))
    sizes = [sum(len(batch.centers_BT) for batch in step) for step in all_steps]
    assert sizes == [512, 512, 512, 464]
    scored = sum(batch.weights_BTL.sum().item() for step in all_steps for batch in step)
    slots = sum(batch.weights_BTL.numel() for step in all_steps for batch in step)
    assert scored / slots > 0.8


@pytest.mark.parametrize("block", [1, 4])
def test_draws_are_anew_each_time_and_equal_for_equal_seeds(block):
    sampler = sampler_for([0] + [1] * 50, block=block)

    def targets(seed):
        span = span_of([list(range(1, 51))], sampler, seed)
        return [
            batch.targets_BL.tolist()
            for step in steps(span, sampler, streams(seed), batch_size=16)
            for batch in step
        ]

    assert targets(1) == targets(1)
    assert targets(1) != targets(2)


def examples(sampler, sentences, *, seed, order):
    """Every center of an epoch with its scored targets, in the order of training."""
    span = span_of(sentences, sampler, seed)
    found = []
    for step in steps(span, sampler, streams(seed, order), batch_size=16):
        for batch in step:
            for b, t in np.ndindex(*batch.centers_BT.shape):
                scored_L = batch.weights_BTL[b, t] > 0
                targets = batch.targets_BL[b][scored_L].tolist()
                found.append((int(batch.centers_BT[b, t]), targets))
    return [example for example in found if example[1]]


@pytest.mark.parametrize("block", [1, 4])
def test_what_is_drawn_once_is_the_same_in_another_order(block):
    sampler = sampler_for([0] + [1] * 50, block=block, redraw=False)
    sentences = [list(range(1, 51)), [7], [3, 1, 3]]
    first = examples(sampler, sentences, seed=1, order=1)
    second = examples(sampler, sentences, seed=1, order=2)
    assert first != second
    assert sorted(first) == sorted(second)
    assert sorted(first) != sorted(examples(sampler, sentences, seed=2, order=1))


def test_negatives_drawn_once_avoid_contexts_and_follow_the_noise():
    counts = [0, 400, 300, 200, 100, 50, 25]
    sampler = sampler_for(counts, redraw=False, avoid_contexts=True, window=1)
    found = examples(sampler, [[1, 2]] * 3000, seed=0, order=0)
    negatives = [(center, set(targets[1:])) for center, targets in found]
    assert all(({1: 2, 2: 1}[center]) not in drawn for center, drawn in negatives)
    seen_V = np.bincount([word for _, targets in found for word in targets[1:]], minlength=7)
    noise_V = noise_distribution(np.array(counts), power=0.75)
    others = slice(3, 7)  # words that are nobody's context
    share = noise_V[others] / noise_V[others].sum()
    assert stats.chisquare(seen_V[others], seen_V[others].sum() * share).pvalue > 1e-4


# --- tiny vocabularies ------------------------------------------------------------------------


def test_a_one_word_vocabulary_ends_and_scores_contexts_alone():
    sampler = sampler_for([0, 7])
    span = span_of([[1] * 7], sampler)
    (step,) = steps(span, sampler, streams(), batch_size=16)
    for batch in step:
        assert torch.equal(batch.weights_BTL, batch.labels_BTL)


def test_a_two_word_vocabulary_draws_the_other_word():
    sampler = sampler_for([0, 5, 5], window=1)
    span = span_of([[1, 1, 1, 1]], sampler)
    (step,) = steps(span, sampler, streams(), batch_size=16)
    for batch in step:
        negative_BTL = (batch.weights_BTL > 0) & (batch.labels_BTL == 0)
        assert set(batch.targets_BL[negative_BTL[:, 0]].tolist()) == {2}


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("sentences", [[], [[]], [[3]], [[3], [4]]])
def test_text_without_pairs_trains_no_center(sentences, block):
    sampler = sampler_for([0] + [1] * 9, block=block)
    span = span_of(sentences, sampler)
    assert count_slots(span, sampler._replace(block=1, shared_negatives=0)) == 0
    for step in steps(span, sampler, streams(), batch_size=16):
        assert not any(batch.weights_BTL.any() for batch in step)
