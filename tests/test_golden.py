"""A golden loss trace: tiny runs of every optimizer and maker, on the CPU, with one thread.

A change that is not meant to change numbers leaves `golden/tiny_losses.tsv` as it is; one that is
explains the new trace. `make golden` writes it; the diff is for reading. Every value has passed
through thousands of float32 sums whose order differs between builds, hence the tolerance.
"""

from pathlib import Path

import pytest
import torch
from conftest import TINY_SETTINGS

import w2v
from w2v.configfile import load_config

GOLDEN = Path(__file__).parent / "golden" / "tiny_losses.tsv"
RECIPES = {
    "chapter": (),
    "drawn_once": ("sampling.subsample=0.02", "sampling.redraw=false"),
    "word2vec": (
        "model.init=word2vec",
        "train.optimizer=sgd",
        "train.objective=pair_sum",
        "train.lr=0.05",
        "train.lr_schedule=linear",
        "sampling.avoid_contexts=false",
    ),
    "fast": (
        "sampling.block=16",
        "sampling.shared_negatives=64",
        "sampling.avoid_contexts=false",
        "train.optimizer=adagrad",
        "train.objective=pair_sum",
        "train.lr=0.1",
    ),
    "blocked": (
        "sampling.block=16",
        "sampling.shared_negatives=32",
        "train.optimizer=adagrad",
        "train.objective=pair_sum",
        "train.lr=0.1",
    ),
}


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def losses(name, tiny_text, folder):
    (folder / "empty.yaml").write_text("train: {seed: 7}\n")
    overrides = (*TINY_SETTINGS, f"corpus.path={tiny_text}", *RECIPES[name])
    run = w2v.train(load_config("empty.yaml", overrides).config, run=folder / name)
    info = run.read_info()
    return info["loss"], info["heldout_loss"]


def test_the_losses_are_those_of_the_golden_trace(
    request, tiny_text, tmp_path, monkeypatch, one_thread
):
    monkeypatch.chdir(tmp_path)
    found = {name: losses(name, tiny_text, tmp_path) for name in RECIPES}
    if request.config.getoption("--write-golden"):
        rows = [f"{name}\t{loss:.6f}\t{heldout:.6f}\n" for name, (loss, heldout) in found.items()]
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text("recipe\tloss\theldout_loss\n" + "".join(rows))
    rows = [line.split("\t") for line in GOLDEN.read_text().splitlines()[1:]]
    assert [name for name, _, _ in rows] == list(RECIPES)
    for name, loss, heldout in rows:
        assert found[name] == pytest.approx((float(loss), float(heldout)), abs=2e-5), name
