"""The chapter's numbers (d2l.ai 15.3-15.4) on the Penn Treebank, and the fast recipe's quality."""

import json
import statistics

import pytest
import torch

import w2v
from w2v import training
from w2v.configfile import load_config
from w2v.draws import SpanText, draw_span, make_sampler
from w2v.evaluate import similarity
from w2v.sentences import cut
from w2v.stats import epoch_figures
from w2v.testsets import read_pairs

LOSS_BY_EPOCH = (0.4805, 0.4264, 0.4032, 0.3797, 0.3594)  # of the chapter's own loop, measured
CHIP = {"microprocessor", "intel", "chips", "computer"}


@pytest.fixture
def train_ptb(ptb_data, tmp_path, monkeypatch):
    monkeypatch.setenv("W2V_DATA", str(ptb_data))
    monkeypatch.chdir(tmp_path)

    def train(name, seed):
        config = load_config(name, [f"train.seed={seed}"]).config
        return w2v.train(config, run=f"runs/{seed}")

    return train


def test_words_and_pairs_after_subsampling(ptb_data, tmp_path):
    config = load_config("ptb-d2l.yaml").config
    this = training.prepare_run(config, tmp_path / "run", data_folder=ptb_data, force=False)
    assert len(this.corpus.vocab) == 6719
    assert len(this.corpus.train.ids_N) == 820_056
    figures = epoch_figures(this.corpus, config.sampling)
    assert figures["words_per_epoch"] == pytest.approx(344e3, rel=0.01)
    assert figures["pairs_per_epoch"] == pytest.approx(1.5e6, rel=0.02)
    counts_V = this.corpus.vocab.known_counts_V
    sampler = make_sampler(counts_V, device=torch.device("cpu"), **config.sampling.model_dump())
    sentences = cut(this.corpus.train, 0, 820_056)
    span = draw_span(
        SpanText(*map(torch.from_numpy, sentences)), sampler, torch.Generator().manual_seed(0)
    )
    assert len(span.words_N) == pytest.approx(344e3, rel=0.01)
    assert int((span.left_N + span.right_N).sum()) == pytest.approx(1.5e6, rel=0.02)


@pytest.mark.slow
def test_the_chapters_loss_and_neighbors(train_ptb):
    run = train_ptb("ptb-d2l.yaml", 0)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["event"] == "epoch"]
    assert losses == pytest.approx(LOSS_BY_EPOCH, abs=0.005)
    assert statistics.mean(losses) == pytest.approx(0.410, abs=0.01)  # as the chapter prints it
    nearest = {word for word, _ in run.load_vectors().similar("chip", k=3)}
    assert len(nearest & CHIP) >= 2


@pytest.mark.slow
def test_the_fast_recipe_is_as_good_as_the_chapter(train_ptb, test_data):
    scores = {"ws353": [], "men": []}
    for seed in range(3):
        vectors = train_ptb("ptb.yaml", seed).load_vectors()
        for name, values in scores.items():
            pairs = read_pairs(test_data / "eval" / f"{name}.tsv")
            values.append(similarity(vectors, pairs).value)
    assert statistics.mean(scores["ws353"]) >= 0.28
    assert statistics.mean(scores["men"]) >= 0.30
