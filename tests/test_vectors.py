import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from w2v.errors import ConfigError, DataError
from w2v.spelling import close_spellings, escaped, shown
from w2v.vectors import WordVectors

WORDS = ["chip", "chips", "intel", "king", "queen"]
ROWS = np.array([[1, 0], [4, 3], [3, 4], [0, 2], [-1, 0]], np.float32)


def table(rows, **extra):
    return WordVectors([f"w{i}" for i in range(len(rows))], np.array(rows, np.float32), **extra)


def brute_force(vectors, positive, negative):
    """The cosine of every word to the query, in float64, one word at a time."""

    def unit(word):
        row = vectors.matrix[vectors.words.index(word)].astype(np.float64)
        return row / (np.linalg.norm(row) or 1.0)

    query = sum(map(unit, positive)) - sum(map(unit, negative))
    length = np.linalg.norm(query)
    if length < 1e-12:
        return dict.fromkeys(vectors.words, 0.0)
    return {word: float(unit(word) @ query / length) for word in vectors.words}


def test_neighbors_by_hand():
    found = WordVectors(WORDS, ROWS).similar("chip", k=3)
    assert [word for word, _ in found] == ["chips", "intel", "king"]
    assert [cosine for _, cosine in found] == pytest.approx([0.8, 0.6, 0.0])


def test_several_words_are_averaged_at_unit_length_and_minus_is_subtracted():
    vectors = WordVectors(WORDS, ROWS)
    # chip + king = (1, 1), which lies between chips and intel
    assert vectors.similar(["chip", "king"], k=1) == [("chips", pytest.approx(0.7 * 2**0.5))]
    # chips - king = (0.8, -0.4)
    ((word, cosine),) = vectors.similar(["chips"], ["king"], k=1)
    assert (word, cosine) == ("chip", pytest.approx(0.8 / 0.8**0.5))
    assert vectors.similar("chips", "king", k=1) == [(word, cosine)]


def test_the_query_is_left_out_by_id_and_not_as_rank_one():
    vectors = table([[1, 1], [2, 2], [0, 1]])
    assert vectors.similar("w1", k=5) == [("w0", pytest.approx(1)), ("w2", pytest.approx(0.5**0.5))]
    # The mean of w0 and w2 is nearest to w1; both are left out though neither comes first.
    assert [word for word, _ in vectors.similar(["w0", "w2"])] == ["w1"]
    assert [word for word, _ in vectors.similar(["w0"], ["w1"])] == ["w2"]


@given(data=st.data())
def test_similar_equals_brute_force(data):
    num_words, dim = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 5))
    numbers = st.one_of(st.integers(-2, 2), st.floats(-(2.0**99), 2.0**99, width=32))
    rows = data.draw(hnp.arrays(np.float32, (num_words, dim), elements=numbers))
    vectors = table(rows)
    query = st.lists(st.sampled_from(vectors.words), max_size=3)
    positive, negative = data.draw(query.filter(bool)), data.draw(query)
    k = data.draw(st.integers(1, 12))

    found = vectors.similar(positive, negative, k=k)

    expected = brute_force(vectors, positive, negative)
    for word in {*positive, *negative}:
        del expected[word]
    assert len(found) == min(k, len(expected))
    assert [cosine for _, cosine in found] == pytest.approx(
        sorted(expected.values(), reverse=True)[:k], abs=1e-9
    )
    for word, cosine in found:
        assert cosine == pytest.approx(expected[word], abs=1e-9)


def test_a_search_among_many_equals_brute_force():
    rng = np.random.default_rng(0)
    vectors = table(rng.normal(size=(3000, 50)))
    expected = brute_force(vectors, ["w7"], ["w8"])
    ranked = sorted(expected.items(), key=lambda item: -item[1])
    ranked = [item for item in ranked if item[0] not in ("w7", "w8")]
    found = vectors.similar("w7", "w8", k=20)
    assert [word for word, _ in found] == [word for word, _ in ranked[:20]]


def test_equal_vectors_come_in_the_order_of_ids():
    rng = np.random.default_rng(0)
    row, query = rng.normal(size=(2, 101))
    vectors = table([query, *[row] * 300])
    found = vectors.similar("w0", k=299)
    assert [word for word, _ in found] == [f"w{i}" for i in range(1, 300)]
    assert len({cosine for _, cosine in found}) == 1


def test_zero_vectors_give_finite_cosines():
    vectors = table([[0, 0], [1, 0], [0, 1], [-1, 0]])
    assert vectors.similar("w0", k=2) == [("w1", 0.0), ("w2", 0.0)]
    found = vectors.similar("w1")
    assert found == [("w0", 0.0), ("w2", 0.0), ("w3", -1.0)]
    assert vectors.similar("w1", "w1") == [("w0", 0.0), ("w2", 0.0), ("w3", 0.0)]


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e38])
def test_tiny_and_huge_vectors_have_a_direction(scale):
    vectors = table(np.array([[1, 0], [3, 0], [0, 1]]) * np.float64(scale))
    assert vectors.similar("w0") == [("w1", pytest.approx(1)), ("w2", pytest.approx(0))]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_one_row_out_of_float32s_reach_changes_nobody_elses_cosines(scale):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 6)).astype(np.float32)
    expected = table(rows).similar("w3", k=39)
    rows[7] *= np.float32(scale)
    found = table(rows).similar("w3", k=39)
    assert [word for word, _ in found] == [word for word, _ in expected]
    assert [cosine for _, cosine in found] == pytest.approx([c for _, c in expected], abs=1e-6)


@given(data=st.data())
def test_a_restricted_search_is_the_whole_one_with_the_others_left_out(data):
    rows = data.draw(hnp.arrays(np.float32, (8, 2), elements=st.integers(-2, 2)))
    vectors, restrict = table(rows), data.draw(st.integers(1, 10))
    words = st.lists(st.sampled_from(vectors.words), max_size=3)
    positive, negative = data.draw(words.filter(bool)), data.draw(words)
    found = vectors.similar(positive, negative, k=3, restrict=restrict)
    whole = vectors.similar(positive, negative, k=8)
    assert found == [item for item in whole if vectors.index(item[0]) < restrict][:3]


def test_a_restriction_takes_the_commonest_words_wherever_their_rows_are():
    rows = [[1, 0], [4, 1], [3, 1], [2, 1], [1, 1]]
    vectors = table(rows, counts=[1, 2, 9, 2, 5])
    assert vectors.commonest(3).tolist() == [2, 4, 1]
    assert vectors.commonest(9).tolist() == [2, 4, 1, 3, 0]
    found = [[word for word, _ in vectors.similar("w0", restrict=r)] for r in (1, 2, 3, 9)]
    assert found == [["w2"], ["w2", "w4"], ["w1", "w2", "w4"], ["w1", "w2", "w3", "w4"]]


def test_a_restriction_below_one_is_refused():
    with pytest.raises(ConfigError, match="restrict must be at least 1, got 0"):
        table([[1.0]]).similar("w0", restrict=0)


def test_one_word_has_no_neighbors():
    assert table([[1.0]]).similar("w0") == []


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    with pytest.raises(ConfigError, match=f"k must be at least 1, got {k}"):
        table([[1.0]]).similar("w0", k=k)


def test_a_query_without_words_is_refused():
    with pytest.raises(ConfigError, match="at least one word"):
        table([[1.0]]).similar([])


def test_looking_words_up():
    vectors = WordVectors(WORDS, ROWS, counts=[9, 8, 7, 6, 5])
    assert len(vectors) == 5
    assert vectors.counts == (9, 8, 7, 6, 5)
    assert "king" in vectors
    assert "King" not in vectors
    assert vectors.index("intel") == 2
    assert vectors.vector("chips").tolist() == [4, 3]


def test_the_table_is_read_only_and_not_copied():
    rows = ROWS.copy()
    vectors = WordVectors(WORDS, rows)
    assert np.shares_memory(rows, vectors.matrix)
    with pytest.raises(ValueError, match="read-only"):
        vectors.matrix[0, 0] = 1
    rows[0, 0] = 1  # the caller's own array stays writable


@pytest.mark.parametrize(
    ("words", "rows", "message"),
    [
        (["a", "b"], np.ones((3, 2)), r"2 words, but vectors of shape \(3, 2\)"),
        (["a", "b"], np.ones(2), "2 words, but vectors of shape"),
        ([], np.ones((0, 2)), "no vectors"),
        (["a"], np.ones((1, 0)), "no vectors"),
        (["a", "b", "a"], np.ones((3, 2)), "'a' comes twice: words 1 and 3"),
        (["a", ""], np.ones((2, 2)), "word 2 is empty"),
        (["a", "b"], np.array([[1, 1], [1, np.nan]]), r"the vector of 'b' \(word 2\)"),
        (["a", "b"], np.array([[-np.inf, 1], [1, 1]]), r"the vector of 'a' \(word 1\)"),
        (["a", "b"], np.array([[1, 1], [1, 1e39]]), r"the vector of 'b' \(word 2\)"),
    ],
)
def test_what_is_no_table_is_refused(words, rows, message):
    with pytest.raises(DataError, match=message):
        WordVectors(words, rows)


def test_counts_must_match():
    with pytest.raises(DataError, match="2 words, but 1 counts"):
        WordVectors(["a", "b"], np.ones((2, 2)), counts=[1])


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("Chip", "only the case differs: 'chip'"),
        ("chps", "did you mean 'chips' or 'chip'?"),
        ("qeuen", "did you mean 'queen'?"),
        ("cafe\u0301", "'café' is, its letters encoded in Unicode's form NFC"),
        ("zzz", None),
        ("", None),
        ("<unk>", None),
        ("k" * 10_000, None),
    ],
)
def test_an_unknown_word_is_explained(word, hint):
    vectors = WordVectors([*WORDS, "café"], np.ones((6, 2)))
    with pytest.raises(DataError, match="is not in the vocabulary") as caught:
        vectors.similar("king", word)
    assert caught.value.hint == hint
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("min_count", "message"),
    [
        (10, "'queue' is not in the vocabulary: it was seen 7 times, below vocab.min_count=10"),
        (
            5,
            "'queue' is not in the vocabulary: it was seen 7 times, and vocab.max_size left it out",
        ),
        (None, "'queue' is not in the vocabulary: it was seen 7 times"),
    ],
)
def test_a_dropped_word_is_told_with_its_count(min_count, message):
    calls = []

    def dropped():
        calls.append(1)
        return {"queue": 7}

    vectors = WordVectors(WORDS, ROWS, dropped=dropped, min_count=min_count)
    vectors.similar("king")
    assert not calls
    with pytest.raises(DataError) as caught:
        vectors.index("queue")
    assert str(caught.value) == message
    assert caught.value.hint == "did you mean 'queen'?"


def test_control_characters_are_escaped_and_joiners_kept():
    assert (
        escaped("a\x1b[31m\n\x9f\u2028\u202e\u2066\ud800é\u200d")
        == r"a\x1b[31m\n\x9f\u2028\u202e\u2066\ud800é" + "\u200d"
    )
    assert shown("a\tb") == r"'a\tb'"
    with pytest.raises(DataError, match=r"'\\x1b\[2J' is not in"):
        WordVectors(WORDS, ROWS).index("\x1b[2J")


def test_close_spellings_are_the_likest_first_then_the_commonest():
    words = ["thread", "threat", "spread", "treading", "bread"]
    assert close_spellings("thraed", words) == ["thread", "threat"]
    assert close_spellings("aab", ["aaa", "aac", "aad", "aae"]) == ["aaa", "aac", "aad"]


@settings(max_examples=30)
@given(st.text(max_size=70), st.lists(st.text(min_size=1, max_size=5), min_size=1, unique=True))
def test_any_unknown_word_gets_an_answer(word, words):
    vectors = WordVectors(words, np.ones((len(words), 1)))
    if word in vectors:
        assert vectors.index(word) == words.index(word)
    else:
        with pytest.raises(DataError):
            vectors.index(word)


@pytest.mark.parametrize("product_bytes", [1, 600, 2**26])
def test_neighbors_of_many_words_are_those_of_each(product_bytes, monkeypatch):
    monkeypatch.setattr("w2v.vectors.PRODUCT_BYTES", product_bytes)
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(50, 6)).astype(np.float32)
    matrix[7], matrix[9:13] = 0, matrix[3]  # no direction; ties
    vectors = WordVectors([f"w{i}" for i in range(50)], matrix)
    ids = [3, 7, 0, 49, 10, 3]
    found = list(vectors.neighbors(ids, 5))
    assert found == [vectors.similar(f"w{i}", k=5) for i in ids]
    assert [len(near) for near in vectors.neighbors([1], 1000)] == [49]
    assert list(vectors.neighbors([], 5)) == []
