import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from w2v import formats
from w2v.cli.main import main
from w2v.rundir import RunDir
from w2v.runs import RUNS, load
from w2v.vectors import WordVectors
from w2v.vocab import Vocab

WORDS = ("<unk>", "chip", "chips", "intel", "king", "é")
CENTER = np.array([[0, 0], [1, 0], [4, 3], [3, 4], [0, 2], [-1, 0]], np.float32)
CONTEXT = CENTER[:, ::-1] * 2
FULL = Path("/dev/full")
RUN_SAID = "using runs/tiny (the newest finished run)\n"


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w2v.yaml").write_text("train: {seed: 1}\n")
    run = RunDir(RUNS / "tiny")
    vocab = Vocab(WORDS, np.array([5, 10, 9, 8, 7, 6]))
    run.write_finished({}, vocab=vocab, center_VD=CENTER, context_VD=CONTEXT)
    return run


@pytest.fixture
def w2v(capfdbinary, monkeypatch):
    """Runs a command line; gives its exit code, standard output and standard error."""

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        out, err = capfdbinary.readouterr()
        assert b"Traceback" not in err
        return caught.value.code, out.decode(), err.decode()

    return call


def spawn(*arguments, **kwargs):
    command = [sys.executable, "-m", "w2v", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, timeout=60, check=False, **kwargs)


# similar


def test_similar_prints_a_neighbor_a_line(w2v):
    expected = "chips\t0.8000\nintel\t0.6000\nking\t0.0000\n"
    assert w2v("similar", "chip", "-k", "3") == (0, expected, RUN_SAID)


def test_several_words_are_one_query(w2v):
    assert w2v("similar", "chip", "king", "-k1")[1] == "chips\t0.9899\n"
    code, out, _ = w2v("similar", "chips", "--minus", "king", "--minus", "é", "-k", "1")
    assert (code, out) == (0, "chip\t0.9762\n")  # (1.8, -0.4) / 1.84391


def test_a_word_minus_itself_is_near_nothing(w2v):
    assert (
        w2v("similar", "chip", "--minus", "chip", "-k", "2")[1] == "chips\t0.0000\nintel\t0.0000\n"
    )


def test_json(w2v):
    code, out, _ = w2v("similar", "chip", "--json", "-k", "2")
    assert code == 0
    assert out == (
        '{"query": "chip", "neighbours": '
        '[{"word": "chips", "cosine": 0.8}, {"word": "intel", "cosine": 0.6}]}\n'
    )
    _, out, _ = w2v("similar", "king", "é", "--minus", "chip", "--json", "-k", "1")
    assert json.loads(out)["query"] == "king é --minus chip"


def test_queries_from_stdin(w2v):
    stdin = "\ufeffchip\r\n\n  chip king  \né".encode()
    expected = "chips\t0.8000\n\nchips\t0.9899\n\nking\t0.0000\n"
    assert w2v("similar", "-", "-k", "1", stdin=stdin) == (0, expected, RUN_SAID)
    _, out, _ = w2v("similar", "-", "-k", "1", "--json", "--minus", "é", stdin=stdin)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["query"] for answer in answers] == [
        "chip --minus é",
        "chip king --minus é",
        "é --minus é",
    ]
    assert w2v("similar", "-", stdin=b"") == (0, "", w2v("similar", "-", stdin=b"\n")[2])


def test_a_line_is_a_query_as_on_the_command_line(w2v):
    stdin = b"chips --minus king --minus \xc3\xa9\n--minus chip\n"
    code, out, _ = w2v("similar", "-", "-k", "1", "--json", stdin=stdin)
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["query"] for answer in answers] == [
        "chips --minus king --minus é",
        "--minus chip",
    ]
    assert answers[0]["neighbours"] == [{"word": "chip", "cosine": 0.976187}]
    assert answers[1]["neighbours"] == [{"word": "é", "cosine": 1.0}]
    code, out, err = w2v("similar", "-", "-k", "1", stdin=b"chip\nking --minus\n")
    assert (code, out) == (4, "chips\t0.8000\n")
    assert "w2v: error: stdin, line 2: --minus wants a word behind it" in err


def test_an_answer_comes_before_the_next_line_is_written(run):
    command = [sys.executable, "-m", "w2v", "similar", "-", "-k", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asked:
        for line, answer in (
            (b"chip\n", [b"chips\t0.8000\n"]),
            (b"chip king\n", [b"\n", b"chips\t0.9899\n"]),
        ):
            asked.stdin.write(line)
            asked.stdin.flush()
            assert [asked.stdout.readline() for _ in answer] == answer
        asked.stdin.close()
        assert asked.wait(timeout=60) == 0


def test_only_the_commonest_words_answer(w2v):
    assert w2v("similar", "king", "-k", "2")[1] == "intel\t0.8000\nchips\t0.6000\n"
    assert w2v("similar", "king", "-k", "2", "--restrict", "2") == (
        0,
        "chips\t0.6000\nchip\t0.0000\n",
        RUN_SAID,
    )
    code, out, err = w2v("similar", "chip", "-k", "9", "--restrict", "2")
    assert (code, out) == (0, "chips\t0.8000\n")
    assert "-k 9 is more than there is: 2 other words" in err
    assert w2v("similar", "chip", "-k", "1", "--restrict", "99")[1] == "chips\t0.8000\n"
    assert w2v("similar", "chip", "--restrict", "1")[1] == ""


def test_which_table_is_asked(w2v):
    # context: chip (0, 2), chips (6, 8), intel (8, 6), king (4, 0), é (0, -2)
    assert w2v("similar", "chip", "-k", "1", "--matrix", "context")[1] == "chips\t0.8000\n"
    # sum: chip (1, 2), chips (10, 11), ...: 32 / sqrt(5 * 221)
    assert w2v("similar", "chip", "-k", "1", "--matrix", "sum")[1] == "chips\t0.9627\n"


def test_bad_queries_from_stdin_are_told_with_their_line(w2v):
    code, out, err = w2v("similar", "-", "-k", "1", stdin=b"chip\n\nchip clip\nking\n")
    assert (code, out) == (4, "chips\t0.8000\n")
    assert "w2v: error: stdin, line 3: 'clip' is not in the vocabulary" in err
    assert "hint: did you mean 'chip' or 'chips'?" in err
    code, out, err = w2v("similar", "-", "-k", "1", stdin=b"chip\nab\xff\n")
    assert (code, out) == (4, "chips\t0.8000\n")
    assert "stdin, line 2: byte 3 is not UTF-8" in err


def test_a_k_above_the_vocabulary_is_clipped_with_a_note(w2v):
    code, out, err = w2v("similar", "chip", "-k", str(10**30))
    assert (code, out.count("\n")) == (0, 4)
    assert f"-k {10**30} is more than there is: 4 other words" in err
    assert "more than" not in w2v("similar", "chip", "-k", "4")[2]


@pytest.mark.parametrize("k", ["0", "-1", "x", "1.5"])
def test_an_impossible_k_is_named(k, w2v):
    code, out, err = w2v("similar", "chip", "-k", k)
    assert (code, out) == (2, "")
    assert "'-k'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["similar"], "no word to look for, and no terminal"),
        (["similar", "--minus", "chip"], "no word to look for, and no terminal"),
        (["similar", "chip", "--restrict", "0"], "'--restrict'"),
        (["similar", "chip", "--matrix", "mean"], "'mean' is not one of 'center',"),
        (["similar", "chip", "--matrix", "sum", "--vectors", "v.txt"], "only a run has sum"),
        (["similar", "chip", "-"], "give it alone"),
        (["similar", "chip", "--run", "r", "--vectors", "v"], "exclude each other"),
        (["similar", "chip", "-s", "train.sed=1"], "did you mean 'seed'"),
        (["similar", "chip", "-c", "nowhere.yaml"], "nowhere.yaml"),
        (["export"], "Missing argument"),
        (["export", "v"], "names no format"),
        (["export", "v.txt", "--format", "nonsense"], "unknown format"),
        (["export", "v.txt", "--matrix", "mean"], "'mean' is not one of 'center',"),
        (["export", "-", "--format", "npy"], "needs a file"),
        (["export", "v.txt", "-s", "train.sed=1"], "did you mean 'seed'"),
    ],
)
def test_a_wrong_command_line_is_2(arguments, message, w2v, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = w2v(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("word", ["Chip", "", "<unk>", "e\u0301"])
@pytest.mark.parametrize("option", ["--minus", None])
def test_an_unknown_word_is_4(word, option, w2v):
    code, out, err = w2v("similar", "king", *([option] if option else []), word)
    assert (code, out) == (4, "")
    assert f"w2v: error: '{word}' is not in the vocabulary" in err


def test_vectors_of_a_file(w2v, run):
    formats.write(run.load_vectors(), run.path.parent / "v.bin")
    assert w2v("similar", "chip", "-k", "1", "--vectors", "runs/v.bin") == (
        0,
        "chips\t0.8000\n",
        "",
    )
    code, _, err = w2v("similar", "chip", "--vectors", "v.pt")
    assert code == 4
    assert "is not read" in err


def test_a_named_run(w2v, run):
    run.path.rename("elsewhere")
    code, out, err = w2v("similar", "chip", "-k", "1", "--run", "elsewhere")
    assert (code, out) == (0, "chips\t0.8000\n")
    assert "using elsewhere (--run)" in err
    code, _, err = w2v("similar", "chip")
    assert code == 4
    assert "no finished run under runs/\nhint: train one: w2v train" in err


def test_control_characters_never_reach_the_terminal(w2v):
    vectors = WordVectors(["a", "b\x1b[2J"], np.ones((2, 2)))
    formats.write(vectors, RUNS / "v.txt")
    assert w2v("similar", "a", "-k", "1", "--vectors", "runs/v.txt")[1] == "b\\x1b[2J\t1.0000\n"


def test_an_encoding_without_the_letter_escapes_it(run):
    env = os.environ | {"PYTHONIOENCODING": "ascii", "LANG": "C"}
    done = spawn("similar", "king", "--minus", "chip", "-k", "1", env=env, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (0, b"\\xe9\t0.7071\n")


def test_a_reader_that_goes_away_is_141(run):
    reading, writing = os.pipe()
    os.close(reading)
    done = spawn("similar", "chip", stdout=writing)
    os.close(writing)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr


# export


def test_export_writes_what_load_reads(w2v, run):
    for name in ("v.txt", "v.vec.gz", "v.bin", "v.npy", "v.safetensors"):
        code, out, err = w2v("export", name)
        assert (code, out) == (0, "")
        assert err.startswith(RUN_SAID)
        assert f"wrote {name}: 5 words x 2" in err
        assert load(name).words == WORDS[1:]
        assert load(name).matrix.tolist() == CENTER[1:].tolist()


def test_export_of_the_context_table(w2v):
    assert w2v("export", "v.txt", "--matrix", "context")[0] == 0
    assert load("v.txt").matrix.tolist() == CONTEXT[1:].tolist()
    assert w2v("export", "s.txt", "--matrix", "sum")[0] == 0
    assert load("s.txt").matrix.tolist() == (CENTER + CONTEXT)[1:].tolist()


def test_export_to_stdout(w2v):
    rows = "chip 1 0\nchips 4 3\nintel 3 4\nking 0 2\né -1 0\n"
    assert w2v("export", "-") == (0, f"5 2\n{rows}", RUN_SAID)
    assert w2v("export", "-", "--format", "glove") == (0, rows, RUN_SAID)


def test_export_converts_a_file(w2v, run, tmp_path):
    w2v("export", "v.npy")
    assert w2v("export", "v.txt", "--vectors", "v.npy")[0] == 0
    assert load("v.txt").matrix.tolist() == CENTER[1:].tolist()
    assert w2v("export", "v.txt", "--vectors", "v.txt", "--force")[0] == 0
    assert load("v.txt").matrix.tolist() == CENTER[1:].tolist()
    code, _, err = w2v("export", "w.txt", "--vectors", "v.txt", "--matrix", "context")
    assert code == 2
    assert "only a run has context vectors" in err


def test_export_spares_what_is_there(w2v, run, tmp_path):
    (tmp_path / "v.txt").write_text("mine")
    (tmp_path / "folder.txt").mkdir()
    before = run.vectors.read_bytes()
    for out, message in (
        (["v.txt"], "v.txt exists already\nhint: --force replaces it"),
        (["folder.txt", "--force"], "folder.txt is a folder"),
        ([os.devnull, "--format", "glove", "--force"], "is no regular file"),
        ([str(run.vectors), "--force"], "is a run's own file"),
    ):
        code, printed, err = w2v("export", *out)
        assert (code, printed) == (5, "")
        assert message in err
        assert "using" not in err  # told before anything is loaded
    assert (tmp_path / "v.txt").read_text() == "mine"
    assert run.vectors.read_bytes() == before
    assert w2v("export", "v.txt", "--force")[0] == 0
    assert len(load("v.txt")) == 5


def test_a_word_that_no_file_holds_is_refused(w2v):
    formats.write(WordVectors(["a", "b"], np.ones((2, 2))), RUNS / "v.txt")
    (RUNS / "v.txt").write_text("2 2\na 1 1\nnew york 1 1\n")
    code, _, err = w2v("export", "v.bin", "--vectors", "runs/v.txt")
    assert code == 4
    assert "format binary cannot hold the word 'new york'" in err


def test_a_full_disk_is_5(w2v, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("w2v.files.os.fsync", full)
    code, _, err = w2v("export", "v.txt")
    assert code == 5
    assert "cannot write" in err
    assert "No space left on device" in err


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_stdout_is_5(run):
    with FULL.open("wb") as full:
        done = spawn("export", "-", stdout=full)
    assert done.returncode == 5
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_using_vectors_loads_nothing_heavy():
    code = """
import sys
import w2v.vectors, w2v.formats, w2v.runs, w2v.cli.similar, w2v.cli.eval, w2v.cli.export
print(*{"torch", "numba", "polars"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
