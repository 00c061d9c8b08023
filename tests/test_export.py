"""`w2v export` to what it cannot read back, and what is chosen of a table."""

import json
import subprocess
import sys

import numpy as np
import pytest

from w2v import formats
from w2v.formats import tsv
from w2v.rundir import RunDir
from w2v.runs import load
from w2v.vectors import WordVectors
from w2v.vocab import Vocab

WORDS = ("<unk>", "chip", "chips", "intel", "king")
CENTER = np.array([[0, 0], [1, 0], [4, 3], [3, 4], [0, 2]], np.float32)
CONTEXT = CENTER[:, ::-1] * 2
CONFIG = "corpus: {name: text, path: t.txt, lowercase: true, token_pattern: '\\w+'}\n"


@pytest.fixture
def run(cli, tmp_path):
    run = RunDir(tmp_path / "runs" / "tiny")
    vocab = Vocab(WORDS, np.array([5, 10, 9, 8, 7]))
    run.write_finished(
        {},
        vocab=vocab,
        center_VD=CENTER,
        context_VD=CONTEXT,
        others={run.config: CONFIG.encode()},
    )
    return run


def wrote(outcome):
    """What was said after the name of the run."""
    assert (outcome.code, outcome.out) == (0, "")
    using, *said = outcome.err.splitlines()
    assert using == "using runs/tiny (the newest finished run)"
    return said


def test_projector_tables(cli, run, tmp_path):
    assert wrote(cli("export", "v.tsv")) == [
        "wrote v.tsv: 4 words x 2, format projector",
        "open it: Load at https://projector.tensorflow.org, v.tsv and v.metadata.tsv",
    ]
    assert (tmp_path / "v.tsv").read_bytes() == b"1\t0\n4\t3\n3\t4\n0\t2\n"
    assert (tmp_path / "v.metadata.tsv").read_text().splitlines()[1] == "chip\t10\t1.0000\t1.0000"


def test_a_projector_folder(cli, run, tmp_path):
    assert wrote(cli("export", "my logs", "--format", "projector")) == [
        "wrote my logs: 4 words x 2, format projector",
        "open it: tensorboard --logdir 'my logs'",
    ]
    assert (tmp_path / "my logs" / "vectors.tsv").read_bytes() == b"1\t0\n4\t3\n3\t4\n0\t2\n"


def test_many_points_are_warned_of(cli, run, monkeypatch):
    monkeypatch.setattr(tsv, "POINTS", 3)
    slow = "4 points make the projector slow: --top 3 takes the commonest"
    assert wrote(cli("export", "v.tsv"))[-1] == slow
    assert wrote(cli("export", "p", "--format", "projector"))[-1] == slow
    assert slow not in wrote(cli("export", "w.tsv", "--top", 3))


def test_a_model2vec_folder_cuts_text_as_the_run_did(cli, run, tmp_path):
    said = wrote(cli("export", "m", "--format", "model2vec"))
    assert said[0] == "wrote m: 4 words x 2, format model2vec"
    assert "StaticModel.from_pretrained" in said[1]
    tokenizer = json.loads((tmp_path / "m" / "tokenizer.json").read_bytes())
    assert tokenizer["normalizer"] == {"type": "Lowercase"}
    assert tokenizer["pre_tokenizer"]["pattern"] == {"Regex": r"\w+"}
    assert "<unk>" not in tokenizer["model"]["vocab"]
    cli("export", "v.txt")
    assert cli("export", "n", "--format", "model2vec", "--vectors", "v.txt").code == 0
    tokenizer = json.loads((tmp_path / "n" / "tokenizer.json").read_bytes())
    assert tokenizer["normalizer"] is None  # a file does not say
    assert tokenizer["pre_tokenizer"] == {"type": "WhitespaceSplit"}


@pytest.mark.parametrize("config", ["corpus: {name: pydoc}", "corpus: {name: ptb}"])
def test_the_documentation_of_python_is_in_lower_case(cli, run, tmp_path, config):
    run.config.write_text(config)
    assert cli("export", "m", "--format", "model2vec").code == 0
    tokenizer = json.loads((tmp_path / "m" / "tokenizer.json").read_bytes())
    assert (tokenizer["normalizer"] is None) == ("ptb" in config)


def test_a_run_that_does_not_say_how_text_is_cut(cli, run, tmp_path):
    run.config.write_text("corpus: {name: nonsense}\n")
    outcome = cli("export", "m", "--format", "model2vec")
    assert outcome.code == 4
    assert "does not say how text becomes words: " in outcome.err
    run.config.unlink()
    assert cli("export", "m", "--format", "model2vec").code == 4
    assert not (tmp_path / "m").exists()
    assert cli("export", "v.txt").code == 0  # where nothing of it is needed


def test_a_parquet_table(cli, run, tmp_path):
    import polars as pl

    assert wrote(cli("export", "v.parquet")) == ["wrote v.parquet: 4 words x 2, format parquet"]
    assert pl.read_parquet(tmp_path / "v.parquet").rows() == [
        ("chip", 10, [1.0, 0.0]),
        ("chips", 9, [4.0, 3.0]),
        ("intel", 8, [3.0, 4.0]),
        ("king", 7, [0.0, 2.0]),
    ]


def test_top_and_normalize_after_the_matrix_is_chosen(cli, run):
    assert wrote(cli("export", "v.npy", "--top", 2)) == [
        "wrote v.npy: 2 words x 2, format npy",
    ]
    assert load("v.npy").words == ("chip", "chips")
    assert load("v.npy").counts == (10, 9)
    cli("export", "n.txt", "--top", 2, "--normalize", "--matrix", "context")
    expected = np.array([[0, 1], [0.6, 0.8]], np.float32)
    assert load("n.txt").matrix.tolist() == expected.tolist()
    cli("export", "s.txt", "--top", 2, "--normalize", "--matrix", "sum")
    sums_VD = (CENTER + CONTEXT)[1:3]
    expected = sums_VD / np.linalg.norm(sums_VD, axis=1)[:, None]
    assert load("s.txt").matrix == pytest.approx(expected, abs=1e-7)
    cli("export", "f.txt", "--vectors", "n.txt", "--top", 1)
    assert load("f.txt").words == ("chip",)
    assert cli("export", "-", "--top", 1, "--normalize").out == "1 2\nchip 1 0\n"


def test_a_top_above_the_vocabulary_is_all_with_a_note(cli, run):
    assert wrote(cli("export", "v.txt", "--top", 10**30)) == [
        f"--top {10**30} is more than there is: 4 words",
        "wrote v.txt: 4 words x 2, format word2vec",
    ]
    assert "more than" not in cli("export", "v.txt", "--top", 4, "--force").err


def test_half_precision(cli, run, tmp_path):
    for name in ("v.npy", "v.safetensors"):
        cli("export", name)
        whole = (tmp_path / name).stat().st_size
        assert wrote(cli("export", name, "--dtype", "f16", "--force"))
        assert load(name).matrix.tolist() == CENTER[1:].tolist()
        assert (tmp_path / name).stat().st_size == whole - 2 * CENTER[1:].size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["v.txt", "--dtype", "f16"], "format word2vec has no f16; npy and safetensors have"),
        (["-", "--dtype", "f16"], "format word2vec has no f16"),
        (["m", "--format", "model2vec", "--dtype", "f16"], "format model2vec has no f16"),
        (["v.npy", "--dtype", "f64"], "'f64' is not one of 'f32', 'f16'"),
        (["v.txt", "--top", "0"], "--top"),
        (["v.txt", "--top", "many"], "--top"),
        (["-", "--format", "projector"], "format projector is a folder: it needs a file"),
        (["-", "--format", "parquet"], "format parquet is binary: it needs a file"),
        (["v.tsv.gz"], "only text is compressed"),
        (["v.txt", "--format", "model2vec"], "but format model2vec is a folder"),
        (["v.txt", "--format", "parket"], "did you mean parquet"),
        (["v.parket"], "did you mean .parquet"),
        (["m", "--format", "model2vec", "--run", "r", "--vectors", "v"], "exclude each other"),
    ],
)
def test_a_wrong_command_line_is_2(cli, run, tmp_path, arguments, message):
    before = sorted(tmp_path.rglob("*"))
    outcome = cli("export", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["projector", "model2vec"])
def test_what_is_in_the_way_of_a_folder_is_5(cli, run, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for out, message in (
        ("file", "file is a file\nhint: format"),
        ("folder", f"folder holds mine, no part of a {name}\nhint: name a folder"),
        ("runs/tiny", "runs/tiny holds config.yaml, no part of a"),
        ("runs/tiny/run.json", "runs/tiny/run.json is a run's own file"),
        ("file/m", "cannot write file/m: Not a directory"),
    ):
        outcome = cli("export", out, "--format", name, "--force")
        assert (outcome.code, outcome.out) == (5, "")
        assert message in outcome.err
        assert "using" not in outcome.err  # told before anything is loaded
    assert sorted(tmp_path.rglob("*")) == before
    assert cli("export", "out", "--format", name).code == 0
    outcome = cli("export", "out", "--format", name)
    assert outcome.code == 5
    assert outcome.err == "w2v: error: out exists already\nhint: --force replaces it\n"
    assert cli("export", "out", "--format", name, "--force", "--top", 1).code == 0


def test_a_number_too_great_for_half_precision_is_4(cli, run, tmp_path):
    formats.write(WordVectors(["a", "b"], np.array([[1.0], [1e5]])), tmp_path / "v.txt")
    outcome = cli("export", "v.npy", "--vectors", "v.txt", "--dtype", "f16")
    assert outcome.code == 4
    assert "float16 cannot hold the vector of 'b'" in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "v.txt"]


def test_no_export_loads_what_training_needs(run, tmp_path):
    code = """
import contextlib, sys
from w2v.cli.main import main
for out in ("v.txt", "v.bin", "v.npy", "v.safetensors", "v.tsv", "projector", "model2vec"):
    with contextlib.suppress(SystemExit):
        main(["export", out, "--top", "2", "--normalize"] + ["--format", out] * ("." not in out))
print(*{"torch", "numba", "polars"} & set(sys.modules))
with contextlib.suppress(SystemExit):
    main(["export", "v.parquet"])
print(*{"torch", "numba", "polars"} & set(sys.modules))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout) == (0, "\npolars\n"), done.stderr
    assert len(list(tmp_path.iterdir())) == 12  # three have a second file; runs/
