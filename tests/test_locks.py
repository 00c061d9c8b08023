"""One holder at a time; nothing is left behind, and nothing left behind matters."""

import os

import pytest

from w2v import locks
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
    with locks.held(tmp_path / "empty"):
        pass
    assert not (tmp_path / "empty").exists()
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

    def late(handle):
        if not calls:
            lock.unlink()  # as the holder does, between our open and our lock
        calls.append(handle)
        return locked(handle)

    monkeypatch.setattr(locks, "_locked", late)
    with locks.held(tmp_path):
        assert len(calls) == 2
        assert lock.exists()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"), locks.held(tmp_path / "file"):
        pass
