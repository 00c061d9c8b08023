import bz2
import errno
import gzip
import hashlib
import lzma
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from w2v import files, leaving
from w2v.errors import StorageError
from w2v.files import (
    TEMP_PREFIX,
    atomic_write,
    make_folder,
    open_compressed,
    sha256,
    sweep_temporaries,
    unwritable,
    write_bytes,
    write_text,
    write_together,
)

NOT_AS_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")


@pytest.fixture
def umask():
    """Sets the umask, and puts the old one back."""
    old = os.umask(0o022)
    yield os.umask
    os.umask(old)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_write(path) as file:
        file.write(b"one")
        assert not path.exists()
        [temporary] = names(path.parent)
        assert temporary.startswith(TEMP_PREFIX)
    assert path.read_bytes() == b"one"
    assert names(path.parent) == ["a.txt"]


def test_an_old_file_is_there_until_it_is_replaced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old and longer")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old and longer"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError("ours"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.EIO, "Input/output error"), StorageError),
    ],
)
def test_a_block_that_fails_changes_nothing(tmp_path, error, raised):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail():
        with atomic_write(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(raised):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_step_that_fails_changes_nothing(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def refuse(*_args, **_options):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(StorageError) as caught:
        write_bytes(path, b"new")
    assert str(caught.value) == f"cannot write {path}: Input/output error"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_of_the_umask(tmp_path, umask, mask, expected):
    umask(mask)
    write_bytes(tmp_path / "a.txt", b"")
    assert mode(tmp_path / "a.txt") == expected
    assert umask(mask) == mask  # looked at, not changed


def test_a_replaced_file_keeps_its_mode(tmp_path, umask):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_bytes(path, b"new")
    assert mode(path) == 0o640


def test_a_folder_is_made_with_those_it_lies_in_and_their_names_are_fsynced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "fsync_folder", synced.append)
    a, b, c = tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"
    assert make_folder(b) == [a, b]
    assert synced == [tmp_path, a]
    assert make_folder(c, parents=False) == [c]
    assert make_folder(c) == []
    assert synced == [tmp_path, a, b]


@pytest.mark.parametrize(
    ("inside", "error"), [("file", FileExistsError), ("file/deeper", FileExistsError)]
)
def test_a_folder_cannot_be_made_of_a_file(tmp_path, inside, error):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(error):
        make_folder(tmp_path / inside)


def test_a_folder_alone_is_not_made_where_its_parent_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        make_folder(tmp_path / "a" / "b", parents=False)
    with pytest.raises(StorageError, match="No such file"):
        write_bytes(tmp_path / "a" / "b.txt", b"", make_parents=False)
    assert names(tmp_path) == []


def test_a_current_folder_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(OSError, match=r"No such file|File exists"):
        make_folder(Path("new"))


def three(folder, text):
    return {folder / name: text for name in ("a", "b", "last")}


def test_files_that_belong_together_are_on_disk_before_the_first_is_renamed(tmp_path, monkeypatch):
    done = []

    def note(name):
        call = getattr(os, name)

        def noted(*arguments, **options):
            done.append(name)
            return call(*arguments, **options)

        monkeypatch.setattr(os, name, noted)

    note("replace")
    note("fsync")
    write_together(three(tmp_path, b"new"), first=lambda: done.append("first"))
    assert done == [
        *["fsync"] * 3,
        "first",
        *["replace"] * 2,
        "fsync",  # the folder: what vouches for the others comes when they are there
        "replace",
        "fsync",
    ]
    assert {path.read_bytes() for path in three(tmp_path, b"")} == {b"new"}


def test_files_that_belong_together_stay_where_they_must_not_be_replaced(tmp_path):
    def refuse():
        raise StorageError("not here")

    for path in three(tmp_path, b""):
        path.write_bytes(b"old")
    with pytest.raises(StorageError, match="not here"):
        write_together(three(tmp_path, b"new"), first=refuse)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"old"}
    assert len(names(tmp_path)) == 3


def test_who_wants_to_leave_waits_for_the_renames(tmp_path, monkeypatch):
    replace, left = os.replace, []

    def asked(source, target):
        leaving.leave(lambda: left.append({path.read_bytes() for path in three(tmp_path, b"")}))
        replace(source, target)

    monkeypatch.setattr(os, "replace", asked)
    write_together(three(tmp_path, b"new"))
    assert left == [{b"new"}] * 3


def test_text_is_utf8_with_plain_line_ends(tmp_path):
    write_text(tmp_path / "a.txt", "é\n\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\n\r\n"


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*a\.txt: Is a directory"):
        write_bytes(tmp_path / "a.txt", b"")
    assert names(tmp_path) == ["a.txt"]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(StorageError, match="cannot write"):
        write_bytes(tmp_path / "file" / "a.txt", b"")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_full_disk_tells_its_free_bytes(tmp_path, monkeypatch):
    asked = []

    def usage(folder):
        asked.append(folder)
        return SimpleNamespace(free=1_234_567)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    error = OSError(errno.ENOSPC, "No space left on device")
    path = tmp_path / "no" / "such" / "a.txt"
    message = f"cannot write {path}: No space left on device (1,234,567 bytes free)"
    assert str(unwritable(path, error)) == message
    assert asked == [tmp_path]


def test_other_failures_do_not_speak_of_space(tmp_path):
    path = tmp_path / "a.txt"
    denied = PermissionError(errno.EACCES, "Permission denied")
    assert str(unwritable(path, denied)) == f"cannot write {path}: Permission denied"
    assert str(unwritable(path, OSError("odd"))) == f"cannot write {path}: odd"


def test_a_device_that_is_full(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    with (
        pytest.raises(StorageError, match=r"No space left on device \([\d,]+ bytes free\)"),
        atomic_write(tmp_path / "a.txt"),
        full.open("wb", buffering=0) as device,
    ):
        device.write(b"x")
    assert names(tmp_path) == []


@NOT_AS_ROOT
def test_nothing_is_written_to_a_read_only_folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    with pytest.raises(StorageError, match="Permission denied"):
        write_bytes(folder / "a.txt", b"")


def test_only_temporary_files_of_the_folder_are_swept(tmp_path):
    kept = [f"{TEMP_PREFIX}folder", "a.txt", f"a{TEMP_PREFIX}"]
    (tmp_path / kept[0]).mkdir()
    (tmp_path / kept[0] / f"{TEMP_PREFIX}deep").write_bytes(b"")
    for name in (*kept[1:], f"{TEMP_PREFIX}abc", f"{TEMP_PREFIX}1.zip"):
        (tmp_path / name).write_bytes(b"")
    sweep_temporaries(tmp_path)
    assert names(tmp_path) == sorted(kept)
    assert names(tmp_path / kept[0]) == [f"{TEMP_PREFIX}deep"]


@pytest.mark.parametrize("content", [b"", b"abc", bytes(300_000)])
def test_the_digest_of_a_file(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.txt", bytes),
        ("a.gz", gzip.compress),
        ("a.txt.bz2", bz2.compress),
        ("a.txt.xz", lzma.compress),
    ],
)
def test_compressed_or_plain(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(b"one\ntwo\n"))
    with open_compressed(tmp_path / name) as file:
        assert file.read() == b"one\ntwo\n"
