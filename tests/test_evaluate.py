import math
import zipfile
from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from w2v import evaluate
from w2v.evaluate import (
    QUESTIONS_PER_PRODUCT,
    analogies,
    is_known,
    rank_data,
    section_scores,
    share_interval,
    similarity,
    spearman,
    spearman_interval,
)
from w2v.testsets import Pair, Question, Section, read_pairs, read_questions
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


def test_candidates_are_the_commonest_words_wherever_their_rows_are(random_vectors):
    rng = np.random.default_rng(1)
    counts = rng.permutation(len(random_vectors)) + 1
    order = np.argsort(-counts)
    by_count = WordVectors(
        [random_vectors.words[i] for i in order],
        random_vectors.matrix[order],
        counts=counts[order].tolist(),
    )
    unsorted = WordVectors(random_vectors.words, random_vectors.matrix, counts=counts.tolist())
    ids_N3 = rng.integers(0, 60, (200, 3)).tolist()
    questions = [
        Question(*(f"w{i}" for i in (a, b, c, _brute_force(random_vectors, a, b, c))))
        for a, b, c in ids_N3
    ]
    found = [analogies(vectors, questions, restrict=20) for vectors in (by_count, unsorted)]
    assert found[0] == found[1]
    assert 0 < found[0].value < 1


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


def test_a_word_is_known_as_it_is_written_else_lower_cased():
    words = ["US", "us", "we", "Paris"]
    vectors = WordVectors(words, np.array([[1, 0], [0, 1], [1, 1], [1, 2]], np.float32))
    pairs = [Pair("US", "we", 3), Pair("us", "WE", 2), Pair("Us", "we", 2), Pair("paris", "we", 1)]
    assert similarity(vectors, pairs).num_items == 3  # a lower-cased word never finds a capital
    cosines = [similarity(vectors, [*pairs[:1], pair]).value for pair in pairs[1:3]]
    assert all(map(math.isnan, cosines))  # equal cosines: "Us" was "us"
    questions = [Question("US", "us", "We", "PARIS"), Question("US", "us", "We", "Paris")]
    assert analogies(vectors, questions)[2:] == (1, 1)
    assert is_known(vectors, ("US", "WE"))
    assert not is_known(vectors, ("US", "paris"))


def test_sections_semantic_syntactic_and_total(vectors):
    right = Question("man", "king", "woman", "queen")
    wrong, unknown = right._replace(expected="apple"), right._replace(a="zebra")
    sections = [
        Section("family", [right, wrong, unknown]),
        Section("empty", []),
        Section("gram1-plural", [wrong]),
        Section("gram2-past", [unknown]),
    ]
    scores = {score.name: score[1:] for score in section_scores(vectors, sections)}
    assert list(scores) == [
        *("family", "empty", "gram1-plural", "gram2-past"),
        *("semantic", "syntactic", "total"),
    ]
    assert scores["family"] == scores["semantic"] == (0.5, 2, 1)
    assert math.isnan(scores["empty"][0])
    assert scores["empty"][1:] == (0, 0)
    assert scores["syntactic"] == (0, 1, 1)
    assert scores["total"] == (pytest.approx(1 / 3), 3, 2)


@pytest.mark.parametrize("name", ["family", "gram1-plural", ""])
def test_one_kind_of_sections_has_no_kinds(vectors, name):
    sections = [Section(name, [Question("man", "king", "woman", "queen")])]
    names = [score.name for score in section_scores(vectors, sections)]
    assert names == ([name, "total"] if name else ["total"])


def test_sections_equal_gensims(random_vectors, tmp_path):
    rng = np.random.default_rng(3)
    sections = []
    for name in ("one", "two"):
        triples = rng.integers(0, 60, (40, 3)).tolist()
        answers = [_brute_force(random_vectors, *triple) for triple in triples]
        expected = [row if n % 3 else n for n, row in enumerate(answers)]
        rows = [[*triple, last] for triple, last in zip(triples, expected, strict=True)]
        sections.append(Section(name, [Question(*(f"w{i}" for i in row)) for row in rows]))
    file = tmp_path / "questions.txt"
    file.write_text(
        "".join(f": {name}\n" + "".join(" ".join(q) + "\n" for q in qs) for name, qs in sections)
    )
    _, theirs = _gensim(random_vectors).evaluate_word_analogies(str(file), case_insensitive=False)
    shares = [len(s["correct"]) / (len(s["correct"]) + len(s["incorrect"])) for s in theirs]
    ours = section_scores(random_vectors, sections)
    assert [score.value for score in ours] == pytest.approx(shares)
    assert 0.3 < shares[0] < 1


def test_many_candidates_are_scored_in_small_products(random_vectors, monkeypatch):
    questions = [Question(*(f"w{(i + j) % 60}" for j in range(3)), "w9") for i in range(50)]
    whole = analogies(random_vectors, questions)
    monkeypatch.setattr(evaluate, "SCORES_PER_PRODUCT", 130)
    monkeypatch.setattr(evaluate, "ROWS_AT_ONCE", 7)
    assert analogies(random_vectors, questions) == whole


@pytest.mark.parametrize(("value", "num_items"), [(0.35, 217), (0.6, 2000), (-0.8, 10), (0, 4)])
def test_the_interval_of_a_correlation_by_hand(value, num_items):
    low, high = spearman_interval(value, num_items)
    deviation = math.sqrt((1 + value**2 / 2) / (num_items - 3))
    for end, z in ((low, -1.959964), (high, 1.959964)):
        assert math.atanh(end) == pytest.approx(math.atanh(value) + z * deviation)


@pytest.mark.parametrize(("value", "num_items"), [(0.5, 3), (1, 100), (-1, 100), (math.nan, 9)])
def test_an_interval_that_is_undefined(value, num_items):
    assert all(map(math.isnan, spearman_interval(value, num_items)))
    assert all(map(math.isnan, share_interval(math.nan, 0)))


@pytest.mark.parametrize("rho", [0, 0.35, 0.75])
def test_the_interval_of_a_correlation_covers_it_95_times_of_100(rho):
    rng = np.random.default_rng(0)
    truth = 6 / math.pi * math.asin(rho / 2)  # Spearman's correlation of a normal pair
    a_RN, noise_RN = rng.normal(size=(2, 2000, 60))
    b_RN = rho * a_RN + math.sqrt(1 - rho**2) * noise_RN
    ends = [spearman_interval(spearman(a, b), 60) for a, b in zip(a_RN, b_RN, strict=True)]
    covered = np.mean([low <= truth <= high for low, high in ends])
    assert 0.935 < covered < 0.97  # three standard deviations of 2000 throws: .015


@pytest.mark.parametrize(("right", "of"), [(0, 10), (3, 10), (10, 10), (820, 3013), (1, 1)])
def test_the_interval_of_a_share_equals_scipys(right, of):
    expected = scipy.stats.binomtest(right, of).proportion_ci(0.95, method="wilson")
    found = share_interval(right / of, of)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-6)


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
