import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v.errors import DataError
from w2v.vocab import UNK_ID, UNK_WORD, Vocab, from_tsv, to_tsv

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: len(text.split()) == 1 and text.split()[0] == text
)


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


def test_reading_words_needs_no_polars():
    program = "import sys, w2v.vocab; assert 'polars' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
