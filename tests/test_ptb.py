import os
import socket
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import server
from faults.treebank import (
    ARCHIVE,
    COMPLETE,
    FAST,
    MEMBERS,
    OTHER_TEXTS,
    REPACKED,
    TEST,
    TEXTS,
    TRAIN,
    VALID,
    digest,
    pack,
    published,
    put,
    tree,
)
from server import Server
from typer.testing import CliRunner

from w2v.archive import read_members
from w2v.cli.corpus import corpus_app
from w2v.errors import DataError, DownloadError, StorageError, W2VError
from w2v.files import TEMP_PREFIX, sha256
from w2v.sources import ptb


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def web():
    with Server(server.good(ARCHIVE)) as running:
        yield running


@pytest.fixture
def offline():
    """An address that nobody serves."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}/ptb.zip"


def fetch(data, *urls, **options):
    return ptb.fetch(data_folder=data, published=published(*urls), patience=FAST, **options)


def test_a_first_run_downloads_and_unpacks(data, web):
    source = fetch(data, web.url)
    assert source == ("ptb", (data / TRAIN,), (data / VALID,))
    assert tree(data) == COMPLETE
    assert len(web.requests) == 1


def test_a_second_run_needs_no_network(data, web, offline):
    assert fetch(data, web.url) == fetch(data, offline)
    assert len(web.requests) == 1


def test_texts_put_there_by_hand_are_used(data, offline):
    put(data, TEXTS)
    fetch(data, offline)
    assert tree(data) == TEXTS


def test_the_test_text_may_be_absent(data, offline):
    put(data, {name: TEXTS[name] for name in (TRAIN, VALID)})
    fetch(data, offline)


def test_an_archive_put_there_by_hand_is_used(data, offline):
    put(data, {"ptb.zip": ARCHIVE})
    fetch(data, offline)
    assert tree(data) == COMPLETE


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: b"x" + text[1:]])
def test_an_edited_text_is_unpacked_again(data, offline, name, damage):
    put(data, COMPLETE | {name: damage(TEXTS[name])})
    fetch(data, offline)
    assert tree(data) == COMPLETE


@pytest.mark.parametrize("damaged", [ARCHIVE[:-1], b"", b"<html>", b"x" + ARCHIVE[1:]])
def test_a_damaged_archive_is_replaced(data, web, caplog, damaged):
    put(data, {"ptb.zip": damaged})
    fetch(data, web.url)
    assert tree(data) == COMPLETE
    assert f"cached file damaged, downloading the archive again: {data / 'ptb.zip'}" in caplog.text


def test_a_damaged_archive_offline(data, offline):
    put(data, {"ptb.zip": ARCHIVE[:-1]})
    with pytest.raises(DownloadError, match=f"cached file damaged: {data / 'ptb.zip'}; cannot re"):
        fetch(data, offline)
    assert tree(data) == {"ptb.zip": ARCHIVE[:-1]}


def test_a_damaged_text_offline(data, offline):
    put(data, TEXTS | {VALID: b"edited"})
    with pytest.raises(DownloadError, match=f"cached file damaged: {data / TRAIN}; cannot re"):
        fetch(data, offline)


def test_offline_the_error_says_what_to_do(data, offline):
    with pytest.raises(DownloadError, match=r"connection refused \(3 tries\)") as caught:
        fetch(data, offline)
    assert str(data / "ptb.zip") in caught.value.hint
    assert "quickstart.yaml" in caught.value.hint
    assert tree(data) == {}


def test_the_second_address_helps_out(data, web, offline, caplog):
    fetch(data, offline, web.url)
    assert tree(data) == COMPLETE
    assert "connection refused (3 tries); trying the next address" in caplog.text


@pytest.mark.parametrize("wrong", [ARCHIVE[:-1], ARCHIVE + b"x", b"x" + ARCHIVE[1:], REPACKED])
def test_only_the_published_archive_is_accepted(data, wrong):
    with Server(server.no_length(wrong)) as bad, pytest.raises(DownloadError):
        fetch(data, bad.url)
    assert tree(data) == {}


@pytest.mark.parametrize("archive", [ARCHIVE, REPACKED])
def test_an_archive_from_elsewhere_may_be_packed_anew(data, offline, archive):
    with Server(server.good(archive)) as mirror:
        fetch(data, offline, url=mirror.url)
    assert tree(data) == COMPLETE | {"ptb.zip": archive}
    (data / VALID).unlink()
    fetch(data, offline, url=offline)
    assert tree(data) == COMPLETE | {"ptb.zip": archive}


@pytest.mark.parametrize(
    "wrong",
    [
        b"<html>404</html>",
        b"",
        REPACKED[:-1],
        REPACKED[:50] + b"X" + REPACKED[51:],
        pack(OTHER_TEXTS),
    ],
    ids=["page", "nothing", "truncated", "flipped", "other texts"],
)
def test_from_elsewhere_the_digests_of_the_texts_decide(data, offline, wrong):
    put(data, {"ptb.zip": b"old"})
    with Server(server.no_length(wrong)) as mirror, pytest.raises(DownloadError):
        fetch(data, offline, url=mirror.url)
    assert tree(data) == {"ptb.zip": b"old"}


def test_a_damaged_archive_from_elsewhere_is_replaced(data, offline):
    put(data, {"ptb.zip": REPACKED[:-1]})
    with Server(server.good(REPACKED)) as mirror:
        fetch(data, offline, url=mirror.url)
    assert tree(data) == COMPLETE | {"ptb.zip": REPACKED}


def test_a_digest_of_the_users_own_decides_alone(data, web, offline):
    own = pack(OTHER_TEXTS)
    fetch(data, web.url)
    with Server(server.good(own)) as mirror:
        for _ in range(2):
            fetch(data, offline, url=mirror.url, sha256=digest(own).upper())
            assert tree(data) == OTHER_TEXTS | {"ptb.zip": own}
        assert len(mirror.requests) == 1
        with pytest.raises(DownloadError, match="SHA-256 mismatch"):
            fetch(data, offline, url=mirror.url, sha256=digest(b"something else"))
    assert tree(data) == OTHER_TEXTS | {"ptb.zip": own}


def test_an_endless_archive_from_elsewhere(data, offline):
    with (
        Server(server.endless(server.head(200))) as mirror,
        pytest.raises(DownloadError, match="got more than"),
    ):
        fetch(data, offline, url=mirror.url)
    assert tree(data) == {}


def named(name, mode=0):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def patched(data, offset, value, *, size=1):
    """Sets a field of every member; the central header has it two bytes later than the local."""
    changed = bytearray(data)
    for signature, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        at = data.find(signature)
        while at >= 0:
            field = slice(at + shift + offset, at + shift + offset + size)
            changed[field] = value.to_bytes(size, "little")
            at = data.find(signature, at + 1)
    return bytes(changed)


FLAGS, METHOD, SIZE = 6, 8, 22  # offsets in the local header of a member
PAIRS = list(TEXTS.items())
UPPER = TRAIN.replace("train", "TRAIN")
UNUSABLE = {
    "empty": (pack({}), r"ptb.train.txt not in archive .* \(has: nothing\)"),
    "renamed": (pack({"a/b.txt": b""}), r"ptb.train.txt not in archive .* \(has: a/b.txt\)"),
    "other case": (pack({**TEXTS, VALID: b"", "ptb/x": b""}), "SHA-256 mismatch of ptb.valid.txt"),
    "no test": (pack(PAIRS[:2]), "ptb.test.txt not in archive"),
    "control": (pack({"\x1b[31m" + "a" * 300: b""}), r"\(has: \\x1b\[31maaaa[a]{,30}\)$"),
    "above": (pack({f"../{name}": text for name, text in PAIRS}), "not in archive"),
    "absolute": (pack({f"/{name}": text for name, text in PAIRS}), "not in archive"),
    "double": (pack([*PAIRS, (VALID, b"x")]), "ptb.valid.txt is 2 times in"),
    "case clash": (pack([*PAIRS, (UPPER, b"x")]), "ptb.train.txt is 2 times in"),
    "file and folder": (pack([*PAIRS, (f"{TEST}/x", b"x")]), "ptb.test.txt is 2 times in"),
    "folder": (pack([(f"{TRAIN}/", b""), *PAIRS[1:]]), "ptb.train.txt not in archive"),
    "link": (
        pack([(named(TRAIN, stat.S_IFLNK | 0o777), b"/etc/passwd"), *PAIRS[1:]]),
        "ptb.train.txt is not a regular file",
    ),
    "device": (pack([(named(TRAIN, stat.S_IFCHR), b""), *PAIRS[1:]]), "not a regular file"),
    "bomb": (pack(TEXTS | {TRAIN: bytes(5_000_000)}), "ptb.train.txt expands past 920 bytes"),
    "encrypted": (patched(ARCHIVE, FLAGS, 1), "ptb.train.txt is encrypted"),
    "unknown method": (patched(ARCHIVE, METHOD, 99), "a method other than deflate"),
    "bzip2": (pack(method=zipfile.ZIP_BZIP2), "a method other than deflate"),
    "lzma": (pack(method=zipfile.ZIP_LZMA), "a method other than deflate"),
    "forged size": (patched(ARCHIVE, SIZE, 10, size=4), "not a zip archive, or damaged"),
    "forged bomb": (
        patched(pack(TEXTS | {TRAIN: bytes(5_000_000)}), SIZE, 920, size=4),
        "not a zip archive, or damaged",
    ),
    "page": (b"<html>not here</html>", "not a zip archive, or damaged"),
    "nothing": (b"", "not a zip archive, or damaged"),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_an_unusable_archive_with_the_right_digest(data, offline, fault):
    archive, message = UNUSABLE[fault]
    pinned = published()._replace(sha256=digest(archive), size=len(archive))
    put(data, {"ptb.zip": archive})
    with pytest.raises(DataError, match=message) as caught:
        ptb.fetch(data_folder=data, url=offline, sha256=digest(archive), published=pinned)
    assert str(data / "ptb.zip") in str(caught.value)
    assert tree(data) == {"ptb.zip": archive}


def texts_or_error(archive, *, pinned):
    """The texts of an archive, or None where it is refused in the documented way."""
    try:
        return read_members(archive, MEMBERS, where="ptb.zip", pinned=pinned)
    except DataError:
        return None


@pytest.mark.parametrize("pinned", [True, False])
def test_a_truncated_archive_is_refused(pinned):
    for at in range(len(ARCHIVE)):
        assert texts_or_error(ARCHIVE[:at], pinned=pinned) is None


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("archive", [ARCHIVE, REPACKED], ids=["deflated", "stored"])
def test_a_flipped_bit_is_refused_or_harmless(archive, pinned):
    refused = 0
    for at in range(len(archive)):
        flipped = bytearray(archive)
        flipped[at] ^= 1 << at % 8
        texts = texts_or_error(bytes(flipped), pinned=pinned)
        assert texts in (None, tuple(TEXTS.values()))
        refused += texts is None
    assert refused > len(archive) / 2


def test_other_members_are_never_written(data, offline):
    strangers = ("../evil", "/evil", "ptb\\evil", "C:evil", "ptb/evil\0x")
    archive = pack([*((name, b"x") for name in strangers), *PAIRS])
    with Server(server.good(archive)) as mirror:
        fetch(data, offline, url=mirror.url)
    assert tree(data.parent) == {f"data/{name}": text for name, text in COMPLETE.items()} | {
        "data/ptb.zip": archive
    }


def test_a_data_folder_that_is_a_file(tmp_path, web):
    (tmp_path / "data").write_text("mine")
    with pytest.raises(StorageError, match="cannot write"):
        fetch(tmp_path / "data", web.url)
    assert web.requests == []


def test_a_data_folder_that_is_a_dangling_link(tmp_path, web):
    (tmp_path / "data").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="cannot write"):
        fetch(tmp_path / "data", web.url)
    assert web.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_data_folder(data, web, offline):
    data.mkdir(mode=0o555)
    with pytest.raises(StorageError, match="cannot write"):
        fetch(data, web.url)
    data.chmod(0o755)
    fetch(data, web.url)
    data.chmod(0o555)
    fetch(data, offline)


def test_no_text_is_written_before_all_are_read(data, offline):
    put(data, {"ptb.zip": pack(TEXTS | {TEST: b"damaged"})})
    with pytest.raises(W2VError):
        fetch(data, offline, url=offline)
    assert not (data / TRAIN).exists()


STRAYS = {f"ptb/{TEMP_PREFIX}abc": b"half", f"ptb/{TEMP_PREFIX}def.zip": b"half"}


def test_what_a_killed_process_left_is_cleared(data, web):
    put(data, STRAYS | {TRAIN: TEXTS[TRAIN]})
    fetch(data, web.url)
    assert tree(data) == COMPLETE


def test_what_a_killed_process_left_beside_good_texts_is_cleared(data, offline):
    put(data, COMPLETE | STRAYS)
    (data / TEST).unlink()  # which nobody reads
    fetch(data, offline)
    assert tree(data) == {name: content for name, content in COMPLETE.items() if name != TEST}


def test_where_locks_do_not_hold_nothing_is_cleared(data, web, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    put(data, STRAYS)
    fetch(data, web.url)
    assert tree(data) == COMPLETE | STRAYS


def test_where_there_are_no_locks_nothing_is_cleared(data, web, monkeypatch):
    def refuse(*_):
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    put(data, STRAYS)
    fetch(data, web.url)
    assert tree(data) == COMPLETE | STRAYS


def start(data, url, *, prelude=""):
    """Starts a process of its own that fetches."""
    code = f"""
{prelude}
from pathlib import Path
from w2v.archive import Member
from w2v.sources.ptb import Published, fetch
fetch(data_folder=Path({str(data)!r}), published={published(url)!r})
"""
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.parametrize(
    "prelude", ["", "import fcntl\nfcntl.flock = lambda *_: None"], ids=["locks", "no locks"]
)
def test_processes_that_start_at_once(data, web, prelude):
    processes = [start(data, web.url, prelude=prelude) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert tree(data) == COMPLETE
    assert len(web.requests) == 1 or prelude


def test_a_kill_in_the_middle_of_a_download(data):
    half = server.head(200, Content_Length=len(ARCHIVE)) + ARCHIVE[:100]
    with Server(server.stall(half), server.good(ARCHIVE)) as web:
        process = start(data, web.url)
        while not web.requests:
            assert process.poll() is None
            time.sleep(0.01)
        assert [path.name.startswith(TEMP_PREFIX) for path in data.glob("ptb/*")] == [True]
        process.kill()
        process.wait(timeout=10)
        assert not (data / "ptb.zip").exists()
        fetch(data, web.url)
    assert tree(data) == COMPLETE


@pytest.fixture
def real_archive():
    folder = os.environ.get("W2V_TEST_DATA")
    if folder is None:
        pytest.skip("W2V_TEST_DATA does not name a folder with ptb.zip")
    return (Path(folder) / "ptb.zip").read_bytes()


def test_the_published_archive(data, offline, real_archive):
    assert len(real_archive) == ptb.PUBLISHED.size
    with Server(server.good(real_archive)) as mirror:
        source = ptb.fetch(
            data_folder=data, url=mirror.url, sha256=ptb.PUBLISHED.sha256, patience=FAST
        )
    assert sha256(data / "ptb.zip") == ptb.PUBLISHED.sha256
    for member in ptb.PUBLISHED.members():
        path = data / member.name
        assert (path.stat().st_size, sha256(path)) == (member.size, member.sha256)
    assert source.train[0].read_bytes().count(b"\n") == 42_068
    (data / "ptb.zip").unlink()
    assert ptb.fetch(data_folder=data, url=offline, patience=FAST) == source


def test_the_command(tmp_path, monkeypatch, real_archive):
    (tmp_path / "ptb.zip").write_bytes(real_archive)
    (tmp_path / "mine.yaml").write_text("corpus: {name: ptb}\n")
    monkeypatch.setenv("W2V_DATA", str(tmp_path))
    result = CliRunner().invoke(corpus_app, ["fetch", "-c", str(tmp_path / "mine.yaml")])
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / TRAIN}\n{tmp_path / VALID}\n"
