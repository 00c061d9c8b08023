"""The example classifier: it learns, and vectors carry what labels say to words without labels."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from w2v import formats
from w2v.vectors import WordVectors

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
from classify import WAYS, Example, main, read_examples, split

SCRIPTS = Path(__file__).parent.parent / "scripts"
TOPICS = ("apple", "metal", "river")


def labeled_lines(numbers, *, lines, seed):
    """Lines of a topic, which is their label, by those of its words that have these numbers."""
    rng = np.random.default_rng(seed)
    topics = rng.choice(TOPICS, lines)
    return "".join(
        f"{topic}\t{' '.join(f'{topic}{i}' for i in rng.choice(numbers, 4))}\n" for topic in topics
    )


def write_data(folder):
    """Labels for three words of each topic, and a test with three others."""
    (folder / "train.tsv").write_text(labeled_lines([0, 1, 2], lines=90, seed=0))
    (folder / "test.tsv").write_text(labeled_lines([3, 4, 5], lines=150, seed=1))


DATA = ("--data", "train.tsv", "--test", "test.tsv", "--epochs", "30")


def accuracies(printed):
    """The shares of right answers on the texts trained on, and on the test's, by way."""
    head, *rows = [line.split("\t") for line in printed.splitlines()]
    assert head == ["way", "trained on", "test", "spread"]
    assert [row[0] for row in rows] == ["chance", "frozen", "tuned", "scratch"]
    return ({row[0]: float(row[column]) for row in rows} for column in (1, 2))


def test_vectors_carry_labels_over_to_words_that_had_none(tmp_path, monkeypatch, capsys):
    """The test's words are in no labeled text: the vectors alone know what they mean."""
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    words = [f"{topic}{i}" for topic in TOPICS for i in range(6)]
    rng = np.random.default_rng(0)
    matrix = np.repeat(3 * np.eye(3), 6, axis=0) + rng.normal(0, 0.1, (18, 3))
    formats.write(WordVectors(words, matrix), tmp_path / "v.vec")
    main(["v.vec", *DATA, "--seeds", "5"])
    on_training, on_test = accuracies(capsys.readouterr().out)
    assert on_test["chance"] == pytest.approx(1 / 3, abs=0.1)
    assert on_test["frozen"] == 1
    assert on_test["tuned"] > 0.9
    assert on_test["scratch"] < 0.7
    assert min(on_training[way] for way in WAYS) > 0.9


@pytest.mark.slow
def test_the_script_on_a_run(cli, tiny_options, tmp_path):
    assert cli("train", *tiny_options, "-s", "train.epochs=12", "-q", "--run", "tiny").code == 0
    write_data(tmp_path)
    command = [sys.executable, str(SCRIPTS / "classify.py"), "tiny", *DATA, "--seeds", "3"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS.parent)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    _, on_test = accuracies(done.stdout)
    assert on_test["frozen"] > 0.9
    assert on_test["tuned"] > 0.8
    assert on_test["scratch"] < 0.7


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"good\tfine film\nno tab\n", 4, "data.tsv: line 2: expected a label, a tab and a text"),
        (b"good\tcaf\xe9\n", 4, "data.tsv: line 1, byte 9: not UTF-8"),
        (b"good\tfine film\n", 4, "too few texts: 0 to train on, 1 to test"),
        (None, 4, "cannot read data.tsv: No such file or directory"),
    ],
)
def test_bad_data_is_one_line(data, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("v.vec").write_text("2 2\nfine 1 0\nfilm 0 1\n")
    if data is not None:
        Path("data.tsv").write_bytes(data)
    with pytest.raises(SystemExit) as exit_:
        main(["v.vec", "--data", "data.tsv"])
    assert exit_.value.code == code
    assert capsys.readouterr() == ("", f"classify: error: {message}\n")


def test_all_of_a_text_is_read(tmp_path, monkeypatch):
    """Blocks, further tabs and the last line without an end."""
    monkeypatch.setattr("classify.BLOCK_BYTES", 7)
    (tmp_path / "data.tsv").write_text("good\tfine film\nbad\tno\tfilm\ngood\t\nbad\tx")
    assert read_examples(tmp_path / "data.tsv") == [
        ("good", "fine film"),
        ("bad", "no\tfilm"),
        ("good", ""),
        ("bad", "x"),
    ]


def test_a_split_keeps_the_test_apart():
    examples = [Example("a", str(i)) for i in range(50)]
    learned, held_out = split(examples, [], 30, np.random.default_rng(0))
    assert (len(learned), len(held_out)) == (30, 10)
    assert not set(learned) & set(held_out)
    learned, held_out = split(examples, examples[:3], 10**6, np.random.default_rng(0))
    assert (sorted(learned), held_out) == (sorted(examples), examples[:3])
