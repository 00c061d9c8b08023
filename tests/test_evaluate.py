import math
import zipfile
from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from w2v.errors import DataError
from w2v.evaluate import (
    QUESTIONS_PER_PRODUCT,
    Pair,
    Question,
    analogies,
    rank_data,
    read_pairs,
    read_questions,
    similarity,
    spearman,
)
from w2v.vectors import WordVectors

SMALL_INTEGERS = st.integers(-3, 3)  # a small range, so that ties are common


@pytest.fixture
def vectors():
    """Directions chosen so that king - man + woman = queen and every cosine is known by heart."""
    rows = {
        "man": [1, 0, 0],
        "woman": [0, 1, 0],
        "king": [1, 0, 1],
        "queen": [0, 1, 1],
        "apple": [-1, -1, 0],
    }
    return WordVectors(list(rows), np.array(list(rows.values()), np.float32))


@pytest.fixture
def random_vectors():
    rng = np.random.default_rng(7)
    words = [f"w{i}" for i in range(60)]
    return WordVectors(words, rng.normal(size=(60, 8)).astype(np.float32))


def test_ranks_average_ties_by_hand():
    assert rank_data([10, 20, 10, 30, 10]).tolist() == [2, 4, 2, 5, 2]
    assert rank_data([]).tolist() == []


@given(st.lists(SMALL_INTEGERS, min_size=1))
def test_ranks_equal_scipy(values):
    assert rank_data(values).tolist() == scipy.stats.rankdata(values).tolist()


@given(st.lists(st.tuples(SMALL_INTEGERS, SMALL_INTEGERS), min_size=2))
def test_spearman_equals_scipy(points):
    a, b = zip(*points, strict=True)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert math.isnan(spearman(a, b))
    else:
        assert spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic)


def test_spearman_by_hand_at_its_ends_and_where_it_is_undefined():
    assert spearman([1, 2, 3], [10, 100, 1000]) == 1
    assert spearman([1, 2, 3], [3, 2, 1]) == -1
    assert spearman([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(0.6)  # 1 - 6 * 4 / (4 * 15)
    assert math.isnan(spearman([], []))
    assert math.isnan(spearman([1], [2]))


def test_similarity_leaves_unknown_pairs_out_and_counts_them(vectors):
    pairs = [
        Pair("man", "king", 8),  # cosine .71
        Pair("man", "woman", 5),  # 0
        Pair("man", "apple", 1),  # -.71
        Pair("king", "queen", 6),  # .5
        Pair("man", "zebra", 10),
    ]
    assert similarity(vectors, pairs, name="toy") == ("toy", pytest.approx(1), 4, 1)


def test_similarity_does_not_depend_on_lengths():
    vectors = WordVectors(["a", "b", "c"], np.array([[1, 0], [50, 50], [0, 1]], np.float32))
    pairs = [Pair("a", "a", 3), Pair("a", "b", 2), Pair("a", "c", 1)]
    assert similarity(vectors, pairs).value == pytest.approx(1)


def test_similarity_of_nothing_known_is_nan(vectors):
    score = similarity(vectors, [Pair("zebra", "lion", 1)])
    assert math.isnan(score.value)
    assert score[2:] == (0, 1)


def test_similarity_equals_gensim(random_vectors, tmp_path):
    rng = np.random.default_rng(0)
    # Each pair once: equal cosines are ties here, but may differ by rounding in gensim.
    drawn = {(min(i, j), max(i, j)) for i, j in rng.integers(0, 70, (200, 2)).tolist() if i != j}
    pairs = [Pair(f"w{i}", f"w{j}", float(rng.integers(10))) for i, j in sorted(drawn)]
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{a}\t{b}\t{s}\n" for a, b, s in pairs))
    _, spearmanr, oov_percent = _gensim(random_vectors).evaluate_word_pairs(str(file))
    score = similarity(random_vectors, pairs)
    assert score.value == pytest.approx(spearmanr.statistic)
    assert score.num_oov / len(pairs) * 100 == pytest.approx(oov_percent)


def test_analogies_by_hand(vectors):
    questions = [
        Question("man", "king", "woman", "queen"),
        Question("man", "king", "woman", "apple"),
        Question("man", "king", "woman", "zebra"),
    ]
    assert analogies(vectors, questions, name="toy") == ("toy", 0.5, 2, 1)


def test_an_answer_is_never_a_word_of_the_question(vectors):
    # Without the rule, king itself is nearest to king - man + man.
    score = analogies(vectors, [Question("man", "king", "man", "queen")])
    assert score.value == 1


def test_candidates_are_the_first_words_only(vectors):
    question = [Question("man", "king", "woman", "queen")]
    assert analogies(vectors, question, restrict=4).value == 1
    assert analogies(vectors, question, restrict=3).value == 0


def test_analogies_of_nothing_known_are_nan(vectors):
    score = analogies(vectors, [Question("zebra", "king", "woman", "queen")])
    assert math.isnan(score.value)
    assert score[2:] == (0, 1)


def test_analogies_equal_gensim_over_several_products(random_vectors, tmp_path):
    rng = np.random.default_rng(0)
    triples = rng.integers(0, 30, (QUESTIONS_PER_PRODUCT + 50, 3))
    questions = []
    for row, (a, b, c) in enumerate(triples.tolist()):
        # Every third question is answered by brute force, so that many are right.
        expected = _brute_force(random_vectors, a, b, c) if row % 3 == 0 else row % 60
        questions.append(Question(*(f"w{i}" for i in (a, b, c, expected))))
    file = tmp_path / "questions.txt"
    file.write_text(": all\n" + "".join(" ".join(question) + "\n" for question in questions))
    share, _ = _gensim(random_vectors).evaluate_word_analogies(str(file), case_insensitive=False)
    assert share > 0.3
    assert analogies(random_vectors, questions).value == pytest.approx(share)


def test_pairs_are_read_with_comments_case_and_windows_line_ends(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_bytes(
        "\ufeff# word\tword\tscore\r\nTiger\tcat\t7.35\r\n\r\nnew york\tcity\t1e0\textra".encode()
    )
    assert read_pairs(file) == [("tiger", "cat", 7.35), ("new york", "city", 1.0)]


@pytest.mark.parametrize("line", ["tiger\tcat", "tiger cat 7.35", "tiger\t\t7.35", "tiger"])
def test_a_missing_column_is_named_by_its_line(tmp_path, line):
    file = tmp_path / "pairs.tsv"
    file.write_text(f"# comment\na\tb\t1\n{line}\n")
    with pytest.raises(DataError, match=r"pairs\.tsv, line 3: expected word, word and score"):
        read_pairs(file)


@pytest.mark.parametrize("score", ["high", "nan", "inf", "1,5"])
def test_a_score_that_is_no_number_is_named_by_its_line(tmp_path, score):
    file = tmp_path / "pairs.tsv"
    file.write_text(f"tiger\tcat\t{score}\n")
    with pytest.raises(DataError, match="line 1: expected a number in the third column"):
        read_pairs(file)


def test_a_bad_line_is_shown_in_part(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("x" * 10_000)
    with pytest.raises(DataError) as caught:
        read_pairs(file)
    assert len(str(caught.value)) < 300


def test_questions_fold_case_and_skip_sections(tmp_path):
    file = tmp_path / "questions.txt"
    file.write_text(": capitals\nAthens Greece Oslo Norway\n\n: family\nboy girl king queen\n")
    assert read_questions(file) == [
        ("athens", "greece", "oslo", "norway"),
        ("boy", "girl", "king", "queen"),
    ]


@pytest.mark.parametrize("line", ["a b c", "a b c d e"])
def test_a_question_has_four_words(tmp_path, line):
    file = tmp_path / "questions.txt"
    file.write_text(f": section\n{line}\n")
    with pytest.raises(DataError, match=r"line 2: expected four words, found 'a b c"):
        read_questions(file)


@pytest.mark.parametrize("read", [read_pairs, read_questions])
def test_a_file_that_cannot_be_read_is_a_data_error(tmp_path, read):
    with pytest.raises(DataError, match="cannot read"):
        read(tmp_path / "missing")
    (tmp_path / "latin").write_bytes(b"caf\xe9\tb\t1\n")
    with pytest.raises(DataError, match="not UTF-8 text: byte 3"):
        read(tmp_path / "latin")


def test_coverage_on_the_penn_treebank(test_data):
    with zipfile.ZipFile(test_data / "ptb.zip") as archive:
        counts = Counter(archive.read("ptb/ptb.train.txt").decode().split())
    words = [word for word, count in counts.most_common() if count >= 10 and word != "<unk>"]
    rng = np.random.default_rng(0)
    vectors = WordVectors(words, rng.normal(size=(len(words), 4)).astype(np.float32))
    files = {"ws353.tsv": (217, 353), "simlex999.tsv": (421, 999), "men.tsv": (729, 3000)}
    for name, (num_items, total) in files.items():
        score = similarity(vectors, read_pairs(test_data / "eval" / name))
        assert score[2:] == (num_items, total - num_items)
    score = analogies(vectors, read_questions(test_data / "eval" / "questions-words.txt"))
    assert score[2:] == (3013, 19_544 - 3013)


def _gensim(vectors):
    from gensim.models import KeyedVectors

    table = KeyedVectors(vectors.matrix.shape[1])
    table.add_vectors(list(vectors.words), vectors.matrix)
    return table


def _brute_force(vectors, a, b, c):
    unit_VD = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    cosines_V = unit_VD @ (unit_VD[b] - unit_VD[a] + unit_VD[c])
    return max(set(range(len(cosines_V))) - {a, b, c}, key=lambda row: cosines_V[row])
