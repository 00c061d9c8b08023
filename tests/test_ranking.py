import subprocess
import sys
from collections import Counter
from itertools import islice

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2v import ranking, room
from w2v.errors import DataError, StorageError
from w2v.ranking import MAX_DROPPED, choose, folded
from w2v.vocab import UNK_WORD

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: len(text.split()) == 1 and text.split()[0] == text
)


def frame(counts, heldout=None):
    """The rows of counted words; by default none is in held-out text."""
    return pl.DataFrame(
        {
            "word": pl.Series(list(counts), dtype=pl.String),
            "train": pl.Series(list(counts.values()), dtype=pl.Int64),
            "heldout": pl.Series([(heldout or {}).get(w, 0) for w in counts], dtype=pl.Int64),
        }
    )


def chosen(counts, *, min_count=1, max_size=None):
    choice = choose([frame(counts)], min_count=min_count, max_size=max_size)
    return choice.vocab, choice.dropped


def test_words_go_by_count_then_by_code_point():
    vocab, dropped = chosen({"b": 2, "é": 2, "Z": 2, "a": 5, "z": 1})
    assert vocab.words == (UNK_WORD, "a", "Z", "b", "é", "z")
    assert vocab.counts_V.tolist() == [0, 5, 2, 2, 2, 1]
    assert vocab.counts_V.dtype == np.int64
    assert dropped.words == ()
    assert vocab.index == {"<unk>": 0, "a": 1, "Z": 2, "b": 3, "é": 4, "z": 5}
    assert len(vocab) == 6


def test_code_points_order_beyond_the_basic_plane():
    # UTF-16 would put U+1F600 (a surrogate pair) before U+FF21.
    assert chosen({"\U0001f600": 1, "\uff21": 1})[0].words[1:] == ("\uff21", "\U0001f600")


def test_rare_words_and_literal_unknowns_count_as_unknown():
    vocab, dropped = chosen({"": 7, "a": 5, "<unk>": 4, "c": 2, "b": 2, "d": 1}, min_count=3)
    assert vocab.words == (UNK_WORD, "a")
    assert vocab.counts_V.tolist() == [4 + 2 + 2 + 1, 5]
    assert dropped.words == ("b", "c", "d")
    assert dropped.counts_W.tolist() == [2, 2, 1]


def test_the_spectrum_tells_how_many_words_occur_how_often():
    counts = {"": 7, "a": 5, "<unk>": 4, "c": 2, "b": 2, "gone": 0, "d": 1}
    choice = choose([frame(counts)], min_count=1, max_size=None)
    assert choice.spectrum_X2.tolist() == [[1, 1], [2, 2], [5, 1]]
    assert choice.num_types == 5
    nothing = choose([frame({"": 7})], min_count=1, max_size=None)
    assert nothing.spectrum_X2.shape == (0, 2)


def test_max_size_keeps_the_commonest_ties_by_spelling():
    vocab, dropped = chosen({"c": 2, "b": 2, "a": 2, "d": 9}, max_size=2)
    assert vocab.words == (UNK_WORD, "d", "a")
    assert vocab.counts_V.tolist() == [4, 9, 2]
    assert dropped.words == ("b", "c")


def test_words_that_never_occur_in_training_are_no_words():
    vocab, dropped = chosen({"a": 1, "heldout": 0})
    assert vocab.words == (UNK_WORD, "a")
    assert dropped.words == ()


def test_no_words_leave_unknown_alone():
    assert chosen({"": 3, "<unk>": 2})[0].words == (UNK_WORD,)


def test_min_count_above_all_says_what_is_there():
    with pytest.raises(DataError) as error:
        chosen({"the": 9, "a": 9, "of": 1}, min_count=10)
    assert str(error.value) == (
        "vocab.min_count=10 keeps 0 of 3 words; the commonest, 'a', occurs 9 times: lower it"
    )
    with pytest.raises(DataError, match=r"'\\x1b\[2J', occurs 1 time: lower it"):
        chosen({"\x1b[2J": 1}, min_count=2)


def test_no_more_than_the_commonest_dropped_words_are_remembered():
    counts = {f"w{i}": 2 for i in range(MAX_DROPPED)} | {"rare": 1, "common": 3}
    _, dropped = chosen(counts, min_count=3)
    assert len(dropped.words) == MAX_DROPPED
    assert "rare" not in dropped.words


@given(st.dictionaries(WORDS, st.integers(1, 5), min_size=1), st.integers(1, 5))
def test_choice_equals_sorting(counts, min_count):
    ranked = sorted(
        ((word, count) for word, count in counts.items() if word != UNK_WORD),
        key=lambda pair: (-pair[1], pair[0]),
    )
    kept = [word for word, count in ranked if count >= min_count]
    if ranked and not kept:
        with pytest.raises(DataError):
            chosen(counts, min_count=min_count)
        return
    vocab, dropped = chosen(counts, min_count=min_count)
    assert list(vocab.words) == [UNK_WORD, *kept]
    assert list(dropped.words) == [word for word, _ in ranked[len(kept) :]]
    assert vocab.counts_V.sum() == sum(counts.values())


@settings(deadline=None)
@given(
    st.dictionaries(WORDS, st.integers(0, 5), min_size=1, max_size=30),
    st.integers(1, 6),
    st.one_of(st.none(), st.integers(1, 8)),
    st.integers(1, 4),
    st.integers(0, 5),
)
def test_parts_give_what_the_whole_gives(counts, min_count, max_size, per_part, few):
    limits = {"min_count": min_count, "max_size": max_size}
    parts = [frame({w: counts[w] for w in group}) for group in batched(counts, per_part)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "MAX_DROPPED", 3)
        whole, problem = outcome([frame(counts)], **limits)
        patch.setattr(ranking, "FEW_ROWS", few)
        found, same_problem = outcome(parts, **limits)
    assert same_problem == problem
    if problem:
        return
    assert found.vocab.words == whole.vocab.words
    assert found.vocab.counts_V.tolist() == whole.vocab.counts_V.tolist()
    assert found.dropped.words == whole.dropped.words
    assert found.dropped.counts_W.tolist() == whole.dropped.counts_W.tolist()
    assert found.spectrum_X2.tolist() == whole.spectrum_X2.tolist()
    assert (found.num_types, found.num_ids) == (whole.num_types, whole.num_ids)


def outcome(parts, **limits):
    """A choice, or what is said in its place."""
    try:
        return choose(parts, **limits), None
    except DataError as error:
        return None, str(error)


def batched(words, size):
    iterator = iter(words)
    while group := list(islice(iterator, size)):
        yield group


def test_ids_of_both_parts_are_those_of_kept_words():
    rows = frame({"a": 3, "b": 2, "c": 1, "<unk>": 9}, heldout={"a": 5, "c": 7, "<unk>": 2})
    assert choose([rows], min_count=2, max_size=None).num_ids == {"train": 5, "heldout": 5}


def test_rows_that_have_no_place_are_let_go(monkeypatch):
    monkeypatch.setattr(ranking, "FEW_ROWS", 10)
    monkeypatch.setattr(ranking, "MAX_DROPPED", 2)
    held = []
    real = ranking._Tally.ranked

    def ranked(self, words):
        held.append(words.height)
        return real(self, words)

    monkeypatch.setattr(ranking._Tally, "ranked", ranked)
    parts = (frame({f"w{i}": i + 1}) for i in range(1000))
    choice = choose(parts, min_count=1, max_size=3)
    assert choice.vocab.words == (UNK_WORD, "w999", "w998", "w997")
    assert choice.dropped.words == ("w996", "w995")
    assert max(held) <= 10 + 1 + 5
    assert len(held) < 200  # a sort for every few parts, not for each


def test_folding_sums_what_comes_often():
    frames = (frame({"a": 1, f"b{i % 3}": 1}) for i in range(50))
    sums = folded(frames, lambda words: words.group_by("word").agg(pl.col("train").sum()))
    assert sorted(sums.select("word", "train").rows()) == [
        *(("a", 50), ("b0", 17), ("b1", 17), ("b2", 16)),
    ]


@pytest.mark.parametrize("free", [400 * 3, 400 * 3 - 1, None])
def test_a_vocabulary_that_does_not_fit(monkeypatch, free):
    monkeypatch.setattr(room, "FEW_WORDS", 1)
    monkeypatch.setattr(room, "free_bytes", lambda: free)
    parts = [frame({f"w{i}": 2}) for i in range(3)]
    if free == 400 * 3 - 1:
        with pytest.raises(StorageError, match="a vocabulary of 3 words or more needs") as error:
            choose(parts, min_count=1, max_size=None)
        assert "vocab.max_size" in error.value.hint
        assert len(choose(parts, min_count=1, max_size=2).vocab) == 3
    else:
        assert len(choose(parts, min_count=1, max_size=None).vocab) == 4


def test_order_is_independent_of_hashing():
    counts = Counter({"the": 2, "and": 2, "cat": 1, "dog": 1, "bird": 1, "a": 3, "run": 1})
    program = (
        "import sys, polars as pl; from w2v.ranking import choose\n"
        "words = list(set(sys.argv[1:]))\n"
        "counts = [sys.argv[1:].count(word) for word in words]\n"
        "rows = pl.DataFrame({'word': words, 'train': counts, 'heldout': counts})\n"
        "print(choose([rows], min_count=1, max_size=None).vocab.to_tsv())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, *counts.elements()],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert outputs == {chosen(counts)[0].to_tsv() + "\n"}
