import subprocess
import sys
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v.errors import DataError
from w2v.vocab import MAX_DROPPED, UNK_ID, UNK_WORD, Vocab, choose_vocab, from_tsv, spectrum, to_tsv

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: len(text.split()) == 1 and text.split()[0] == text
)


def choose(counts, *, min_count=1, max_size=None):
    return choose_vocab(
        pl.Series(list(counts), dtype=pl.String),
        np.array(list(counts.values()), np.int64),
        min_count=min_count,
        max_size=max_size,
    )


def test_words_go_by_count_then_by_code_point():
    vocab, dropped = choose({"b": 2, "é": 2, "Z": 2, "a": 5, "z": 1})
    assert vocab.words == (UNK_WORD, "a", "Z", "b", "é", "z")
    assert vocab.counts_V.tolist() == [0, 5, 2, 2, 2, 1]
    assert vocab.counts_V.dtype == np.int64
    assert dropped.words == ()
    assert vocab.index == {"<unk>": 0, "a": 1, "Z": 2, "b": 3, "é": 4, "z": 5}
    assert len(vocab) == 6


def test_code_points_order_beyond_the_basic_plane():
    # UTF-16 would put U+1F600 (a surrogate pair) before U+FF21.
    assert choose({"\U0001f600": 1, "\uff21": 1})[0].words[1:] == ("\uff21", "\U0001f600")


def test_rare_words_and_literal_unknowns_count_as_unknown():
    vocab, dropped = choose({"": 7, "a": 5, "<unk>": 4, "c": 2, "b": 2, "d": 1}, min_count=3)
    assert vocab.words == (UNK_WORD, "a")
    assert vocab.counts_V.tolist() == [4 + 2 + 2 + 1, 5]
    assert dropped.words == ("b", "c", "d")
    assert dropped.counts_W.tolist() == [2, 2, 1]


def test_the_spectrum_tells_how_many_words_occur_how_often():
    words = pl.Series(["", "a", "<unk>", "c", "b", "gone", "d"])
    counts_W = np.array([7, 5, 4, 2, 2, 0, 1])
    assert spectrum(words, counts_W).tolist() == [[1, 1], [2, 2], [5, 1]]
    assert spectrum(words[:1], counts_W[:1]).shape == (0, 2)


def test_max_size_keeps_the_commonest_ties_by_spelling():
    vocab, dropped = choose({"c": 2, "b": 2, "a": 2, "d": 9}, max_size=2)
    assert vocab.words == (UNK_WORD, "d", "a")
    assert vocab.counts_V.tolist() == [4, 9, 2]
    assert dropped.words == ("b", "c")


def test_words_that_never_occur_in_training_are_no_words():
    vocab, dropped = choose({"a": 1, "heldout": 0})
    assert vocab.words == (UNK_WORD, "a")
    assert dropped.words == ()


def test_no_words_leave_unknown_alone():
    assert choose({"": 3, "<unk>": 2})[0].words == (UNK_WORD,)


def test_min_count_above_all_says_what_is_there():
    with pytest.raises(DataError) as error:
        choose({"the": 9, "a": 9, "of": 1}, min_count=10)
    assert str(error.value) == (
        "vocab.min_count=10 keeps 0 of 3 words; the commonest, 'a', occurs 9 times: lower it"
    )
    with pytest.raises(DataError, match=r"'\\x1b\[2J', occurs 1 time: lower it"):
        choose({"\x1b[2J": 1}, min_count=2)


def test_no_more_than_the_commonest_dropped_words_are_remembered():
    counts = {f"w{i}": 2 for i in range(MAX_DROPPED)} | {"rare": 1, "common": 3}
    _, dropped = choose(counts, min_count=3)
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
            choose(counts, min_count=min_count)
        return
    vocab, dropped = choose(counts, min_count=min_count)
    assert list(vocab.words) == [UNK_WORD, *kept]
    assert list(dropped.words) == [word for word, _ in ranked[len(kept) :]]
    assert vocab.counts_V.sum() == sum(counts.values())


def test_encode():
    vocab = Vocab((UNK_WORD, "the", "cat"), np.array([0, 2, 1]))
    ids = vocab.encode(pl.Series(["cat", "dog", "the", "<unk>", ""]))
    assert ids.tolist() == [2, UNK_ID, 1, UNK_ID, UNK_ID]
    assert ids.dtype == np.int32


def test_tsv_bytes():
    vocab = Vocab((UNK_WORD, "the", "naïve"), np.array([3, 2, 1]))
    assert vocab.to_tsv().encode() == "<unk>\t3\nthe\t2\nnaïve\t1\n".encode()


@given(st.lists(WORDS, unique=True), st.data())
def test_tsv_written_then_read_is_the_same(words, data):
    words = [UNK_WORD, *(word for word in words if word != UNK_WORD)]
    counts = data.draw(
        st.lists(st.integers(0, 10**18 - 1), min_size=len(words), max_size=len(words))
    )
    vocab = Vocab(tuple(words), np.array(counts, np.int64))
    again = Vocab.from_tsv(vocab.to_tsv(), path="vocab.tsv")
    assert again.words == vocab.words
    assert again.counts_V.tolist() == counts


def test_empty_tsv_holds_no_words():
    empty = from_tsv("", path="dropped.tsv")
    assert empty.words == ()
    assert to_tsv(empty) == ""
    assert empty.counts_W.dtype == np.int64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "vocab.tsv: line 1: expected <unk> and its count"),
        ("the\t3\n", "vocab.tsv: line 1: expected <unk> and its count"),
        ("<unk>\t3\nthe", "vocab.tsv: line 2: expected word<TAB>count, got 'the'"),
        ("<unk>\t3\n\nthe\t1\n", "vocab.tsv: line 2: expected word<TAB>count, got ''"),
        ("<unk>\t-3\n", "vocab.tsv: line 1: expected word<TAB>count, got '<unk>\\t-3'"),
        ("<unk>\t\u0663\n", "vocab.tsv: line 1: expected word<TAB>count, got '<unk>\\t\u0663'"),
        ("<unk>\t3\nnew york\t1\n", "line 2: expected word<TAB>count, got 'new york\\t1'"),
        ("<unk>\t3\na\t9999999999999999999\n", "line 2: expected word<TAB>count"),
        ("<unk>\t3\na\t1\na\t1\n", "vocab.tsv: line 3: 'a' comes twice"),
    ],
)
def test_bad_tsv_is_refused_by_line(text, message):
    with pytest.raises(DataError) as error:
        Vocab.from_tsv(text, path="vocab.tsv")
    assert message in str(error.value)


def test_order_is_independent_of_hashing():
    counts = Counter({"the": 2, "and": 2, "cat": 1, "dog": 1, "bird": 1, "a": 3, "run": 1})
    program = (
        "import sys, numpy as np, polars as pl; from w2v.vocab import choose_vocab\n"
        "words = list(set(sys.argv[1:]))\n"
        "counts = np.array([sys.argv[1:].count(word) for word in words])\n"
        "print(choose_vocab(pl.Series(words), counts, min_count=1, max_size=None)[0].to_tsv())"
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
    assert outputs == {choose(counts)[0].to_tsv() + "\n"}


def test_reading_words_needs_no_polars():
    program = "import sys, w2v.vocab; assert 'polars' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
