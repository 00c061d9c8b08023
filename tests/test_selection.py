import numpy as np
import pytest

from w2v.errors import ConfigError
from w2v.selection import commonest, normalized
from w2v.vectors import WordVectors

MATRIX = np.array([[3, 4], [0, 0], [-2, 0], [1, 1]], np.float32)


def test_the_commonest_keep_their_order_and_ties_go_to_the_smaller_id():
    vectors = WordVectors("abcd", MATRIX, counts=[5, 7, 5, 9])
    found = commonest(vectors, 3)
    assert (found.words, found.counts) == (("a", "b", "d"), (5, 7, 9))
    assert found.matrix.tolist() == MATRIX[[0, 1, 3]].tolist()
    assert commonest(vectors, 1).words == ("d",)


def test_without_counts_the_first_are_the_commonest():
    found = commonest(WordVectors("abcd", MATRIX), 2)
    assert (found.words, found.counts) == (("a", "b"), None)


@pytest.mark.parametrize("num", [4, 5, 10**30])
def test_more_than_there_are_is_all(num):
    vectors = WordVectors("abcd", MATRIX, counts=[1, 2, 3, 4])
    assert commonest(vectors, num) is vectors


@pytest.mark.parametrize("num", [0, -1])
def test_no_word_is_no_selection(num):
    with pytest.raises(ConfigError, match=f"at least 1, got {num}"):
        commonest(WordVectors("abcd", MATRIX), num)


def test_normalized_rows_have_length_one_and_zero_stays():
    found = normalized(WordVectors("abcd", MATRIX, counts=[4, 3, 2, 1]))
    half = np.sqrt(np.float32(0.5))
    expected = np.array([[0.6, 0.8], [0, 0], [-1, 0], [half, half]], np.float32)
    assert found.matrix.tolist() == expected.tolist()
    assert (found.words, found.counts) == (("a", "b", "c", "d"), (4, 3, 2, 1))


def test_lengths_beyond_float32_are_normalized_too():
    tiny, huge = np.float32(1e-45), np.finfo(np.float32).max
    found = normalized(WordVectors("ab", np.array([[tiny, 0], [huge, huge]])))
    assert found.matrix == pytest.approx(np.array([[1, 0], [2**-0.5, 2**-0.5]]))
