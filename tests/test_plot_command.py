"""`w2v plot` from outside: what is drawn from what, what is refused, and before which work."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from w2v.rundir import RunDir
from w2v.vectors import WordVectors
from w2v.vocab import Vocab

NUM_WORDS = 40
WORDS = ("<unk>", *(f"w{i}" for i in range(NUM_WORDS)))
REPORT = {"event": "epoch", "epoch": 1, "loss": 0.5, "words": 100, "heldout_loss": 0.6}


def make_run(path, *, finished=True, lines=(REPORT,)):
    run = RunDir(path)
    run.path.mkdir(parents=True)
    metrics = "".join(json.dumps(line) + "\n" for line in lines).encode()
    info = {"corpus": {"raw_words": 100}}
    if not finished:
        run.write_started(info)
        run.metrics.write_bytes(metrics)
        return run
    rows = np.random.default_rng(0).normal(size=(len(WORDS), 4)).astype(np.float32)
    rows[0] = 0
    run.write_finished(
        info,
        vocab=Vocab(WORDS, np.arange(len(WORDS), 0, -1)),
        center_VD=rows,
        context_VD=rows[::-1],
        others={run.metrics: metrics},
    )
    return run


@pytest.fixture
def run(cli, tmp_path):
    (tmp_path / "w2v.yaml").write_text("train: {seed: 1}\n")
    return make_run(tmp_path / "runs" / "tiny")


def error(outcome, code):
    """The one line of a failure, with its hint."""
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    lines = outcome.err.splitlines()
    (first,) = (i for i, line in enumerate(lines) if line.startswith("w2v: error: "))
    assert len(lines) - first <= 2
    return "\n".join(lines[first:])


def texts(path):
    import xml.etree.ElementTree as ET

    root = ET.fromstring(Path(path).read_text())
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


# loss


def test_loss_of_the_newest_run(cli, run):
    outcome = cli("plot", "loss")
    assert (outcome.code, outcome.out) == (0, "loss.png\n")
    assert "using runs/tiny (the newest finished run)" in outcome.err
    assert Path("loss.png").read_bytes()[:4] == b"\x89PNG"


def test_losses_of_several_runs_finished_or_not(cli, run, tmp_path):
    make_run(tmp_path / "other", finished=False, lines=[{**REPORT, "event": "progress"}])
    outcome = cli("plot", "loss", "runs/tiny", "other/", "-o", "out/both.svg")
    assert (outcome.code, outcome.out, outcome.err) == (0, "out/both.svg\n", "")
    assert {"tiny", "other", "Loss of 2 runs", "held-out"} <= set(texts("out/both.svg"))


def test_runs_of_one_name_are_called_by_their_paths(cli, run, tmp_path):
    make_run(tmp_path / "old" / "tiny")
    assert cli("plot", "loss", "runs/tiny", "old/tiny", "-o", "b.svg").code == 0
    assert {"runs/tiny", "old/tiny"} <= set(texts("b.svg"))


def test_a_damaged_line_is_4(cli, run):
    run.metrics.write_text(json.dumps(REPORT) + "\n{}\n")
    message = error(cli("plot", "loss", "runs/tiny"), 4)
    assert "runs/tiny/metrics.jsonl: line 2 is damaged: no 'event'\nhint: " in message
    assert not Path("loss.png").exists()


def test_no_run_is_4(cli, run):
    assert "nowhere is no run folder" in error(cli("plot", "loss", "runs/tiny", "nowhere"), 4)
    assert "w2v.yaml is no run folder" in error(cli("plot", "loss", "w2v.yaml"), 4)
    assert not Path("loss.png").exists()


# lengths


def test_lengths_before_and_after_subsampling(cli, tmp_path):
    (tmp_path / "t.txt").write_text("a b\n" * 5 + "a b c d\n" * 5)
    options = ["-s", "corpus.name=text", "-s", f"corpus.path={tmp_path / 't.txt'}"]
    options += ["-s", "vocab.min_count=1", "-s", "corpus.heldout_every=null"]
    plain = cli("plot", "lengths", *options, "-s", "sampling.subsample=null", "-o", "p.svg")
    assert (plain.code, plain.out) == (0, "p.svg\n")
    assert {
        "text: length of 10 sentences",
        "before subsampling: 3.0 words on average",
        "after subsampling: 3.0 words on average",
    } <= set(texts("p.svg"))
    thin = cli("plot", "lengths", *options, "-s", "sampling.subsample=1e-9", "-o", "t.svg")
    assert thin.code == 0
    assert "after subsampling: 0.0 words on average" in texts("t.svg")


def test_a_text_that_is_not_there_is_4(cli):
    options = ["-s", "corpus.name=text", "-s", "corpus.path=nowhere.txt"]
    assert "nowhere.txt" in error(cli("plot", "lengths", *options), 4)


# map


def test_a_map_of_the_commonest_words(cli, run):
    outcome = cli("plot", "map", "--top", "12", "--method", "pca", "-o", "m.svg")
    assert (outcome.code, outcome.out) == (0, "m.svg\n")
    assert "12 words by pca: as asked; two principal components show" in outcome.err
    assert "tiny: the 12 commonest words" in texts("m.svg")
    assert "w0" in texts("m.svg")
    assert "w12" not in texts("m.svg")


def test_a_map_of_named_words(cli, run):
    outcome = cli("plot", "map", "w7", "w9", "-k", "2", "-o", "m.svg")
    assert outcome.code == 0
    near = [word for asked in ("w7", "w9") for word, _ in run.load_vectors().similar(asked, k=2)]
    assert {"tiny: w7, w9 and the words near", "w7", "w9", *near} <= set(texts("m.svg"))


def test_a_map_by_tsne_says_so(cli, run):
    outcome = cli("plot", "map")
    assert (outcome.code, outcome.out) == (0, "map.png\n")
    assert "40 words by tsne: it keeps neighbors together; two principal components" in outcome.err
    assert struct.unpack(">II", Path("map.png").read_bytes()[16:24]) == (1500, 1200)


def test_a_map_of_another_table_or_of_a_file(cli, run):
    from w2v import formats

    arguments = ("--top", "9", "--method", "pca", "--force", "-o", "m.svg")
    made = []
    for options in ((), ("--matrix", "context"), ("--matrix", "sum")):
        assert cli("plot", "map", *arguments, *options).code == 0
        made.append(Path("m.svg").read_bytes())
    assert len(set(made)) == 3
    formats.write(WordVectors(["ä", "b"], np.eye(2)), Path("v.bin"))
    assert cli("plot", "map", *arguments, "--vectors", "v.bin").code == 0
    assert {"v.bin: the 2 commonest words", "ä"} <= set(texts("m.svg"))
    message = error(cli("plot", "map", *arguments, "--vectors", "v.bin", "--matrix", "sum"), 2)
    assert "only a run has sum vectors" in message


def test_a_page(cli, run):
    outcome = cli("plot", "map", "--method", "pca", "-o", "m.html")
    assert (outcome.code, outcome.out) == (0, "m.html\n")
    text = Path("m.html").read_text()
    assert "<title>tiny: the 40 commonest words</title>" in text


def test_an_unknown_word_is_4(cli, run):
    message = error(cli("plot", "map", "w7", "w77"), 4)
    assert "'w77' is not in the vocabulary\nhint: did you mean" in message
    assert not Path("map.png").exists()


# refusals, before any work


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["loss", "-o", "x.pdf"], "'x.pdf' is no .png or .svg file\nhint: -o OUT.png"),
        (["loss", "-o", "x.html"], "'x.html' is no .png or .svg file"),
        (["lengths", "-o", "-"], "'-' is no .png or .svg file"),
        (["lengths", "-o", ""], "is no .png or .svg file"),
        (["map", "-o", "map"], "'map' is no .png or .svg or .html file"),
        (["map", "-k", "0"], "'-k'"),
        (["map", "--top", "-1"], "'--top'"),
        (["map", "--top", "0"], "a map of no words"),
        (["map", "--method", "umap"], "'umap' is not one of 'pca', 'tsne'"),
        (["map", "--top", "3", "--method", "tsne"], "t-SNE wants 4 words or more, got 3"),
        (["map", "--run", "r", "--vectors", "v"], "exclude each other"),
        (["map", "-s", "train.sed=1"], "did you mean 'seed'"),
        (["loss", "runs/tiny", "-s", "train.sed=1"], "did you mean 'seed'"),
        (["lengths", "-s", "train.sed=1"], "did you mean 'seed'"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_a_wrong_command_line_is_2(cli, run, arguments, message):
    before = sorted(Path().rglob("*"))
    assert message in error(cli("plot", *arguments), 2)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("command", [["loss"], ["lengths"], ["map"], ["map", "-o", "map.html"]])
def test_what_is_there_is_spared(cli, run, command):
    name = command[-1] if "." in command[-1] else f"{command[0]}.png"
    Path(name).write_text("mine")
    assert f"{name} exists already\nhint: --force replaces it" in error(cli("plot", *command), 5)
    assert Path(name).read_text() == "mine"
    Path(name).unlink()
    Path(name).mkdir()
    assert f"{name} is a folder" in error(cli("plot", *command, "--force"), 5)


def test_force_replaces(cli, run):
    Path("loss.png").write_text("mine")
    assert cli("plot", "loss", "--force").code == 0
    assert Path("loss.png").read_bytes()[:4] == b"\x89PNG"


def test_a_folder_that_is_a_file_is_5(cli, run):
    Path("file").write_text("mine")
    for out in ("file/loss.png", "file/new/loss.png"):
        assert f"cannot write {out}: Not a directory" in error(cli("plot", "loss", "-o", out), 5)


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("matplotlib", ["loss"]),
        ("matplotlib", ["lengths"]),
        ("matplotlib", ["map"]),
        ("bokeh", ["map", "-o", "m.html"]),
        ("sklearn", ["map", "--method", "tsne"]),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_brings_it(
    cli, run, monkeypatch, package, arguments
):
    real = sys.modules["w2v.extras"].find_spec
    monkeypatch.setattr(
        "w2v.extras.find_spec", lambda name: None if name == package else real(name)
    )
    message = error(cli("plot", *arguments), 2)
    assert message.endswith(
        f"the package {package} is not installed, and this needs it\nhint: pip install 'w2v[plot]'"
    )


def test_without_scikit_learn_a_map_is_by_pca_and_says_how_to_get_more(cli, run, monkeypatch):
    monkeypatch.setattr("w2v.projection.has_package", lambda _: False)
    outcome = cli("plot", "map", "-o", "m.svg")
    assert outcome.code == 0
    assert "40 words by pca: t-SNE would need scikit-learn: pip install 'w2v[plot]'" in outcome.err


# as real processes


def process(*arguments, cwd, **options):
    command = [sys.executable, "-m", "w2v", "plot", *arguments]
    return subprocess.run(
        command, cwd=cwd, stderr=subprocess.PIPE, timeout=120, check=False, **options
    )


@pytest.mark.slow
def test_matplotlib_says_nothing_of_its_caches(run, tmp_path):
    env = os.environ | {"MPLCONFIGDIR": str(tmp_path / "new")}
    done = process("loss", "runs/tiny", cwd=tmp_path, stdout=subprocess.PIPE, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"loss.png\n", b"")


@pytest.mark.slow
def test_a_map_is_the_same_file_every_time(run, tmp_path):
    for name in ("1.html", "2.html", "1.svg", "2.svg"):
        done = process("map", "-o", name, cwd=tmp_path, stdout=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
    for suffix in ("html", "svg"):
        first, second = (tmp_path / f"{number}.{suffix}" for number in (1, 2))
        assert first.read_bytes() == second.read_bytes()


def test_a_reader_that_goes_away_is_141_and_the_picture_is_there(run, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "w2v", "plot", "loss"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as writer:
        writer.stdout.close()
        errors = writer.stderr.read().decode()
        assert writer.wait(timeout=60) == 141
    assert "Traceback" not in errors
    assert (tmp_path / "loss.png").exists()
