"""Rows T: texts, through `w2v train`."""

import io
import os
import sys

import numpy as np
import pytest

import w2v.building
from faults.outcome import expect, process
from faults.treebank import tree
from w2v import room
from w2v.rundir import RunDir

SETTINGS = ("corpus.name=text", "vocab.min_count=1", "sampling.subsample=null", "model.dim=4",
            "train.epochs=1", "train.device=cpu", "train.threads=1")  # fmt: skip


@pytest.fixture
def train(cli, tmp_path):
    """Runs `w2v train` on a text; later settings win."""

    def run(text, *settings, flags=()):
        if text is not None:
            data = text if isinstance(text, bytes) else text.encode()
            (tmp_path / "text.txt").write_bytes(data)
        (tmp_path / "c.yaml").write_text("train: {seed: 1}\n")
        every = (*SETTINGS, "corpus.path=text.txt", *settings)
        options = [f"--set={setting}" for setting in every]
        return cli("train", "-c", "c.yaml", *options, "--run", "run", *flags)

    return run


def vocabulary(folder):
    """The words of the corpus that was read, with their counts."""
    (path,) = folder.glob("data/corpora/*/vocab.tsv")
    return path.read_bytes().decode()


def refused(row, tmp_path, outcome, code=4):
    """The message of a failure that leaves no run and no corpus."""
    message = expect(row, outcome, code)
    assert not (tmp_path / "run").exists()
    return message


@pytest.mark.fault("T1")
@pytest.mark.parametrize("text", ["", " ", "\n\n \t\n", "\ufeff"])
def test_no_words(row, train, tmp_path, text):
    refused(row, tmp_path, train(text))


@pytest.mark.fault("T2")
def test_every_word_is_too_rare(row, train, tmp_path):
    message = refused(row, tmp_path, train("the cat the\nthe end\n" * 3, "vocab.min_count=10"))
    assert message == (
        "vocab.min_count=10 keeps 0 of 3 words; the commonest, 'the', occurs 9 times: lower it"
    )


@pytest.mark.fault("T3")
@pytest.mark.parametrize("settings", [(), ("sampling.negatives=100",), ("sampling.window=100",)])
@pytest.mark.parametrize("avoid", ["true", "false"])
@pytest.mark.parametrize("text", ["a a a a\n" * 9, "a b a b\n" * 9], ids=["one word", "two words"])
def test_tiny_vocabularies(row, train, tmp_path, text, avoid, settings):
    # With one word every noise word is a context: none is left where contexts are avoided.
    expect(row, train(text, f"sampling.avoid_contexts={avoid}", *settings), 0)
    assert np.isfinite(RunDir(tmp_path / "run").load_vectors().matrix).all()


@pytest.mark.fault("T4")
@pytest.mark.parametrize(
    ("text", "setting"),
    [("a\nb\nc\n" * 9, "sampling.window=5"), ("a b c d\n" * 9, "sampling.subsample=1.0e-9")],
)
def test_no_pairs(row, train, tmp_path, text, setting):
    refused(row, tmp_path, train(text, setting))


@pytest.mark.fault("T5")
@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"\xff", "line 1, byte 1"),
        (b"a b\nc caf\xe9\n", "line 2, byte 6"),
        (b"a b\n" * 9 + b"\xed\xa0\x80", "line 10, byte 1"),
        ("a b\n".encode("utf-16"), "line 1, byte 1"),
    ],
)
def test_text_that_is_not_utf8(row, train, tmp_path, text, place):
    outcome = train(text)
    assert f"text.txt: {place}: not UTF-8" in refused(row, tmp_path, outcome)
    assert "iconv" in outcome.err


@pytest.fixture
def similar(cli, monkeypatch, tmp_path):
    """Runs `w2v similar -` on queries, against three words."""
    (tmp_path / "v.txt").write_text("3 2\ncat 1 0\ndog 1 1\nfish 0 1\n")

    def run(stdin):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return cli("similar", "-", "-k", 1, "--vectors", "v.txt")

    return run


@pytest.mark.fault("T5")
def test_queries_that_are_not_utf8(row, similar):
    outcome = similar(b"cat\nca\xfft\n")
    assert expect(row, outcome, 4, partial=True) == "stdin, line 2: byte 3 is not UTF-8"
    assert outcome.out == "dog\t0.7071\n"


SPACES = [
    "\0",
    "\r",
    "\x85",
    "\u2028",
    "\u2029",
    "\u00a0",
    "\u2009",
    "\u3000",
    "\t",
    "\x0b",
    "\x1c",
]


@pytest.mark.fault("T6")
@pytest.mark.parametrize("space", SPACES, ids=ascii)
def test_white_space_of_any_kind(row, train, tmp_path, space):
    text = "the cat sat on the mat\nthe end\n" * 3
    expect(row, train(text, flags=["--dry-run"]), 0)
    clean = vocabulary(tmp_path)
    (tmp_path / "data").rename(tmp_path / "old")
    if space == "\0":  # which is no white space: it is a part of its token
        clean = clean.replace("cat", "c\0at")
        expect(row, train(text.replace("cat", "c\0at"), flags=["--dry-run"]), 0)
    else:
        other = f"\ufeff{text.replace(' ', space)}".replace("\n", f"{space}\r\n")
        expect(row, train(other, flags=["--dry-run"]), 0)
    assert vocabulary(tmp_path) == clean


@pytest.mark.fault("T6")
def test_white_space_in_queries(row, similar):
    outcome = similar("\ufeffcat\u00a0dog\r\n\u2009\r\n".encode())
    expect(row, outcome, 0)
    assert outcome.out == "fish\t0.3827\n"


@pytest.mark.fault("T7")
def test_a_text_of_one_line_is_not_cut(row, train, tmp_path):
    words = 4_000_000
    outcome = train("word " * words, flags=["--dry-run"])
    expect(row, outcome, 0)
    assert vocabulary(tmp_path) == f"<unk>\t0\nword\t{words}\n"


def dry_run_within(gigabytes, folder, *settings):
    """`w2v train --dry-run` on text.txt, with so much memory once its modules are loaded."""
    (folder / "c.yaml").write_text("train: {seed: 1}\n")
    every = (*SETTINGS, "corpus.path=text.txt", *settings)
    options = [f"--set={setting}" for setting in every]
    code = (
        "import resource, torch, polars\n"
        "from faults.driver import main\n"
        "now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (now + {gigabytes} * 2**30,) * 2)\n"
        f"main(['train', '-c', 'c.yaml', *{options!r}, '--dry-run'])\n"
    )
    return process("-c", code, cwd=folder, module=None)


@pytest.mark.slow
@pytest.mark.fault("T7")
def test_a_text_of_one_line_in_little_memory(row, tmp_path):
    words = 40_000_000
    (tmp_path / "text.txt").write_text("word " * words)
    expect(row, dry_run_within(3, tmp_path), 0)
    assert vocabulary(tmp_path) == f"<unk>\t0\nword\t{words}\n"


@pytest.mark.fault("T8")
def test_a_token_of_10_mb(row, train, cli, tmp_path):
    token = "x" * 10_000_000
    expect(row, train(f"{token} a b\n" * 3), 0)
    assert f"\n{token}\t3\n" in (tmp_path / "run" / "vocab.tsv").read_text()
    outcome = cli("similar", "a", "-k", 2, "--run", "run")
    expect(row, outcome, 0)
    assert token in outcome.out


@pytest.mark.fault("T8")
@pytest.mark.parametrize(
    ("token", "printed"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202eevil", "\\u202eevil"),
        ("\u2066evil\u2069", "\\u2066evil\\u2069"),
        ("a\x07b\x7f", "a\\x07b\\x7f"),
    ],
)
def test_tokens_that_would_change_a_terminal(row, train, cli, tmp_path, token, printed):
    expect(row, train(f"{token} a b\n" * 9), 0)
    assert token in (tmp_path / "run" / "vocab.tsv").read_text()
    outcome = cli("similar", "a", "-k", 2, "--run", "run")
    expect(row, outcome, 0)
    assert printed in outcome.out
    assert token not in outcome.out
    assert token in cli("similar", "a", "-k", 2, "--run", "run", "--json").out.encode().decode(
        "unicode_escape"
    )


@pytest.mark.fault("T9")
def test_more_distinct_tokens_than_memory(row, train, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "free_bytes", lambda: 50_000_000)
    text = "".join(f"a{i} b{i} c{i}\n" for i in range(100_000))
    refused(row, tmp_path, train(text), 5)
    assert list(tmp_path.glob("data/corpora/*")) == []


@pytest.mark.slow
@pytest.mark.fault("T9")
# Below 2 GB polars ends the process before we can refuse: it asks for memory that it has to have.
@pytest.mark.parametrize("gigabytes", [2])
def test_ten_million_distinct_tokens_in_little_memory(row, tmp_path, gigabytes):
    with (tmp_path / "text.txt").open("w") as file:
        for start in range(0, 10_000_000, 10):
            file.write(" ".join(f"token{i}" for i in range(start, start + 10)) + "\n")
    refused(row, tmp_path, dry_run_within(gigabytes, tmp_path), 5)
    outcome = dry_run_within(gigabytes, tmp_path, "vocab.max_size=1000")
    assert "going on with the corpus" in expect(row, outcome, 0)  # nothing is counted again
    assert vocabulary(tmp_path).startswith("<unk>\t9999000\ntoken0\t1\ntoken1\t1\ntoken10\t1\n")


@pytest.mark.fault("T10")
@pytest.mark.parametrize("change", ["grows", "shrinks", "goes", "is another"])
def test_a_text_that_changes_while_it_is_read(row, train, tmp_path, monkeypatch, change):
    path = tmp_path / "text.txt"
    real = w2v.building.read_texts

    def read_texts(paths, *, block_bytes):
        for number, block in enumerate(real(paths, block_bytes=1000)):
            if paths and number == 3:
                match change:
                    case "grows":
                        path.write_text(path.read_text() + "more\n")
                    case "shrinks":
                        os.truncate(path, 5000)
                    case "goes":
                        path.unlink()
                    case _:
                        path.rename(tmp_path / "old.txt")
                        path.write_text("other text\n" * 900)
            yield block

    monkeypatch.setattr(w2v.building, "read_texts", read_texts)
    refused(row, tmp_path, train("the cat sat\n" * 900))
    assert list(tmp_path.glob("data/corpora/*")) == []


@pytest.mark.fault("T11")
def test_no_text_there(row, train, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "image.png").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for path in ("folder", "pipe", "missing.txt", "missing/*.txt"):
        refused(row, tmp_path, train(None, f"corpus.path={path}"))
    before = tree(tmp_path)
    refused(row, tmp_path, train(None, "corpus.path=[folder, missing.txt]"))
    assert tree(tmp_path) == before


@pytest.mark.fault("T11")
def test_a_text_without_permission(row, tmp_path, read_only):
    (tmp_path / "text.txt").write_text("the cat sat\n" * 9)
    (tmp_path / "c.yaml").write_text("train: {seed: 1}\n")
    options = [f"--set={setting}" for setting in (*SETTINGS, "corpus.path=text.txt")]
    with read_only(tmp_path / "text.txt", 0):
        outcome = process("train", "-c", "c.yaml", *options, cwd=tmp_path, humble=True)
    refused(row, tmp_path, outcome, 5)
