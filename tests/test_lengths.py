import numpy as np
import pytest

from w2v import lengths
from w2v.lengths import sentence_lengths
from w2v.sampling import keep_probabilities
from w2v.sentences import Sentences


def text(*sizes, words=3, seed=0):
    ids_N = np.random.default_rng(seed).integers(1, words + 1, sum(sizes)).astype(np.int32)
    return Sentences(ids_N, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))


@pytest.mark.parametrize("part_words", [1, 2, 3, 5, 2**20])
def test_nothing_and_everything_is_kept_by_chances_of_0_and_1(part_words, monkeypatch):
    monkeypatch.setattr(lengths, "PART_WORDS", part_words)
    sentences = Sentences(
        np.array([1, 1, 2, 1, 2, 2, 2], np.int32), np.array([0, 0, 3, 4, 4, 7, 7])
    )
    before, after = sentence_lengths(sentences, np.array([1.0, 0.0, 1.0]), seed=0)
    assert before.tolist() == [0, 3, 1, 0, 3, 0]
    assert after.tolist() == [0, 1, 0, 0, 3, 0]  # what is left of words 2


def test_the_parts_of_a_text_make_no_difference_where_chance_has_no_part(monkeypatch):
    sentences = text(*range(40))
    whole = sentence_lengths(sentences, np.array([1.0, 1.0, 0.0, 1.0]), seed=0)
    monkeypatch.setattr(lengths, "PART_WORDS", 7)
    parts = sentence_lengths(sentences, np.array([1.0, 1.0, 0.0, 1.0]), seed=0)
    assert (whole.after_S == parts.after_S).all()
    assert whole.after_S.sum() == (sentences.ids_N != 2).sum()


def test_chances_are_kept_and_the_seed_decides():
    sentences = text(*[50] * 400)
    counts = np.bincount(sentences.ids_N)
    keep = keep_probabilities(counts, threshold=0.05, formula="paper")
    drawn = sentence_lengths(sentences, keep, seed=1)
    mean, spread = counts @ keep, np.sqrt(counts @ (keep * (1 - keep)))
    assert abs(drawn.after_S.sum() - mean) < 5 * spread
    assert (drawn.after_S == sentence_lengths(sentences, keep, seed=1).after_S).all()
    assert (drawn.after_S != sentence_lengths(sentences, keep, seed=2).after_S).any()
