"""What is checked before time is spent: places that can be written to."""

import os
from pathlib import Path

import pytest

from w2v.errors import StorageError
from w2v.preflight import require_writable

NOT_AS_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")


@pytest.mark.parametrize("inside", ["", "new", "new/and/deeper"])
def test_a_writable_folder_is_not_touched(tmp_path, inside):
    require_writable(tmp_path / inside)
    assert not list(tmp_path.iterdir())


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    require_writable(Path("new"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inside", ["file", "file/deeper"])
def test_a_file_is_no_writable_folder(tmp_path, inside):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError) as caught:
        require_writable(tmp_path / inside)
    assert str(caught.value) == f"cannot write {tmp_path / inside}: {tmp_path / 'file'} is a file"


@NOT_AS_ROOT
def test_a_read_only_folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    with pytest.raises(StorageError, match="is read-only"):
        require_writable(folder / "new")
