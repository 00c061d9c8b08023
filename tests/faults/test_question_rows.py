"""Rows Q: files that `w2v eval` judges by, and questions that are none."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from faults.outcome import expect, process
from w2v.rundir import RunDir
from w2v.vocab import Vocab

PAIRS = "cat\tdog\t8\ncat\tfish\t3\ndog\tfish\t1\n"
ZERO = Path("/dev/zero")


@pytest.fixture
def judged(cli, tmp_path):
    """Runs `w2v eval` on a file of these bytes, or on a path; the run has three words."""
    vocab = Vocab(("<unk>", "cat", "dog", "fish"), np.array([3, 9, 8, 7]))
    table_VD = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    run = RunDir(tmp_path / "runs" / "tiny")
    run.write_finished({}, vocab=vocab, center_VD=table_VD, context_VD=table_VD)
    (tmp_path / "w2v.yaml").write_text("train: {seed: 1}\n")

    def judge(what, *arguments):
        if isinstance(what, bytes):
            (tmp_path / "file").write_bytes(what)
        return cli("eval", "file" if isinstance(what, bytes) else what, *arguments)

    return judge


@pytest.mark.fault("Q1")
@pytest.mark.parametrize(
    "bad",
    ["cat\tdog", "cat", "cat\t\t1", "cat dog 1", "cat\tdog\thigh", "cat\tdog\tnan",
     "cat\tdog\t-inf", "cat\tdog\t1_0", "cat\tdog\t", "cat\tdog\t7,5"],
)  # fmt: skip
def test_a_pair_that_is_none(row, judged, bad):
    found = expect(row, judged(f"{PAIRS}{bad}\n".encode(), "--run", "nowhere"), 4)
    assert found.startswith("file, line 4: ")
    expect(row, judged(f"cat\tdog\tN\t1\n{bad}\n".encode()), 4)


@pytest.mark.fault("Q1")
@pytest.mark.parametrize("bad", ["cat dog fish", "cat dog fish cat dog", "cat"])
def test_a_question_that_is_none(row, judged, bad):
    found = expect(row, judged(f": pets\ncat dog fish cat\n{bad}\n".encode()), 4)
    assert found.startswith("file, line 3: ")


@pytest.mark.fault("Q2")
@pytest.mark.parametrize(
    "data",
    [b"", b"\n\n", b"# only this\n", b": pets\n", b"word1\tword2\tscore\n", b"cat\tdog\t1\n\xff\n",
     b"\x80\x04\x95", "cat\tdog\t1\n".encode("utf-16"), b"x" * 100_000],
)  # fmt: skip
def test_what_holds_no_item(row, judged, data):
    expect(row, judged(data), 4)


@pytest.mark.fault("Q2")
@pytest.mark.skipif(not ZERO.exists(), reason="this system has no /dev/zero")
def test_an_endless_line(row, judged):
    expect(row, judged(ZERO), 4)


@pytest.mark.fault("Q3")
def test_a_path_to_no_file(row, judged, tmp_path):
    (tmp_path / "folder").mkdir()
    for path in ("folder", "missing.tsv"):
        expect(row, judged(path), 4)


@pytest.mark.fault("Q3")
def test_a_file_without_permission(row, judged, tmp_path, read_only):
    (tmp_path / "file").write_text(PAIRS)
    with read_only(tmp_path / "file", 0):
        expect(row, process("eval", "file", cwd=tmp_path, humble=True), 5)


@pytest.mark.fault("Q4")
@pytest.mark.parametrize("data", [b"zebra\tcat\t1\n", b"cat dog fish zebra\n", b"\0\t\x1b\t1\n"])
def test_nothing_known(row, judged, data):
    expect(row, judged(data), 4)


VARIANTS = {
    "as it is": PAIRS,
    "byte order mark": f"\ufeff{PAIRS}",
    "CRLF": PAIRS.replace("\n", "\r\n"),
    "white space": PAIRS.replace("\t", " \t  ").replace("\n", " \n\n"),
    "capitals": PAIRS.replace("cat", "CAT").replace("dog", "Dog"),
    "header": f"# pairs\nWord 1\tWord 2\tHuman (mean)\n{PAIRS}",
    "columns": "word1\tword2\tPOS\tscore\tconc\n" + PAIRS.replace("\t", "\tN\t").replace(
        "cat\tN", "cat").replace("dog\tN\tfish", "dog\tfish").replace("\n", "\t4\n"),
    "no last line end": PAIRS.rstrip("\n"),
}  # fmt: skip


@pytest.mark.fault("Q5")
@pytest.mark.parametrize("text", VARIANTS.values(), ids=VARIANTS)
def test_variants_of_a_file(row, judged, text):
    outcome = judged(text.encode())
    expect(row, outcome, 0)
    # Cosines .71, 0, .71 are ranked 2.5, 1, 2.5, scores 8, 3, 1 are ranked 3, 2, 1.
    assert outcome.out.splitlines()[1] == "file\ttotal\tspearman\t0.0000\tnan\tnan\t3\t3"


@pytest.mark.fault("Q6")
@pytest.mark.parametrize("arguments", [("similar",), ("similar", "--minus", "cat"), ("eval",)])
def test_nothing_is_asked(row, judged, cli, monkeypatch, arguments):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"cat\n")))
    expect(row, cli(*arguments), 2)


@pytest.mark.fault("Q7")
def test_a_minus_without_a_word(row, judged, cli, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"cat\ndog --minus\n")))
    outcome = cli("similar", "-", "-k", 1)
    expect(row, outcome, 4, partial=True)
    assert outcome.out == "dog\t0.7071\n"
