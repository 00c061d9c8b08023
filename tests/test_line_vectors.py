"""Lines with their vectors in files: each kind opened by its own reader, whole or not at all."""

import os
import stat

import numpy as np
import polars as pl
import pytest

from w2v import line_vectors
from w2v.errors import ConfigError, DataError, StorageError
from w2v.formats import npy
from w2v.line_vectors import LineVectors

ROWS = np.array([[0.1, -2], [0, 1e-45], [3.4028235e38, 16777216], [1 / 3, -0.0]], np.float32)
LINES = ["a b", "", "é\ttab\r", 'say "x"']
KINDS = ["v.tsv", "v.txt", "v.npy", "v.parquet", "V.NPY"]


def parts():
    yield LineVectors(LINES[:1], ROWS[:1])
    yield LineVectors(LINES[1:], ROWS[1:])


def read(path):
    match path.suffix.lower():
        case ".npy":
            return np.load(path)
        case ".parquet":
            return pl.read_parquet(path)["vector"].to_numpy()
        case _:
            return np.loadtxt(path, np.float32, delimiter="\t", ndmin=2)


@pytest.mark.parametrize("name", KINDS)
def test_numbers_come_back_to_the_bit(name, tmp_path):
    assert line_vectors.write(parts(), tmp_path / name, dim=2) == 4
    assert read(tmp_path / name).tobytes() == ROWS.tobytes()


def test_the_bytes_of_text(tmp_path):
    line_vectors.write(parts(), tmp_path / "v.tsv", dim=2)
    expected = b"0.100000001\t-2\n0\t1.40129846e-45\n3.40282347e+38\t16777216\n0.333333343\t-0\n"
    assert (tmp_path / "v.tsv").read_bytes() == expected


def test_the_bytes_of_npy_are_numpys(tmp_path):
    line_vectors.write(parts(), tmp_path / "v.npy", dim=2)
    np.save(tmp_path / "numpys.npy", ROWS)
    assert (tmp_path / "v.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


@pytest.mark.parametrize("num_lines", [0, 1, 10**9, 10**18])
def test_a_header_has_room_for_any_number_of_lines(num_lines, tmp_path):
    with (tmp_path / "v.npy").open("wb") as file:
        npy.write_header(file, (num_lines, 300))
        assert file.tell() == 128


def test_parquet_has_lines_and_text(tmp_path):
    line_vectors.write(parts(), tmp_path / "v.parquet", dim=2)
    table = pl.read_parquet(tmp_path / "v.parquet")
    assert table.schema == {
        "line": pl.Int64,
        "text": pl.String,
        "vector": pl.Array(pl.Float32, 2),
    }
    assert table["line"].to_list() == [1, 2, 3, 4]
    assert table["text"].to_list() == ["a b", "", "é\ttab", 'say "x"']


def test_pyarrow_reads_the_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is in the extra [readers]")
    line_vectors.write(parts(), tmp_path / "v.parquet", dim=2)
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["line", "text", "vector"]
    assert np.array(table["vector"].to_pylist(), np.float32).tobytes() == ROWS.tobytes()


@pytest.mark.parametrize("name", KINDS)
def test_no_lines_are_a_file_too(name, tmp_path):
    assert line_vectors.write(iter(()), tmp_path / name, dim=2) == 0
    if name.endswith(("tsv", "txt")):
        assert (tmp_path / name).read_bytes() == b""
    else:
        assert read(tmp_path / name).shape == (0, 2)


@pytest.mark.parametrize("name", KINDS)
def test_what_goes_wrong_on_the_way_leaves_the_old_file(name, tmp_path):
    def failing():
        yield from parts()
        raise DataError("line 5")

    (tmp_path / name).write_text("old")
    with pytest.raises(DataError, match=r"^line 5$"):
        line_vectors.write(failing(), tmp_path / name, dim=2)
    assert (tmp_path / name).read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


@pytest.mark.parametrize("name", ["v.tsv", "v.npy"])
def test_parts_are_taken_one_by_one(name, tmp_path):
    """A file longer than memory can be written: no part is kept."""
    sizes = []

    def growing():
        for _ in range(3):
            yield LineVectors([""] * 2000, np.ones((2000, 50), np.float32))
            temporary = next(path for path in tmp_path.iterdir() if path.name != name)
            sizes.append(temporary.stat().st_size)

    line_vectors.write(growing(), tmp_path / name, dim=50)
    assert 0 < sizes[0] < sizes[1] < sizes[2]


def test_what_must_not_be_written(tmp_path):
    for name in ("v", "v.csv", "v.npz", ".npy"):
        with pytest.raises(ConfigError, match=r"names no kind of file; known: \.tsv, \.txt"):
            line_vectors.check_target(tmp_path / name, force=True)
    (tmp_path / "v.npy").write_text("mine")
    with pytest.raises(StorageError, match=r"v\.npy exists already"):
        line_vectors.check_target(tmp_path / "v.npy", force=False)
    line_vectors.check_target(tmp_path / "v.npy", force=True)
    line_vectors.check_target(tmp_path / "new" / "v.npy", force=False)
    (tmp_path / "folder.tsv").mkdir()
    os.mkfifo(tmp_path / "pipe.tsv")
    for name, message in (
        ("folder.tsv", "is a folder"),
        ("pipe.tsv", "is no regular file"),
        ("v.npy/w.npy", "Not a directory"),
    ):
        with pytest.raises(StorageError, match=message):
            line_vectors.check_target(tmp_path / name, force=True)


def test_a_link_is_followed_and_the_mode_is_the_umasks(tmp_path):
    (tmp_path / "link.npy").symlink_to(tmp_path / "real.npy")
    line_vectors.write(parts(), tmp_path / "link.npy", dim=2)
    assert (tmp_path / "link.npy").is_symlink()
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "real.npy").stat().st_mode) == 0o666 & ~mask
