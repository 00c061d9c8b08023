"""A lock is one process's at a time; where it is everybody's, nobody is alone."""

import os

import pytest

from w2v import flocks
from w2v.flocks import alone, claimed, locked


@pytest.fixture
def opened(tmp_path):
    """Opens a file, or the folder, as often as asked."""
    handles = []

    def open_(name="."):
        handles.append(os.open(tmp_path / name, os.O_RDONLY))
        return handles[-1]

    yield open_
    for handle in handles:
        os.close(handle)


@pytest.mark.parametrize("name", [".", "file"])
def test_one_has_it_until_the_handle_is_closed(tmp_path, opened, name):
    (tmp_path / "file").write_text("")
    first = os.open(tmp_path / name, os.O_RDONLY)
    assert locked(first)
    second = opened(name)
    assert not locked(second)
    assert not locked(second, shared=True)
    os.close(first)
    assert locked(second, wait=True)


def test_many_may_share_it(opened):
    assert locked(opened(), shared=True)
    assert locked(opened(), shared=True)
    assert not locked(opened())


def test_alone_or_not(tmp_path, opened):
    with alone(tmp_path) as first, alone(tmp_path) as second:
        assert (first, second) == (True, False)
    assert locked(opened())


def refuse(*_arguments):
    raise OSError("no locks here")


@pytest.mark.parametrize("flock", [refuse, lambda *_: None], ids=["none", "granted to everybody"])
def test_nobody_is_alone_where_locks_do_not_hold(tmp_path, opened, monkeypatch, flock):
    monkeypatch.setattr("fcntl.flock", flock)
    with alone(tmp_path) as ours:
        assert not ours
    assert claimed(opened(), tmp_path)


def test_what_was_removed_or_is_locked_by_another_is_not_claimed(tmp_path, opened):
    (tmp_path / "a").write_text("")
    first, second = opened("a"), opened("a")
    assert claimed(first, tmp_path / "a")
    assert not claimed(second, tmp_path / "a")
    (tmp_path / "a").unlink()
    assert not claimed(first, tmp_path / "a")


def test_what_was_moved_or_replaced_before_it_was_locked_is_not_ours(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    path.mkdir()
    real = flocks.locked
    for replaced in (False, True):

        def moved_first(handle, replaced=replaced, **options):
            if path.exists() and not (tmp_path / f"moved{replaced}").exists():
                path.rename(tmp_path / f"moved{replaced}")
                if replaced:
                    path.mkdir()
            return real(handle, **options)

        path.mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            patch.setattr(flocks, "locked", moved_first)
            with alone(path) as ours:
                assert not ours
    with alone(path) as ours:
        assert ours
