import numpy as np
import pytest

from w2v.errors import ConfigError, DataError
from w2v.vectors import WordVectors
from w2v.wordmap import make_map

WORDS = ("the", "cat", "cats", "dog", "oil")
ROWS = np.array([[1, 0, 0], [0, 1, 0], [0, 0.9, 0.1], [0, 0.7, 0.7], [-1, 0, 1]], np.float32)


@pytest.fixture
def vectors():
    return WordVectors(WORDS, ROWS, counts=[90, 5, 7, 50, 7])


def test_the_commonest_words(vectors):
    found = make_map(vectors, name="mine", top=3, k=2)
    assert found.words == ("the", "dog", "cats")  # cats before oil: of equal counts the smaller id
    assert found.counts == (90, 50, 7)
    assert (found.num_named, found.num_neighbors) == (0, 0)
    assert found.title == "mine: the 3 commonest words"
    assert found.projection.xy_N2.shape == (3, 2)


def test_without_counts_the_first_words_are_the_commonest():
    found = make_map(WordVectors(WORDS, ROWS), name="mine", top=2, k=1)
    assert (found.words, found.counts) == (("the", "cat"), None)


def test_named_words_come_first_then_their_neighbors_then_the_commonest(vectors):
    found = make_map(vectors, ["cat", "oil", "cat"], name="mine", top=1, k=1)
    assert found.words == ("cat", "oil", "cats", "dog", "the")
    assert (found.num_named, found.num_neighbors) == (2, 2)
    assert found.title == "mine: cat, oil and the words near"


def test_neighbors_are_those_of_similar_whether_on_the_map_or_not(vectors):
    found = make_map(vectors, name="mine", top=2, k=3)
    assert found.near == tuple(vectors.similar(word, k=3) for word in ("the", "dog"))


def test_a_map_may_have_one_word_and_more_neighbors_than_there_are(vectors):
    found = make_map(vectors, name="mine", top=1, k=100)
    assert found.projection.xy_N2.tolist() == [[0.0, 0.0]]
    assert len(found.near[0]) == 4
    assert make_map(vectors, name="mine", top=100, k=1).title == "mine: the 5 commonest words"


def test_what_cannot_be_drawn(vectors):
    with pytest.raises(ConfigError, match="a map of no words"):
        make_map(vectors, name="mine", top=0, k=1)
    with pytest.raises(DataError, match="'bat' is not in the vocabulary"):
        make_map(vectors, ["cat", "bat"], name="mine", top=0, k=1)


def test_words_that_would_break_a_page_are_escaped():
    words = ["a\x1b[2J", "b\u202e", "c\uffff", "d"]
    found = make_map(WordVectors(words, np.eye(4)), name="m\x00", top=4, k=1)
    assert found.words == ("a\\x1b[2J", "b\\u202e", "c\\uffff", "d")
    assert found.near[1][0][0] == "a\\x1b[2J"
    assert found.name == "m\\x00"
