"""Rows C: checkpoints, resuming, signals, locks."""

import re
import shutil
import signal

import pytest

from faults import shim
from faults.kill_checkpoints import save_step, whole_step
from faults.outcome import process
from w2v import training
from w2v.checkpoints import complete
from w2v.errors import ResumeError
from w2v.files import sha256
from w2v.rundir import RunDir

KILLS, WHOLE_KILLS, SIGNALS, SIGNALS_WHOLE = 1000, 100, 24, 100  # of the slow tests
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


@pytest.fixture
def options(tiny_options):
    """Trains for three epochs of 42 steps, on one thread."""
    return [*tiny_options, "-s", "train.threads=1", "--run", "run"]


@pytest.fixture
def stopped(cli, options, tmp_path, monkeypatch):
    """A run that SIGTERM stopped after its second epoch: two checkpoints, of steps 42 and 84."""
    stop(cli, options, epoch=2, monkeypatch=monkeypatch)
    run = RunDir(tmp_path / "run")
    assert [path.stem for path in complete(run.checkpoints)] == ["step-42", "step-84"]
    return run


def stop(cli, options, *, epoch, monkeypatch):
    """Trains until the end of an epoch, when a signal comes."""
    from w2v.cli import signals

    reports = training.reports

    def signaled(*arguments, **more):
        for report in reports(*arguments, **more):
            if report.epoch_ended and report.epoch == epoch:
                assert signals.WISH.accept(signal.SIGTERM)
            yield report

    with monkeypatch.context() as patch:
        patch.setattr(training, "reports", signaled)
        patch.setattr(signals, "WISH", training.Wish())
        assert cli("train", *options, "-q").code == 143


@pytest.fixture
def uninterrupted(cli, options, tmp_path):
    """The digest of the vectors of a run that nothing happened to."""
    outcome = cli("train", *options[:-1], "whole", "-q")
    assert outcome.code == 0, outcome.err
    return sha256(tmp_path / "whole" / "vectors.safetensors")


def flip(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


# --- killed, and power cuts -------------------------------------------------------------------


def kill(folder, times):
    done = process(times, folder, cwd=folder, module="faults.kill_checkpoints")
    assert done.code == 0, done.err
    return done.out


@pytest.mark.fault("C1")
def test_no_checkpoint_is_lost_to_kills(row, tmp_path):
    assert "0 lost" in kill(tmp_path, 60)
    save_step(tmp_path, 10**6)  # the next good run sweeps


@pytest.mark.slow
@pytest.mark.fault("C1")
def test_no_checkpoint_is_lost_to_a_thousand_kills(row, tmp_path):
    assert f"{KILLS} kills" in kill(tmp_path, KILLS)
    save_step(tmp_path, 10**6)


@pytest.mark.fault("C2")
@pytest.mark.fault("C7")
def test_no_checkpoint_is_lost_to_a_kill_before_any_operation(row, tmp_path):
    found = re.fullmatch(r"(\d+) operations, 0 lost\n", kill(tmp_path, "each"))
    assert int(found[1]) >= 14  # two files, each opened, fsynced, renamed; one pair removed


@pytest.mark.fault("C3")
def test_no_checkpoint_is_lost_to_a_power_cut(row, tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    save_step(folder, 1, rows=3)
    start = {path.name: path.read_bytes() for path in folder.iterdir()}
    with shim.recording(folder, monkeypatch) as operations:
        save_step(folder, 2, rows=3)
    kinds = [operation.kind for operation in operations]
    assert [kinds.count(kind) for kind in ("sync", "rename", "sync-folder", "unlink")] == [
        2,
        2,
        2,
        2,
    ]
    found = {}
    for state in shim.states(start, operations):
        replay = tmp_path / "replay"
        shutil.rmtree(replay, ignore_errors=True)
        replay.mkdir()
        for name, data in state.items():
            (replay / name).write_bytes(data)
        step = whole_step(replay)
        found[step] = found.get(step, 0) + 1
        save_step(replay, 3, rows=3)
        assert whole_step(replay) == 3
    shutil.rmtree(replay)
    assert found.keys() == {1, 2}
    assert sum(found.values()) > 60


@pytest.mark.fault("C3")
@pytest.mark.parametrize("forgotten", ["sync", "sync-folder"])
def test_the_model_of_power_cuts_notices_a_forgotten_fsync(row, forgotten, tmp_path, monkeypatch):
    save_step(tmp_path, 1, rows=3)
    start = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with shim.recording(tmp_path, monkeypatch) as operations:
        save_step(tmp_path, 2, rows=3)
    kept = [operation for operation in operations if operation.kind != forgotten]
    assert not all(is_whole(state, tmp_path / "replay") for state in shim.states(start, kept))


def is_whole(state, replay):
    shutil.rmtree(replay, ignore_errors=True)
    replay.mkdir()
    for name, data in state.items():
        (replay / name).write_bytes(data)
    try:
        return whole_step(replay) > 0
    except ResumeError:
        return False
    finally:
        shutil.rmtree(replay)
