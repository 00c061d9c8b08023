"""Rows C: checkpoints, resuming, signals, locks."""

import errno
import io
import json
import os
import platform
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime

import pytest
import safetensors.torch
import torch

from faults import shim
from faults.kill_checkpoints import save_step, whole_step
from faults.outcome import ROOT, expect, process, small_disk
from w2v import checkpoints, desk, locks, outlook, resume, rundir, training
from w2v.cli import signals
from w2v.errors import DataError, ResumeError
from w2v.files import TEMP_PREFIX, sha256, write_together
from w2v.leaving import Wish
from w2v.reporting import MetricsLog
from w2v.rundir import RunDir
from w2v.states import complete, read, sealed, tensors_of, verify

KILLS, WHOLE_KILLS, SIGNALS = 1000, 100, 12  # of the slow tests
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
    reports = training.reports

    def signaled(*arguments, **more):
        for report in reports(*arguments, **more):
            if report.epoch_ended and report.epoch == epoch:
                assert signals.WISH.accept(signal.SIGTERM)
            yield report

    with monkeypatch.context() as patch:
        patch.setattr(training, "reports", signaled)
        patch.setattr(signals, "WISH", Wish())
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


@pytest.mark.slow
@pytest.mark.fault("C1")
def test_no_checkpoint_is_lost_to_kills(row, tmp_path):
    assert "0 lost" in kill(tmp_path, 60)
    save_step(tmp_path, 10**6)  # the next good run sweeps


@pytest.mark.slow
@pytest.mark.fault("C1")
def test_no_checkpoint_is_lost_to_a_thousand_kills(row, tmp_path):
    assert f"{KILLS} kills" in kill(tmp_path, KILLS)
    save_step(tmp_path, 10**6)


@pytest.mark.fault("C1")
def test_the_same_command_again_does_not_start_over(
    row, cli, options, stopped, uninterrupted, monkeypatch
):
    before = {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}
    for prepare in (True, False):
        with monkeypatch.context() as patch:
            if not prepare:  # a checkpoint that came meanwhile
                patch.setattr(outlook, "require_place", lambda *_, **__: None)
            outcome = cli("train", *options, "-q")
        assert "step-84.json" in expect(row, outcome, 5)
        assert outcome.err.endswith("hint: --resume goes on, --force starts over\n")
        now = {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}
        assert now == before
    flip(complete(stopped.checkpoints)[-1], 30)
    assert "step-42.json" in expect(row, cli("train", *options, "-q"), 5)
    expect(row, cli("train", *options, "--force", "-q"), 0)
    assert stopped.read_info()["resumed_at_steps"] == []
    assert sha256(stopped.vectors) == uninterrupted


@pytest.mark.fault("C1")
def test_what_cannot_be_gone_on_from_is_started_over(row, cli, options, stopped, uninterrupted):
    for state in complete(stopped.checkpoints):
        tensors_of(state).unlink()
    expect(row, cli("train", *options, "-q"), 0)
    assert sha256(stopped.vectors) == uninterrupted


@pytest.mark.fault("C1")
def test_a_checkpoint_of_another_version_is_not_lost_either(row, cli, options, stopped):
    for path in complete(stopped.checkpoints):
        told = json.loads(path.read_bytes())
        del told["digest"]
        path.write_bytes(sealed(told | {"schema": 3}))
    expect(row, cli("train", *options, "-q"), 5)


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
        shim.put(replay, state)
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


def is_whole(state, replay, inside="."):
    shim.put(replay, state)
    try:
        return whole_step(replay / inside) > 0
    except ResumeError:
        return False
    finally:
        shutil.rmtree(replay)


def first_checkpoint(tmp_path, monkeypatch):
    """The operations of the first checkpoint of a run whose folders are all new."""
    root = tmp_path / "disk"
    root.mkdir()
    with shim.recording(root, monkeypatch) as operations, locks.held(root / "runs" / "new"):
        save_step(root / "runs" / "new" / "checkpoints", 1, rows=3)
        return list(operations)


@pytest.mark.fault("C3")
def test_folders_that_were_made_outlast_a_power_cut(row, tmp_path, monkeypatch):
    done = first_checkpoint(tmp_path, monkeypatch)
    assert [operation.name for operation in done if operation.kind == "folder"] == [
        "runs",
        "runs/new",
        "runs/new/checkpoints",
    ]
    left = list(shim.states({}, done, since=len(done)))
    assert len(left) >= len(shim.LOSSES)
    for state in left:
        assert is_whole(state, tmp_path / "replay", "runs/new/checkpoints")


@pytest.mark.fault("C3")
def test_what_vouches_for_other_files_is_never_left_without_them(row, tmp_path, monkeypatch):
    start = dict.fromkeys(("a", "b", "run.json"), b"old")
    shim.put(tmp_path / "run", start)
    new = {tmp_path / "run" / name: b"new" for name in start}
    with shim.recording(tmp_path / "run", monkeypatch) as operations:
        write_together(new)
    left = {tuple(state[name] for name in start) for state in shim.states(start, operations)}
    assert {state for state in left if state[-1] == b"new"} == {(b"new",) * 3}
    assert (b"old",) * 3 in left
    for forgotten in ("sync", "sync-folder"):
        first = next(operation for operation in operations if operation.kind == forgotten)
        kept = [operation for operation in operations if operation is not first]
        left = {tuple(state[name] for name in start) for state in shim.states(start, kept)}
        assert {state for state in left if state[-1] == b"new"} != {(b"new",) * 3}


@pytest.mark.fault("C3")
@pytest.mark.parametrize("parent", [".", "runs", "runs/new"])
def test_the_model_of_power_cuts_notices_a_folder_that_was_not_fsynced_in_its_parent(
    row, parent, tmp_path, monkeypatch
):
    done = first_checkpoint(tmp_path, monkeypatch)
    kept = [op for op in done if (op.kind, op.name) != ("sync-folder", parent)]
    assert len(kept) < len(done)
    left = shim.states({}, kept, since=len(kept))
    found = [is_whole(state, tmp_path / "replay", "runs/new/checkpoints") for state in left]
    assert True in found
    assert False in found


FAILURES = {
    "ENOSPC": ("fsync", "No space left on device"),
    "EDQUOT": ("fsync", "Disk quota exceeded"),
    "EFBIG": ("replace", "File too large"),
    "EIO": ("close", "Input/output error"),
}


@pytest.mark.fault("C4")
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_disk_that_tells_at_the_close_what_it_could_not_write(
    row, suffix, cli, options, tmp_path, monkeypatch
):
    """As network file systems do; the bytes were taken before."""
    write, opened, closed = checkpoints.save, io.open, []
    wanted = {".safetensors": "r+b", ".json": "w+b"}[suffix]  # to fsync it; to write it

    def refusing(path, mode="r", *arguments, **more):
        file = opened(path, mode, *arguments, **more)
        if mode == wanted and not closed:
            close = file.close

            def refuse():
                file.flush()
                closed.append(os.fstat(file.fileno()).st_size)
                close()
                raise OSError(errno.EDQUOT, "Disk quota exceeded")

            file.close = refuse
        return file

    def second_fails(*arguments, **more):
        if more["report"].epoch == 1:
            return write(*arguments, **more)
        with monkeypatch.context() as patch:
            patch.setattr(io, "open", refusing)
            return write(*arguments, **more)

    monkeypatch.setattr(checkpoints, "save", second_fails)
    message = expect(row, cli("train", *options, "-q"), 5)
    assert f"step-84{suffix}: Disk quota exceeded" in message
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    [size] = closed
    assert size > 500  # after the bytes were written
    assert resume.newest(tmp_path / "run" / "checkpoints").state.step == 42
    assert cli("train", *options, "-q", "--resume").code == 0


@pytest.mark.fault("C4")
@pytest.mark.parametrize("code", FAILURES)
def test_a_disk_that_refuses_ends_training_and_spares_what_is_saved(
    row, code, cli, options, tmp_path, monkeypatch
):
    call, reason = FAILURES[code]
    operation, write = getattr(os, call), checkpoints.save

    def refuse(*arguments, **more):
        if call == "close":
            operation(*arguments, **more)
        raise OSError(getattr(errno, code), reason)

    def second_fails(*arguments, **more):
        if more["report"].epoch == 1:
            return write(*arguments, **more)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            return write(*arguments, **more)

    monkeypatch.setattr(checkpoints, "save", second_fails)
    message = expect(row, cli("train", *options, "-q"), 5)
    assert reason in message
    folder = tmp_path / "run" / "checkpoints"
    assert resume.newest(folder).state.step == 42
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert cli("train", *options, "-q", "--resume").code == 0


@pytest.mark.slow
@pytest.mark.fault("C4")
def test_a_small_disk(row, tmp_path):
    (tmp_path / "run").mkdir()
    code = (
        "from pathlib import Path\n"
        "from faults.kill_checkpoints import save_step, whole_step\n"
        "from w2v.errors import StorageError\n"
        "save_step(Path('run'), 1)\n"
        "try: save_step(Path('run'), 2, rows=4000)\n"
        "except StorageError as error: print(error, whole_step(Path('run')))\n"
        "print(*Path('run').iterdir())\n"
    )
    prefix = small_disk(tmp_path / "run", size="1m")
    done = process("-c", code, cwd=tmp_path, prefix=prefix, module=None)
    told = r"cannot write run/step-2\.safetensors: No space left on device \(.* bytes free\) 1\n"
    assert re.match(told, done.out), done
    assert ".w2v-tmp" not in done.out


# --- damage -----------------------------------------------------------------------------------


def damaged_copies(data):
    """Every bit flipped, and every shorter length."""
    for at in range(len(data)):
        for bit in range(8):
            copy = bytearray(data)
            copy[at] ^= 1 << bit
            yield bytes(copy)
        yield data[:at]
    yield data + b"\n"


@pytest.mark.fault("C5")
@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_every_flipped_bit_and_every_truncation_is_noticed(row, suffix, tmp_path):
    save_step(tmp_path, 7, rows=1)
    path = (tmp_path / "step-7.json").with_suffix(suffix)
    data, noticed = path.read_bytes(), 0
    for copy in damaged_copies(data):
        path.write_bytes(copy)
        with pytest.raises(DataError):
            verify(tmp_path / "step-7.json")
        noticed += 1
    assert noticed == 9 * len(data) + 1
    path.write_bytes(data)
    verify(tmp_path / "step-7.json")


@pytest.mark.fault("C5")
@pytest.mark.parametrize("damage", ["flipped", "cut", "state flipped", "gone"])
def test_a_damaged_checkpoint_is_passed_over_with_one_warning(
    row, damage, cli, options, stopped, uninterrupted
):
    state = complete(stopped.checkpoints)[-1]
    if damage == "flipped":
        flip(tensors_of(state), -3)
    elif damage == "cut":
        os.truncate(tensors_of(state), 100)
    elif damage == "state flipped":
        flip(state, 30)
    else:
        tensors_of(state).unlink()
    outcome = cli("train", *options, "--resume", "-q")
    said = expect(row, outcome, 0, warned=True)
    assert len(said.splitlines()) == 1
    assert stopped.read_info()["resumed_at_steps"] == [42]
    assert sha256(stopped.vectors) == uninterrupted
    assert [path.stem for path in complete(stopped.checkpoints)] == ["step-84", "step-126"]


DAMAGES = {
    "JSON flipped": lambda state: flip(state, 9),
    "JSON cut": lambda state: os.truncate(state, 200),
    "tensors flipped": lambda state: flip(tensors_of(state), -3),
    "tensors cut": lambda state: os.truncate(tensors_of(state), 100),
    "both empty": lambda state: [os.truncate(path, 0) for path in (state, tensors_of(state))],
}


@pytest.mark.fault("C6")
@pytest.mark.parametrize("damage", DAMAGES)
def test_it_never_starts_over_where_all_checkpoints_are_damaged(row, damage, cli, options, stopped):
    for state in complete(stopped.checkpoints):
        DAMAGES[damage](state)
    before = {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}
    expect(row, cli("train", *options, "--resume", "-q"), 7)
    assert {p: p.read_bytes() for p in stopped.path.rglob("*") if p.is_file()} == before


@pytest.mark.fault("C8")
def test_the_step_and_the_digests_decide_and_foreign_files_stay(
    row, cli, options, stopped, uninterrupted
):
    folder = stopped.checkpoints
    foreign = {
        "latest": b"step-1",
        "step-mine.json": b"{}",
        "step-9x.safetensors": b"",
        "a.pt": b"",
    }
    for name, data in foreign.items():
        (folder / name).write_bytes(data)
    (folder / "step-999.json").mkdir()
    (folder / "step-99.safetensors").write_bytes(b"its JSON was never written")
    (folder / ".w2v-tmp-stale").write_bytes(b"half")
    for age, path in enumerate(complete(folder)):
        if path.is_file():
            os.utime(path, (1e9 - age, 1e9 - age))
    expect(row, cli("train", *options, "--resume", "-q"), 0)
    assert stopped.read_info()["resumed_at_steps"] == [84]
    assert sha256(stopped.vectors) == uninterrupted
    assert {name: (folder / name).read_bytes() for name in foreign} == foreign
    assert (folder / "step-999.json").is_dir()


@pytest.mark.fault("C9")
def test_a_checkpoint_of_another_run_or_version_is_refused(row, cli, options, stopped):
    others = {
        "model.dim": ("-s", "model.dim=8"),
        "train.lr": ("-s", "train.lr=1"),
        "vocab.min_count": ("-s", "vocab.min_count=3"),
        "train.epochs": ("-s", "train.epochs=1"),
        "train.batch_size": ("-s", "train.kernel=hogwild", *shared()),
    }
    for key, more in others.items():
        message = expect(row, cli("train", *options, *more, "--resume", "-q"), 7)
        assert key in message
    for path in complete(stopped.checkpoints):
        told = json.loads(path.read_bytes())
        del told["digest"]
        path.write_bytes(sealed(told | {"schema": 3}))
    assert "schema 3, expected 2" in expect(row, cli("train", *options, "--resume", "-q"), 7)


def shared():
    settings = ("sampling.shared_negatives=16", "train.batch_size=null", "train.optimizer=sgd")
    return [part for setting in settings for part in ("-s", setting)]


@pytest.mark.fault("C10")
def test_a_pickle_in_a_checkpoint_is_refused_and_does_not_run(row, cli, options, stopped, tmp_path):
    canary = tmp_path / "canary"
    evil = b"cos\nsystem\n(S'touch %s'\ntR." % str(canary).encode()
    state = read(complete(stopped.checkpoints)[-1])
    for content in (evil, safetensors_of({"center": torch.zeros(2)})):
        path = checkpoints.save(stopped.checkpoints, tensors={}, run=state.run, report=state.report)
        tensors_of(path).write_bytes(content)
        told = json.loads(path.read_bytes()) | {"sha256": sha256(tensors_of(path))}
        del told["digest"]
        path.write_bytes(sealed(told))
        expect(row, cli("train", *options, "--resume", "-q"), 7)
    assert not canary.exists()


def safetensors_of(tensors):
    return safetensors.torch.save(tensors)


# --- going on ---------------------------------------------------------------------------------


@pytest.mark.fault("C11")
def test_a_run_that_goes_on_gives_the_bytes_of_one_that_never_stopped(
    row, cli, options, stopped, uninterrupted
):  # from every step: tests/test_resume.py
    expect(row, cli("train", *options, "--resume", "-q"), 0)
    assert sha256(stopped.vectors) == uninterrupted


@pytest.mark.fault("C12")
def test_nothing_to_go_on_with(row, cli, options, uninterrupted, tmp_path):
    whole = [*options[:-1], "whole", "--resume"]
    outcome = cli("train", *whole)
    expect(row, outcome, 0, warned=True)
    assert outcome.out == "whole\n"
    assert sha256(tmp_path / "whole" / "vectors.safetensors") == uninterrupted
    expect(row, cli("train", *options, "--resume", "-q"), 7)
    assert not (tmp_path / "run").exists()
    assert cli("train", *options, "--resume", "--force").code == 2


@pytest.mark.fault("C12")
def test_a_finished_run_that_is_damaged_or_another_is_not_complete(
    row, cli, options, uninterrupted, tmp_path
):
    whole = [*options[:-1], "whole", "--resume"]
    (tmp_path / "other.txt").write_text("another text\n")
    for other in (("--device", "cuda"), ("-s", f"corpus.path={tmp_path / 'other.txt'}")):
        expect(row, cli("train", *whole, *other), 7)
    vectors = tmp_path / "whole" / "vectors.safetensors"
    flip(vectors, -5)
    expect(row, cli("train", *whole), 4)
    vectors.unlink()
    expect(row, cli("train", *whole), 4)


# --- locks, folders, clocks -------------------------------------------------------------------


HOLD = """
import sys, time
from pathlib import Path
from w2v import locks
with locks.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.fault("C16")
def test_one_trainer_a_folder(row, cli, options, stopped, uninterrupted, tmp_path):
    lock = stopped.path / locks.NAME
    with trainer("-c", HOLD, stopped.path, cwd=tmp_path, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == "held\n"
        for more in ((), ("--resume",), ("--force",)):
            message = expect(row, cli("train", *options, *more, "-q"), 5)
            assert f"in use by pid {other.pid}" in message
        other.kill()
        other.wait()
    assert lock.exists()
    expect_ok(cli("train", *options, "--resume", "-q"))
    assert not lock.exists()
    assert sha256(stopped.vectors) == uninterrupted


def expect_ok(outcome):
    assert outcome.code == 0, outcome.err


@pytest.mark.fault("C18")
def test_clocks_and_process_ids_and_host_names_do_not_matter(
    row, cli, options, stopped, uninterrupted, tmp_path, monkeypatch
):
    (stopped.path / locks.NAME).write_text("1\n")  # of a process that lives, yet trains nothing
    # A killed build of a text, as if of a process that lives on a host that was renamed.
    [corpus] = (tmp_path / "data" / "corpora").iterdir()
    stray = corpus.rename(corpus.with_name(f"{TEMP_PREFIX}{platform.node()}-renamed-1-ab"))
    asked = []

    class SetBack(datetime):
        """A clock that stands, long before the run began."""

        @classmethod
        def now(cls, tz=None):
            asked.append(tz)
            return datetime.fromtimestamp(1.0, tz)

    for module in (training, rundir):
        monkeypatch.setattr(module, "datetime", SetBack)
    for age, path in enumerate(complete(stopped.checkpoints)):
        os.utime(path, (4e9 - age, 4e9 - age))  # the newest is the oldest, and yet to come
    expect(row, cli("train", *options, "--resume", "-q"), 0)
    assert len(asked) >= 2  # when it began, and when it ended
    assert sha256(stopped.vectors) == uninterrupted
    assert not stray.exists()


@pytest.mark.fault("C17")
def test_a_read_only_folder_is_found_before_the_text_is_touched(row, options, tmp_path, read_only):
    (tmp_path / "run").mkdir()
    missing = ["-s", f"corpus.path={tmp_path / 'missing.txt'}"]
    with read_only(tmp_path / "run"):
        outcome = process("train", *options, *missing, "-q", cwd=tmp_path, humble=True)
    expect(row, outcome, 5)


def put_a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("mine")


def put_another(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / locks.NAME).write_text("1\n")


AWAY = {
    "deleted": shutil.rmtree,
    "a file": put_a_file,
    "another folder": put_another,
    "moved": lambda folder: folder.rename(folder.with_name("moved")),
}


@pytest.mark.fault("C17")
@pytest.mark.parametrize("becomes", AWAY)
def test_a_folder_that_goes_away_meanwhile_ends_training_soon(
    row, becomes, cli, options, tmp_path, monkeypatch
):
    reports, steps = training.reports, []

    def meanwhile(*arguments, **more):
        for report in reports(*arguments, **more):
            steps.append(report.step)
            yield report
            if report.epoch == 1 and report.epoch_ended:
                until(lambda: complete(tmp_path / "run" / "checkpoints"))
                AWAY[becomes](tmp_path / "run")

    monkeypatch.setattr(training, "reports", meanwhile)
    longer = [*options[:-1], "run", "-s", "train.epochs=20", "-q"]
    message = expect(row, cli("train", *longer), 5)
    assert "run was moved or replaced while training" in message
    first, *others = steps[steps.index(42) :]
    assert first == 42
    assert len(others) == 1  # the next report was the last
    if becomes == "a file":
        assert (tmp_path / "run").read_text() == "mine"
    elif becomes == "another folder":
        assert [path.name for path in (tmp_path / "run").iterdir()] == [locks.NAME]
    else:
        assert not (tmp_path / "run").exists()
    if becomes == "moved":
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        resumed = cli("train", *longer, "--run", "moved", "--resume")
        assert (resumed.code, resumed.out) == (0, "moved\n"), resumed.err


@pytest.mark.fault("C17")
@pytest.mark.parametrize("moment", ["a checkpoint", "the finished run"])
def test_a_folder_that_goes_away_just_before_it_is_written_to(
    row, moment, cli, options, tmp_path, monkeypatch
):
    """No report comes in between."""
    if moment == "a checkpoint":
        holder, name = MetricsLog, "sync"  # asked for by the writer of checkpoints, after the lock
    else:
        holder, name = desk, "finish_run"
    call = getattr(holder, name)

    def late(*arguments, **more):
        if (tmp_path / "run").exists():
            shutil.rmtree(tmp_path / "run")
        return call(*arguments, **more)

    monkeypatch.setattr(holder, name, late)
    expect(row, cli("train", *options, "-q"), 5)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.fault("C17")
def test_a_trainer_whose_folder_was_deleted_leaves_the_next_one_alone(
    row, cli, options, uninterrupted, tmp_path, monkeypatch
):
    reports, others = training.reports, []

    def meanwhile(*arguments, **more):
        for report in reports(*arguments, **more):
            yield report
            if report.epoch == 1 and report.epoch_ended:
                until(lambda: complete(tmp_path / "run" / "checkpoints"))
                shutil.rmtree(tmp_path / "run")
                others.append(process("train", *options, "-q", cwd=tmp_path))

    monkeypatch.setattr(training, "reports", meanwhile)
    expect(row, cli("train", *options, "-s", "train.seed=2", "-q"), 5)
    [second] = others
    assert (second.code, second.out) == (0, "run\n"), second.err
    assert sha256(tmp_path / "run" / "vectors.safetensors") == uninterrupted
    assert RunDir(tmp_path / "run").is_finished()


# --- signals ----------------------------------------------------------------------------------


@contextmanager
def trainer(*arguments, cwd, **options):
    """A process of Python, in a session of its own; it is gone afterwards."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    options = {"stderr": subprocess.PIPE, "text": True, "env": environment} | options
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(command, cwd=cwd, start_new_session=True, **options) as process_:
        try:
            yield process_
        finally:
            process_.kill()


def until(condition):
    """Waits, not for ever."""
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def ended(process_, *, row, within_s=5.0):
    """Waits; the code and the error message, if any. No traceback, in time."""
    started = time.monotonic()
    errors = process_.stderr.read()
    code = process_.wait(timeout=30)
    assert time.monotonic() - started < within_s
    assert not [word for word in ("Traceback", "Exception ignored") if word in errors], errors
    found = re.findall("^w2v: error: (.*)$", errors, re.MULTILINE)
    assert len(found) == (code != 0), errors
    assert code in row.ends, (code, errors)
    assert all(row.matches(code, message) for message in found), found
    return code, errors


@pytest.mark.slow
@pytest.mark.fault("C13")
@pytest.mark.parametrize("sent", CODES)
def test_a_signal_saves_and_says_how_to_go_on(row, sent, options, tmp_path):
    longer = [*options, "-s", "train.epochs=80"]
    with trainer("-m", "w2v", "train", *longer, "--force", cwd=tmp_path) as process_:
        next(line for line in process_.stderr if line.startswith("epoch 2:"))
        process_.send_signal(getattr(signal, sent))
        code, errors = ended(process_, row=row)
    assert code == CODES[sent]
    step = int(re.search(r"at step (\d+), which is saved in run/checkpoints", errors)[1])
    assert resume.newest(tmp_path / "run" / "checkpoints").state.step == step
    hint = re.search("^hint: to go on: w2v (.*)$", errors, re.MULTILINE)[1]
    words = shlex.split(hint)
    assert words == ["train", *longer, "--resume"]
    if sent == "SIGINT":
        done = process(*words, "-s", "train.epochs=80", "-q", cwd=tmp_path)
        assert (done.code, done.out) == (0, "run\n"), done.err


@pytest.mark.slow
@pytest.mark.fault("C13")
def test_a_signal_at_any_moment(row, options, tmp_path):
    at_moments(row, options, tmp_path, number=3)


@pytest.mark.slow
@pytest.mark.fault("C13")
def test_a_signal_at_many_moments(row, options, tmp_path):
    """By hand with more of them: W2V_TEST_SIGNALS=200 pytest -m slow -k many_moments."""
    at_moments(row, options, tmp_path, number=int(os.environ.get("W2V_TEST_SIGNALS", SIGNALS)))


FROM_OUR_FIRST_LINE = """
import sys
sys.argv[0] = "w2v"
from w2v.cli.signals import install
install()
print("on", flush=True)
from w2v.__main__ import main
main()
"""


def at_moments(row, options, tmp_path, *, number):
    """Signals at random moments from our first line to the end, until so many ended a training.

    Each training goes on with what the one before left, so each state that is left is gone on from;
    every other one finds no prepared corpus. The last comes to its end, with the bytes of one that
    had no signal.
    """
    command = ("-c", FROM_OUR_FIRST_LINE, "train", *options, "-s", "train.epochs=40")
    whole_s, expected = untouched(command, row, tmp_path)
    rng, stopped, turn = random.Random(number), 0, 0
    while stopped < number:
        turn += 1
        sent = list(CODES)[turn % 3]
        if turn % 2:
            shutil.rmtree(tmp_path / "data")
        with trainer(
            *command, *goes_on(tmp_path), cwd=tmp_path, stdout=subprocess.PIPE
        ) as process_:
            assert process_.stdout.readline() == "on\n"
            time.sleep(rng.uniform(0, whole_s))
            process_.send_signal(getattr(signal, sent))
            code, _ = ended(process_, row=row)
        assert code in (CODES[sent], 0)
        stopped += code != 0
        if code == 0:
            assert sha256(tmp_path / "run" / "vectors.safetensors") == expected
            shutil.rmtree(tmp_path / "run")
        (tmp_path / "data").mkdir(exist_ok=True)
    with trainer(*command, *goes_on(tmp_path), cwd=tmp_path, stdout=subprocess.PIPE) as process_:
        assert ended(process_, row=row, within_s=60)[0] == 0
    assert sha256(tmp_path / "run" / "vectors.safetensors") == expected


def untouched(command, row, tmp_path):
    """How long a whole training takes, and the digest of its vectors; nothing else stays of it."""
    with trainer(*command, cwd=tmp_path, stdout=subprocess.PIPE) as process_:
        assert process_.stdout.readline() == "on\n"
        began = time.monotonic()
        assert ended(process_, row=row, within_s=60)[0] == 0
        whole_s = time.monotonic() - began
    digest = sha256(tmp_path / "run" / "vectors.safetensors")
    shutil.rmtree(tmp_path / "run")
    return whole_s, digest


def goes_on(tmp_path):
    """`--resume`, where there is something to go on with."""
    return ["--resume"] if complete(tmp_path / "run" / "checkpoints") else []


@pytest.mark.fault("C13")
def test_a_signal_in_a_download_leaves_nothing_behind(row, tmp_path):
    with silent_server() as url:
        arguments = ("corpus", "fetch", "-c", "ptb.yaml", "-s", f"corpus.url={url}")
        with trainer("-m", "w2v", *arguments, cwd=tmp_path) as process_:
            until(lambda: list(tmp_path.rglob(".w2v-tmp-*")))
            process_.send_signal(signal.SIGTERM)
            assert ended(process_, row=row)[0] == 143
    assert not list(tmp_path.rglob(".w2v-tmp-*"))


@contextmanager
def silent_server():
    """Listens, and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/ptb.zip"


RENAMES = """
import os, signal, sys
from pathlib import Path
from w2v import desk, record
from w2v.cli import signals
from w2v.cli.main import main
from w2v.files import write_together

number, at = int(sys.argv[1]), int(sys.argv[2])  # the signal, and before which rename it comes
finish, replace, fsync = desk.finish_run, os.replace, os.fsync
done = []

def finishing(*arguments, **options):
    def replaced(source, target):
        done.append(target)
        if len(done) == at:
            os.kill(os.getpid(), number)
        replace(source, target)

    def fsynced(handle):
        if at == 0:
            os.kill(os.getpid(), number)
        fsync(handle)

    os.replace, os.fsync = replaced, fsynced
    finish(*arguments, **options)

desk.finish_run = finishing
signals.install()
sys.argv[:] = ["w2v", *sys.argv[3:]]
main()
"""


def in_the_last_write(number, at, arguments, tmp_path):
    """Trains; a signal comes before a rename of the finished run's files, or before all."""
    script = ("-c", RENAMES, int(number), at, "train", *arguments, "-q")
    return process(*script, cwd=tmp_path, module=None)


@pytest.mark.slow
@pytest.mark.fault("C13")
@pytest.mark.parametrize("at", [0, 1, 5, 6])
def test_a_signal_in_the_last_write_says_how_to_go_on_and_spoils_nothing(
    row, at, cli, options, uninterrupted, tmp_path
):
    run = RunDir(tmp_path / "run")
    assert cli("train", *options, "-q", "-s", "train.seed=2").code == 0
    old = sha256(run.vectors)
    outcome = in_the_last_write(signal.SIGTERM, at, [*options, "--force"], tmp_path)
    assert expect(row, outcome, 143) == "ended by SIGTERM"
    assert "hint: to go on: w2v train " in outcome.err
    assert outcome.err.endswith(" --resume\n")
    assert sha256(run.vectors) == (uninterrupted if at else old)
    assert len(run.load_vectors()) == 18
    assert not (run.path / locks.NAME).exists()
    assert cli("train", *options, "--resume", "-q").code == 0
    assert sha256(run.vectors) == uninterrupted


@pytest.mark.slow
@pytest.mark.fault("C2")
@pytest.mark.parametrize("at", [1, 5, 6])
def test_a_run_that_was_killed_while_it_replaced_another_says_how_to_end_it(
    row, at, cli, options, uninterrupted, tmp_path
):
    assert cli("train", *options, "-q", "-s", "train.seed=2").code == 0
    killed = in_the_last_write(signal.SIGKILL, at, [*options, "--force"], tmp_path)
    assert killed.code == -signal.SIGKILL
    asked = cli("similar", "apple0", "--run", "run")
    if at == 1:
        assert asked.code == 0
    else:
        assert asked.code == 4
        assert re.search("^hint: .*: w2v train --resume$", asked.err, re.MULTILINE), asked.err
    assert cli("train", *options, "--resume", "-q").code == 0
    assert cli("similar", "apple0", "--run", "run").code == 0
    assert sha256(tmp_path / "run" / "vectors.safetensors") == uninterrupted


def test_a_signal_before_the_first_step_leaves_nothing(options, tmp_path):
    script = (
        "import os, signal; from w2v import training; from w2v.__main__ import main\n"
        "training.make_learner = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)\n"
        "main()"
    )
    done = process("-c", script, "train", *options, "-q", cwd=tmp_path, module=None)
    assert (done.code, done.err) == (143, "w2v: error: ended by SIGTERM\n")
    assert not (tmp_path / "run").exists()


SLOW_SAVE = """
import sys, time
from w2v.__main__ import main
from w2v import checkpoints
from w2v.cli.signals import WISH
save = checkpoints.save
def slow(*arguments, **options):
    if WISH:
        print("saving", flush=True)
        time.sleep(60)
    return save(*arguments, **options)
checkpoints.save = slow
main()
"""


@pytest.mark.fault("C14")
def test_a_second_signal_leaves_at_once(row, options, tmp_path):
    more = ["-s", "train.epochs=10000", "-q"]
    command = ("-c", SLOW_SAVE, "train", *options, *more)
    with trainer(*command, cwd=tmp_path, stdout=subprocess.PIPE) as process_:
        until(lambda: complete(tmp_path / "run" / "checkpoints"))
        process_.send_signal(signal.SIGINT)
        assert process_.stdout.readline() == "saving\n"
        process_.send_signal(signal.SIGINT)
        code, errors = ended(process_, row=row, within_s=1.0)
        assert code == 130
        assert re.search("^hint: to go on: .* --resume$", errors, re.MULTILINE), errors
    assert resume.newest(tmp_path / "run" / "checkpoints").state.step % 42 == 0


@pytest.mark.fault("C15")
def test_stopped_and_continued_gives_the_same_bytes(row, options, uninterrupted, tmp_path):
    more = ["-s", "output.checkpoint_every_s=0.01"]
    with trainer("-m", "w2v", "train", *options, *more, cwd=tmp_path) as process_:
        next(line for line in process_.stderr if line.startswith("epoch 1:"))
        process_.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        process_.send_signal(signal.SIGCONT)
        assert ended(process_, row=row, within_s=20)[0] == 0
    assert sha256(tmp_path / "run" / "vectors.safetensors") == uninterrupted


@pytest.mark.slow
@pytest.mark.fault("C1")
def test_a_hundred_killed_trainings_come_to_the_same_end(row, options, uninterrupted, tmp_path):
    done = process(WHOLE_KILLS, *options, cwd=tmp_path, module="faults.kill_trainings")
    assert done.code == 0, done.err
    assert f"\n{WHOLE_KILLS} killed" in done.out
    assert sha256(tmp_path / "run" / "vectors.safetensors") == uninterrupted
