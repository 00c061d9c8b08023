"""A text is counted and encoded in segments of any size, and gone on with after any end."""

import errno
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2v import building, counting, segments, tokens
from w2v.ahead import THREAD_NAME
from w2v.corpus import prepare
from w2v.errors import DataError, StorageError
from w2v.files import TEMP_PREFIX
from w2v.flocks import alone
from w2v.folders import UNFINISHED
from w2v.leaving import undo_all
from w2v.sources import Source

SETTINGS = {
    "lowercase": False,
    "token_pattern": None,
    "heldout_every": None,
    "min_count": 1,
    "max_size": None,
}
TEXT = "".join(f"w{i % 7} w{i * i % 11} x{i}\n" for i in range(80))  # of 4 segments, see `small`
OTHER = "w1 y w3\n\nw2 x5"


@pytest.fixture
def small(monkeypatch):
    """Blocks of a few lines, two of them a segment."""
    set_sizes(monkeypatch)


@pytest.fixture
def no_fsync(monkeypatch):
    """Nothing waits for the disk, which takes the most of the time here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def set_sizes(patch, *, block=100, chars=150, tokens_=10**6, partitions=4):
    patch.setattr(building, "BLOCK_BYTES", block)
    patch.setattr(counting, "SEGMENT_CHARS", chars)
    patch.setattr(counting, "SEGMENT_TOKENS", tokens_)
    patch.setattr(segments, "PARTITIONS", partitions)


def source_of(folder, *, train, heldout=()):
    """The texts written to files."""
    paths = {"train": [], "heldout": []}
    for part, texts in (("train", train), ("heldout", heldout)):
        for i, text in enumerate([texts] if isinstance(texts, str) else texts):
            path = folder / f"{part}{i}.txt"
            path.write_bytes(text.encode())
            paths[part].append(path)
    return Source("text", tuple(paths["train"]), tuple(paths["heldout"]))


def prepared(source, folder, **changes):
    """The bytes of every file of the corpus, and nothing else lies beside it."""
    corpus = prepare(source, folder=folder, **{**SETTINGS, **changes})
    [found] = (folder / "corpora").iterdir()
    assert found.name == corpus.digest[:16]
    return contents(found)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def unfinished(folder):
    [place] = (folder / "corpora").glob(f"*{UNFINISHED}")
    return place


LINES = st.lists(
    st.lists(st.sampled_from([*"abcdefgh", "<unk>", "éé", "longer-than-twelve-bytes"]), max_size=6),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(
    LINES,
    LINES,
    st.integers(1, 60),
    st.integers(1, 80),
    st.integers(0, 9),
    st.integers(1, 5),
    st.sampled_from([None, 2, 3]),
    st.integers(1, 2),
    st.sampled_from([None, 1, 4]),
)
def test_any_segments_give_the_corpus_of_one(
    tmp_path_factory, lines, others, block, chars, tokens_, partitions, every, least, most
):
    folder = tmp_path_factory.mktemp("texts")
    half = len(lines) // 2
    texts = ["\n".join(map(" ".join, part)) for part in (lines[:half], lines[half:])]
    source = source_of(
        folder, train=texts, heldout=["\n".join(map(" ".join, others))] * (not every)
    )
    changes = {"heldout_every": every, "min_count": least, "max_size": most}
    results = []
    for name, sizes in (
        ("whole", {"chars": 10**9}),
        ("parts", {"block": block, "chars": chars, "tokens_": tokens_, "partitions": partitions}),
    ):
        with pytest.MonkeyPatch.context() as patch:
            set_sizes(patch, **sizes)
            patch.setattr(counting, "words_with_room", lambda most: most)
            patch.setattr(os, "fsync", lambda _: None)  # which takes the most of the time
            try:
                results.append(prepared(source, folder / name, **changes))
            except DataError as error:
                results.append(str(error))
    assert results[0] == results[1]


def test_many_segments_equal_counter_and_split(tmp_path, no_fsync, small):
    source = source_of(tmp_path, train=[TEXT, OTHER], heldout=OTHER)
    corpus = prepare(source, folder=tmp_path, **{**SETTINGS, "min_count": 2, "max_size": 9})
    counts = Counter((TEXT + OTHER).split())
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    kept = [word for word in ranked if counts[word] >= 2][:9]
    assert corpus.vocab.words == ("<unk>", *kept)
    unknown = counts.total() - sum(counts[word] for word in kept)
    assert corpus.vocab.counts_V.tolist() == [unknown, *(counts[word] for word in kept)]
    assert corpus.dropped.words == tuple(word for word in ranked if word not in kept)
    assert corpus.spectrum_X2.tolist() == [
        list(pair) for pair in sorted(Counter(counts.values()).items())
    ]
    ids = {word: i for i, word in enumerate(corpus.vocab.words)}
    for part, text in ((corpus.train, TEXT + OTHER), (corpus.heldout, OTHER)):
        bounds = pairwise(part.offsets_S[:].tolist())
        assert [part.ids_N[start:end].tolist() for start, end in bounds] == [
            [ids[word] for word in line.split() if word in ids] for line in text.split("\n")
        ]


def spied_segments(monkeypatch):
    """The lines of each segment that is counted from now on."""
    counted = []
    real = counting.Count.read

    def read(self, *args, **kwargs):
        real(self, *args, **kwargs)
        counted.append(self.train.num_lines + self.heldout.num_lines)

    monkeypatch.setattr(counting.Count, "read", read)
    return counted


def test_a_text_is_cut_where_the_budget_says(tmp_path, no_fsync, monkeypatch):
    counted = spied_segments(monkeypatch)
    source = source_of(tmp_path, train=TEXT)
    set_sizes(monkeypatch, block=100, chars=150)
    prepared(source, tmp_path / "chars")
    by_chars = counted.copy()
    assert len(by_chars) >= 3
    assert sum(by_chars) == 80
    counted.clear()
    set_sizes(monkeypatch, block=20, chars=10**9, tokens_=20)
    monkeypatch.setattr(tokens, "THREADS", 1)
    prepared(source, tmp_path / "tokens")
    assert len(counted) >= 2
    assert sum(counted) == 80
    counted.clear()
    set_sizes(monkeypatch, chars=10**9)
    prepared(source, tmp_path / "one")
    assert counted == [80]


def test_a_line_longer_than_a_segment_is_not_cut(tmp_path, small):
    source = source_of(tmp_path, train="a b\n" + "c d " * 500 + "\na b\n")
    corpus = prepare(source, folder=tmp_path, **SETTINGS)
    assert np.diff(corpus.train.offsets_S[:]).tolist() == [2, 1000, 2]


# --- gone on with ---------------------------------------------------------------------------


class Cut(BaseException):
    """What no code of ours catches."""


@contextmanager
def each_change(monkeypatch, hook, *, names=("fsync", "replace", "rename", "unlink")):
    """Calls a hook before each fsync, rename and removal of a file."""
    with monkeypatch.context() as patch:
        for name in names:
            real = getattr(os, name)

            def call(*args, real=real, **kwargs):
                hook()
                return real(*args, **kwargs)

            patch.setattr(os, name, call)
        yield


@pytest.fixture(params=[23, pytest.param(1, marks=pytest.mark.slow)])
def stride(request):
    """Each so-manieth moment is tried."""
    return request.param


@pytest.mark.parametrize("changes", [{}, {"heldout_every": 3, "min_count": 2, "max_size": 5}])
def test_what_a_kill_leaves_at_any_moment_is_gone_on_with(
    tmp_path, small, no_fsync, monkeypatch, changes, stride
):
    source = source_of(tmp_path, train=TEXT, heldout=() if changes else OTHER)
    states = []

    def photograph():
        state = tmp_path / "states" / str(len(states))
        shutil.copytree(tmp_path / "whole" / "corpora", state / "corpora")
        states.append(state)

    (tmp_path / "whole" / "corpora").mkdir(parents=True)
    with each_change(monkeypatch, photograph):
        expected = prepared(source, tmp_path / "whole", **changes)
    counted = spied_segments(monkeypatch)
    num_lines = 80 if changes else 83
    last = num_lines
    for state in states[::-stride][::-1]:
        counted.clear()
        keeps = any(path.name != "corpus.json" for path in state.rglob("*.json"))
        assert prepared(source, state, **changes) == expected
        if keeps:
            assert sum(counted) <= last
            last = sum(counted)
        else:
            assert sum(counted) in (num_lines, 0)
    assert len(states) > 80
    assert last == 0


@pytest.mark.parametrize("error", [Cut(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_fails_at_any_moment_is_gone_on_with(
    tmp_path, small, no_fsync, monkeypatch, error, stride
):
    source = source_of(tmp_path, train=TEXT)
    expected = prepared(source, tmp_path / "whole")
    full = isinstance(error, OSError)
    kept, moments = 0, iter(range(0, 10_000, stride))

    def fail_later():
        nonlocal left
        left -= 1
        if left == -1 or (full and left < 0):
            raise error

    while True:
        left = next(moments)
        folder, problem = tmp_path / str(left), None
        with each_change(monkeypatch, fail_later, names=("fsync", "replace", "rename")):
            try:
                prepared(source, folder)
                break
            except (Cut, StorageError) as raised:
                problem = raised
        places = [path for path in folder.glob("corpora/*") if any(path.iterdir())]
        kept += bool(places)
        if full:
            assert "cannot write" in str(problem)
            hints = [f"kept in {place}: start again to go on with them" for place in places]
            if not re.search(r"/(corpus\.json|[0-9a-f]{16}):", str(problem)):  # all is built
                assert str(problem.hint).endswith(hints[0] if hints else "None")
        assert prepared(source, folder) == expected
    assert kept >= 2


def interrupted(source, folder, monkeypatch, *, after, **changes):
    """A build that ends after so many segments are recorded and encoded, all told."""
    real, done = segments.write_signed, []

    def write_signed(*args):
        if len(done) == after:
            raise Cut
        done.append(args)
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr("w2v.segments.write_signed", write_signed)
        patch.setattr("w2v.encoding.write_signed", write_signed)
        with pytest.raises(Cut):
            prepared(source, folder, **changes)


def test_a_counted_segment_is_not_read_again(tmp_path, no_fsync, small, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    source = source_of(tmp_path, train=TEXT)
    expected = prepared(source, tmp_path / "whole")
    assert "going on" not in caplog.text
    counted = spied_segments(monkeypatch)
    interrupted(source, tmp_path, monkeypatch, after=2)
    assert not list(tmp_path.rglob(f"{TEMP_PREFIX}*"))
    first_two = sum(counted[:2])
    counted.clear()
    place = unfinished(tmp_path)
    assert prepared(source, tmp_path) == expected
    assert sum(counted) == 80 - first_two
    assert f"going on with the corpus in {place}: 2 segments ({first_two} lines)" in caplog.text


def test_an_encoded_segment_is_not_encoded_again(tmp_path, no_fsync, small, monkeypatch):
    source = source_of(tmp_path, train=TEXT)
    counted = spied_segments(monkeypatch)
    expected = prepared(source, tmp_path / "whole")
    number = len(counted)
    counted.clear()
    interrupted(source, tmp_path, monkeypatch, after=number + 1 + 2)
    assert len(list(unfinished(tmp_path).glob("*.train"))) == number - 2
    counted.clear()
    encoded = []
    real = segments.Segment.numbers
    monkeypatch.setattr(
        segments.Segment, "numbers", lambda self, part: encoded.append(part) or real(self, part)
    )
    assert prepared(source, tmp_path) == expected
    assert counted == []
    assert encoded == ["train", "heldout"] * (number - 2)


@pytest.mark.parametrize("after", [3, 7])
def test_a_flipped_byte_is_found_in_every_file(tmp_path, small, no_fsync, monkeypatch, after):
    source = source_of(tmp_path, train=TEXT, heldout=OTHER)
    expected = prepared(source, tmp_path / "whole")
    interrupted(source, tmp_path / "left", monkeypatch, after=after)
    place = unfinished(tmp_path / "left")
    names = sorted(contents(place))
    assert len(names) >= 10
    for name in names:
        folder = tmp_path / name
        shutil.copytree(tmp_path / "left", folder)
        path = unfinished(folder) / name
        data = path.read_bytes() or b"\1"
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        assert prepared(source, folder) == expected


def test_another_vocabulary_of_the_same_text_goes_on(
    tmp_path, no_fsync, small, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    source = source_of(tmp_path, train=TEXT)
    with pytest.raises(DataError, match="keeps 0 of"):
        prepared(source, tmp_path, min_count=1000)
    counted = spied_segments(monkeypatch)
    prepared(source, tmp_path, min_count=2)
    assert counted == []
    assert "going on" in caplog.text


def test_another_text_or_rule_does_not(tmp_path, no_fsync, small, monkeypatch):
    source = source_of(tmp_path, train=TEXT)
    for changes in ({"lowercase": True}, {"heldout_every": 2}, {"token_pattern": "[a-z]+"}):
        interrupted(source, tmp_path, monkeypatch, after=2)
        place = unfinished(tmp_path)
        expected = prepared(source, tmp_path / "whole", **changes)
        corpus = prepare(source, folder=tmp_path, **{**SETTINGS, **changes})
        assert contents(tmp_path / "corpora" / corpus.digest[:16]) == expected
        assert place.exists()
        shutil.rmtree(tmp_path / "corpora")
        shutil.rmtree(tmp_path / "whole")


@pytest.mark.parametrize("bad", [b"\xff", None])
def test_nothing_is_kept_of_a_text_that_is_no_good(tmp_path, small, monkeypatch, bad):
    source = source_of(tmp_path, train=TEXT)
    if bad:
        source.train[0].write_bytes(TEXT.encode() + bad)
    else:
        real = segments.write_signed

        def write_signed(path, content):
            real(path, content)
            if path.name == "000001.json":
                source.train[0].write_text("another\n")

        monkeypatch.setattr("w2v.segments.write_signed", write_signed)
    with pytest.raises(DataError):
        prepared(source, tmp_path)
    assert list((tmp_path / "corpora").iterdir()) == []


def test_what_another_process_builds_is_left_alone(tmp_path, small, monkeypatch):
    source = source_of(tmp_path, train=TEXT)
    expected = prepared(source, tmp_path / "whole")
    interrupted(source, tmp_path, monkeypatch, after=2)
    place = unfinished(tmp_path)
    before = contents(place)
    with alone(place) as ours:
        assert ours
        corpus = prepare(source, folder=tmp_path, **SETTINGS)
    assert contents(place) == before
    assert contents(tmp_path / "corpora" / corpus.digest[:16]) == expected


@pytest.mark.parametrize("text", [TEXT, OTHER])  # of several segments, of one
def test_a_corpus_that_only_lacks_its_name_is_not_built_again(
    tmp_path, small, no_fsync, monkeypatch, caplog, text
):
    caplog.set_level(logging.INFO)
    source, states = source_of(tmp_path, train=text), []

    def rename(path, target, real=os.rename):
        states.append(
            shutil.copytree(tmp_path / "whole" / "corpora", tmp_path / "left" / "corpora")
        )
        real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        expected = prepared(source, tmp_path / "whole")
    assert len(states) == 1
    other = shutil.copytree(tmp_path / "left", tmp_path / "other")
    counted = spied_segments(monkeypatch)
    assert prepared(source, tmp_path / "left") == expected
    assert counted == []
    assert f"{UNFINISHED}: all of it is there" in caplog.text
    caplog.clear()
    assert prepared(source, other, max_size=2) != expected
    assert sum(counted) == len(text.splitlines())
    assert "damaged" not in caplog.text


def test_a_full_disk_under_the_first_segment_leaves_no_reader(tmp_path, small, monkeypatch):
    source = source_of(tmp_path, train=[TEXT, TEXT, TEXT])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tokens.TokenLog, "note", full)
    with pytest.raises(StorageError) as error:
        prepared(source, tmp_path)
    assert error.traceback  # holds the frames, and what is in them
    assert [thread for thread in threading.enumerate() if thread.name == THREAD_NAME] == []
    assert "0 segment" not in str(error.value.hint)


def test_what_is_encoded_in_full_is_not_told_as_no_segments(tmp_path, small, no_fsync, monkeypatch):
    source = source_of(tmp_path, train=TEXT)

    def fail(*_, **__):
        raise StorageError("the disk fails")

    with monkeypatch.context() as patch:
        patch.setattr(building, "_remove_others", fail_after(2, building._remove_others))
        with pytest.raises(StorageError):
            prepared(source, tmp_path)
    monkeypatch.setattr(building, "_encode", fail)
    with pytest.raises(StorageError) as error:
        prepared(source, tmp_path)
    assert "0 segment" not in str(error.value.hint)


def fail_after(times, real):
    """A function that fails from its so-manieth call on."""
    calls = []

    def call(*arguments):
        calls.append(arguments)
        if len(calls) >= times:
            raise StorageError("the disk fails")
        return real(*arguments)

    return call


@pytest.mark.parametrize("flock", [OSError("no locks here"), None])
def test_where_locks_do_not_hold_nothing_is_gone_on_with(
    tmp_path, no_fsync, small, monkeypatch, flock
):
    def without(*_arguments):
        if flock:
            raise flock

    source = source_of(tmp_path, train=TEXT)
    expected = prepared(source, tmp_path / "whole")
    interrupted(source, tmp_path, monkeypatch, after=2)
    monkeypatch.setattr("fcntl.flock", without)
    counted = spied_segments(monkeypatch)
    corpus = prepare(source, folder=tmp_path, **SETTINGS)
    assert contents(tmp_path / "corpora" / corpus.digest[:16]) == expected
    assert sum(counted) == 80


def test_a_signal_leaves_whole_segments_and_nothing_half_written(tmp_path, small, monkeypatch):
    source = source_of(tmp_path, train=TEXT)
    real, seen = counting.Count.read, []

    def read(self, *args, **kwargs):
        real(self, *args, **kwargs)
        seen.append(self)
        if len(seen) == 3:
            undo_all()  # as the handler of a signal does before it leaves
            raise Cut

    monkeypatch.setattr(counting.Count, "read", read)
    with pytest.raises(Cut):
        prepared(source, tmp_path)
    kinds = ("train", "heldout", "words", "counts", "json")
    assert sorted(contents(unfinished(tmp_path))) == sorted(
        f"00000{i}.{kind}" for i in range(2) for kind in kinds
    )


KILLED = f"""
from pathlib import Path
from w2v import building, counting
from w2v.corpus import prepare
from w2v.sources import Source
building.BLOCK_BYTES, counting.SEGMENT_CHARS = 2**16, 2**18
print("on", flush=True)
prepare(Source("text", (Path("text"),), ()), folder=Path("."), **{SETTINGS})
"""


@pytest.mark.slow
def test_kills_at_any_moment(tmp_path):
    rng = np.random.default_rng(0)
    words = rng.zipf(1.3, 600_000) % 200_000
    (tmp_path / "text").write_text(
        "".join(" ".join(map(str, row)) + "\n" for row in words.reshape(-1, 20))
    )
    expected = prepared(Source("text", (tmp_path / "text",), ()), tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole")
    killed, longest_s = 0, 2.0
    while killed < 30:
        with subprocess.Popen(
            [sys.executable, "-c", KILLED], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "on\n"
            time.sleep(rng.uniform(0, longest_s / 4))
            process.send_signal(signal.SIGKILL)
            process.wait()
        killed += process.returncode == -signal.SIGKILL
        if process.returncode == 0:
            [corpus] = (tmp_path / "corpora").iterdir()
            assert contents(corpus) == expected
            shutil.rmtree(tmp_path / "corpora")
    subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, check=True, capture_output=True)
    [corpus] = (tmp_path / "corpora").iterdir()
    assert contents(corpus) == expected


PEAK = f"""
import sys
from pathlib import Path
from w2v import counting
from w2v.corpus import prepare
from w2v.sources import Source
counting.SEGMENT_TOKENS = 100_000
settings = {SETTINGS | {"max_size": 1000}}
prepare(Source("text", (Path(sys.argv[1]),), ()), folder=Path("."), **settings)
status = Path("/proc/self/status").read_text()  # not ru_maxrss, which is inherited
print(status.partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_distinct_tokens(tmp_path):
    peaks = []
    for name, number in (("few", 300_000), ("many", 3_000_000)):
        with (tmp_path / name).open("w") as file:
            for start in range(0, number, 20):
                file.write(" ".join(f"token-number-{i}" for i in range(start, start + 20)) + "\n")
        done = subprocess.run(
            [sys.executable, "-c", PEAK, name],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout) // 1024)
    assert peaks[1] - peaks[0] < 100, peaks  # MiB; 3 million tokens held at once take 600
