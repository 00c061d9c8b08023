"""Lines become vectors: against numpy, against sentence-transformers, and on the command line."""

import io
import itertools
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2v import formats
from w2v.config import Config, CorpusSection, dump_yaml
from w2v.embed import (
    MOST_REMEMBERED,
    Tally,
    embed,
    embed_blocks,
    rarity_weights,
    to_bags,
)
from w2v.errors import ConfigError, DataError
from w2v.rundir import RunDir
from w2v.tokens import TokenRule
from w2v.vectors import WordVectors
from w2v.vocab import Vocab

WORDS = ("red", "green", "blue")
ROWS = np.array([[1, 2], [3, -4], [-8, 16]], np.float32)
COUNTS = (6, 3, 1)
VECTORS = WordVectors(WORDS, ROWS, counts=COUNTS)
LOWER = TokenRule(lowercase=True)
LETTERS = TokenRule(pattern="[a-z]+")


# the vectors of lines


def test_by_hand():
    lines = ["red green", "blue", "red red unknown blue", "", "nobody here"]
    assert embed(VECTORS, lines).tolist() == [
        [2, -1],
        [-8, 16],
        [-2, np.float32(20 / 3)],
        *[[0] * 2] * 2,
    ]
    assert embed(VECTORS, lines, mode="sum").tolist() == [
        [4, -2],
        [-8, 16],
        [-6, 20],
        [0, 0],
        [0, 0],
    ]
    assert embed(VECTORS, lines, mode="max").tolist() == [[3, 2], [-8, 16], [1, 16], [0, 0], [0, 0]]


def plain(line, *, mode, weights):
    """A line's row in float64, word by word."""
    ids = [WORDS.index(word) for word in line.split() if word in WORDS]
    if not ids:
        return np.zeros(2)
    if mode == "max":
        return ROWS[ids].max(axis=0)
    weights = np.ones(len(ids)) if weights is None else weights[ids].astype(np.float64)
    total = sum(weight * ROWS[i].astype(np.float64) for weight, i in zip(weights, ids, strict=True))
    return total if mode == "sum" else total / sum(weights)


LINES = st.lists(st.lists(st.sampled_from([*WORDS, "Red", "no"])).map(" ".join), max_size=9)


@given(LINES, st.sampled_from(["mean", "sum", "max"]), st.sampled_from([None, 1e-3, 0.5]))
@settings(deadline=None, max_examples=25)
def test_rows_equal_numpys(lines, mode, a):
    weights_V = None if a is None or mode == "max" else rarity_weights(VECTORS, a=a)
    found = embed(VECTORS, lines, mode=mode, weights_V=weights_V)
    expected = [plain(line, mode=mode, weights=weights_V) for line in lines]
    assert found.shape == (len(lines), 2)
    np.testing.assert_allclose(found, np.array(expected).reshape(-1, 2), rtol=1e-6, atol=1e-5)


@given(st.lists(st.text(st.sampled_from("aR \t\r\n\x1c\u2028\xa0é")), max_size=6))
@settings(deadline=None, max_examples=25)
@pytest.mark.parametrize("rule", [TokenRule(), LOWER, LETTERS])
def test_every_line_has_a_row(rule, lines):
    assert len(embed(VECTORS, lines, rule=rule)) == len(lines)
    text = "".join(lines)
    if text:
        (part,) = embed_blocks(VECTORS, [text], rule=rule)
        assert part.lines == text.removesuffix("\n").split("\n")
        assert len(part.matrix_BD) == len(part.lines) == text.count("\n") + (text[-1] != "\n")


def test_parts_do_not_show(monkeypatch):
    """Neither where blocks end nor where parts do."""
    lines = [" ".join(line) for line in itertools.product((*WORDS, "no"), repeat=3)]
    expected = embed(VECTORS, lines).tolist()
    monkeypatch.setattr("w2v.embed.CHUNK_NUMBERS", 6)  # three lines
    blocks = ["\n".join(lines[i : i + 7]) + "\n" for i in range(0, len(lines), 7)]
    parts = list(embed_blocks(VECTORS, blocks))
    assert {len(part.lines) for part in parts} == {1, 3}
    assert [line for part in parts for line in part.lines] == lines
    assert np.concatenate([part.matrix_BD for part in parts]).tolist() == expected
    monkeypatch.setattr("w2v.embed.LINES_AT_ONCE", 5)
    assert embed(VECTORS, lines).tolist() == expected


def test_words_are_cut_by_the_rule():
    assert embed(VECTORS, ["RED, green!"]).tolist() == [[0, 0]]
    assert embed(VECTORS, ["RED, green!"], rule=LETTERS).tolist() == [[3, -4]]
    both = TokenRule(lowercase=True, pattern="[a-z]+")
    assert embed(VECTORS, ["RED, green!"], rule=both).tolist() == [[2, -1]]
    with pytest.raises(ConfigError, match="no regex of the Rust kind"):
        embed(VECTORS, ["red"], rule=TokenRule(pattern="(?=r)e"))


def test_words_with_odd_characters():
    """A word with a space, as GloVe has, or a line end, as no file has, is met in no line."""
    odd = WordVectors(["new york", "\n", "new"], np.array([[1], [2], [3]]))
    assert embed(odd, ["new york", "new\nnew", "\n"]).tolist() == [[3], [3], [0]]


def test_bags_are_ids_and_starts():
    bags = to_bags(VECTORS, "blue red\n\nno green", rule=TokenRule())
    assert bags.ids_N.tolist() == [2, 0, 1]
    assert bags.starts_B.tolist() == [0, 2, 2]
    assert bags.lines(1, 3)[0].tolist() == [1]
    assert bags.lines(1, 3)[1].tolist() == [0, 0]


@pytest.mark.slow
def test_sentence_transformers_gives_the_same():
    tokenizers = pytest.importorskip("tokenizers", reason="it comes with the extra [readers]")
    models = pytest.importorskip(
        "sentence_transformers.sentence_transformer.modules",
        reason="sentence-transformers is in the extra [readers]",
    )
    # Words that are not known fall into letters, which are not known either, and are dropped.
    known = {word: i for i, word in enumerate(WORDS)}
    pieces = tokenizers.models.BPE(known, merges=[], ignore_merges=True)
    tokenizer = tokenizers.Tokenizer(pieces)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    theirs = models.StaticEmbedding(tokenizer, embedding_weights=ROWS)
    lines = ["red green", "blue no red", "nobody", "red red red blue"]
    found = theirs(theirs.preprocess(lines))["sentence_embedding"]
    np.testing.assert_allclose(embed(VECTORS, lines), found.detach().numpy(), rtol=1e-6)


# weights by rarity


def test_rarity_by_hand():
    assert rarity_weights(VECTORS, a=0.2).tolist() == pytest.approx([0.25, 0.4, 2 / 3])
    weights_V = rarity_weights(VECTORS, a=0.2)
    mean, total = (
        embed(VECTORS, ["red green no"], mode=mode, weights_V=weights_V) for mode in ("mean", "sum")
    )
    assert total[0].tolist() == pytest.approx([0.25 * 1 + 0.4 * 3, 0.25 * 2 - 0.4 * 4])
    assert mean[0].tolist() == pytest.approx([1.45 / 0.65, -1.1 / 0.65])


def test_words_that_were_never_counted_weigh_most():
    vectors = WordVectors(WORDS, ROWS, counts=[0, 0, 0])
    assert rarity_weights(vectors).tolist() == [1, 1, 1]


@pytest.mark.parametrize("a", [0, -1, float("nan"), float("inf"), 1e-10])
def test_an_impossible_rarity(a):
    with pytest.raises(ConfigError, match="need a from 1e-09 to 1e"):
        rarity_weights(VECTORS, a=a)


def test_rarity_needs_counts_and_sums():
    with pytest.raises(DataError, match="no counts"):
        rarity_weights(WordVectors(WORDS, ROWS))
    with pytest.raises(ConfigError, match="mode max takes no weights"):
        embed(VECTORS, ["red"], mode="max", weights_V=rarity_weights(VECTORS))


# what was met


def test_the_tally():
    tally = Tally()
    embed(VECTORS, ["red no", "no maybe", "", "blue", f"{'x' * 99}"], tally=tally)
    assert (tally.num_lines, tally.num_empty) == (5, 3)
    assert (tally.num_words, tally.num_unknown) == (6, 4)
    assert tally.commonest_unknown(2) == ["no", "maybe"]
    assert tally.commonest_unknown(9)[2] == "x" * 61


def test_a_tally_stays_small_and_keeps_what_is_common():
    tally = Tally()
    for block in range(20):
        rare = [f"rare{block}-{i}" for i in range(MOST_REMEMBERED // 2)]
        tally.note_unknown(pl.Series([*rare, *["common"] * 50, *["second"] * 30]))
        assert len(tally.commonest_unknown(10**9)) <= MOST_REMEMBERED
    assert tally.commonest_unknown(2) == ["common", "second"]
    assert tally.num_unknown == 20 * (MOST_REMEMBERED // 2 + 80)


# the command


@pytest.fixture
def run(tmp_path):
    """A finished run, whose text was turned into lower case."""
    (tmp_path / "w2v.yaml").write_text("train: {seed: 1}\n")
    run = RunDir(tmp_path / "runs" / "tiny")
    vocab = Vocab(("<unk>", *WORDS), np.array([5, *COUNTS]))
    table_VD = np.concatenate([np.zeros((1, 2), np.float32), ROWS])
    settings = Config(corpus=CorpusSection(name="text", path="text.txt", lowercase=True))
    run.write_finished(
        {},
        vocab=vocab,
        center_VD=table_VD,
        context_VD=10 * table_VD,
        others={run.config: dump_yaml(settings).encode()},
    )
    return run


@pytest.fixture
def w2v(cli, monkeypatch):
    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return cli("embed", *arguments)

    return call


def test_lines_from_stdin_to_stdout(w2v, run):
    expected = "2\t-1\n0\t0\n-8\t16\n"
    for stdin in ("RED green\n\nblue", "\ufeffred Green\r\n \r\nblue\r\n"):
        for arguments in ((), ("-",), ("-", "-o", "-")):
            outcome = w2v(*arguments, stdin=stdin.encode())
            assert (outcome.code, outcome.out) == (0, expected)
    assert outcome.err == (
        "using runs/tiny (the newest finished run)\n"
        "1 of 3 lines have no word of the vocabulary: their vectors are zeros\n"
    )
    assert w2v()[:2] == (0, "")


def test_a_file_modes_tables_and_weights(w2v, run, tmp_path):
    (tmp_path / "text.txt").write_text("red green\n")
    for arguments, row in (
        (["--mode", "sum"], "4\t-2"),
        (["--mode", "max"], "3\t2"),
        (["--matrix", "context"], "20\t-10"),
        (["--matrix", "sum"], "22\t-11"),
        (["--weights", "0.2", "--mode", "sum"], "1.45000005\t-1.10000002"),
        (["--weights", "1e9"], "2\t-1"),  # so great that all weigh the same
    ):
        outcome = w2v("text.txt", *arguments)
        assert (outcome.code, outcome.out) == (0, f"{row}\n"), arguments


def test_unknown_words_are_reported(w2v, run):
    outcome = w2v("--no-lowercase", stdin=b"RED no no\x1b red no\nmaybe\n")
    assert outcome.err.splitlines()[1:] == [
        "5 of 6 words (83.3 %) are not in the vocabulary, most often 'no', 'RED', 'maybe', "
        r"'no\x1b'",
        "in lower case more of them would be: --lowercase",
        "1 of 2 lines have no word of the vocabulary: their vectors are zeros",
    ]
    assert "--lowercase" not in w2v(stdin=b"RED no").err


def test_how_words_are_cut_can_be_set(w2v, run, tmp_path):
    formats.write(VECTORS, tmp_path / "v.vec")
    text = b"RED green!"
    pattern = ["-s", "corpus.token_pattern='[A-Za-z]+'"]
    for arguments, row in (
        ([], "1\t2"),
        (pattern, "2\t-1"),
        (["--no-lowercase", *pattern], "3\t-4"),
        (["--vectors", "v.vec"], "0\t0"),
        (["--vectors", "v.vec", "--lowercase"], "1\t2"),
        (["--vectors", "v.vec", "-s", "corpus.lowercase=true", *pattern], "2\t-1"),
    ):
        outcome = w2v(*arguments, stdin=text)
        assert (outcome.code, outcome.out) == (0, f"{row}\n"), arguments
    assert w2v("-s", "corpus.token_pattern=(?=a)b", stdin=text).code == 2


@pytest.mark.parametrize("name", ["v.tsv", "v.npy", "v.parquet"])
def test_files(name, w2v, run, tmp_path):
    outcome = w2v("-o", name, stdin=b"red\ngreen blue\n")
    assert (outcome.code, outcome.out) == (0, "")
    assert f"wrote {name}: 2 lines x 2" in outcome.err
    match name:
        case "v.npy":
            found = np.load(tmp_path / name)
        case "v.parquet":
            table = pl.read_parquet(tmp_path / name)
            assert table["text"].to_list() == ["red", "green blue"]
            found = table["vector"].to_numpy()
        case _:
            found = np.loadtxt(tmp_path / name)
    assert found.tolist() == [[1, 2], [-2.5, 6]]
    again = w2v("-o", name, "no such text.txt")
    assert again.code == 5  # told before the text is looked at
    assert f"w2v: error: {name} exists already\nhint: --force replaces it" in again.err
    assert w2v("-o", name, "--force", stdin=b"").code == 0


def test_a_vector_file_needs_counts_for_weights(w2v, run, tmp_path):
    formats.write(VECTORS, tmp_path / "v.npy")
    formats.write(VECTORS, tmp_path / "v.vec")
    assert w2v("--vectors", "v.npy", "--weights", "0.2", stdin=b"red").out == "1\t2\n"
    outcome = w2v("--vectors", "v.vec", "--weights", "0.2", stdin=b"red")
    assert (outcome.code, outcome.out) == (4, "")
    assert "w2v: error: v.vec has no counts, which weights by rarity need" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--mode", "max", "--weights", "1"], 2, "--mode max takes no --weights"),
        (["--mode", "median"], 2, "'median' is not one of 'mean', 'sum', 'max'"),
        (["--weights", "0"], 2, "need a from 1e-09"),
        (["--weights", "much"], 2, "valid number"),
        (["-o", "v.csv"], 2, "the suffix of 'v.csv' names no kind of file"),
        (["a", "b"], 2, "unexpected extra argument"),
        (["--run", "r", "--vectors", "v"], 2, "exclude each other"),
        (["--vectors", "v", "--matrix", "sum"], 2, "only a run has sum vectors"),
        (["-s", "train.sed=1"], 2, "did you mean 'seed'"),
        (["missing.txt"], 4, "cannot read missing.txt: No such file or directory"),
        (["runs"], 4, "cannot read runs: Is a directory"),
        (["-o", "runs"], 2, "names no kind of file"),
        (["-o", "w2v.yaml/v.npy"], 5, "Not a directory"),
    ],
)
def test_what_cannot_be_is_told_at_once(arguments, code, message, w2v, run, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    outcome = w2v(*arguments, stdin=b"red\n")
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert sorted(tmp_path.rglob("*")) == before


def test_text_that_is_not_utf8(w2v, run, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"red\n\nab\xff\n")
    for arguments, stdin, name in ((["bad.txt"], b"", "bad.txt"), ([], b"red\n\nab\xff", "stdin")):
        for out in ([], ["-o", "v.npy"], ["-o", "v.parquet"]):
            outcome = w2v(*arguments, *out, stdin=stdin)
            assert outcome.code == 4
            assert f"w2v: error: {name}: line 3, byte 3: not UTF-8\nhint: convert it" in outcome.err
    assert not list(tmp_path.glob("v.*"))
    assert not list(tmp_path.glob(".w2v-tmp-*"))


def test_a_run_that_does_not_say_how_text_is_cut(w2v, run):
    run.config.write_text("corpus: {lowercase: perhaps}\n")
    outcome = w2v(stdin=b"red")
    assert (outcome.code, outcome.out) == (4, "")
    assert "runs/tiny does not say how text becomes words: " in outcome.err


def test_the_documentation_of_python_is_in_lower_case(w2v, run):
    run.config.write_text("corpus: {name: pydoc}\n")
    assert w2v(stdin=b"RED").out == "1\t2\n"
    assert w2v("--no-lowercase", stdin=b"RED").out == "0\t0\n"


def test_a_terminal_is_told_what_is_awaited(w2v, run, cli, monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(b"red\n")))
    outcome = cli("embed")
    assert outcome.out == "1\t2\n"
    assert "reading lines from the terminal; Ctrl-D ends them" in outcome.err


def test_a_row_comes_as_soon_as_its_line_is_there_and_a_reader_may_go(run):
    """A program that asks line by line is answered so; when it has read enough, that is 141."""
    command = [sys.executable, "-m", "w2v", "embed", "--run", str(run.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for line, row in ((b"red\n", b"1\t2\n"), (b"green", None), (b" red\n", b"2\t-1\n")):
            process.stdin.write(line)
            process.stdin.flush()
            if row is not None:
                assert process.stdout.readline() == row
        process.stdout.close()
        process.stdin.write(b"blue\n")
        process.stdin.close()
        errors = process.stderr.read()
        assert process.wait(timeout=60) == 141
    assert b"Traceback" not in errors


def test_compressed_text_and_pipes_are_read(w2v, run, tmp_path):
    import gzip
    import threading

    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(b"red\n"))
    assert w2v("text.txt.gz").out == "1\t2\n"
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"green\n",))
    writer.start()
    assert w2v("pipe").out == "3\t-4\n"
    writer.join()
