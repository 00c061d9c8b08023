import bz2
import gzip
import lzma
import os
import stat
import threading

import pytest

from w2v import sources
from w2v.ahead import THREAD_NAME
from w2v.config import CorpusSection
from w2v.errors import ConfigError, DataError, StorageError
from w2v.sources import Source, data_folder, open_source, read_texts, text, unreadable

COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("some words\n")


def found(folder, *paths):
    """What `find` takes, relative to `folder`."""
    source = text.find([str(folder / path) for path in paths])
    assert (source.name, source.heldout) == ("text", ())
    return [path.relative_to(folder).as_posix() for path in source.train]


def read(*paths, block_bytes=1000):
    return list(read_texts(paths, block_bytes=block_bytes))


def test_a_file_of_any_name(tmp_path):
    touch(tmp_path, "corpus", "b.log")
    assert found(tmp_path, "b.log", "corpus") == ["b.log", "corpus"]
    assert text.find(str(tmp_path / "corpus")).train == (tmp_path / "corpus",)


def test_a_folder_is_searched_in_order_for_text_files(tmp_path):
    touch(tmp_path, "d/b.txt", "d/a.txt", "d/sub/c.txt.gz", "d/x.txt.bz2", "d/y.txt.xz")
    touch(tmp_path, "d/image.png", "d/z.gz", "other.txt")
    (tmp_path / "d" / "folder.txt").mkdir()
    wanted = ["d/a.txt", "d/b.txt", "d/sub/c.txt.gz", "d/x.txt.bz2", "d/y.txt.xz"]
    assert found(tmp_path, "d") == wanted


def test_globs(tmp_path):
    touch(tmp_path, "b/2.log", "a/1.log", "a/deep/3.log", "a/n.txt")
    assert found(tmp_path, "*/*.log") == ["a/1.log", "b/2.log"]
    assert found(tmp_path, "**/*.log") == ["a/1.log", "a/deep/3.log", "b/2.log"]
    assert found(tmp_path, "a*") == ["a/n.txt"]


def test_relative_paths_and_globs(tmp_path, monkeypatch):
    touch(tmp_path, "a.txt", "b.txt")
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in text.find("*.txt").train] == ["a.txt", "b.txt"]


def test_a_home_folder(tmp_path, monkeypatch):
    touch(tmp_path, "a.txt")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert text.find("~/a.txt").train == (tmp_path / "a.txt",)


def test_a_file_whose_name_looks_like_a_glob(tmp_path):
    touch(tmp_path, "a[1].txt", "a1.txt")
    assert found(tmp_path, "a[1].txt") == ["a[1].txt"]


def test_a_file_named_twice_is_read_once(tmp_path):
    touch(tmp_path, "d/a.txt", "d/b.txt")
    assert found(tmp_path, "d/b.txt", "d", "d/*.txt") == ["d/b.txt", "d/a.txt"]


def test_what_cannot_be_found(tmp_path):
    touch(tmp_path, "d/a.bin")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for path, message in [
        ("missing.txt", "corpus.path: no such file or folder: .*missing.txt"),
        ("dangling", "corpus.path: no such file or folder: .*dangling"),
        ("*.text", r"corpus.path: no file matches .*\*.text"),
        ("d", "corpus.path: no text in .*/d"),
        ("a**.txt", r"corpus.path: .*a\*\*.txt is no glob|no file matches"),
    ]:
        with pytest.raises(DataError, match=message):
            text.find(str(tmp_path / path))


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DataError, match=r"pipe\.txt is neither a file nor a folder"):
        text.find(str(tmp_path / "pipe.txt"))
    with pytest.raises(DataError, match="no text in"):
        text.find(str(tmp_path))


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(folder, onerror):
        onerror(PermissionError(13, "Permission denied"))
        return iter(())

    monkeypatch.setattr(text.os, "walk", refuse)
    with pytest.raises(StorageError, match=r"cannot read .*: Permission denied"):
        text.find(str(tmp_path))


@pytest.mark.parametrize("block_bytes", range(1, 20))
def test_pieces_are_whole_lines_whatever_the_block(tmp_path, block_bytes):
    whole = "é\u2028ü a\n\n\U0001f600 long line of text\r\nend"
    (tmp_path / "a.txt").write_bytes(whole.encode())
    pieces = read(tmp_path / "a.txt", block_bytes=block_bytes)
    assert "".join(pieces) == whole
    assert all(piece.endswith("\n") for piece in pieces[:-1])


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_equals_plain(tmp_path, suffix):
    lines = "".join(f"line {i}\n" for i in range(5000))
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](lines.encode()))
    assert "".join(read(path)) == lines


@pytest.mark.parametrize("suffix", COMPRESS)
def test_damaged_compression(tmp_path, suffix):
    data = COMPRESS[suffix](bytes(range(32, 127)) * 50)
    path = tmp_path / f"a.txt{suffix}"
    for damaged in (data[:-9], b"no such format at all", data[:20] + b"\0" * 20 + data[40:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.txt\.\w+: damaged: "):
            read(path)


def test_a_byte_order_mark_is_dropped_at_the_start_of_each_file(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes("\ufeffword \ufeffword\n".encode())
    assert read(tmp_path / "a.txt", tmp_path / "b.txt") == ["word \ufeffword\n"] * 2


@pytest.mark.parametrize("block_bytes", [1, 7, 1000])
@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"\xff", "line 1, byte 1"),
        (b"ab\xff", "line 1, byte 3"),
        (b"a\nb\n\xc3\xa9\xe9\n", "line 3, byte 3"),
        (b"a\ncut \xe2\x82", "line 2, byte 5"),
        (b"a\n\xed\xa0\x80\n", "line 2, byte 1"),
        (b"\xff\xfea\0\n\0", "line 1, byte 1"),
    ],
)
def test_what_is_not_utf8_is_told_by_line_and_byte(tmp_path, data, place, block_bytes):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.txt: {place}: not UTF-8") as error:
        read(tmp_path / "a.txt", block_bytes=block_bytes)
    assert "iconv" in error.value.hint


def test_a_line_past_the_limit_is_refused_not_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 1000)
    (tmp_path / "a.txt").write_text("a " * 501)
    with pytest.raises(DataError, match="a line of more than 1,000 bytes"):
        read(tmp_path / "a.txt", block_bytes=10)
    (tmp_path / "a.txt").write_text("a " * 500)
    assert read(tmp_path / "a.txt", block_bytes=10) == ["a " * 500]


def test_empty_files_hold_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"")
    assert read(tmp_path / "a.txt") == []


def test_missing_is_bad_input_and_forbidden_is_storage(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*missing.*: No such file"):
        read(tmp_path / "missing")
    error = unreadable(tmp_path, PermissionError(13, "Permission denied"))
    assert isinstance(error, StorageError)
    assert str(error) == f"cannot read {tmp_path}: Permission denied"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path):
    touch(tmp_path, "a.txt")
    (tmp_path / "a.txt").chmod(stat.S_IWUSR)
    with pytest.raises(StorageError, match=r"cannot read .*: Permission denied"):
        read(tmp_path / "a.txt")


def test_data_folder_is_named_by_the_environment(monkeypatch):
    monkeypatch.setenv("W2V_DATA", "/some/where")
    assert str(data_folder()) == "/some/where"
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("W2V_DATA")
        else:
            monkeypatch.setenv("W2V_DATA", unset)
        assert str(data_folder()) == "data"


def mixed_files(folder, *, number=12):
    """Files of every kind, and what they hold."""
    files, texts = [], []
    for i in range(number):
        suffix = ("", *COMPRESS)[i % 4]
        texts.append("".join(f"file {i} line {j}\n" for j in range(i * 7 % 30)) + f"end {i}")
        data = texts[-1].encode()
        files.append(folder / f"f{i}.txt{suffix}")
        files[-1].write_bytes(COMPRESS[suffix](data) if suffix else data)
    return files, texts


def readers():
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


@pytest.mark.parametrize("cores", [1, 2, 5, 40])
def test_many_files_of_every_kind_are_read_in_their_order(tmp_path, cores, monkeypatch):
    monkeypatch.setattr(sources, "workers", lambda: cores)
    files, texts = mixed_files(tmp_path)
    assert read(*files, block_bytes=50) == [
        piece for path in files for piece in read(path, block_bytes=50)
    ]
    assert "".join(read(*files, block_bytes=10**6)) == "".join(texts)
    assert not readers()


def test_a_damaged_file_is_told_when_its_turn_comes(tmp_path):
    files, texts = mixed_files(tmp_path)
    files[2].write_bytes(files[2].read_bytes()[:-9])
    files[5].write_bytes(b"damaged too, but later")
    found = []
    with pytest.raises(DataError, match=r"f2\.txt\.bz2: damaged: "):
        found.extend(read_texts(files, block_bytes=10**6))
    assert "".join(found) == "".join(texts[:2])
    assert not readers()


def test_who_stops_reading_early_leaves_no_thread(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"some words of a line\n" * 50_000))
    texts = read_texts([path, path, path], block_bytes=1000)
    assert next(texts).startswith("some words")
    assert readers()
    texts.close()
    assert not readers()


def test_a_great_machine_reads_no_more_than_a_dozen_files_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("w2v.cores.usable_cores", lambda: 64)
    touch(tmp_path, *(f"{i}.txt" for i in range(20)))
    texts = read_texts(sorted(tmp_path.glob("*.txt")), block_bytes=1000)
    next(texts)
    assert len(readers()) == 12
    assert len(list(texts)) == 19


def test_one_plain_file_needs_no_thread(tmp_path):
    touch(tmp_path, "a.txt")
    texts = read_texts([tmp_path / "a.txt"], block_bytes=4)
    next(texts)
    assert not readers()


def test_open_source_of_a_text(tmp_path):
    touch(tmp_path, "a.txt")
    section = CorpusSection(name="text", path=str(tmp_path / "a.txt"))
    source = open_source(section, data_folder=tmp_path)
    assert source == Source("text", (tmp_path / "a.txt",), ())
    with pytest.raises(ConfigError, match=r"corpus.name=text needs corpus.path"):
        open_source(CorpusSection(name="text"), data_folder=tmp_path)
    with pytest.raises(ConfigError, match=r"corpus.name=encoded: some is encoded"):
        open_source(CorpusSection(name="encoded", path="some"), data_folder=tmp_path)
