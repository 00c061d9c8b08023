"""`w2v info`: finished runs, unfinished ones, damaged ones, and vector files."""

import json
import shlex
import signal

import pytest
from test_stats import documented

from w2v import locks, training
from w2v.cli import signals
from w2v.rundir import RunDir
from w2v.runinfo import EPOCH_KEYS, describe


@pytest.fixture
def options(tiny_options):
    return [*tiny_options, "-s", "train.threads=1", "--run", "runs/tiny", "-q"]


@pytest.fixture
def trained(cli, options, tmp_path):
    assert cli("train", *options).code == 0
    return RunDir(tmp_path / "runs" / "tiny")


@pytest.fixture
def stopped(cli, options, tmp_path, monkeypatch):
    """A run that SIGTERM ended after its first epoch."""
    reports = training.reports

    def signaled(*arguments, **more):
        for report in reports(*arguments, **more):
            if report.epoch_ended and report.epoch == 1:
                assert signals.WISH.accept(signal.SIGTERM)
            yield report

    with monkeypatch.context() as patch:
        patch.setattr(signals, "WISH", type(signals.WISH)())
        patch.setattr(training, "reports", signaled)
        assert cli("train", *options).code == 143
    return RunDir(tmp_path / "runs" / "tiny")


def told(outcome):
    return json.loads(outcome.out)


def test_a_finished_run(cli, trained):
    outcome = cli("info", "--json")
    about = told(outcome)
    assert outcome.code == 0
    assert "using runs/tiny (the newest finished run)" in outcome.err
    assert (about["state"], about["vocab_size"], about["dim"]) == ("finished", 19, 16)
    assert about["settings"]["train.lr"] == 0.01
    assert [epoch["epoch"] for epoch in about["epochs"]] == [1, 2, 3]
    assert about["epochs"][-1]["loss"] == about["loss"]
    assert about["epochs"][-1].keys() == set(EPOCH_KEYS)
    assert [saved["epoch"] for saved in about["checkpoints"]] == [2, 3]
    states = {file["file"]: file["state"] for file in about["files"]}
    assert states.pop("run.json") == "unsealed"
    assert set(states.values()) == {"whole"}
    assert about["resume_command"] is None
    assert about["corpus"]["digest"]


def test_json_has_the_names_that_are_documented(cli, trained):
    assert sorted(told(cli("info", "--json"))) == sorted(documented("`w2v info`"))


def test_lines_have_the_same(cli, trained):
    lines = dict(line.split("\t", 1) for line in cli("info").out.splitlines())
    assert lines["state"] == "finished"
    assert lines["corpus.raw_words"] == "2673"
    assert lines["settings.corpus.lowercase"] == "no"
    assert lines["resume_command"] == "-"
    assert lines["epochs"].startswith("3\t0.")


@pytest.mark.parametrize("place", [["runs/tiny"], ["--run", "runs/tiny"]])
def test_an_unfinished_run_and_the_command_that_goes_on_with_it(cli, stopped, place, tmp_path):
    about = told(cli("info", *place, "--json"))
    assert about["state"] == "unfinished"
    assert [epoch["epoch"] for epoch in about["epochs"]] == [1]
    assert [saved["epoch"] for saved in about["checkpoints"]] == [1]
    assert about["checkpoints"][0]["state"] == "whole"
    program, *arguments = shlex.split(about["resume_command"])
    assert program == "w2v"
    assert cli(*arguments).code == 0
    again = told(cli("info", *place, "--json"))
    assert (again["state"], len(again["epochs"])) == ("finished", 3)
    assert again["resumed_at_steps"] == [about["checkpoints"][0]["step"]]


def test_an_unfinished_run_is_not_the_newest(cli, stopped):
    outcome = cli("info")
    assert outcome.code == 4
    assert "no finished run" in outcome.err


def test_without_a_whole_checkpoint_there_is_no_command(cli, stopped):
    for path in stopped.checkpoints.glob("*.safetensors"):
        path.write_bytes(b"")
    about = told(cli("info", "runs/tiny", "--json"))
    assert about["checkpoints"][0] | {"file": ""} == {
        "file": "", "step": None, "epoch": None, "state": "damaged"
    }  # fmt: skip
    assert about["resume_command"] is None


def test_a_run_that_is_being_trained(cli, stopped):
    with locks.held(stopped.path):
        assert "state\ttraining\n" in cli("info", "runs/tiny").out


@pytest.mark.parametrize("name", ["vectors.safetensors", "config.yaml", "metrics.jsonl"])
def test_a_damaged_file_is_named_after_all_is_told(cli, trained, name):
    path = trained.path / name
    path.write_bytes(path.read_bytes() + b"\n")
    outcome = cli("info", "--json")
    assert outcome.code == 4
    assert f"w2v: error: checksum mismatch: runs/tiny/{name} has SHA-256 " in outcome.err
    states = {file["file"]: file["state"] for file in told(outcome)["files"]}
    assert [file for file, state in states.items() if state == "damaged"] == [name]


def test_a_missing_file_is_named(cli, trained):
    trained.vocab.unlink()
    outcome = cli("info")
    assert outcome.code == 4
    assert "files\tvocab.tsv\t-\t-\tmissing" in outcome.out
    assert "w2v: error: runs/tiny/vocab.tsv is missing" in outcome.err


def test_a_moved_run_is_told_of_all_the_same(cli, trained, tmp_path):
    before = describe(trained)
    moved = trained.path.rename(tmp_path / "elsewhere")
    assert {**describe(RunDir(moved)), "run": ""} == {**before, "run": ""}
    assert cli("info", "elsewhere").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 4, "nowhere is no run folder"),
        ([], 4, "no finished run"),
        (["a", "--run", "b"], 2, "one run or file at a time: found a and b"),
        (["-c", "nothing.yaml"], 2, "nothing.yaml"),
        (["--vectors", "nothing.vec"], 4, "nothing.vec"),
    ],
)
def test_what_there_is_not(cli, arguments, code, message):
    outcome = cli("info", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err


def test_a_vector_file(cli, tmp_path):
    (tmp_path / "v.vec").write_text("2 3\nred 1 0 0\nblue 1 1 0\n")
    assert cli("info", "--vectors", "v.vec").out == "vectors\tv.vec\nwords\t2\ndim\t3\n"
