"""The files of ids and offsets, and how far they are written."""

import hashlib
from io import BytesIO

import numpy as np
import polars as pl

from w2v.encoding import Mark, Output, Progress, ids_by_number, sizes
from w2v.vocab import Vocab


def test_an_output_is_an_npy_file_and_knows_its_digest():
    file = BytesIO(b"?" * 1000)
    output = Output(file)
    output.begin("<i4", 3)
    output.add(np.array([1, 2], np.int32))
    output.add(np.array([3], np.int32))
    assert output.num_numbers == 3
    assert output.finish() == hashlib.sha256(file.getvalue()).hexdigest()
    file.seek(0)
    assert np.load(file).tolist() == [1, 2, 3]


def test_an_output_goes_on_from_a_mark(tmp_path):
    path = tmp_path / "ids"
    with path.open("w+b") as file:
        output = Output(file)
        output.begin("<i4", 2)
        output.add(np.array([7], np.int32))
        mark = output.mark()
        output.add(np.array([9], np.int32))
    with path.open("r+b") as file:
        output = Output(file)
        assert not output.go_on(mark._replace(sha256="0" * 64))
        assert not output.go_on(mark._replace(end=mark.end + 400))
        assert output.end == 0
        assert output.go_on(mark)
        assert (output.end, output.num_numbers) == (mark.end, 1)
        output.add(np.array([8], np.int32))
        sha256 = output.finish()
    assert np.load(path).tolist() == [7, 8]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def test_progress_is_found_only_if_all_of_it_is_whole(tmp_path):
    (tmp_path / "vocab.tsv").write_bytes(b"v")
    (tmp_path / "ids").write_bytes(b"1234, and what came later")
    mark = Mark(4, 1, hashlib.sha256(b"1234").hexdigest())
    sums = {"vocab.tsv": hashlib.sha256(b"v").hexdigest()}
    progress = Progress("digest", sums, {"ids": 2}, 1, {"ids": mark})
    progress.write(tmp_path)
    assert Progress.found(tmp_path, digest="digest") == progress
    assert not progress.is_complete
    assert progress._replace(sizes={"ids": 1}).is_complete
    assert Progress.found(tmp_path, digest="other") is None
    for name, data in (("ids", b"1235"), ("ids", b"123"), ("vocab.tsv", b"w")):
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data)
        assert Progress.found(tmp_path, digest="digest") is None
        (tmp_path / name).write_bytes(before)
    (tmp_path / "ids").unlink()
    assert Progress.found(tmp_path, digest="digest") is None


def test_ids_stand_at_the_numbers_of_their_words():
    vocab = Vocab(("<unk>", "the", "cat"), np.array([0, 2, 1]))
    rows = pl.DataFrame({"word": ["cat", "dog", "the"], "number": [4, 2, 3]})
    assert ids_by_number(rows, vocab).tolist() == [0, -1, 0, 1, 2]


def test_sizes_are_those_of_ids_and_line_ends():
    assert sizes({"train": 5, "heldout": 0}, {"train": 2, "heldout": 0}) == {
        "train_ids.npy": 5,
        "heldout_ids.npy": 0,
        "train_offsets.npy": 3,
        "heldout_offsets.npy": 1,
    }
