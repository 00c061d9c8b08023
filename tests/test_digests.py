import hashlib
import mmap
import os
import time

import pytest

from w2v import digests
from w2v.digests import SEAL_S, digest_of, read_signed, read_verified, seal_of, write_signed
from w2v.errors import DataError
from w2v.files import sha256


@pytest.fixture
def big(tmp_path, monkeypatch):
    """A file that counts as big, and is not young; every hash of a mapped file is counted."""
    monkeypatch.setattr(digests, "BIG_BYTES", 10)
    monkeypatch.setattr(digests, "YOUNG_S", -1)  # nobody can set back when a file was changed
    path = tmp_path / "big"
    path.write_bytes(bytes(range(100)))
    return path


@pytest.fixture
def hashed(monkeypatch):
    """How many bytes each hash went over."""
    lengths = []
    real = digests.hashlib.sha256

    def counted(data):
        lengths.append(len(data))
        return real(data)

    monkeypatch.setattr(digests.hashlib, "sha256", counted)
    return lengths


def read(path, expected=None):
    return read_verified(path, expected or sha256(path), said_by="run.json")


def test_a_small_file_is_read_and_checked_each_time(tmp_path, hashed):
    path = tmp_path / "small"
    path.write_bytes(b"abc")
    for _ in range(2):
        assert read(path) == b"abc"
    assert hashed == [3, 3]
    assert list(tmp_path.iterdir()) == [path]


def test_a_big_file_is_mapped_and_checked_once(big, hashed):
    for _ in range(3):
        data = read(big)
        assert isinstance(data, mmap.mmap)
        assert data[:] == bytes(range(100))
    assert hashed == [100]
    assert seal_of(big).read_text().startswith(sha256(big))


def test_every_flipped_bit_of_a_big_file_is_noticed_at_the_next_load(big):
    good, expected = big.read_bytes(), sha256(big)
    for at in range(len(good)):
        read(big, expected)
        big.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        for _ in range(2):  # nor does a wrong file ever get a seal
            with pytest.raises(
                DataError, match=r"checksum mismatch: .*big has SHA-256 .* run\.json"
            ):
                read(big, expected)
        big.write_bytes(good)


def test_a_flip_that_keeps_size_and_mtime_is_noticed_by_the_change_time(big):
    expected, before = sha256(big), big.stat()
    read(big, expected)
    big.write_bytes(bytes(100))
    os.utime(big, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match="checksum mismatch"):
        read(big, expected)


def test_another_file_in_its_place_is_checked(big, hashed):
    read(big)
    copy = big.with_name("copy")
    copy.write_bytes(big.read_bytes())
    copy.replace(big)
    read(big)
    assert hashed == [100, 100]


def test_another_digest_breaks_the_seal(big):
    read(big)
    with pytest.raises(DataError, match="checksum mismatch"):
        read(big, "0" * 64)


@pytest.mark.parametrize("age_s", [-3600, SEAL_S + 60])
def test_a_seal_from_tomorrow_or_of_last_week_does_not_hold(big, hashed, age_s):
    read(big)
    at = time.time() - age_s
    os.utime(seal_of(big), (at, at))
    read(big)
    read(big)
    assert hashed == [100, 100]


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"0" * 64])
def test_a_damaged_seal_does_not_hold(big, hashed, damage):
    read(big)
    seal_of(big).write_bytes(damage)
    read(big)
    assert hashed == [100, 100]


def test_a_young_file_gets_no_seal(big, hashed, monkeypatch):
    monkeypatch.setattr(digests, "YOUNG_S", 3600)
    read(big)
    read(big)
    assert hashed == [100, 100]
    assert not seal_of(big).exists()


def test_where_no_seal_can_be_written_each_load_checks(big, hashed):
    seal_of(big).mkdir()
    assert read(big)[:3] == b"\0\1\2"
    assert read(big)[:3] == b"\0\1\2"
    assert hashed == [100, 100]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*nowhere: No such file"):
        read(tmp_path / "nowhere", "0" * 64)


def test_a_record_is_read_as_it_was_written_or_not_at_all(tmp_path):
    path = tmp_path / "record"
    content = {"a": [1, "é\n"], "b": None}
    write_signed(path, content)
    assert read_signed(path) == content
    data = path.read_bytes()
    for at in range(len(data) - 1):  # the last line end says nothing
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert read_signed(path) is None
        path.write_bytes(data[:at])
        assert read_signed(path) is None
    path.unlink()
    assert read_signed(path) is None


@pytest.fixture
def read_through(monkeypatch):
    """How often a file was read for its digest."""
    times = []
    real = digests.hashlib.file_digest

    def counted(file, name):
        times.append(file.name)
        return real(file, name)

    monkeypatch.setattr(digests.hashlib, "file_digest", counted)
    return times


def test_the_digest_of_a_big_file_is_remembered_elsewhere(big, tmp_path, read_through):
    seals = tmp_path / "data" / "seals"
    expected = hashlib.sha256(big.read_bytes()).hexdigest()
    assert [digest_of(big, seals=seals) for _ in range(3)] == [expected] * 3
    assert len(read_through) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big", "data"]
    (seal,) = seals.iterdir()
    assert seal.read_text().startswith(sha256(big))


def test_a_small_file_is_read_each_time(tmp_path, read_through):
    (tmp_path / "small").write_bytes(b"abc")
    for _ in range(2):
        digest_of(tmp_path / "small", seals=tmp_path / "seals")
    assert len(read_through) == 2
    assert not (tmp_path / "seals").exists()


def test_each_file_has_a_seal_of_its_own(big, tmp_path):
    seals, other = tmp_path / "seals", tmp_path / "other"
    other.write_bytes(bytes(50))
    found = [digest_of(path, seals=seals) for path in (big, other, big, other)]
    assert found == [sha256(big), sha256(other)] * 2
    assert len(list(seals.iterdir())) == 2


def rewrite(path):
    path.write_bytes(bytes(100))


def rewrite_keeping_times(path):
    stat = path.stat()
    path.write_bytes(bytes(100))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replace(path):
    stat = path.stat()
    other = path.with_name("new")
    other.write_bytes(bytes(100))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [rewrite, rewrite_keeping_times, replace])
def test_a_changed_file_has_another_digest(big, tmp_path, change):
    before = digest_of(big, seals=tmp_path / "seals")
    change(big)
    assert digest_of(big, seals=tmp_path / "seals") == sha256(big) != before


@pytest.mark.parametrize("damage", ["", "0" * 64, "g" * 64 + " 1 2 3 4 5\n", "\0"])
def test_a_damaged_seal_tells_nothing(big, tmp_path, damage):
    digest_of(big, seals=tmp_path / "seals")
    (seal,) = (tmp_path / "seals").iterdir()
    seal.write_text(damage)
    assert digest_of(big, seals=tmp_path / "seals") == sha256(big)


def test_a_seal_of_last_week_is_renewed(big, tmp_path, read_through):
    seals = tmp_path / "seals"
    digest_of(big, seals=seals)
    (seal,) = seals.iterdir()
    at = time.time() - SEAL_S - 60
    os.utime(seal, (at, at))
    for _ in range(2):
        digest_of(big, seals=seals)
    assert len(read_through) == 2


def test_where_nothing_can_be_remembered_each_digest_is_computed(big, tmp_path, read_through):
    (tmp_path / "seals").write_text("a file where the folder should be")
    for _ in range(2):
        digest_of(big, seals=tmp_path / "seals")
    assert len(read_through) == 2


def test_a_young_file_is_not_remembered(big, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "YOUNG_S", 3600)
    digest_of(big, seals=tmp_path / "seals")
    assert not (tmp_path / "seals").exists()
