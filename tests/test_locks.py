"""One holder at a time; nothing is left behind, and nothing left behind matters."""

import errno
import os
import threading
import time

import pytest

from w2v import leaving, locks
from w2v.errors import StorageError


def test_a_second_holder_is_refused_and_told_the_first(tmp_path):
    run = tmp_path / "run"
    with locks.held(run):
        assert (run / locks.NAME).read_text() == f"{os.getpid()}\n"
        for ask in (lambda: locks.require_free(run), locks.held(run).__enter__):
            with pytest.raises(StorageError, match=f"run is in use by pid {os.getpid()}$"):
                ask()
    locks.require_free(run)


def test_nothing_is_left(tmp_path):
    with locks.held(tmp_path / "runs" / "empty"):
        pass
    assert not (tmp_path / "runs").exists()
    with locks.held(tmp_path / "run"):
        (tmp_path / "run" / "mine").write_text("")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]


def test_a_file_without_a_lock_is_nobodys(tmp_path):
    (tmp_path / locks.NAME).write_text("1\n")
    locks.require_free(tmp_path)
    with locks.held(tmp_path):
        assert (tmp_path / locks.NAME).read_text() == f"{os.getpid()}\n"


def test_a_lock_on_a_file_that_the_holder_removed_does_not_count(tmp_path, monkeypatch):
    lock = tmp_path / locks.NAME
    locked, calls = locks._locked, []

    def late(folder, handle):
        if not calls:
            lock.unlink()  # as the holder does, between our open and our lock
        calls.append(handle)
        return locked(folder, handle)

    monkeypatch.setattr(locks, "_locked", late)
    with locks.held(tmp_path):
        assert len(calls) == 2
        assert lock.exists()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"), locks.held(tmp_path / "file"):
        pass


def test_a_folder_that_was_there_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    with locks.held(tmp_path / "mine"):
        pass
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_holder_that_takes_its_folder_away_while_we_come(tmp_path, monkeypatch):
    opened, calls = locks._opened, []

    def late(path, flags):
        if not calls:
            path.parent.rmdir()
        calls.append(path)
        return opened(path, flags)

    monkeypatch.setattr(locks, "_opened", late)
    with locks.held(tmp_path / "run") as lock:
        assert len(calls) == 2
        lock.require_ours()
    assert not (tmp_path / "run").exists()


def remove(run):
    (run / locks.NAME).unlink()
    run.rmdir()


def replace(run):
    remove(run)
    run.mkdir()
    (run / locks.NAME).write_text("another's")


def put_a_file(run):
    remove(run)
    run.write_text("mine")


AWAY = [remove, replace, put_a_file, lambda run: run.rename(run.with_name("moved"))]


@pytest.mark.parametrize("happens", AWAY)
def test_a_folder_that_is_moved_or_replaced_is_ours_no_more(tmp_path, happens):
    run = tmp_path / "run"
    with locks.held(run) as lock:
        lock.require_ours()
        happens(run)
        with pytest.raises(StorageError, match=r"run was moved or replaced while training$"):
            lock.require_ours()
        there = sorted(tmp_path.rglob("*"))
    assert sorted(tmp_path.rglob("*")) == there  # nothing of another's is removed


def test_a_second_trainer_that_was_let_in_keeps_its_lock(tmp_path):
    run = tmp_path / "run"
    first = locks.held(run)
    first.__enter__()
    remove(run)
    with locks.held(run) as second:
        first.__exit__(None, None, None)
        second.require_ours()


@pytest.mark.parametrize("call", ["truncate", "write"])
def test_a_full_disk_frees_the_lock(tmp_path, monkeypatch, call):
    def refuse(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(StorageError, match="No space left"), locks.held(tmp_path / "run"):
            pass
    assert not (tmp_path / "run").exists()
    with locks.held(tmp_path / "run"):
        pass


def a_pipe(path):
    os.mkfifo(path)


def a_link(path):
    (path.parent.parent / "letter").write_text("mine")
    path.symlink_to(path.parent.parent / "letter")


@pytest.mark.parametrize("make", [a_pipe, a_link, os.mkdir])
def test_what_is_no_lock_is_refused_without_waiting_or_touching_it(tmp_path, make):
    run = tmp_path / "run"
    run.mkdir()
    make(run / locks.NAME)
    ended = threading.Event()

    def ask():
        with pytest.raises(StorageError, match=r"run/\.w2v-lock"), locks.held(run):
            pass
        if make is a_link:
            locks.require_free(run)
        else:
            with pytest.raises(StorageError, match=r"\.w2v-lock is no regular file"):
                locks.require_free(run)
        ended.set()

    threading.Thread(target=ask, daemon=True).start()
    assert ended.wait(10)
    assert [path.name for path in run.iterdir()] == [locks.NAME]
    if make is a_link:
        assert (tmp_path / "letter").read_text() == "mine"


def test_where_there_are_no_locks_it_is_said_once(tmp_path, monkeypatch, caplog):
    def refuse(*_arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    locks.require_free(tmp_path)
    with locks.held(tmp_path) as lock:
        lock.require_ours()
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} is not locked (No locks available): let nobody else train there"
    ]


def test_who_only_asks_is_in_nobodys_way(tmp_path):
    (tmp_path / locks.NAME).write_text("1\n")
    asking = os.open(tmp_path / locks.NAME, os.O_RDONLY)
    assert locks.locked(asking, shared=True)
    locks.require_free(tmp_path)  # two may ask at once
    answered = threading.Timer(0.1, os.close, [asking])
    answered.start()
    with locks.held(tmp_path):  # and whoever comes waits a moment
        pass
    answered.join()


def test_a_lock_that_is_held_is_not_waited_for(tmp_path):
    started = time.monotonic()
    with locks.held(tmp_path), pytest.raises(StorageError), locks.held(tmp_path):
        pass
    assert time.monotonic() - started < 5


def test_a_process_that_leaves_at_once_takes_lock_and_empty_folder_with_it(tmp_path):
    with locks.held(tmp_path / "runs" / "new"):
        leaving.undo_all()
        assert list(tmp_path.iterdir()) == []
