"""The text as spans: views on a CPU, resident or streamed elsewhere."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from w2v import feed
from w2v.feed import Feed
from w2v.file_arrays import FileArray
from w2v.sentences import Sentences

CPU = torch.device("cpu")


def sentences_of(*lengths):
    offsets_S = np.array([0, *np.cumsum(lengths)], np.int64)
    return Sentences(np.arange(1, offsets_S[-1] + 1, dtype=np.int32), offsets_S)


def feed_of(sentences, **options):
    keep_prob_V = np.ones(len(sentences.ids_N) + 1, np.float32)
    return Feed(sentences, keep_prob_V=keep_prob_V, device=CPU, **options)


def told(text):
    return text.ids_N.tolist(), text.offsets_S.tolist()


SENTENCES = sentences_of(3, 0, 4, 9, 1, 1, 2, 0, 0)


@pytest.mark.parametrize("resident", [None, True, False])
def test_spans_are_the_same_wherever_the_text_lies(resident):
    mine = feed_of(SENTENCES, max_words=7, resident=resident)
    assert mine.cuts == [(0, 7), (7, 14), (14, 20)]
    order = [2, 0, 0, 1, 2, 1, 0]  # streamed: both stages are filled again and again
    expected = [
        ([1, 2, 3, 4, 5, 6, 7], [0, 3, 3, 7]),
        ([8, 9, 10, 11, 12, 13, 14], [0, 0, 7]),
        ([15, 16, 17, 18, 19, 20], [0, 2, 3, 4, 6]),
    ]
    for number in order:
        ids, offsets = told(mine[number])
        assert ids == expected[number][0]
        assert sorted(set(offsets)) == sorted({*expected[number][1], 0})


def test_a_span_on_a_cpu_is_a_view_and_has_no_room_of_its_own():
    text = feed_of(SENTENCES, max_words=7)[0]
    assert text.ids_N.data_ptr() == SENTENCES.ids_N.ctypes.data
    assert text.room is None


def test_a_streamed_span_stays_while_the_next_one_comes():
    mine = feed_of(SENTENCES, max_words=7, resident=False)
    first = mine[0]
    mine[1], mine[2]
    assert told(first)[0] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("free", "resident"), [(4 * 80, True), (4 * 80 - 4, False), (None, True)])
def test_a_text_stays_on_the_device_if_it_takes_a_quarter_of_what_is_free(
    free, resident, monkeypatch
):
    monkeypatch.setattr(feed, "free_bytes", lambda _: free)  # the 20 ids take 80 bytes
    meta = torch.device("meta")
    mine = Feed(SENTENCES, max_words=7, keep_prob_V=np.ones(21, np.float32), device=meta)
    texts = [mine[number] for number in (0, 1, 0)]
    assert {text.ids_N.device for text in texts} == {meta}
    assert (texts[0].ids_N is texts[2].ids_N) == resident


def test_an_empty_text_has_no_spans():
    for resident in (None, True, False):
        assert feed_of(sentences_of(), max_words=7, resident=resident).cuts == []


def file_arrays(folder, sentences):
    """The same sentences in files."""
    columns = []
    for name, column in (("ids", sentences.ids_N), ("offsets", sentences.offsets_S)):
        np.save(folder / f"{name}.npy", column)
        columns.append(FileArray(folder / f"{name}.npy", column.dtype.type))
    return Sentences(*columns)


@pytest.mark.parametrize("resident", [None, True, False])
def test_a_text_in_files_gives_the_same_spans(tmp_path, resident):
    there = feed_of(file_arrays(tmp_path, SENTENCES), max_words=7, resident=resident)
    here = feed_of(SENTENCES, max_words=7)
    assert there.cuts == here.cuts
    for number in (2, 0, 0, 1, 2, 1, 0):
        text = there[number]
        assert told(text) == told(here[number])
        assert (text.ids_N.dtype, text.offsets_S.dtype) == (torch.int32, torch.int64)


ITERATE = """
import sys
from pathlib import Path
import numpy as np
import torch
from w2v.feed import Feed
from w2v.file_arrays import FileArray
from w2v.sentences import Sentences

def peak_kib():  # not ru_maxrss: a new process inherits that of its parent
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

ids, offsets = sys.argv[1:]
text = Sentences(FileArray(Path(ids), np.int32), FileArray(Path(offsets), np.int64))
before, words, ends = peak_kib(), 0, 0
feed = Feed(text, max_words=2**20, keep_prob_V=np.ones(1, np.float32), device=torch.device("cpu"))
for number in range(len(feed.cuts)):
    text = feed[number]
    words += len(text.ids_N)
    ends += int(text.offsets_S[-1]) + int(text.ids_N.numpy().max())
print(words, ends, peak_kib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_text(tmp_path):
    num_words, ids, offsets = 10**8, tmp_path / "ids.npy", tmp_path / "offsets.npy"
    header = {"descr": "<i4", "fortran_order": False, "shape": (num_words,)}
    with ids.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 4 * num_words)  # zeros, which take no room on the disk
    np.save(offsets, np.arange(0, num_words + 1, 20))
    done = subprocess.run(
        [sys.executable, "-c", ITERATE, ids, offsets], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    words, ends, grown_kib = map(int, done.stdout.split())
    assert words == ends == num_words
    assert grown_kib < 60 * 1024
