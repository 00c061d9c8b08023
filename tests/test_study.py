"""The study of settings: which trainings it makes, what it passes over, what its table tells."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
import study
from bench_rows import as_row, read_rows

SHARED = ["corpus.path=text.txt"]


@pytest.fixture
def trainings(monkeypatch):
    """The trainings that were asked for; each scores by its dimension and its seed."""
    asked = []

    def measure(config, settings, seed, eval_data):
        asked.append((seed, " ".join(settings)))
        dim = next((word.partition("=")[2] for word in settings if word.startswith("model.")), 100)
        values = {"WS-353": int(dim) / 1000 + seed / 1000, "train_s": int(dim) / 10}
        values |= {"seed": seed, "settings": " ".join(settings)}
        return as_row(values, study.COLUMNS)

    monkeypatch.setattr(study, "measure", measure)
    monkeypatch.setattr(study, "FACTORS", {"model.dim": ("50", "100"), "train.epochs": ("1",)})
    return asked


def arguments(tmp_path, *more):
    return ["--corpus", "text.txt", "--out", str(tmp_path / "study.tsv"), *more]


def test_one_setting_is_changed_at_a_time_and_its_own_value_is_no_change(trainings):
    assert list(study.points("text.yaml", SHARED)) == [
        SHARED, [*SHARED, "model.dim=50"], [*SHARED, "train.epochs=1"]
    ]  # fmt: skip
    assert list(study.points("text.yaml", SHARED, ["train.epochs"]))[1:] == [
        [*SHARED, "train.epochs=1"]
    ]


def test_what_has_a_line_is_passed_over(trainings, tmp_path):
    study.main(arguments(tmp_path, "--seeds", "1", "--factor", "model.dim"))
    assert trainings == [(0, SHARED[0]), (0, f"{SHARED[0]} model.dim=50")]
    del trainings[:]
    study.main(arguments(tmp_path, "--seeds", "2"))
    assert trainings[0] == (0, f"{SHARED[0]} train.epochs=1")
    assert [seed for seed, _ in trainings] == [0, 1, 1, 1]
    del trainings[:]
    study.main(arguments(tmp_path, "--seeds", "2"))
    assert trainings == []


def test_the_table_marks_differences_beyond_the_spread_of_seeds(trainings, tmp_path, capsys):
    study.main(arguments(tmp_path, "--seeds", "3"))
    capsys.readouterr()
    study.main(arguments(tmp_path, "--table"))
    _, rule, *lines = capsys.readouterr().out.splitlines()
    assert rule == "|---|---|---|---|---|---|"
    assert lines == [  # scores of .1, .101, .102, and of .05, .051, .052
        "| text.yaml | 3 | 0.101 | - | - | - |",
        "| model.dim=50 | 3 | 0.051* | - | - | - |",
        "| train.epochs=1 | 3 | 0.101 | - | - | - |",
        "| *seed to seed* | | ± 0.001 | ± nan | ± nan | ± nan |",
    ]


def test_the_spread_of_seeds_is_pooled():
    rows = [[{"MEN": value} for value in found] for found in (("1", "3"), ("5", "6", "7"), ("9",))]
    assert study.spread(rows, "MEN") == pytest.approx(((2 + 2) / 3) ** 0.5)  # variances 2 and 1


@pytest.mark.slow
def test_a_real_training_is_scored(tmp_path, tiny_text, monkeypatch):
    monkeypatch.setattr(study, "FACTORS", {})
    monkeypatch.setenv("W2V_DATA", str(tmp_path / "data"))
    (tmp_path / "ws353.tsv").write_text("apple0\tapple1\t9\napple0\tmetal1\t1\nriver0\triver2\t8\n")
    settings = [f"--set={s}" for s in ("vocab.min_count=1", "train.epochs=1", "model.dim=8")]
    out = tmp_path / "study.tsv"
    given = ["--corpus", str(tiny_text), "--out", str(out), "--eval-data", str(tmp_path)]
    study.main([*given, "--seeds", "1", *settings])
    (row,) = read_rows(out)
    assert float(row["train_s"]) > 0
    assert row["WS-353 of"] == "3 of 3"
    assert row["MEN"] == "nan"
