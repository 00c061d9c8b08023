import gzip
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from gensim.models import KeyedVectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from w2v import __version__, files, formats
from w2v.errors import ConfigError, DataError, StorageError
from w2v.formats import (
    glove,
    npy,
    safetensors_file,
    text_rows,
    word2vec_binary,
    word2vec_text,
    word_list,
)
from w2v.formats.kinds import TextRule
from w2v.vectors import WordVectors

NAMES = ["v.txt", "v.vec", "v.txt.gz", "v.vec.gz", "v.bin", "v.npy", "v.safetensors"]
UNREAD = ["v.tsv", "v.parquet"]  # written for others only
FOLDERS = ["projector", "model2vec"]
SMALL = WordVectors(["a", "é"], np.array([[1, -0.5], [0.1, 2**-30]], np.float32), counts=[12, 3])
SMALL_F4 = b"\x00\x00\x80\x3f\x00\x00\x00\xbf" + b"\xcd\xcc\xcc\x3d\x00\x00\x80\x30"
SMALL_VOCAB = "a 12\né 3\n".encode()


def some(num_words=7, dim=5, *, seed=0):
    rows = np.random.default_rng(seed).normal(size=(num_words, dim)).astype(np.float32)
    counts = range(num_words + 10, 10, -1)
    return WordVectors([f"w{i}é" for i in range(num_words)], rows, counts=counts)


def same(a, b):
    return a.words == b.words and a.matrix.tobytes() == b.matrix.tobytes()


def written(path, vectors=SMALL, **kwargs):
    formats.write(vectors, path, **kwargs)
    return path.read_bytes()


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(data, tmp_path, message, name="v.txt"):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        formats.read(path)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 400


# Byte for byte


def test_the_bytes_of_word2vec_text(tmp_path):
    expected = "2 2\na 1 -0.5\né 0.100000001 9.31322575e-10\n".encode()
    assert written(tmp_path / "v.txt") == expected
    assert written(tmp_path / "v.vec") == expected


def test_the_bytes_of_glove(tmp_path):
    expected = "a 1 -0.5\né 0.100000001 9.31322575e-10\n".encode()
    assert written(tmp_path / "v.txt", format="glove") == expected


def test_the_bytes_of_word2vec_binary(tmp_path):
    expected = b"2 2\na " + SMALL_F4[:8] + "\né ".encode() + SMALL_F4[8:] + b"\n"
    assert written(tmp_path / "v.bin") == expected


def test_the_bytes_of_npy_and_its_word_list(tmp_path):
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }".ljust(117) + b"\n"
    assert written(tmp_path / "v.npy") == b"\x93NUMPY\x01\x00\x76\x00" + text + SMALL_F4
    assert (tmp_path / "v.npy.vocab").read_bytes() == SMALL_VOCAB


def test_the_bytes_of_safetensors_and_its_word_list(tmp_path):
    table, words = (hashlib.sha256(data).hexdigest() for data in (SMALL_F4, SMALL_VOCAB))
    text = (
        f'{{"__metadata__":{{"table_sha256":"{table}","vocab_sha256":"{words}"}},'
        '"embeddings":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
    ).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    assert written(tmp_path / "v.safetensors") == struct.pack("<Q", len(text)) + text + SMALL_F4
    assert (tmp_path / "v.safetensors.vocab").read_bytes() == SMALL_VOCAB


SMALL_F2 = np.array([1, -0.5, 0.1, 2**-30], "<f2").tobytes()


def test_the_bytes_of_half_an_npy(tmp_path):
    text = b"{'descr': '<f2', 'fortran_order': False, 'shape': (2, 2), }".ljust(117) + b"\n"
    found = written(tmp_path / "v.npy", dtype="f16")
    assert found == b"\x93NUMPY\x01\x00\x76\x00" + text + SMALL_F2
    assert SMALL_F2 == b"\x00\x3c\x00\xb8\x66\x2e\x00\x00"  # 1, -1/2, 0.1, too small


def test_the_bytes_of_half_a_safetensors(tmp_path):
    data = written(tmp_path / "v.safetensors", dtype="f16")
    assert b'"embeddings":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}' in data
    assert hashlib.sha256(SMALL_F2).hexdigest().encode() in data
    assert data.endswith(SMALL_F2)
    assert (len(data) - len(SMALL_F2)) % 8 == 0


def test_the_bytes_of_projector_tables(tmp_path):
    numbers = b"1\t-0.5\n0.100000001\t9.31322575e-10\n"
    words = "word\tcount\tlog10 count\tnorm\na\t12\t1.0792\t1.1180\né\t3\t0.4771\t0.1000\n"
    assert written(tmp_path / "v.tsv") == numbers
    assert (tmp_path / "v.metadata.tsv").read_bytes() == words.encode()
    assert written(tmp_path / "w.tsv", format="projector") == numbers
    formats.write(SMALL, tmp_path / "folder", format="projector")
    assert tree(tmp_path / "folder") == {
        "vectors.tsv": numbers,
        "metadata.tsv": words.encode(),
        "projector_config.pbtxt": b'embeddings { tensor_name: "w2v"  tensor_path: "vectors.tsv"  '
        b'metadata_path: "metadata.tsv" }\n',
    }


def test_metadata_without_counts_has_no_column_of_them(tmp_path):
    formats.write(WordVectors(SMALL.words, SMALL.matrix), tmp_path / "v.tsv")
    expected = "word\tnorm\na\t1.1180\né\t0.1000\n"
    assert (tmp_path / "v.metadata.tsv").read_bytes() == expected.encode()
    never = WordVectors(["a"], np.ones((1, 1)), counts=[0])
    formats.write(never, tmp_path / "w.tsv")
    assert (tmp_path / "w.metadata.tsv").read_bytes().endswith(b"\na\t0\t0.0000\t1.0000\n")


def test_the_bytes_of_a_model2vec_folder(tmp_path):
    formats.write(SMALL, tmp_path / "m", format="model2vec")
    found = tree(tmp_path / "m")
    table = SMALL_F4 + bytes(8)  # unknown words are zeros
    text = (
        f'{{"__metadata__":{{"table_sha256":"{hashlib.sha256(table).hexdigest()}"}},'
        '"embeddings":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}'
    ).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    assert found.pop("model.safetensors") == struct.pack("<Q", len(text)) + text + table
    assert found.pop("tokenizer.json").decode() == (
        '{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], '
        '"normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, '
        '"post_processor": null, "decoder": null, "model": {"type": "WordLevel", '
        '"vocab": {"a": 0, "é": 1, "[UNK]": 2}, "unk_token": "[UNK]"}}\n'
    )
    assert json.loads(found.pop("config.json")) == {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "hidden_dim": 2,
        "normalize": False,
        "max_length": None,
        "made_by": f"w2v {__version__}",
    }
    static = "sentence_transformers.models.StaticEmbedding"
    [module] = json.loads(found.pop("modules.json"))
    assert module == {"idx": 0, "name": "0", "path": ".", "type": static}
    assert found.pop("README.md").startswith(b"---\nlibrary_name: model2vec\n")
    assert found == {}


def test_the_tokenizer_cuts_text_as_training_did(tmp_path):
    words = WordVectors(["[UNK]", "a"], np.ones((2, 1)))
    rule = TextRule(lowercase=True, token_pattern=r"\w+")
    formats.write(words, tmp_path / "m", format="model2vec", rule=rule)
    found = json.loads((tmp_path / "m" / "tokenizer.json").read_bytes())
    assert found["normalizer"] == {"type": "Lowercase"}
    assert found["pre_tokenizer"] == {
        "type": "Split",
        "pattern": {"Regex": r"\w+"},
        "behavior": "Removed",
        "invert": True,
    }
    assert found["model"]["vocab"] == {"[UNK]": 0, "a": 1, "[[UNK]]": 2}
    assert found["model"]["unk_token"] == "[[UNK]]"


def test_a_parquet_holds_the_table_as_it_is(tmp_path):
    data = written(tmp_path / "v.parquet", some(300, 8))
    assert data[:4] == data[-4:] == b"PAR1"
    assert some(300, 8).matrix.astype("<f4").tobytes() in data  # nothing shrinks in it


def test_compressed_text_has_neither_name_nor_time(tmp_path):
    data = written(tmp_path / "v.txt.gz")
    assert data[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    assert gzip.decompress(data) == written(tmp_path / "v.txt")
    assert data == written(tmp_path / "other.vec.gz")


def test_equal_vectors_give_equal_bytes(tmp_path):
    for name in NAMES + UNREAD:
        assert written(tmp_path / name) == written(tmp_path / f"again-{name}")
    for name in FOLDERS:
        for again in ("one", "two"):
            formats.write(SMALL, tmp_path / name / again, format=name)
        assert tree(tmp_path / name / "one") == tree(tmp_path / name / "two")


def test_many_rows_are_written_as_few_are(tmp_path, monkeypatch):
    whole = written(tmp_path / "v.txt", some(50))
    monkeypatch.setattr(text_rows, "CHUNK_NUMBERS", 12)
    assert written(tmp_path / "w.txt", some(50)) == whole


# Others read what is written here


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.txt.gz", "v.bin"])
def test_gensim_reads_it_bit_by_bit(name, tmp_path):
    vectors = some()
    path = tmp_path / name
    formats.write(vectors, path)
    theirs = KeyedVectors.load_word2vec_format(str(path), binary=name == "v.bin")
    assert tuple(theirs.index_to_key) == vectors.words
    assert theirs.vectors.tobytes() == vectors.matrix.tobytes()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # gensim's own
def test_gensim_reads_glove_bit_by_bit(tmp_path):
    vectors = some()
    formats.write(vectors, tmp_path / "v.txt", format="glove")
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / "v.txt"), no_header=True)
    assert tuple(theirs.index_to_key) == vectors.words
    assert theirs.vectors.tobytes() == vectors.matrix.tobytes()


def test_numpy_and_safetensors_read_theirs(tmp_path):
    vectors = some()
    formats.write(vectors, tmp_path / "v.npy")
    formats.write(vectors, tmp_path / "v.safetensors")
    assert (np.load(tmp_path / "v.npy", allow_pickle=False) == vectors.matrix).all()
    tensors = safetensors.numpy.load_file(tmp_path / "v.safetensors")
    assert list(tensors) == ["embeddings"]
    assert (tensors["embeddings"] == vectors.matrix).all()


def test_gensim_takes_the_word_list_as_fvocab(tmp_path):
    vectors = some()
    formats.write(vectors, tmp_path / "v.txt")
    formats.write(vectors, tmp_path / "v.npy")
    theirs = KeyedVectors.load_word2vec_format(
        str(tmp_path / "v.txt"), fvocab=str(tmp_path / "v.npy.vocab")
    )
    found = tuple(theirs.get_vecattr(word, "count") for word in vectors.words)
    assert found == vectors.counts


# What is written here, and by others, is read here


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 5)])
def test_what_was_written_is_read_again(name, shape, tmp_path):
    vectors = some(*shape)
    formats.write(vectors, tmp_path / name)
    found = formats.read(tmp_path / name)
    assert same(found, vectors)
    if name in ("v.npy", "v.safetensors"):
        assert found.counts == vectors.counts


@pytest.mark.parametrize("name", ["v.npy", "v.safetensors"])
def test_vectors_without_counts_come_back_without(name, tmp_path):
    vectors = WordVectors(["a", "b"], np.ones((2, 2)))
    formats.write(vectors, tmp_path / name)
    assert (tmp_path / f"{name}.vocab").read_bytes() == b"a\nb\n"
    assert formats.read(tmp_path / name).counts is None


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.txt.gz", "any"])
def test_glove_is_told_by_its_missing_header(name, tmp_path):
    formats.write(some(), tmp_path / name, format="glove")
    assert same(formats.read(tmp_path / name), some())


@pytest.mark.parametrize("name", ["v.bin", "v.txt", "any"])
def test_the_content_tells_text_from_binary(name, tmp_path):
    for kind in ("word2vec", "binary"):
        formats.write(some(), tmp_path / "plain", format=kind, force=True)
        (tmp_path / "plain").rename(tmp_path / name)
        assert same(formats.read(tmp_path / name), some())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("v.txt", "binary"), ("v.vec", "npy"), ("v.bin", "glove"), ("v.npy", "word2vec")],
)
def test_text_is_not_called_binary_nor_binary_text(name, kind, tmp_path):
    with pytest.raises(ConfigError, match=rf"v\{name[1:]}: .* names .*, but format {kind} is"):
        formats.write(some(), tmp_path / name, format=kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
@pytest.mark.parametrize("name", [*NAMES, *UNREAD, *FOLDERS])
def test_a_file_that_may_not_grow_is_an_error_and_no_file(name, tmp_path):
    # A limit on the size of files stands for a full disk; Python ignores its signal.
    code = (
        "import resource, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from w2v import formats\n"
        "from w2v.errors import StorageError\n"
        "from w2v.vectors import WordVectors\n"
        "table = np.random.default_rng(0).normal(size=(90, 90)).astype(np.float32)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    vectors = WordVectors([f'w{i}' for i in range(90)], table)\n"
        "    formats.write(vectors, Path(sys.argv[1]), format=sys.argv[2] or None)\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / name
    command = [sys.executable, "-c", code, str(path), name if name in FOLDERS else ""]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert re.match(rf"cannot write .*{name}.*: File too large", done.stdout), done.stderr
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_float32_and_any_word_survive(data, tmp_path):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True)
    rows = data.draw(hnp.arrays(np.float32, shape, elements=finite))
    word = st.text(min_size=1, max_size=6).filter(lambda w: w.split() == [w] and "\0" not in w)
    words = data.draw(st.lists(word, min_size=shape[0], max_size=shape[0], unique=True))
    vectors = WordVectors(words, rows, counts=range(shape[0]))
    for module in (word2vec_text, word2vec_binary, glove, npy, safetensors_file):
        path = tmp_path / module.NAME
        with path.open("wb") as file:
            module.write(vectors, file)
        word_list.beside(path).write_bytes(word_list.encode(vectors))
        assert same(module.read(path), vectors)


@pytest.mark.parametrize("binary", [False, True])
def test_gensim_files_are_read(binary, tmp_path):
    theirs = KeyedVectors(5)
    theirs.add_vectors(list(some().words), some().matrix)
    path = tmp_path / ("v.bin" if binary else "v.txt")
    theirs.save_word2vec_format(str(path), binary=binary)
    assert same(formats.read(path), some())


@pytest.mark.parametrize("name", ["v.npy", "v.safetensors"])
def test_half_of_the_digits_come_back(name, tmp_path):
    vectors = some()
    formats.write(vectors, tmp_path / name, dtype="f16")
    found = formats.read(tmp_path / name)
    assert found.words == vectors.words
    assert found.matrix.dtype == np.float32
    assert (found.matrix == vectors.matrix.astype(np.float16).astype(np.float32)).all()
    assert np.abs(found.matrix - vectors.matrix).max() < 2**-10  # half a step below 4
    assert not same(found, vectors)
    great = WordVectors(["fine", "huge"], np.array([[65504.0], [-65520.0]]))
    with pytest.raises(DataError, match=r"float16 cannot hold the vector of 'huge': .* 65,504"):
        formats.write(great, tmp_path / name, dtype="f16", force=True)
    assert formats.read(tmp_path / name).words == vectors.words


def test_numpy_and_safetensors_read_halves(tmp_path):
    half_VD = some().matrix.astype(np.float16)
    for name in ("v.npy", "v.safetensors"):
        formats.write(some(), tmp_path / name, dtype="f16")
    assert (np.load(tmp_path / "v.npy", allow_pickle=False) == half_VD).all()
    found = safetensors.numpy.load_file(tmp_path / "v.safetensors")["embeddings"]
    assert found.dtype == np.float16
    assert (found == half_VD).all()


def test_files_of_fasttext_are_read(tmp_path):
    # FastText::saveVectors: a header, then each word with `%.5g` numbers, a space after every one.
    data = b"3 4\n</s> 0.0012346 -1.2346e-05 0.5 -0 \nthe 1e-05 0.12346 -2 3 \n"
    (tmp_path / "v.vec").write_bytes(data + "é 1 2 3 4 \n".encode())
    found = formats.read(tmp_path / "v.vec")
    assert found.words == ("</s>", "the", "é")
    expected = [[0.0012346, -1.2346e-05, 0.5, -0.0], [1e-05, 0.12346, -2, 3], [1, 2, 3, 4]]
    assert found.matrix.tolist() == np.array(expected, np.float32).tolist()
    (tmp_path / "v.vec.gz").write_bytes(gzip.compress((tmp_path / "v.vec").read_bytes()))
    assert same(formats.read(tmp_path / "v.vec.gz"), found)


def test_files_of_the_c_tool_are_read(tmp_path):
    (tmp_path / "v.txt").write_bytes(b"2 2 \n</s> 0.004003 -0.002 \nthe 1.5 2 \n")
    found = formats.read(tmp_path / "v.txt")
    assert found.words == ("</s>", "the")
    assert found.matrix.tolist() == np.array([[0.004003, -0.002], [1.5, 2]], "f4").tolist()
    (tmp_path / "v.txt").write_bytes(b"1 2\r\nthe +1.5 .25e1\r\n")
    assert formats.read(tmp_path / "v.txt").matrix.tolist() == [[1.5, 2.5]]


def test_a_word_may_hold_spaces_and_the_numbers_are_the_last(tmp_path):
    (tmp_path / "v.txt").write_bytes("x 1 2\n. . . 3 4\na\u00a0b 5 6\n".encode())
    found = formats.read(tmp_path / "v.txt")
    assert found.words == ("x", ". . .", "a\u00a0b")
    assert found.matrix.tolist() == [[1, 2], [3, 4], [5, 6]]
    with pytest.raises(DataError, match=r"cannot hold the word '\. \. \.'"):
        formats.write(found, tmp_path / "w.txt")


def test_an_array_of_columns_is_read(tmp_path):
    np.save(tmp_path / "v.npy", np.asfortranarray(some().matrix))
    (tmp_path / "v.npy.vocab").write_bytes("".join(f"{w} 1\n" for w in some().words).encode())
    assert same(formats.read(tmp_path / "v.npy"), some())


def test_safetensors_of_others_are_read(tmp_path):
    safetensors.numpy.save_file({"embeddings": SMALL.matrix}, tmp_path / "v.safetensors")
    (tmp_path / "v.safetensors.vocab").write_bytes(SMALL_VOCAB)
    assert same(formats.read(tmp_path / "v.safetensors"), SMALL)


# What is refused


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1: expected 'COUNT DIM'"),
        (b"5\n", "line 1: expected 'COUNT DIM'"),
        (b"hello there\n", "line 1: expected 'COUNT DIM'"),
        (b"\xff\xfe1\x00 \x00", "line 1: expected 'COUNT DIM'"),
        (b"-2 2\na 1 2\n", "header says|COUNT DIM|numbers, expected"),
        (b"1_0 2\na 1 2\n", "numbers, expected"),
        ("\uff12 2\na 1 2\n".encode(), "numbers, expected"),
        (b"2 2\n", "the header says 2 words .* room for 0"),
        (b"0 0\n", "a file of 0 words"),
        (b"0 2\n", "a file of 0 words"),
        (b"2 0\na\nb\n", "a file of 2 words with 0 dim"),
        (b"99999999999999999 300\na 1 2\n", "the header says 99999999999999999 words"),
        (b"1 99999999999999999\na 1 2\n", "the header says 1 words with 99999999999999999 dim"),
        (b"3 2\na 1 2\nbbbbbbbbb 3 4\n", "the header says 3 words, found 2"),
        (b"1 2\na 1 2\nb 3 4\n", "the header says 1 words, found 2"),
        (b"2 2\na 1 2\nbbb 3\n", "line 3: 1 numbers, expected 2"),
        (b"2 2\na 1 2 3\nb 3 4\n", "line 2: 3 numbers, expected 2"),
        (b"2 2\na 1 x\nb 3 4\n", r"line 2: expected a number, found b'x'"),
        (b"2 2\na 1 0x1\nb 3 4\n", "line 2: expected a number"),
        (b"2 2\na 1 1_0\nb 3 4\n", "line 2: expected a number"),
        (b"2 2\na 1-2 3\nb 3 4\n", "line 2: expected a number"),
        (b"2 2\na 1  2\nb 3 4\n", "line 2: expected a number, found b''"),
        (b"2 2\na 1\t2 3\nb 3 4\n", "line 2: expected a number"),
        (b"2 2\na 1 nan\nb 3 4\n", "line 2: a number is not finite"),
        (b"2 2\na 1 -Inf\nb 3 4\n", "line 2: a number is not finite"),
        (b"2 2\na 1 1e39\nb 3 4\n", "line 2: a number is not finite"),
        (b"2 2\na 1 2\na 3 4\n", "'a' comes twice: words 1 and 2"),
        (b"2 2\na 1 2\n 33 4\n", "line 3: the word is empty"),
        (b"2 2\na 1 2\n\xc3 3 4\n", "line 3: the word is not UTF-8"),
        (b"2 2\na 1 2\nb 3 44", "line 3: the last line has no line end"),
        (b"2 2\na 1 2\nb 3 4\n\n", "line 4: "),
        (b"a 1 2\nb 3\n", "line 2: 1 numbers, expected 2"),
        (b"a 1 2\nb 3 4 5\n", "line 2: 3 numbers, expected 2"),
        (b"a 1 nan\nb 3 4\n", "line 1: a number is not finite"),
        (b"w" * 70_000 + b" 1 2\n", "line 1: the line is longer than"),
    ],
)
def test_damaged_text_is_refused(data, message, tmp_path):
    refused(data, tmp_path, message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"9999999 300\na " + b"\0" * 20, "the header says 9999999 words"),
        (b"1 2\n" + b"w" * 100_000 + b"\0" * 100, "byte 4 .word 1 of 1.: no space ends the word"),
        (b"2 1\na \0\0\0\0b \0\0\0", "room for 11|the file ends within the vector"),
        (b"2 1\naaa \0\0\0\0b \0\0\0", "byte 12 .word 2 of 2.: the file ends within the vector"),
        (b"1 1\na \0\0\0\0\nb", "byte 11: more follows the last of 1 words"),
        (b"1 1\na \0\0\0\0\n\n", "byte 11: more follows"),
        (b"2 1\na \0\0\0\0\nb \0\0\0\0x", "byte 11 .word 2 of 2.: no line end after the vector"),
        (b"2 1\na \0\0\0\0a \0\0\0\0", "'a' comes twice"),
        (b"2 1\na \0\0\0\0 \0\0\0\0\0\0", "byte 10 .*the word is empty"),
        (b"2 1\na \0\0\0\0\xff \0\0\0\0", "byte 10 .*the word is not UTF-8"),
        (b"2 1\na \0\0\0\0b\nb \0\0\0\0", "byte 10 .*a line end inside the word"),
        (b"1 1\na \0\0\x80\x7f", "the vector of 'a' .word 1. is not finite"),
    ],
)
def test_damaged_binary_is_refused(data, message, tmp_path):
    refused(data, tmp_path, message, name="v.bin")


def test_binary_blocks_do_not_matter(tmp_path, monkeypatch):
    formats.write(some(40), tmp_path / "v.bin")
    monkeypatch.setattr(word2vec_binary, "BLOCK_BYTES", 1)
    monkeypatch.setattr(word2vec_binary, "MAX_WORD_BYTES", 8)
    assert same(word2vec_binary.read(tmp_path / "v.bin"), some(40))


def npy_header(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a .npy of float32"),
        (
            npy_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999, 300), }"),
            "room for 0",
        ),
        (npy_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }"), "0 words"),
        (npy_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3), }"), "float32"),
        (npy_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"), "two dim"),
        (npy_header(b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }"), "float32"),
        (
            npy_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }") + b"\0" * 5,
            "more bytes than",
        ),
    ],
)
def test_damaged_npy_is_refused(data, message, tmp_path):
    (tmp_path / "v.npy.vocab").write_bytes(SMALL_VOCAB)
    refused(data, tmp_path, message, name="v.npy")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"center": np.ones((2, 2), "f4")}, r"no tensor 'embeddings' among \['center'\]"),
        ({"embeddings": np.ones((2, 2), "f8")}, "expected float32"),
        ({"embeddings": np.ones(2, "f4")}, "two dimensions"),
        ({"embeddings": np.ones((3, 2), "f4")}, "2 words, but vectors of shape"),
    ],
)
def test_other_safetensors_are_refused(tensors, message, tmp_path):
    (tmp_path / "v.safetensors.vocab").write_bytes(SMALL_VOCAB)
    refused(safetensors.numpy.save(tensors), tmp_path, message, name="v.safetensors")


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (None, "cannot read .*vocab"),
        (b"", "no line end"),
        (b"a 12\nb 3", "no line end"),
        (b"a 12\nb x\n", "line 2: expected 'WORD COUNT', found b'b x'"),
        (b"a 12\nb\n", "line 2: the word is empty|line 2: expected"),
        (b"a\nb 3\n", "line 2: expected 'WORD COUNT'"),
        (b"a 12\n", "1 words, but vectors of shape"),
        (b"a 12\n\xff 1\n", "line 2: the word is not UTF-8"),
        (b"a 12\na 1\n", "'a' comes twice"),
    ],
)
def test_a_damaged_word_list_is_refused(listed, message, tmp_path):
    formats.write(SMALL, tmp_path / "v.npy")
    (tmp_path / "v.npy.vocab").unlink()
    if listed is not None:
        (tmp_path / "v.npy.vocab").write_bytes(listed)
    with pytest.raises(DataError, match=message):
        formats.read(tmp_path / "v.npy")


def test_the_words_of_another_table_are_noticed(tmp_path):
    formats.write(SMALL, tmp_path / "v.safetensors")
    (tmp_path / "v.safetensors.vocab").write_bytes("a 12\né 4\n".encode())
    with pytest.raises(DataError, match="checksum mismatch"):
        formats.read(tmp_path / "v.safetensors")


def test_a_flipped_bit_of_a_table_is_noticed(tmp_path):
    data = bytearray(written(tmp_path / "v.safetensors"))
    for at in range(len(data) - len(SMALL_F4), len(data)):
        data[at] ^= 1
        refused(bytes(data), tmp_path, "checksum mismatch: the table in", name="v.safetensors")
        data[at] ^= 1


def test_what_is_written_for_others_is_refused_by_what_it_is(tmp_path):
    for name, what in (("v.tsv", "numbers without words"), ("v.parquet", "a parquet file")):
        formats.write(SMALL, tmp_path / name)
        with pytest.raises(DataError, match=f"{name} is {what}.*: that is not read") as caught:
            formats.read(tmp_path / name)
        assert caught.value.hint.endswith("one of .txt, .vec, .bin, .npy, .safetensors")
    for name in FOLDERS:
        formats.write(SMALL, tmp_path / name, format=name)
        with pytest.raises(DataError, match="no regular file") as caught:
            formats.read(tmp_path / name)
        assert caught.value.hint.startswith("--run takes a run folder")


class Canary:
    def __reduce__(self):
        return os.mkdir, ("canary",)


def payloads():
    import pickle

    array = np.empty((1, 1), object)
    array[0, 0] = Canary()
    yield "pickle2", pickle.dumps(Canary(), 2)
    yield "pickle0", pickle.dumps(Canary(), 0)
    yield "pickle5", pickle.dumps(Canary(), 5)
    yield (
        "npy",
        npy_header(b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }")
        + pickle.dumps(array, 3),
    )


@pytest.mark.parametrize(("kind", "data"), list(payloads()))
@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.npy", "v.safetensors", "v"])
def test_pickles_are_never_loaded(kind, data, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError):
        formats.read(tmp_path / name)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ["v.pt", "v.pth", "v.kv", "v.pkl", "v.model", "v.npz", "v.zip"])
def test_pickles_are_refused_by_name_unopened(name, tmp_path):
    with pytest.raises(DataError, match=f"{name} is .*: that is not read"):
        formats.read(tmp_path / name)  # it is not even there


def test_pickles_and_zips_are_refused_by_content(tmp_path):
    refused(b"\x80\x04\x95....", tmp_path, "is a pickle: that is not read")
    refused(b"\xba\x16\x4f\x2f....", tmp_path, "is a fastText model", name="v.bin")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("data.pkl", b"x")
    refused((tmp_path / "zip").read_bytes(), tmp_path, "is a zip archive")


def test_a_safetensors_header_as_long_as_a_pickle_begins_is_no_pickle(tmp_path):
    text = safetensors.numpy.save({"embeddings": SMALL.matrix})[8:-16].ljust(0x0280)
    (tmp_path / "v").write_bytes(struct.pack("<Q", 0x0280) + text + SMALL_F4)
    (tmp_path / "v.vocab").write_bytes(SMALL_VOCAB)
    assert same(formats.read(tmp_path / "v"), SMALL)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        formats.read(tmp_path / "v.txt")
    with pytest.raises(DataError, match="no regular file"):
        formats.read(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DataError, match="no regular file"):
        formats.read(tmp_path / "fifo")


# Damage


@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz", "v.bin", "v.npy", "v.safetensors"])
def test_every_truncation_is_noticed(name, tmp_path):
    path = tmp_path / name
    data = written(path, some(3, 2))
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DataError):
            formats.read(path)


def test_truncated_glove_is_noticed_but_for_whole_rows(tmp_path):
    path = tmp_path / "v.txt"
    data = written(path, some(3, 2), format="glove")
    for length in range(len(data)):
        path.write_bytes(data[:length])
        if length and data[length - 1] == ord("\n"):
            assert len(formats.read(path)) < 3
        else:
            with pytest.raises(DataError):
                formats.read(path)


@pytest.mark.parametrize("name", NAMES)
def test_flipped_bytes_give_vectors_or_a_data_error(name, tmp_path):
    path = tmp_path / name
    data = bytearray(written(path, some(3, 2)))
    rng = np.random.default_rng(0)
    for at in range(len(data)):
        good = data[at]
        data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            found = formats.read(path)
        except DataError:
            pass
        else:
            assert np.isfinite(found.matrix).all()
        data[at] = good


@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz", "v.bin"])
def test_a_huge_header_is_refused_before_anything_is_allocated(name, tmp_path, monkeypatch):
    data = b"999999999 300\nword 1 2 3\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)

    def too_early(*_args, **_kwargs):
        raise AssertionError("a row was read, or a table made")

    monkeypatch.setattr(word2vec_text, "read_rows", too_early)
    monkeypatch.setattr(word2vec_binary, "_read_rows", too_early)
    with pytest.raises(DataError, match="the header says 999999999 words with 300 dimensions"):
        formats.read(tmp_path / name)


# Writing


@pytest.mark.parametrize(
    "word", ["a b", " a", "a\n", "a\tb", "\u00a0", "a\u2003b", "a\0", "\ud800"]
)
@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.npy", "v.safetensors", *UNREAD, *FOLDERS])
def test_a_word_that_no_format_holds_is_refused_before_writing(word, name, tmp_path):
    vectors = WordVectors(["fine", word], np.ones((2, 2)))
    with pytest.raises(DataError, match="cannot hold the word '"):
        formats.write(vectors, tmp_path / name, format=name if name in FOLDERS else None)
    assert list(tmp_path.iterdir()) == []


def test_a_word_too_long_to_be_read_is_not_written(tmp_path):
    longest = WordVectors(["é" * (1 << 15)], np.ones((1, 2)))
    for name in NAMES:
        formats.write(longest, tmp_path / name)
        assert same(formats.read(tmp_path / name), longest)
    with pytest.raises(DataError, match="longer than 65536 bytes"):
        formats.write(WordVectors(["é" * (1 << 15) + "e"], np.ones((1, 2))), tmp_path / "w.txt")


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        (
            "v",
            None,
            "the suffix of 'v' names no format; known: .txt, .vec, .bin, .npy, .safetensors, .parq",
        ),
        ("v.vek", None, "did you mean .vec"),
        ("v.gz", None, "names no format"),
        ("v.tvs", None, "did you mean .tsv"),
        ("v.tsv.gz", None, "only text is compressed; format projector is two files"),
        ("v.parquet.gz", None, "only text is compressed; format parquet is binary"),
        ("v.txt", "projector", "v.txt: .txt names word2vec, but format projector is a folder"),
        ("v.tsv", "glove", "v.tsv: .tsv names projector, but format glove is text"),
        ("v.tsv", "model2vec", "format model2vec is a folder"),
        ("v.gz", "model2vec", "only text is compressed"),
        ("v.bin.gz", None, "only text is compressed"),
        ("v.npy.gz", None, "only text is compressed"),
        ("v.txt", "glov", "unknown format 'glov': did you mean glove"),
        ("v.gz", "binary", "only text is compressed"),
    ],
)
def test_a_name_without_a_format_is_refused(name, format, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        formats.write(SMALL, Path(name), format=format)


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("v.TXT", None, "word2vec"),
        ("a.b/v.vec.GZ", None, "word2vec"),
        ("v.bin", None, "binary"),
        ("v", "npy", "npy"),
        ("v.gz", "glove", "glove"),
        ("v.parquet", None, "parquet"),
        ("v.TSV", None, "projector"),
        ("v.tsv", "projector", "projector"),
        ("v", "projector", "projector"),
        ("v.2", "model2vec", "model2vec"),
    ],
)
def test_a_name_gives_a_format(name, format, expected):
    assert formats.resolve(name, format).name == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_replaced_only_by_force(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"mine")
    with pytest.raises(StorageError, match="exists already"):
        formats.write(SMALL, path)
    assert path.read_bytes() == b"mine"
    formats.write(SMALL, path, force=True)
    assert same(formats.read(path), SMALL)


def test_a_word_list_is_replaced_only_by_force(tmp_path):
    (tmp_path / "v.npy.vocab").write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"v.npy.vocab exists already"):
        formats.write(SMALL, tmp_path / "v.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy.vocab"]


def test_only_files_are_written(tmp_path):
    (tmp_path / "v.txt").mkdir()
    with pytest.raises(StorageError, match="is a folder"):
        formats.write(SMALL, tmp_path / "v.txt", force=True)
    os.mkfifo(tmp_path / "v.vec")
    with pytest.raises(StorageError, match="no regular file"):
        formats.write(SMALL, tmp_path / "v.vec", force=True)
    with pytest.raises(StorageError, match="no regular file"):
        formats.write(SMALL, Path(os.devnull), format="glove", force=True)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        formats.write(SMALL, tmp_path / "file" / "v.txt")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_replaced_only_by_force_and_only_if_it_is_an_export(name, tmp_path):
    path = tmp_path / "out" / "folder"
    formats.write(SMALL, path, format=name)
    before = tree(path)
    with pytest.raises(StorageError, match="folder exists already") as caught:
        formats.write(some(), path, format=name)
    assert caught.value.hint == "--force replaces it"
    assert tree(path) == before
    formats.write(some(), path, format=name, force=True)
    assert tree(path).keys() == before.keys()
    assert tree(path) != before
    assert list(path.parent.iterdir()) == [path]
    (path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=f"folder holds notes.txt, no part of a {name}"):
        formats.write(SMALL, path, format=name, force=True)
    assert (path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", FOLDERS)
def test_the_folders_of_others_are_spared(name, tmp_path):
    path = tmp_path / "folder"
    formats.write(SMALL, path, format=name)
    mark = {"projector": "projector_config.pbtxt", "model2vec": "config.json"}[name]
    (path / mark).write_text('{"normalize": true}')
    with pytest.raises(StorageError, match=f"folder holds a {name} of others") as caught:
        formats.write(SMALL, path, format=name, force=True)
    assert "--force" not in caught.value.hint
    (path / mark).unlink()
    with pytest.raises(StorageError, match="of others"):
        formats.write(SMALL, path, format=name, force=True)
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(StorageError, match="file is a file"):
        formats.write(SMALL, tmp_path / "file", format=name, force=True)
    with pytest.raises(StorageError, match="cannot write"):
        formats.write(SMALL, tmp_path / "file" / "v", format=name)
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("name", FOLDERS)
def test_an_empty_folder_and_a_link_are_filled(name, tmp_path):
    (tmp_path / "empty").mkdir()
    formats.write(SMALL, tmp_path / "empty", format=name)
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    formats.write(some(), tmp_path / "link", format=name, force=True)
    assert (tmp_path / "link").is_symlink()
    formats.write(some(), tmp_path / "other", format=name)
    assert tree(tmp_path / "empty") == tree(tmp_path / "other")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_failure_leaves_the_old_folder(name, tmp_path, monkeypatch):
    path = tmp_path / "folder"
    formats.write(SMALL, path, format=name)
    before = tree(path)

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(StorageError, match="No space left"):
        formats.write(some(), path, format=name, force=True)
    assert tree(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_projector_tables_are_replaced_only_by_force(tmp_path):
    (tmp_path / "v.metadata.tsv").write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"v.metadata.tsv exists already"):
        formats.write(SMALL, tmp_path / "v.tsv")
    assert tree(tmp_path) == {"v.metadata.tsv": b"mine"}
    formats.write(SMALL, tmp_path / "v.tsv", force=True)
    assert tree(tmp_path).keys() == {"v.tsv", "v.metadata.tsv"}


def test_an_export_sweeps_what_killed_ones_left(tmp_path):
    with files.atomic_write(tmp_path / "later"):
        [at_work] = tree(tmp_path)
        (tmp_path / f"{files.TEMP_PREFIX}abc").write_bytes(b"half")
        (tmp_path / f"{files.TEMP_PREFIX}folder").mkdir()
        formats.write(SMALL, tmp_path / "v.txt")
        assert tree(tmp_path).keys() == {at_work, "v.txt"}


def test_a_link_is_followed(tmp_path):
    target = tmp_path / "elsewhere" / "v.txt"
    (tmp_path / "link.txt").symlink_to(target)
    formats.write(SMALL, tmp_path / "link.txt")
    assert (tmp_path / "link.txt").is_symlink()
    assert same(formats.read(target), SMALL)


def test_a_file_may_be_rewritten_from_itself(tmp_path):
    formats.write(SMALL, tmp_path / "v.txt")
    formats.write(formats.read(tmp_path / "v.txt"), tmp_path / "v.txt", force=True)
    assert same(formats.read(tmp_path / "v.txt"), SMALL)


def test_a_failure_leaves_the_old_files(tmp_path, monkeypatch):
    formats.write(SMALL, tmp_path / "v.npy")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(StorageError, match="No space left"):
        formats.write(some(), tmp_path / "v.npy", force=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_streams_take_text_only(tmp_path):
    with (tmp_path / "out").open("wb") as stream:
        formats.write_stream(SMALL, stream)
        formats.write_stream(SMALL, stream, format="glove")
    expected = written(tmp_path / "v.txt") + written(tmp_path / "v.vec", format="glove")
    assert (tmp_path / "out").read_bytes() == expected
    for name in ("npy", "parquet", *FOLDERS):
        with (
            (tmp_path / "out").open("wb") as stream,
            pytest.raises(ConfigError, match="needs a file"),
        ):
            formats.write_stream(SMALL, stream, format=name)


@pytest.mark.parametrize(
    ("name", "format"),
    [("v.txt", None), ("v.bin", None), ("v.parquet", None), ("v.tsv", None), ("v", "glove"),
     ("v", "projector"), ("v", "model2vec")],
)  # fmt: skip
def test_half_precision_is_refused_by_name(name, format, tmp_path):
    chosen = formats.resolve(name, format).name
    message = f"format {chosen} has no f16; npy and safetensors have"
    with pytest.raises(ConfigError, match=message):
        formats.write(SMALL, tmp_path / name, format=format, dtype="f16")
    assert list(tmp_path.iterdir()) == []


# Some of the words


@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz", "v.bin", "v.npy", "v.safetensors", "glove"])
def test_the_rows_of_some_words_alone(name, tmp_path):
    vectors, path = some(20), tmp_path / name
    formats.write(vectors, path, format="glove" if name == "glove" else None)
    wanted = {vectors.words[i] for i in (17, 3, 4)} | {"elsewhere"}
    found = formats.read(path, only=wanted)
    assert found.words == tuple(vectors.words[i] for i in (3, 4, 17))
    assert found.matrix.tobytes() == vectors.matrix[[3, 4, 17]].tobytes()
    assert same(formats.read(path, only=set(vectors.words)), vectors)
    with pytest.raises(DataError, match=f"{name} has no word in common with the vocabulary"):
        formats.read(path, only={"elsewhere"})


@pytest.mark.parametrize("name", ["v.txt", "v.bin"])
def test_a_file_that_is_read_in_part_is_still_whole(name, tmp_path):
    data = written(tmp_path / name, some(20))
    for damaged, message in (
        (data[:-3], "no line end|ends within|no line end after"),
        (data.replace(b"20 ", b"19 "), "the header says 19|more follows the last of 19"),
    ):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=message):
            formats.read(tmp_path / name, only={"w3é"})


@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz", "v.bin", "v.npy", "v.safetensors", "glove"])
def test_the_dimension_is_told_by_the_beginning_of_a_file(name, tmp_path):
    path = tmp_path / name
    formats.write(some(20), path, format="glove" if name == "glove" else None)
    dim = some(20).matrix.shape[1]
    assert formats.dim_of(path) == dim
    has_list = name in ("v.npy", "v.safetensors")
    lists = [tmp_path / f"{name}.vocab"] if has_list else []
    assert formats.files_of(path) == [path, *lists]
    if not name.endswith((".gz", ".safetensors")):
        path.write_bytes(path.read_bytes()[:300])
        assert formats.dim_of(path) == dim
