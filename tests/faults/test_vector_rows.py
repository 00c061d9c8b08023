"""Rows V: vector files, read by `w2v similar` and `w2v export` with 2 GB at the most."""

import gzip
import io
import os
import stat
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from faults.outcome import expect, process, small_disk
from faults.test_download_rows import kills
from faults.treebank import tree
from w2v import formats
from w2v.errors import DataError
from w2v.formats import word2vec_text
from w2v.rundir import RunDir
from w2v.vectors import WordVectors
from w2v.vocab import Vocab

WORDS = ("cat", "cats", "dog", "café")
ROWS = np.array([[1, 0.12], [1, 0.5], [0, 1], [-1, 3]], np.float32)
VECTORS = WordVectors(WORDS, ROWS)
FULL = Path("/dev/full")


def written(kind):
    buffer = io.BytesIO()
    next(known for known in formats.FORMATS if known.name == kind).write(VECTORS, buffer)
    return buffer.getvalue()


TEXT, BINARY = written("word2vec"), written("binary")
HEADER, FIRST, *OTHERS = TEXT.splitlines(keepends=True)


@pytest.fixture(autouse=True)
def two_gigabytes(little_memory):
    little_memory(2 * 2**30)


@pytest.fixture
def asked(cli, tmp_path):
    """Runs `w2v similar` on a file of these bytes, which stays as it is."""
    (tmp_path / "w2v.yaml").write_text("train: {seed: 1}\n")

    def run(data, *arguments, name="v.txt", words=("cat",)):
        (tmp_path / name).write_bytes(data)
        before = tree(tmp_path)
        outcome = cli("similar", *words, "--vectors", name, *arguments)
        assert tree(tmp_path) == before
        return outcome

    return run


@pytest.fixture
def run_folder(tmp_path):
    """A finished run."""
    run = RunDir(tmp_path / "runs" / "tiny")
    vocab = Vocab(("<unk>", *WORDS), np.array([3, 9, 8, 7, 6]))
    table_VD = np.concatenate([np.zeros((1, 2), np.float32), ROWS])
    run.write_finished({}, vocab=vocab, center_VD=table_VD, context_VD=table_VD)
    (tmp_path / "p.tsv").write_text("cat\tdog\t1\n")
    (tmp_path / "w2v.yaml").write_text("train: {seed: 1}\n")
    return run


@pytest.mark.fault("V1")
@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v"])
@pytest.mark.parametrize("data", [b"", b"3 2\n", b"3\n", b"\n", b"garb age\x00\xff" * 9])
def test_no_vectors(row, asked, name, data):
    expect(row, asked(data, name=name), 4)


@pytest.mark.fault("V1")
@pytest.mark.parametrize(
    ("data", "name"), [(TEXT, "v.bin"), (BINARY, "v.txt")], ids=["text", "binary"]
)
def test_the_content_decides(row, asked, cli, data, name):
    outcome = asked(data, name=name)
    expect(row, outcome, 0)
    assert outcome.out.startswith("cats\t")


@pytest.mark.fault("V2")
@pytest.mark.parametrize("name", ["v.txt", "v.bin"])
@pytest.mark.parametrize(
    "header",
    ["999999999 300", "4 999999999", f"{2**64} 2", f"4 {2**63 - 1}", "-4 2", "0 2", "4 0", "0 0",
     "1_0 2", "\uff14 2", "4.0 2", "+4 2", "4", "0x4 2"],
)  # fmt: skip
def test_sizes_that_cannot_be(row, asked, name, header):
    rest = TEXT if name == "v.txt" else BINARY
    expect(row, asked(header.encode() + b"\n" + rest.partition(b"\n")[2], name=name), 4)


@pytest.mark.fault("V3")
@pytest.mark.parametrize(
    ("data", "name"), [(TEXT, "v.txt"), (BINARY, "v.bin")], ids=["text", "binary"]
)
@pytest.mark.parametrize("count", [1, 3, 5, 6])
def test_another_number_of_rows(row, asked, data, name, count):
    expect(row, asked(b"%d" % count + data[1:], name=name), 4)


@pytest.mark.fault("V4")
@pytest.mark.parametrize(
    "bad",
    [b"cat 1\n", b"cat 1 2 3\n", b"cat\n", b"cat 1 x\n", b"cat 1 0x1\n", b"cat 1 nan\n",
     b"cat 1 -Inf\n", b"cat 1 1e39\n", b"cat 1 1_0\n", b"cat 1\t2\n", b"cat 1  2\n"],
)  # fmt: skip
def test_a_bad_row(row, asked, bad):
    message = expect(row, asked(HEADER + FIRST + bad + b"".join(OTHERS[1:])), 4)
    assert message.startswith("v.txt: line 3: ")


@pytest.mark.fault("V4")
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_bad_number_in_binary(row, asked, number):
    bad = BINARY[:8] + np.array([number], "<f4").tobytes() + BINARY[12:]
    expect(row, asked(bad, name="v.bin"), 4)


@pytest.mark.fault("V5")
@pytest.mark.parametrize("word", [b"cat", b"", b"\xc3", b"\xed\xa0\x80"])
@pytest.mark.parametrize(
    ("data", "name"), [(TEXT, "v.txt"), (BINARY, "v.bin")], ids=["text", "binary"]
)
def test_a_bad_word(row, asked, word, data, name):
    expect(row, asked(data.replace(b"dog ", word + b" "), name=name), 4)


@pytest.mark.fault("V6")
@pytest.mark.parametrize(
    ("data", "name"),
    [(TEXT, "v.txt"), (gzip.compress(TEXT, mtime=0), "v.txt.gz")],
    ids=["plain", "gzip"],
)
def test_text_cut_short(row, asked, data, name):
    for at in range(len(data)):
        expect(row, asked(data[:at], name=name), 4)


@pytest.mark.fault("V7")
def test_binary_cut_short(row, asked):
    for at in range(6, len(BINARY)):
        expect(row, asked(BINARY[:at], name="v.bin"), 4)


@pytest.mark.fault("V7")
@pytest.mark.parametrize(
    "data",
    [
        BINARY.replace(b"dog ", b"dog_" * 20_000),
        BINARY.replace(b"dog ", b"d" * 2**20 + b" "),
        BINARY + b"\n",
        BINARY + b"more",
        b"4 2\n" + b"x" * 8_000_000,
        b"4 500000\n" + b"\0" * 8_000_100,
    ],
    ids=["no space", "1 MB word", "line end", "more", "8 MB", "8 MB of nothing"],
)
def test_damaged_binary(row, asked, data):
    expect(row, asked(data, name="v.bin"), 4)


# Written by hand: `os.mkdir("canary")`, as protocols 0 and 2 say it, bare and inside an .npy.
PICKLE_0 = b"cposix\nmkdir\n(S'canary'\ntR."
PICKLE_2 = b"\x80\x02cposix\nmkdir\nX\x06\x00\x00\x00canary\x85R."
PICKLE_4 = b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93\x8c\x06canary\x85R."
NPY_TEXT = b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }".ljust(117) + b"\n"
NPY_OBJECTS = b"\x93NUMPY\x01\x00\x76\x00" + NPY_TEXT + PICKLE_2


@pytest.mark.fault("V8")
@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.npy", "v.safetensors", "v.kv", "v.pt", "v"])
@pytest.mark.parametrize(
    "data",
    [PICKLE_0, PICKLE_2, PICKLE_4, NPY_OBJECTS, b"PK\x03\x04" + bytes(99)],
    ids=["0", "2", "4", "npy", "zip"],
)
def test_pickles_are_not_read(row, asked, tmp_path, name, data):
    (tmp_path / f"{name}.vocab").write_bytes(b"cat 1\n")
    expect(row, asked(data, name=name), 4)
    assert not (tmp_path / "canary").exists()


@pytest.mark.fault("V9")
@pytest.mark.parametrize("name", ["vocab.tsv", "vectors.safetensors"])
def test_every_flipped_byte_of_a_run_is_noticed(row, cli, run_folder, name):
    path = run_folder.path / name
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        if at % 16 == 0:
            expect(row, cli("similar", "cat"), 4)
            expect(row, cli("info"), 4, partial=True)
        else:
            with pytest.raises(DataError, match="checksum mismatch"):
                run_folder.load_vectors()


@pytest.mark.fault("V10")
@pytest.mark.parametrize("option", [(), ("--minus",)])
@pytest.mark.parametrize(
    ("word", "hint"),
    [("Cat", "only the case differs: 'cat'"), ("", ""), ("<unk>", ""), ("cast", "mean 'cat'"),
     ("cafe\u0301", "form NFC"), ("cat ", "did you mean")],
)  # fmt: skip
def test_an_unknown_word(row, cli, run_folder, option, word, hint):
    outcome = cli("similar", "dog", *option, word)
    expect(row, outcome, 4)
    assert hint in outcome.err


@pytest.mark.fault("V10")
def test_an_unknown_word_in_a_queue(row, cli, run_folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"dog\n\nCat\n")))
    outcome = cli("similar", "-", "-k", 1)
    assert expect(row, outcome, 4, partial=True).startswith("stdin, line 3: 'Cat'")
    assert outcome.out.count("\t") == 1


@pytest.mark.fault("V11")
@pytest.mark.parametrize(
    ("data", "arguments", "printed"),
    [
        (b"3 2\na 0 0\nb 1 1\nc 1 0\n", (), "b\t0.0000\nc\t0.0000\n"),
        (b"3 2\na 1 1\nb 0 0\nc 1 0\n", (), "c\t0.7071\nb\t0.0000\n"),
        (b"3 2\na 1 1\nb 1 1\nc 1 1\n", (), "b\t1.0000\nc\t1.0000\n"),
        (b"3 2\na 1 1\nb 1 1\nc 1 0\n", ("--minus", "a"), "b\t0.0000\nc\t0.0000\n"),
        (b"1 2\na 1 1\n", (), ""),
        (b"2 1\na 1e-45\nb -1e-45\n", ("-k", "99"), "b\t-1.0000\n"),
        (b"2 1\na 3e38\nb 3e38\n", (), "b\t1.0000\n"),
    ],
)
def test_queries_without_a_clear_answer(row, asked, data, arguments, printed):
    outcomes = [asked(data, *arguments, words=("a",)) for _ in range(3)]
    expect(row, outcomes[0], 0)
    assert outcomes[0].out == printed
    assert len({outcome.out for outcome in outcomes}) == 1


SOMETIMES = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NASTY = st.text(st.sampled_from("ab é#\u00a0\u2009\u2028\n\r\t\0\x1b\u0301\ud800"), min_size=1)


@pytest.mark.fault("V12")
@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.npy", "v.safetensors", "v.vec.gz"])
@SOMETIMES
@given(words=st.lists(NASTY | st.text(min_size=1, max_size=5), min_size=1, max_size=4, unique=True))
def test_words_come_back_or_are_refused(row, tmp_path, name, words):
    path = tmp_path / name
    for old in tmp_path.glob("v.*"):
        old.unlink()
    vectors = WordVectors(words, np.ones((len(words), 2)))
    try:
        formats.write(vectors, path)
    except DataError as error:
        message = str(error)
        assert row.matches(4, message)
        assert list(tmp_path.glob("v.*")) == []
    else:
        assert formats.read(path).words == tuple(words)


@pytest.mark.fault("V12")
def test_words_with_spaces_through_the_command(row, cli, tmp_path):
    (tmp_path / "in.txt").write_text("2 1\nnew york 1\n#b 2\n")
    expect(row, cli("export", "out.txt", "--vectors", "in.txt"), 4)
    assert not (tmp_path / "out.txt").exists()
    (tmp_path / "in.txt").write_text("2 1\n#new 1\n#b 2\n")
    expect(row, cli("export", "out.txt", "--vectors", "in.txt"), 0)
    assert (tmp_path / "out.txt").read_bytes() == (tmp_path / "in.txt").read_bytes()


@pytest.mark.fault("V13")
@pytest.mark.parametrize("arguments", [("similar", "cat"), ("eval", "p.tsv"), ("export", "-")])
def test_a_reader_that_goes_away(row, run_folder, tmp_path, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    outcome = process(*arguments, cwd=tmp_path, stdout=writing)
    os.close(writing)
    expect(row, outcome, 141)


@pytest.mark.fault("V13")
@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [("similar", "cat"), ("eval", "p.tsv"), ("export", "-")])
def test_a_full_output(row, run_folder, tmp_path, arguments):
    with FULL.open("wb") as full:
        expect(row, process(*arguments, cwd=tmp_path, stdout=full), 5)


@pytest.mark.fault("V13")
def test_a_closed_output(row, run_folder, tmp_path):
    command = [sys.executable, "-m", "w2v", "similar", "cat"]
    closed = f"import os; os.close(1); os.execv({command[0]!r}, {command!r})"
    expect(row, process("-c", closed, cwd=tmp_path, module=None), 0)


@pytest.mark.fault("V14")
def test_an_output_without_the_letter(row, run_folder, tmp_path):
    environment = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    outcome = process("similar", "dog", "-k", 1, cwd=tmp_path, env=environment)
    expect(row, outcome, 0)
    assert outcome.out == "caf\\xe9\t0.9487\n"


@pytest.mark.fault("V15")
def test_places_that_are_no_file(row, cli, run_folder, tmp_path):
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "mine.txt").write_text("mine")
    before = tree(tmp_path)
    for out in (
        ("folder.txt", "--force"),
        ("pipe.txt", "--force"),
        ("mine.txt",),
        (run_folder.vectors, "--force"),
        ("mine.txt/v.txt",),
    ):
        expect(row, cli("export", *out), 5)
    # Through a pipe: a standard output that is a file is one, and is replaced.
    outcome = process("export", "/dev/stdout", "--format", "glove", "--force", cwd=tmp_path)
    expect(row, outcome, 5)
    with tempfile.TemporaryFile(dir=tmp_path) as nameless:
        out = f"/proc/self/fd/{nameless.fileno()}"
        expect(row, cli("export", out, "--format", "glove", "--force"), 5)
    assert tree(tmp_path) == before


@pytest.mark.fault("V15")
@pytest.mark.parametrize("name", ["projector", "model2vec"])
def test_places_that_are_no_folder_of_ours(row, cli, run_folder, tmp_path, name):
    (run_folder.path / "config.yaml").write_text("corpus: {name: ptb}\n")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    expect(row, cli("export", "ours", "--format", name), 0)
    expect(row, cli("export", "theirs", "--format", name), 0)
    mark = {"projector": "projector_config.pbtxt", "model2vec": "config.json"}[name]
    (tmp_path / "theirs" / mark).write_text("{}")
    before = tree(tmp_path)
    for out in ("file", "folder", run_folder.path, "theirs", "file/m"):
        expect(row, cli("export", out, "--format", name, "--force"), 5)
    expect(row, cli("export", "ours", "--format", name), 5)
    assert tree(tmp_path) == before
    (tmp_path / "link").symlink_to("ours")
    expect(row, cli("export", "link", "--format", name, "--force"), 0)
    assert tree(tmp_path / "link") == tree(tmp_path / "ours")


@pytest.mark.fault("V15")
@pytest.mark.parametrize("command", [["loss"], ["lengths"], ["map"], ["map", "-o", "map.html"]])
def test_places_where_no_picture_can_be(row, cli, run_folder, tmp_path, command):
    name = command[-1] if "." in command[-1] else f"{command[0]}.png"
    os.mkfifo(tmp_path / name)
    expect(row, cli("plot", *command, "--force"), 5)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    expect(row, cli("plot", *command, "--force"), 5)
    (tmp_path / name).rmdir()
    (tmp_path / name).write_text("mine")
    expect(row, cli("plot", *command), 5)
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.fault("V15")
def test_a_read_only_folder(row, run_folder, tmp_path, read_only):
    (tmp_path / "out").mkdir()
    with read_only(tmp_path / "out"):
        expect(row, process("export", "out/v.txt", cwd=tmp_path, humble=True), 5)
        expect(row, process("plot", "map", "-o", "out/m.png", cwd=tmp_path, humble=True), 5)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.fault("V15")
def test_links_modes_and_the_source_itself(row, cli, run_folder, tmp_path):
    old = os.umask(0o027)
    try:
        expect(row, cli("export", "v.txt"), 0)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "v.txt").stat().st_mode) == 0o640
    (tmp_path / "v.txt").chmod(0o600)
    (tmp_path / "link.txt").symlink_to(tmp_path / "v.txt")
    content = (tmp_path / "v.txt").read_bytes()
    expect(row, cli("export", "link.txt", "--vectors", "v.txt", "--force"), 0)
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "v.txt").read_bytes() == content
    assert stat.S_IMODE((tmp_path / "v.txt").stat().st_mode) == 0o600


@pytest.mark.fault("V16")
@pytest.mark.parametrize("times", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_exports(row, tmp_path, times):
    table = np.random.default_rng(0).normal(size=(3000, 20)).astype(np.float32)
    vectors = WordVectors([f"w{i}" for i in range(3000)], table)
    source = tmp_path / "v.bin"
    formats.write(vectors, source)
    (tmp_path / "out").mkdir()
    kills("export", times, tmp_path / "out", source)
    found = formats.read(tmp_path / "out" / "v.txt")
    assert found.matrix.tobytes() == vectors.matrix.tobytes()
    # The last export, which ran to its end, swept what the killed ones left.
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["v.txt"]
    assert row.ends[0] == ()


@pytest.mark.fault("V16")
@pytest.mark.parametrize("times", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_exports_of_folders(row, tmp_path, times):
    table = np.random.default_rng(0).normal(size=(3000, 20)).astype(np.float32)
    source = tmp_path / "v.bin"
    formats.write(WordVectors([f"w{i}" for i in range(3000)], table), source)
    (tmp_path / "out").mkdir()
    kills("export-folder", times, tmp_path / "out", source)
    formats.write(formats.read(source), tmp_path / "calm", format="model2vec")
    assert tree(tmp_path / "out" / "m") == tree(tmp_path / "calm")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m"]
    assert row.ends[0] == ()


@pytest.mark.fault("V16")
def test_a_disk_full_at_the_end(row, run_folder, tmp_path):
    (tmp_path / "disk").mkdir()
    table = np.random.default_rng(0).normal(size=(3000, 20)).astype(np.float32)
    formats.write(WordVectors([f"w{i}" for i in range(3000)], table), tmp_path / "big.bin")
    script = 'cp big.bin disk/old.bin; "$@"; code=$?; ls -A disk; exit $code'
    prefix = [*small_disk(tmp_path / "disk", size=400_000), "sh", "-c", script, "sh"]
    outcome = process("export", "disk/new.txt", "--vectors", "big.bin", cwd=tmp_path, prefix=prefix)
    assert outcome.out == "old.bin\n"
    expect(row, outcome, 5, partial=True)


@pytest.mark.fault("V17")
@SOMETIMES
@given(
    table=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 5)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True),
    )
)
def test_any_float_survives_text(row, tmp_path, table):
    vectors = WordVectors([f"w{i}" for i in range(len(table))], table)
    formats.write(vectors, tmp_path / "v.txt", force=True)
    found = word2vec_text.read(tmp_path / "v.txt")
    assert found.matrix.tobytes() == table.tobytes()
    assert row.ends == {0: ()}


@pytest.fixture
def start(cli, tmp_path, monkeypatch):
    """Runs `w2v train` from vectors of these bytes on a text of five words."""
    (tmp_path / "text.txt").write_text("cat dog café mouse cat\n" * 40)
    settings = (
        "corpus.name=text", "corpus.path=text.txt", "vocab.min_count=1", "model.dim=2",
        "train.epochs=1", "train.batch_size=16", "train.kernel=bmm", "sampling.subsample=null",
    )  # fmt: skip

    def run(path, *arguments, more=()):
        given = (*settings, f"model.init_from={path}", *more)
        options = [part for setting in given for part in ("-s", setting)]
        return cli("train", *options, "--run", "run", *arguments)

    return run


@pytest.mark.fault("V18")
@pytest.mark.parametrize(
    ("data", "settings", "code"),
    [
        (None, (), 4),
        (b"", (), 4),
        (b"1 2\ncat 1\n", (), 4),
        (b"1 2\nKatze 1 2\n", (), 4),
        (TEXT, ("model.dim=3",), 2),
        (BINARY, ("model.dim=3",), 2),
        (TEXT, (), 0),
        (BINARY, ("model.freeze=pretrained",), 0),
    ],
)
def test_vectors_to_start_from(row, start, tmp_path, data, settings, code):
    if data is not None:
        (tmp_path / "v").write_bytes(data)
    expect(row, start("v", more=settings), code)
    assert (tmp_path / "run").exists() == (code == 0)


@pytest.mark.fault("V18")
def test_runs_to_start_from(row, start, run_folder, tmp_path):
    (tmp_path / "folder").mkdir()
    expect(row, start("folder"), 4)
    (tmp_path / "text.txt").write_text("cat cats dog café\n" * 40)
    expect(row, start(run_folder.path, more=("model.freeze=pretrained",)), 2)
    expect(row, start(run_folder.path, more=("model.freeze=all",)), 0)


@pytest.mark.fault("V18")
@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_run_that_goes_on_from_vectors(row, start, tmp_path, change):
    path = tmp_path / "v.txt"
    path.write_bytes(TEXT)
    expect(row, start("v.txt"), 0)
    (tmp_path / "run" / "run.json").write_text('{"schema": 1, "finished": false}')
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(TEXT.replace(b"0.5", b"0.6"))
    outcome = start("v.txt", "--resume", more=("train.epochs=2",))
    expect(row, outcome, 0 if change == "gone" else 7, warned=change == "gone")
