"""`w2v embed` in the rows of texts (T) and of vectors and what is written (V)."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from faults.outcome import expect, peak_growth, process, small_disk
from faults.treebank import tree
from w2v import formats
from w2v.embed import embed_blocks
from w2v.vectors import WordVectors

FILE = "2 2\nred 1 0\nblue 1 1\n"
FULL = Path("/dev/full")
ON_TEXT = ("embed", "text.txt", "--vectors", "vectors.txt")
KINDS = ("v.tsv", "v.npy", "v.parquet")


@pytest.fixture
def embed(cli, monkeypatch, tmp_path):
    """Runs `w2v embed` with two words, on text of standard input where no file is named."""
    (tmp_path / "w2v.yaml").write_text("train: {seed: 1}\n")
    (tmp_path / "vectors.txt").write_text(FILE)

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return cli("embed", "--vectors", "vectors.txt", *arguments)

    return run


@pytest.mark.fault("T5")
@pytest.mark.parametrize("text", [b"\xff", b"red\nblu\xe9\n", b"red\n\xff\xfea\0"])
def test_text_that_is_not_utf8(row, embed, tmp_path, text):
    (tmp_path / "text.txt").write_bytes(text)
    for arguments in (["text.txt"], ["-"], ["-", "-o", "v.npy"]):
        outcome = embed(*arguments, stdin=text)
        expect(row, outcome, 4, partial=True)  # whole lines before it are answered
        assert "iconv" in outcome.err
    assert not (tmp_path / "v.npy").exists()


@pytest.mark.fault("T6")
@pytest.mark.parametrize("space", ["\r", "\x85", "\u2028", "\u00a0", "\u3000", "\x1c"], ids=ascii)
def test_white_space_of_any_kind(row, embed, space):
    outcome = embed(stdin=f"\ufeffred{space}blue\n{space}\nblue".encode())
    expect(row, outcome, 0)
    assert outcome.out == "1\t0.5\n0\t0\n1\t1\n"


@pytest.mark.fault("T7")
def test_a_text_of_one_line_is_not_cut(row, embed, tmp_path):
    (tmp_path / "text.txt").write_text("red blue no " * 1_000_000)
    outcome = embed("text.txt", "--mode", "sum")
    expect(row, outcome, 0)
    assert outcome.out == "2000000\t1000000\n"
    assert "1,000,000 of 3,000,000 words" in outcome.err


@pytest.mark.fault("T7")
def test_a_text_of_any_length_needs_little_memory(row):
    """400,000 rows of 300 numbers are 480 MB."""
    vectors = WordVectors(["red"], np.ones((1, 300), np.float32))
    block = "red\n" * 20_000
    with peak_growth() as growth:
        parts = embed_blocks(vectors, (block for _ in range(20)))
        assert sum(len(part.lines) for part in parts) == 400_000
        assert growth() < 200e6


@pytest.mark.fault("T8")
def test_long_and_hostile_tokens(row, embed):
    outcome = embed(stdin=b"red " + b"x" * 10_000_000 + b" \x1b[2J \xe2\x80\xaeevil\n")
    expect(row, outcome, 0)
    assert outcome.out == "1\t0\n"
    missed = r"'\x1b[2J', '{}...', '\u202eevil'"
    assert f"most often {missed.format('x' * 60)}" in outcome.err


@pytest.mark.fault("T11")
def test_texts_that_cannot_be_read(row, embed, tmp_path, read_only):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.gz").write_bytes(b"no gzip")
    for name in ("folder", "missing.txt", "file.gz"):
        expect(row, embed(name), 4)
    (tmp_path / "text.txt").write_text("red\n")
    with read_only(tmp_path / "text.txt", mode=0o000):
        expect(row, process(*ON_TEXT, cwd=tmp_path, humble=True), 5)


@pytest.mark.fault("V1")
@pytest.mark.parametrize("data", ["", "2 2\n", "999999999 300\nred 1\n", "garbage"])
def test_no_vectors(row, embed, tmp_path, data):
    (tmp_path / "vectors.txt").write_text(data)
    expect(row, embed(stdin=b"red\n"), 4)


@pytest.mark.slow
@pytest.mark.fault("V13")
def test_a_reader_that_goes_away(row, embed, tmp_path):
    (tmp_path / "text.txt").write_text("red\n")
    reading, writing = os.pipe()
    os.close(reading)
    outcome = process(*ON_TEXT, cwd=tmp_path, stdout=writing)
    os.close(writing)
    expect(row, outcome, 141)


@pytest.mark.slow
@pytest.mark.fault("V13")
@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_output(row, embed, tmp_path):
    (tmp_path / "text.txt").write_text("red\n")
    with FULL.open("wb") as full:
        expect(row, process(*ON_TEXT, cwd=tmp_path, stdout=full), 5)


@pytest.mark.fault("V15")
def test_places_that_are_no_file(row, embed, tmp_path):
    for kind in KINDS:
        (tmp_path / f"folder.{kind}").mkdir()
        os.mkfifo(tmp_path / f"pipe.{kind}")
        (tmp_path / f"mine.{kind}").write_text("mine")
    before = tree(tmp_path)
    for kind in KINDS:
        for out in (
            (f"folder.{kind}", "--force"),
            (f"pipe.{kind}", "--force"),
            (f"mine.{kind}",),
            (f"mine.{kind}/v.npy",),
        ):
            expect(row, embed("-o", *out, stdin=b"red\n"), 5)
    assert tree(tmp_path) == before


@pytest.mark.fault("V15")
def test_a_read_only_folder(row, embed, tmp_path, read_only):
    (tmp_path / "out").mkdir()
    (tmp_path / "text.txt").write_text("red\n")
    with read_only(tmp_path / "out"):
        expect(row, process(*ON_TEXT, "-o", "out/v.npy", cwd=tmp_path, humble=True), 5)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.fault("V15")
def test_the_text_itself_can_be_replaced(row, embed, tmp_path):
    (tmp_path / "text.txt").write_text("red\nblue\n")
    expect(row, embed("text.txt", "-o", "text.txt", "--force"), 0)
    assert (tmp_path / "text.txt").read_text() == "1\t0\n1\t1\n"


@pytest.mark.slow
@pytest.mark.fault("V16")
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fills_up(row, tmp_path, kind):
    (tmp_path / "disk").mkdir()
    words = [f"w{i}" for i in range(3000)]
    rows = np.random.default_rng(0).normal(size=(3000, 20)).astype(np.float32)
    formats.write(WordVectors(words, rows), tmp_path / "vectors.bin")
    (tmp_path / "text.txt").write_text("\n".join(words))
    script = 'echo old > disk/old; "$@"; code=$?; ls -A disk; exit $code'
    prefix = [*small_disk(tmp_path / "disk", size=100_000), "sh", "-c", script, "sh"]
    arguments = ("embed", "text.txt", "--vectors", "vectors.bin", "-o", f"disk/{kind}")
    outcome = process(*arguments, cwd=tmp_path, prefix=prefix)
    assert outcome.out == "old\n"
    expect(row, outcome, 5, partial=True)
