"""Rows A: archives that the digest vouches for and that are no good all the same."""

import struct
import zipfile

import pytest
from test_ptb import FLAGS, METHOD, PAIRS, SIZE, UPPER, named, patched

from faults.outcome import expect
from faults.test_download_rows import data, fetch, kills, offline  # noqa: F401
from faults.treebank import (
    ARCHIVE,
    COMPLETE,
    MEMBERS,
    REPACKED,
    TEST,
    TEXTS,
    TRAIN,
    VALID,
    digest,
    is_complete,
    pack,
    put,
    tree,
)
from w2v.archive import read_members
from w2v.errors import DataError

BOMB = TEXTS | {TRAIN: bytes(5_000_000)}


@pytest.fixture
def unpack(fetch, offline, data):  # noqa: F811
    """Runs `w2v corpus fetch` where this archive lies, with its digest in the config."""

    def run(archive):
        put(data, {"ptb.zip": archive})
        return fetch(offline, url=offline, sha256=digest(archive))

    return run


def refused(row, unpack, data, archive):  # noqa: F811
    """The message for an archive that cannot be used; nothing is unpacked."""
    message = expect(row, unpack(archive), 4)
    assert tree(data) == {"ptb.zip": archive}
    return message


@pytest.mark.fault("A1")
@pytest.mark.parametrize("archive", [b"<html>not here</html>", b"", b"PK\x05\x06"])
def test_no_archive(row, unpack, data, archive):  # noqa: F811
    refused(row, unpack, data, archive)


@pytest.mark.fault("A1")
def test_an_archive_cut_short(row, unpack, data):  # noqa: F811
    for at in range(0, len(ARCHIVE), 7):
        refused(row, unpack, data, ARCHIVE[:at])
    for at in range(len(ARCHIVE)):
        with pytest.raises(DataError, match="not a zip archive, or damaged"):
            read_members(ARCHIVE[:at], MEMBERS, where="ptb.zip", pinned=False)


@pytest.mark.fault("A2")
@pytest.mark.parametrize("archive", [ARCHIVE, REPACKED], ids=["deflated", "stored"])
def test_a_flipped_bit(row, archive):
    """As `corpus fetch` reads it; the command itself takes every seventh in the test below."""
    refusals = 0
    for at in range(len(archive)):
        flipped = bytearray(archive)
        flipped[at] ^= 1 << at % 8
        try:
            texts = read_members(bytes(flipped), MEMBERS, where="ptb.zip", pinned=True)
        except DataError as error:
            refusals += 1
            message = str(error)
            assert row.matches(4, message), message
        else:
            assert texts == tuple(TEXTS.values())
    assert refusals > len(archive) / 2


@pytest.mark.fault("A2")
def test_a_flipped_bit_through_the_command(row, unpack, data):  # noqa: F811
    for at in range(0, len(ARCHIVE), 7):
        flipped = bytearray(ARCHIVE)
        flipped[at] ^= 1 << at % 8
        outcome = unpack(bytes(flipped))
        expect(row, outcome, 4 if outcome.code else 0)
        if outcome.code == 0:
            assert tree(data) == COMPLETE | {"ptb.zip": bytes(flipped)}
            for name in TEXTS:
                (data / name).unlink()


STRANGERS = ("../evil", "/evil", "ptb\\evil", "C:evil", "ptb/evil\0x", "x" * 300, "ptb/")


@pytest.mark.fault("A3")
def test_hostile_members_are_ignored(row, unpack, data, tmp_path):  # noqa: F811
    link = (named("ptb/link", 0o120777), b"/etc/passwd")
    archive = pack([*((name, b"x") for name in STRANGERS), link, *PAIRS])
    before = {*tmp_path.parent.iterdir()}
    expect(row, unpack(archive), 0)
    assert tree(data) == COMPLETE | {"ptb.zip": archive}
    assert {*tmp_path.iterdir()} == {data, tmp_path / "c.yaml"}
    assert {*tmp_path.parent.iterdir()} == before


@pytest.mark.fault("A3")
@pytest.mark.parametrize(
    "archive",
    [
        pack({f"../{name}": text for name, text in PAIRS}),
        pack({f"/{name}": text for name, text in PAIRS}),
        pack({name.replace("/", "\\"): text for name, text in PAIRS}),
        pack([(named(TRAIN, 0o120777), b"/etc/passwd"), *PAIRS[1:]]),
        pack([(named(TRAIN, 0o020666), b""), *PAIRS[1:]]),
    ],
    ids=["above", "absolute", "backslash", "link", "device"],
)
def test_hostile_names_of_the_texts(row, unpack, data, archive):  # noqa: F811
    refused(row, unpack, data, archive)


@pytest.mark.fault("A4")
@pytest.mark.parametrize(
    "archive",
    [
        pack([*PAIRS, (VALID, b"x")]),
        pack([*PAIRS, (f"{TEST}/x", b"x")]),
        pack([*PAIRS, (UPPER, b"x")]),
    ],
    ids=["twice", "file and folder", "case"],
)
def test_two_members_of_one_name(row, unpack, data, archive):  # noqa: F811
    refused(row, unpack, data, archive)


def overlapping():
    """An archive whose members all have the data of the first, which is a bomb."""
    archive = bytearray(pack(BOMB))
    at = archive.find(b"PK\x01\x02")
    first = archive[at : archive.find(b"PK\x01\x02", at + 1)]
    fields = 16, 30  # CRC, sizes; and at 42 where the member begins
    while (at := archive.find(b"PK\x01\x02", at + 1)) >= 0:
        archive[at + fields[0] : at + 28] = first[fields[0] : 28]
        archive[at + 42 : at + 46] = first[42:46]
    return bytes(archive)


@pytest.mark.fault("A5")
@pytest.mark.parametrize(
    "archive",
    [
        pack(BOMB),
        patched(pack(BOMB), SIZE, len(TEXTS[TRAIN]), size=4),
        patched(pack(BOMB), SIZE, 0, size=4),
        overlapping(),
    ],
    ids=["bomb", "forged", "forged to nothing", "overlapping"],
)
def test_bombs(row, unpack, data, archive, monkeypatch):  # noqa: F811
    unpacked = []
    real = zipfile.ZipExtFile.read

    def read(self, n=-1):
        content = real(self, n)
        unpacked.append(len(content))
        return content

    monkeypatch.setattr(zipfile.ZipExtFile, "read", read)
    refused(row, unpack, data, archive)
    assert sum(unpacked) <= sum(map(len, TEXTS.values())) + 65_536


@pytest.mark.fault("A5")
def test_an_archive_in_an_archive_stays_shut(row, unpack, data):  # noqa: F811
    archive = pack([*PAIRS, ("inner.zip", pack(BOMB))])
    expect(row, unpack(archive), 0)
    assert tree(data) == COMPLETE | {"ptb.zip": archive}


def zip64_lies():
    """An archive whose end says that the directory is told by a zip64 record, which lies."""
    directory = ARCHIVE.rindex(b"PK\x05\x06")
    record = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 2**40, 2**40, 2**50, 2**60
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, directory, 1)
    end = bytearray(ARCHIVE[directory:])
    end[8:20] = b"\xff" * 12
    return ARCHIVE[:directory] + record + locator + bytes(end)


@pytest.mark.fault("A6")
@pytest.mark.parametrize(
    "archive",
    [
        patched(ARCHIVE, FLAGS, 1),
        patched(ARCHIVE, METHOD, 99),
        pack(method=zipfile.ZIP_BZIP2),
        pack(method=zipfile.ZIP_LZMA),
        zip64_lies(),
    ],
    ids=["encrypted", "unknown", "bzip2", "lzma", "zip64"],
)
def test_members_that_cannot_be_read(row, unpack, data, archive):  # noqa: F811
    refused(row, unpack, data, archive)


@pytest.mark.fault("A7")
@pytest.mark.parametrize(
    "archive",
    [pack({}), pack(PAIRS[:2]), pack({"a/b.txt": b"x"}), pack([*PAIRS[:2], (f"{TEST}~", b"")])],
    ids=["none", "two of three", "another", "another name"],
)
def test_a_missing_member(row, unpack, data, archive):  # noqa: F811
    refused(row, unpack, data, archive)


@pytest.mark.fault("A8")
@pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_while_unpacking(row, data, offline, times):  # noqa: F811
    put(data, {"ptb.zip": ARCHIVE})
    kills("fetch", times, data, offline)
    assert is_complete(data)
    assert row.ends == {0: ()}
