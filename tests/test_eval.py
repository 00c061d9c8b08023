import json
import os
import pty
import shutil

import numpy as np
import pytest
from faults.outcome import process

from w2v.evaluate import share_interval, spearman_interval
from w2v.rundir import RunDir
from w2v.vocab import Vocab

# king - man + woman = queen; cosines from man: king .71, woman 0, apple -.71.
WORDS = {"man": [1, 0, 0], "woman": [0, 1, 0], "king": [1, 0, 1], "queen": [0, 1, 1],
         "apple": [-1, -1, 0]}  # fmt: skip
PAIRS = "man\tking\t8\nman\twoman\t5\nMan\tApple\t1\nking\tqueen\t4\nman\tzebra\t9\n"
QUESTIONS = """: family
man king woman queen
man king woman apple
: gram1-plural
man king zebra queen
"""
HEADER = ["file", "section", "measure", "score", "low", "high", "found", "given"]


@pytest.fixture(autouse=True)
def world(tmp_path, monkeypatch):
    """A run of five words, pairs and questions about them."""
    monkeypatch.chdir(tmp_path)
    rows = np.array([[0, 0, 0], *WORDS.values()], np.float32)
    vocab = Vocab(("<unk>", *WORDS), np.arange(9, 3, -1))
    run = RunDir(tmp_path / "runs" / "tiny")
    run.write_finished({}, vocab=vocab, center_VD=rows, context_VD=rows[:, ::-1])
    (tmp_path / "w2v.yaml").write_text("train: {seed: 1}\n")
    (tmp_path / "pairs.tsv").write_text(PAIRS)
    (tmp_path / "questions.txt").write_text(QUESTIONS)
    return tmp_path


def rows_of(out):
    header, *rows = (line.split("\t") for line in out.splitlines())
    assert header == HEADER
    return [dict(zip(HEADER, row, strict=True)) for row in rows]


def test_a_file_of_pairs(cli):
    outcome = cli("eval", "pairs.tsv")
    assert outcome.code == 0
    assert outcome.err == "using runs/tiny (the newest finished run)\n"
    # Ranks of the cosines .71, 0, -.71, .5 against 8, 5, 1, 4: one swap, 1 - 6 * 2 / (4 * 15).
    low, high = spearman_interval(0.8, 4)
    assert outcome.out == (
        "\t".join(HEADER) + f"\npairs.tsv\ttotal\tspearman\t0.8000\t{low:.4f}\t{high:.4f}\t4\t5\n"
    )


def test_analogies_by_section(cli):
    rows = rows_of(cli("eval", "questions.txt").out)
    assert [row["section"] for row in rows] == [
        *("family", "gram1-plural", "semantic", "syntactic", "total")
    ]
    assert {row["measure"] for row in rows} == {"accuracy"}
    low, high = share_interval(0.5, 2)
    assert list(rows[0].values())[3:] == ["0.5000", f"{low:.4f}", f"{high:.4f}", "2", "2"]
    assert list(rows[1].values())[3:] == ["nan", "nan", "nan", "0", "1"]
    assert (rows[4]["score"], rows[4]["found"], rows[4]["given"]) == ("0.5000", "2", "3")


def test_several_files_in_the_order_given(cli):
    rows = rows_of(cli("eval", "questions.txt", "pairs.tsv", "questions.txt").out)
    assert [row["file"] for row in rows if row["section"] == "total"] == [
        *("questions.txt", "pairs.tsv", "questions.txt")
    ]


def test_json_is_one_object(cli):
    found = json.loads(cli("eval", "pairs.tsv", "questions.txt", "--json").out)
    pairs, questions = found["files"]
    low, high = spearman_interval(0.8, 4)
    assert pairs == {"file": "pairs.tsv", "measure": "spearman", "score": 0.8, "low": round(low, 6),
                     "high": round(high, 6), "found": 4, "given": 5, "sections": []}  # fmt: skip
    assert (questions["measure"], questions["score"]) == ("accuracy", 0.5)
    assert [section["section"] for section in questions["sections"]] == [
        *("family", "gram1-plural", "semantic", "syntactic")
    ]
    assert questions["sections"][1] == {"section": "gram1-plural", "score": None, "low": None,
                                        "high": None, "found": 0, "given": 1}  # fmt: skip


def test_which_vectors_and_candidates(cli, world):
    assert rows_of(cli("eval", "questions.txt", "--restrict", 3).out)[-1]["score"] == "0.0000"
    # Turned round, man and woman keep their cosine, and apple is as far from man.
    context = rows_of(cli("eval", "pairs.tsv", "--matrix", "context").out)[0]
    assert context["score"] == "0.8000"
    total = rows_of(cli("eval", "pairs.tsv", "--matrix", "sum").out)[0]
    assert total["found"] == "4"
    assert cli("export", "v.txt").code == 0
    shutil.rmtree(world / "runs")
    outcome = cli("eval", "pairs.tsv", "--vectors", "v.txt")
    assert (outcome.code, rows_of(outcome.out)[0]["score"], outcome.err) == (0, "0.8000", "")


def test_columns_are_aligned_on_a_terminal(world):
    ours, theirs = pty.openpty()
    assert process("eval", "pairs.tsv", "questions.txt", cwd=world, stdout=theirs).code == 0
    os.close(theirs)
    lines = os.read(ours, 10_000).decode().splitlines()
    os.close(ours)
    assert lines[0].split() == HEADER
    assert len(lines) == 7
    assert len({len(line) for line in lines}) == 1
    assert {line.index("spearman") for line in lines if "spearman" in line} == {
        lines[0].index("measure")
    }


def test_a_name_with_a_tab_stays_one_column(cli, world):
    (world / "pairs.tsv").rename(world / "a\tb")
    assert rows_of(cli("eval", "a\tb").out)[0]["file"] == "a\\tb"


def failed(outcome, code):
    """The message of a failure, which is one line."""
    assert outcome.code == code
    assert outcome.out == ""
    lines = [line for line in outcome.err.splitlines() if not line.startswith("using ")]
    assert len(lines) <= 2
    assert all(line.startswith("hint: ") for line in lines[1:])
    return lines[0].removeprefix("w2v: error: ")


def test_no_file_says_where_to_get_some(cli):
    outcome = cli("eval")
    assert failed(outcome, 2) == "no file to judge the vectors by"
    assert "docs/evaluating.md" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pairs.tsv", "--restrict", "0"], "Invalid value for '--restrict'"),
        (["pairs.tsv", "--matrix", "mean"], "'mean' is not one of"),
        (["pairs.tsv", "--vectors", "v.txt", "--run", "r"], "exclude each other"),
        (["pairs.tsv", "-s", "train.sed=1"], "did you mean 'seed'"),
    ],
)
def test_a_wrong_command_line_is_2(cli, arguments, message):
    assert message in failed(cli("eval", *arguments), 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"man\tking\t8\nman\twoman\n", "line 2: expected word, word and score between tabs"),
        (b"man\tking\thigh\n", "line 1: expected a number in the third column, found"),
        (b"man\tking\t8\nman\twoman\tnan\n", "line 2: expected a number in the third column"),
        (b": a\nman king woman\n", "line 2: expected four words, found 'man king woman'"),
        (b"man\tking\t8\ncaf\xe9\tman\t2\n", "line 2: byte 4 is not UTF-8 text"),
        (b"", "holds neither pairs of words with a score nor analogies"),
        (b"zebra\tlion\t8\nman\tlion\t8\n", "of 2 items none has all its words in the vocab"),
        (b"zebra lion man king\n", "of 1 items none has all its words in the vocabulary"),
    ],
)
def test_a_bad_file_is_4_and_named(cli, world, data, message):
    (world / "bad").write_bytes(data)
    found = failed(cli("eval", "pairs.tsv", "bad"), 4)
    assert found.startswith(("bad, line ", "bad holds ", "bad: "))
    assert message in found


def test_a_folder_or_a_missing_file_is_4(cli, world):
    assert failed(cli("eval", "runs"), 4) == "cannot read runs: Is a directory"
    assert failed(cli("eval", "nowhere"), 4) == "cannot read nowhere: No such file or directory"


def test_a_bad_file_is_told_before_vectors_are_read(cli, world):
    (world / "bad").write_text("man\n")
    outcome = cli("eval", "bad", "--run", "nowhere")
    assert failed(outcome, 4).startswith("bad, line 1: expected word, word and score")
