import os
import sys
import threading
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v.errors import DataError, StorageError
from w2v.file_arrays import FileArray


def saved(folder, numbers, dtype):
    path = folder / "numbers.npy"
    np.save(path, np.asarray(numbers, dtype))
    return path


indices = st.one_of(st.none(), st.integers(-30, 30))
steps = st.one_of(st.none(), st.integers(-4, 4).filter(bool))


@given(
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20),
    st.sampled_from([np.int32, np.int64]),
    st.builds(slice, indices, indices, steps),
    st.integers(-25, 25),
)
def test_ints_and_slices_are_those_of_numpy(tmp_path_factory, numbers, dtype, part, place):
    path = saved(tmp_path_factory.mktemp("array"), numbers, dtype)
    mine, loaded = FileArray(path, dtype), np.load(path)
    assert (len(mine), mine.nbytes, mine.dtype) == (len(loaded), loaded.nbytes, loaded.dtype)
    found = mine[part]
    assert found.dtype == loaded.dtype
    assert found.tolist() == loaded[part].tolist()
    if -len(numbers) <= place < len(numbers):
        assert mine[place] == loaded[place]
        assert type(mine[place]) is type(loaded[place])
    else:
        with pytest.raises(IndexError):
            mine[place]


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(-1, 51))
def test_it_can_be_searched(tmp_path_factory, numbers, wanted):
    path = saved(tmp_path_factory.mktemp("array"), sorted(numbers), np.int64)
    assert bisect_right(FileArray(path, np.int64), wanted) == bisect_right(sorted(numbers), wanted)


def test_a_slice_is_an_array_of_its_own(tmp_path):
    mine = FileArray(saved(tmp_path, range(10), np.int32), np.int32)
    part = mine[2:6]
    part[:] = 0
    assert part.flags.c_contiguous
    assert mine[2:6].tolist() == [2, 3, 4, 5]


def test_numpy_does_not_take_all_of_it_unasked(tmp_path):
    mine = FileArray(saved(tmp_path, range(10), np.int64), np.int64)
    for function in (np.diff, np.asarray, np.sum):
        with pytest.raises(TypeError, match=r"numbers\.npy is not in memory: array\[:\] reads all"):
            function(mine)
    assert np.diff(mine[:]).tolist() == [1] * 9


def test_threads_share_it(tmp_path):
    mine, wrong = FileArray(saved(tmp_path, range(1000), np.int64), np.int64), []

    def read():
        for start in range(0, 990, 7):
            if mine[start : start + 10].tolist() != list(range(start, start + 10)):
                wrong.append(start)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(sys.platform == "win32", reason="no processes are forked there")
def test_reading_moves_nothing_that_a_forked_process_shares(tmp_path):
    mine = FileArray(saved(tmp_path, range(10), np.int64), np.int64)
    place = os.lseek(mine._file.fileno(), 0, os.SEEK_CUR)
    assert mine[7:].tolist() == [7, 8, 9]
    assert os.lseek(mine._file.fileno(), 0, os.SEEK_CUR) == place


def grow(path):
    with path.open("ab") as file:
        file.write(b"1234")


def cut_short(path):
    os.truncate(path, path.stat().st_size - 4)


def write_over(path):
    at, stat = path.stat().st_size - 4, path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff\xff\xff\xff")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # the clock may not have ticked


@pytest.mark.parametrize("change", [grow, cut_short, write_over])
def test_a_file_that_changes_while_it_is_open(tmp_path, change):
    path = saved(tmp_path, range(1000), np.int32)
    mine = FileArray(path, np.int32)
    change(path)
    for index in (slice(0, 1000), 999, slice(0, 5)):
        with pytest.raises(DataError, match=r"numbers\.npy: changed or cut short") as error:
            mine[index]
    assert "\n" not in str(error.value)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_file_that_is_removed_or_replaced_is_still_read(tmp_path):
    path = saved(tmp_path, range(10), np.int32)
    mine = FileArray(path, np.int32)
    path.rename(tmp_path / "old.npy").unlink()
    saved(tmp_path, [7] * 10, np.int32)
    assert mine[:].tolist() == list(range(10))


def test_a_disk_that_fails(tmp_path, monkeypatch):
    mine = FileArray(saved(tmp_path, range(10), np.int32), np.int32)

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(StorageError, match=r"cannot read .*numbers\.npy: Input/output error"):
        mine[:]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none\.npy: No such file"):
        FileArray(tmp_path / "none.npy", np.int32)


def test_the_file_is_closed_when_nobody_has_the_array(tmp_path):
    mine = FileArray(saved(tmp_path, range(10), np.int32), np.int32)
    handle = mine._file.fileno()
    del mine
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)


@pytest.mark.parametrize(
    ("numbers", "complaint"),
    [
        (np.arange(4, dtype=np.int64), "expected a .npy file of <i4 numbers"),
        (np.arange(4, dtype=">i4"), "expected a .npy file of <i4 numbers"),
        (np.zeros((2, 2), np.int32), "in one dimension; found"),
        (np.array(3, np.int32), "in one dimension; found"),
        (np.array([None, {}], object), "expected a .npy file"),
    ],
)
def test_arrays_of_another_kind(tmp_path, numbers, complaint):
    np.save(tmp_path / "a.npy", numbers)
    with pytest.raises(DataError, match=complaint):
        FileArray(tmp_path / "a.npy", np.int32)


def test_every_flip_and_every_cut_of_the_header_is_refused_or_harmless(tmp_path):
    path = saved(tmp_path, range(3), np.int32)
    good = path.read_bytes()
    for at in range(128):
        for damaged in (good[:at], good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]):
            path.write_bytes(damaged)
            try:
                found = FileArray(path, np.int32)[:].tolist()
            except DataError:
                continue
            assert found == [0, 1, 2]
    for wrong in (good[:-1], good + b"\0"):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=r"3 numbers by its header, but 1[13] bytes"):
            FileArray(path, np.int32)
