import errno
import hashlib
import json
import logging
import os
import platform
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2v import building
from w2v import corpus as corpus_module
from w2v.corpus import prepare
from w2v.errors import ConfigError, DataError, StorageError
from w2v.files import TEMP_PREFIX
from w2v.sentences import Sentences
from w2v.sources import Source

SETTINGS = {
    "lowercase": False,
    "token_pattern": None,
    "heldout_every": None,
    "min_count": 1,
    "max_size": None,
}
BUFFER_KIB = 48 * 1024  # what the allocators may keep of freed blocks
PARTS = ["train_ids", "train_offsets", "heldout_ids", "heldout_offsets"]


def open_corpus(folder, *, train, heldout=(), **changes):
    """The corpus of texts given as strings or bytes."""
    source = Source("text", write(folder, "train", train), write(folder, "heldout", heldout))
    return prepare(source, folder=folder, **{**SETTINGS, **changes})


def write(folder, part, texts):
    texts = [texts] if isinstance(texts, str | bytes) else texts
    paths = []
    for i, text in enumerate(texts):
        paths.append(folder / f"{part}{i}.txt")
        paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
    return tuple(paths)


def lists(sentences):
    ids, offsets = sentences.ids_N[:].tolist(), sentences.offsets_S[:].tolist()
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)
    return [ids[start:end] for start, end in pairwise(offsets)]


def words_of(corpus, sentences):
    return [[corpus.vocab.words[i] for i in line] for line in lists(sentences)]


def folders(tmp_path):
    return sorted(path.name for path in (tmp_path / "corpora").iterdir())


def test_a_corpus_by_hand(tmp_path):
    # 13 tokens: the 4, cat 2, sat 2; outside the vocabulary dog, mat, on, ran and <unk>.
    text = "the cat sat\n\nthe dog ran\n the  cat sat on the <unk> mat"
    corpus = open_corpus(tmp_path, train=text, min_count=2)
    assert corpus.vocab.words == ("<unk>", "the", "cat", "sat")
    assert corpus.vocab.counts_V.tolist() == [5, 4, 2, 2]
    assert corpus.raw_words == 13
    assert lists(corpus.train) == [[1, 2, 3], [], [1], [1, 2, 3, 1]]
    assert len(corpus.train) == 4
    assert lists(corpus.heldout) == []
    assert corpus.train.ids_N.dtype == np.int32
    assert corpus.train.offsets_S.dtype == np.int64
    assert corpus.dropped.words == ("dog", "mat", "on", "ran")
    assert corpus.dropped.counts_W.tolist() == [1, 1, 1, 1]
    assert len(corpus.digest) == 64


def test_every_nth_line_is_set_aside_across_files(tmp_path):
    corpus = open_corpus(tmp_path, train=["a b\nc\nd x\n", "e\nf x\n\n"], heldout_every=2)
    assert words_of(corpus, corpus.train) == [["a", "b"], ["d", "x"], ["f", "x"]]
    assert words_of(corpus, corpus.heldout) == [[], [], []]  # c, e and a blank line
    assert corpus.raw_words == 6
    assert "c" not in corpus.vocab.index


def test_heldout_text_of_its_own_wins_over_nth_lines(tmp_path):
    corpus = open_corpus(tmp_path, train="a b\na\n", heldout="b new a\n", heldout_every=2)
    assert words_of(corpus, corpus.train) == [["a", "b"], ["a"]]
    assert words_of(corpus, corpus.heldout) == [["b", "a"]]
    assert corpus.vocab.words == ("<unk>", "a", "b")
    assert corpus.vocab.counts_V.tolist() == [0, 2, 1]
    assert corpus.dropped.words == ()


@pytest.mark.parametrize("text", ["word", "word\n", "word word\n", "\ufeffword\n"])
def test_a_corpus_of_one_word(tmp_path, text):
    assert open_corpus(tmp_path, train=text).vocab.words == ("<unk>", "word")


def test_a_corpus_of_two_words(tmp_path):
    corpus = open_corpus(tmp_path, train="b a\n")
    assert lists(corpus.train) == [[2, 1]]
    assert corpus.vocab.words == ("<unk>", "a", "b")


@pytest.mark.parametrize("text", ["", "\n", " \n\t\r\n\u2028", "\ufeff", "<unk> <unk>\n"])
def test_no_words(tmp_path, text):
    with pytest.raises(DataError, match=r"no words in .*train0\.txt"):
        open_corpus(tmp_path, train=text)
    assert folders(tmp_path) == []


def test_no_words_in_several_files(tmp_path):
    with pytest.raises(DataError, match=r"no words in .*train0\.txt and 2 more"):
        open_corpus(tmp_path, train=["", "", ""])


def test_min_count_above_all(tmp_path):
    with pytest.raises(DataError, match=r"min_count=10 keeps 0 of 2 words; .*'the', occurs 2"):
        open_corpus(tmp_path, train="the cat the\n", min_count=10)


@settings(max_examples=40, deadline=None)
@given(
    st.text(
        st.one_of(st.sampled_from("ab \n\r\u00a0é"), st.characters(exclude_categories=["Cs", "Cn"]))
    ),
    st.integers(1, 40),
    st.sampled_from([None, 2, 3]),
    st.integers(1, 3),
)
def test_equals_counter_and_split_for_any_block_size(tmp_path_factory, text, block, every, least):
    folder = tmp_path_factory.mktemp("corpus")
    lines = [line.split() for line in text.removeprefix("\ufeff").removesuffix("\n").split("\n")]
    lines = lines if text.removeprefix("\ufeff") else []
    heldout = [every is not None and (i + 1) % every == 0 for i in range(len(lines))]
    train = [line for line, aside in zip(lines, heldout, strict=True) if not aside]
    counts = Counter(token for line in train for token in line)
    kept = sorted(
        (word for word, count in counts.items() if count >= least and word != "<unk>"),
        key=lambda word: (-counts[word], word),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "BLOCK_BYTES", block)
        if not kept:
            with pytest.raises(DataError):
                open_corpus(folder, train=text, heldout_every=every, min_count=least)
            return
        corpus = open_corpus(folder, train=text, heldout_every=every, min_count=least)
    assert list(corpus.vocab.words) == ["<unk>", *kept]
    assert corpus.vocab.counts_V[1:].tolist() == [counts[word] for word in kept]
    assert corpus.raw_words == counts.total()
    for part, wanted in ((corpus.train, False), (corpus.heldout, True)):
        assert words_of(corpus, part) == [
            [token for token in line if token in set(kept)]
            for line, aside in zip(lines, heldout, strict=True)
            if aside is wanted
        ]


def test_lowercase_and_pattern(tmp_path):
    corpus = open_corpus(tmp_path, train="It's IT!\n", lowercase=True, token_pattern="[a-z]+")
    assert corpus.vocab.words == ("<unk>", "it", "s")
    assert lists(corpus.train) == [[1, 2, 1]]
    with pytest.raises(ConfigError, match="no regex of the Rust kind"):
        open_corpus(tmp_path, train="a", token_pattern="a(?!b)")


def test_second_time_the_cache_is_opened(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    first = open_corpus(tmp_path, train="a b a\n", heldout="b a\n")
    assert "corpus text: counted 3 words, 2 distinct; 2 are in the vocabulary" in caplog.text
    monkeypatch.setattr(corpus_module, "build", None)
    again = open_corpus(tmp_path, train="a b a\n", heldout="b a\n")
    assert "corpus text: found in" in caplog.text
    assert lists(again.train) == lists(first.train) == [[1, 2, 1]]
    assert lists(again.heldout) == lists(first.heldout) == [[2, 1]]
    assert again.vocab.words == first.vocab.words
    assert again.vocab.counts_V.tolist() == first.vocab.counts_V.tolist()
    assert again.digest == first.digest
    assert folders(tmp_path) == [first.digest[:16]]


@pytest.mark.parametrize(
    "changes",
    [
        {"train": "a b a b\n"},
        {"train": ["a b", " a\n"]},
        {"heldout": "a\n"},
        {"min_count": 2},
        {"max_size": 1},
        {"lowercase": True},
        {"token_pattern": r"\w+"},
        {"heldout_every": 2},
    ],
)
def test_other_text_or_settings_are_another_corpus(tmp_path, changes):
    first = open_corpus(tmp_path, train="a b a\n")
    other = open_corpus(tmp_path, **{"train": "a b a\n", **changes})
    assert other.digest != first.digest
    assert folders(tmp_path) == sorted([first.digest[:16], other.digest[:16]])


def test_files_moved_elsewhere_are_the_same_corpus(tmp_path):
    first = open_corpus(tmp_path, train="a b a\n")
    (tmp_path / "moved").mkdir()
    path = (tmp_path / "train0.txt").rename(tmp_path / "moved" / "other.name")
    again = prepare(Source("text", (path,), ()), folder=tmp_path, **SETTINGS)
    assert again.digest == first.digest


def test_another_format_is_built_anew(tmp_path, monkeypatch):
    open_corpus(tmp_path, train="a b a\n")
    monkeypatch.setattr(corpus_module, "FORMAT", 0)
    open_corpus(tmp_path, train="a b a\n")
    assert len(folders(tmp_path)) == 2


def test_the_files_are_as_specified(tmp_path):
    corpus = open_corpus(tmp_path, train="a b a c\n\nb\n", heldout="c b\n", min_count=2)
    folder = tmp_path / "corpora" / corpus.digest[:16]
    manifest = json.loads((folder / "corpus.json").read_text())
    names = {f"{part}.npy" for part in PARTS} | {"vocab.tsv", "dropped.tsv", "spectrum.npy"}
    assert manifest == {
        "format": corpus_module.FORMAT,
        "digest": corpus.digest,
        "settings": {
            "corpus.lowercase": False,
            "corpus.token_pattern": None,
            "corpus.heldout_every": None,
            "vocab.min_count": 2,
            "vocab.max_size": None,
        },
        "sha256": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names
        },
    }
    assert {path.name for path in folder.iterdir()} == names | {"corpus.json"}
    assert (folder / "vocab.tsv").read_bytes() == b"<unk>\t1\na\t2\nb\t2\n"
    assert (folder / "dropped.tsv").read_bytes() == b"c\t1\n"
    arrays = {part: np.load(folder / f"{part}.npy") for part in PARTS}
    assert {part: array.tolist() for part, array in arrays.items()} == {
        "train_ids": [1, 2, 1, 2],
        "train_offsets": [0, 3, 3, 4],
        "heldout_ids": [2],
        "heldout_offsets": [0, 1],
    }
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<i4', 'fortran_order': False, 'shape': (4,), }"
    ids = (folder / "train_ids.npy").read_bytes()
    assert ids.startswith(header)
    assert ids[-16:] == bytes([1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0])


def damage_by_flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_by_cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [damage_by_flip, damage_by_cut, Path.unlink])
@pytest.mark.parametrize(
    "name", [*(f"{part}.npy" for part in PARTS), "vocab.tsv", "dropped.tsv", "corpus.json"]
)
def test_a_damaged_cache_is_built_anew(tmp_path, damage, name, caplog):
    text = {"train": "a b a c\nb\n", "heldout": "a c\n", "min_count": 2}
    first = open_corpus(tmp_path, **text)
    folder, sound = tmp_path / "corpora" / first.digest[:16], lists(first.train)
    intact = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(folder / name)
    again = open_corpus(tmp_path, **text)
    assert lists(again.train) == sound
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == intact
    assert folders(tmp_path) == [first.digest[:16]]
    if (name, damage) != ("corpus.json", Path.unlink):
        assert f"the corpus in {folder} is damaged: building it anew" in caplog.text


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("name", ["corpus.json", "vocab.tsv", "train_ids.npy", "heldout_ids.npy"])
def test_a_cache_that_cannot_be_read_just_now_is_kept(tmp_path, monkeypatch, number, name):
    first = open_corpus(tmp_path, train="a b\n", heldout="a\n")
    folder = tmp_path / "corpora" / first.digest[:16]
    stamps = {path.name: path.stat() for path in folder.iterdir()}

    def refusing(real):
        def call(path, *arguments, **options):
            if str(path) == str(folder / name):
                raise OSError(number, os.strerror(number), str(path))
            return real(path, *arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refusing(Path.open))
        patch.setattr(os, "open", refusing(os.open))
        with pytest.raises(StorageError, match=rf"cannot read .*{name}: {os.strerror(number)}"):
            open_corpus(tmp_path, train="a b\n", heldout="a\n")
    assert {path.name: path.stat() for path in folder.iterdir()} == stamps


@pytest.mark.parametrize("text", ["[]", "null", '{"format": 1}', "[" * 100_000, "\0", "NaN"])
def test_a_manifest_that_makes_no_sense_is_built_anew(tmp_path, text):
    first = open_corpus(tmp_path, train="a b\n")
    manifest = tmp_path / "corpora" / first.digest[:16] / "corpus.json"
    intact = manifest.read_bytes()
    manifest.write_text(text)
    open_corpus(tmp_path, train="a b\n")
    assert manifest.read_bytes() == intact


def test_several_builds_at_once(tmp_path):
    text = "".join(f"w{i % 7} w{i % 3}\n" for i in range(2000))
    source = Source("text", write(tmp_path, "train", text), ())
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(prepare, source, folder=tmp_path, **SETTINGS) for _ in range(8)]
    found = [lists(future.result().train) for future in futures]
    assert found == found[:1] * 8
    assert len(folders(tmp_path)) == 1


BUILD = f"""
import sys
from pathlib import Path
from w2v.corpus import prepare
from w2v.sources import Source
print("ready", flush=True)
sys.stdin.readline()
corpus = prepare(Source("text", (Path("train"),), ()), folder=Path("."), **{SETTINGS})
print(corpus.digest, corpus.train.ids_N[:].sum())
"""


def test_several_processes_build_at_once(tmp_path):
    (tmp_path / "train").write_text("".join(f"w{i % 7} w{i % 3}\n" for i in range(2000)))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", BUILD]
    builders = [subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) for _ in range(4)]
    for builder in builders:
        assert builder.stdout.readline() == "ready\n"
    for builder in builders:
        builder.stdin.write("\n")
        builder.stdin.flush()
    ended = [(*builder.communicate(timeout=60), builder.returncode) for builder in builders]
    assert {code for _, _, code in ended} == {0}, ended
    assert len({told for told, _, _ in ended}) == 1
    assert len(folders(tmp_path)) == 1
    assert not list(tmp_path.rglob(f"{TEMP_PREFIX}*"))


def test_what_killed_builds_left_is_swept(tmp_path):
    stray = tmp_path / "corpora" / f"{TEMP_PREFIX}{platform.node()}-gpu-12-ab"
    stray.mkdir(parents=True)
    open_corpus(tmp_path, train="a b\n")
    assert len(folders(tmp_path)) == 1
    assert not stray.exists()


def test_a_failed_build_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="line 2, byte 3: not UTF-8"):
        open_corpus(tmp_path, train=b"a b\nc \xff\n")
    assert folders(tmp_path) == []


def test_text_that_changes_while_it_is_read(tmp_path, monkeypatch):
    real = building.encode_whole

    def encode_while_growing(*args, **kwargs):
        with (tmp_path / "train0.txt").open("a") as file:
            file.write("more\n")
        return real(*args, **kwargs)

    monkeypatch.setattr(building, "encode_whole", encode_while_growing)
    with pytest.raises(DataError, match=r"train0\.txt: changed while it was read"):
        open_corpus(tmp_path, train="a b\n")
    assert folders(tmp_path) == []


def test_text_that_is_missing_or_no_file(tmp_path):
    for path, message in [
        (tmp_path / "missing.txt", "cannot read .*: No such file"),
        (tmp_path, "is no regular file"),
    ]:
        with pytest.raises(DataError, match=message):
            prepare(Source("text", (path,), ()), folder=tmp_path, **SETTINGS)


def test_a_fifo_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe is no regular file"):
        prepare(Source("text", (tmp_path / "pipe",), ()), folder=tmp_path, **SETTINGS)


def test_a_data_folder_that_cannot_be_made(tmp_path):
    paths = write(tmp_path, "train", "a b\n")
    (tmp_path / "corpora").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"cannot write .*corpora"):
        prepare(Source("text", paths, ()), folder=tmp_path, **SETTINGS)


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "train.txt").write_text("some words of a text\n" * 20_000)
    program = (
        "import resource, sys, pathlib\n"
        "from w2v.corpus import prepare; from w2v.sources import Source\n"
        "from w2v.errors import StorageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "try:\n"
        "    prepare(Source('text', (folder / 'train.txt',), ()), folder=folder, lowercase=False,\n"
        "            token_pattern=None, heldout_every=None, min_count=1, max_size=None)\n"
        "except StorageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"cannot write {tmp_path / 'corpora'}")
    assert folders(tmp_path) == []


def test_bytes_are_independent_of_hashing_and_threads(tmp_path):
    text = "".join(f"w{i * i % 97} w{i % 31} x\n" for i in range(3000))
    paths = write(tmp_path, "train", text)
    program = (
        "import sys, pathlib; from w2v import building, corpus; from w2v.sources import Source\n"
        "building.BLOCK_BYTES = 512\n"
        "corpus.prepare(Source('text', (pathlib.Path(sys.argv[1]),), ()), lowercase=False,\n"
        "    token_pattern=None, heldout_every=10, min_count=2, max_size=50,\n"
        "    folder=pathlib.Path(sys.argv[2]))"
    )
    for seed in ("0", "1"):
        subprocess.run(
            [sys.executable, "-c", program, str(paths[0]), str(tmp_path / seed)],
            env={"PYTHONHASHSEED": seed},
            check=True,
        )
    manifests = [next((tmp_path / seed).rglob("corpus.json")).read_bytes() for seed in ("0", "1")]
    assert manifests[0] == manifests[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_is_bounded_by_the_vocabulary_and_a_buffer(tmp_path):
    rng = np.random.default_rng(0)
    line = "w%d " * 20 + "\n"
    part = "".join(line % tuple(row) for row in rng.integers(1000, 9000, (9000, 20)))  # 1 MiB
    for name, size in (("small.txt", 12), ("large.txt", 144)):
        (tmp_path / name).write_text(part * size)
    program = (
        "import pathlib, sys\n"
        "from w2v.corpus import prepare; from w2v.sources import Source\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for name in ('small.txt', 'large.txt'):\n"
        "    prepare(Source('text', (folder / name,), ()), folder=folder, lowercase=True,\n"
        "            token_pattern=None, heldout_every=100, min_count=1, max_size=None)\n"
        # Not ru_maxrss: a new process inherits that of its parent.
        "    status = pathlib.Path('/proc/self/status').read_text()\n"
        "    print(status.partition('VmHWM:')[2].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    small_kib, large_kib = (int(peak) for peak in done.stdout.split())
    assert large_kib - small_kib < BUFFER_KIB


def test_sentences_tell_their_number():
    assert len(Sentences(np.array([1, 2], np.int32), np.array([0, 1, 1, 2]))) == 3


def test_penn_treebank(ptb_data, tmp_path):
    source = Source(
        "ptb", (ptb_data / "ptb" / "ptb.train.txt",), (ptb_data / "ptb" / "ptb.valid.txt",)
    )
    corpus = prepare(source, folder=tmp_path, **{**SETTINGS, "min_count": 10})
    assert len(corpus.vocab) == 6719
    assert len(corpus.train.ids_N) == 820_056
    assert len(corpus.train) == 42_068
    assert corpus.raw_words == 887_521
    assert len(corpus.heldout) == 3_370
