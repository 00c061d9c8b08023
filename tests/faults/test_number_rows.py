"""Rows N: numbers that leave all reason, memory that runs out, what is the same twice."""

import os

import numpy as np
import pytest
import safetensors.numpy
import torch
from conftest import TINY_SETTINGS, planted_text

from faults.kill_checkpoints import REPORT
from faults.outcome import expect, process
from w2v import configfile, loop, training
from w2v.files import sha256
from w2v.kernels.interface import Tally
from w2v.reporting import BEGINNING, LossWatch
from w2v.rundir import RunDir

ONE_THREAD = (*TINY_SETTINGS, "train.threads=1", "corpus.path=text.txt")


@pytest.fixture
def train(cli, tmp_path):
    """Runs `w2v train` on a planted text."""
    (tmp_path / "text.txt").write_text(planted_text(lines=300, seed=0))
    (tmp_path / "c.yaml").write_text("train: {seed: 1}\n")

    def run(*settings, flags=()):
        every = (*ONE_THREAD, *settings)
        options = [f"--set={setting}" for setting in every]
        return cli("train", "-c", "c.yaml", *options, "--run", "run", *flags)

    return run


def tables(folder):
    """All tensors that a run has saved, vectors and checkpoints, by path."""
    return {
        (path, name): table
        for path in folder.rglob("*.safetensors")
        for name, table in safetensors.numpy.load_file(path).items()
    }


@pytest.mark.fault("N1")
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad"])
def test_a_learning_rate_beyond_reason(row, train, tmp_path, monkeypatch, optimizer):
    real = configfile.load_config

    def reckless(*args, **kwargs):
        loaded = real(*args, **kwargs)
        section = loaded.config.train.model_copy(update={"lr": 1e20})
        return loaded._replace(config=loaded.config.model_copy(update={"train": section}))

    monkeypatch.setattr(configfile, "load_config", reckless)
    outcome = train(f"train.optimizer={optimizer}", "train.objective=pair_sum")
    expect(row, outcome, 6)
    assert "hint: lower train.lr" in outcome.err
    run = RunDir(tmp_path / "run")
    assert not run.vectors.exists()
    assert not run.is_finished()
    assert all(np.isfinite(table).all() for table in tables(run.path).values())


@pytest.mark.fault("N2")
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_no_number(row, train, tmp_path, monkeypatch, value):
    real = training.reports

    def poisoned(learner, *arguments, **options):
        for report in real(learner, *arguments, **options):
            yield report
            if report.epoch == 2 and report.epoch_ended:
                learner.model.center.weight.data[0, 0] = value  # of <unk>, which nothing trains

    monkeypatch.setattr(training, "reports", poisoned)
    assert "epoch 3" in expect(row, train("output.checkpoint_every_s=1.0e-9"), 6)
    run = RunDir(tmp_path / "run")
    assert not run.vectors.exists()
    saved = tables(run.checkpoints)
    assert saved
    assert all(np.isfinite(table).all() for table in saved.values())


@pytest.mark.fault("N4")
def test_less_memory_than_the_tables_need(row, train, tmp_path, little_memory):
    (tmp_path / "text.txt").write_text("".join(f"w{i} w{i + 1} w{i + 2}\n" for i in range(30_000)))
    little_memory(2**30)
    outcome = train("model.dim=10000", "train.batch_size=64")
    expect(row, outcome, 5)
    assert not (tmp_path / "run" / "vectors.safetensors").exists()


@pytest.mark.fault("N5")
@pytest.mark.parametrize("name", ["cuda", "mps", "cuda:9", "gpu", "-1"])
def test_a_device_that_is_not_here(row, train, tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    expect(row, train(flags=[f"--device={name}"]), 2)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.fault("N6")
def test_the_same_seed_with_another_hash_seed(row, train, tmp_path):
    expect(row, train(), 0)
    options = [f"--set={setting}" for setting in ONE_THREAD]
    outcome = process(
        *("train", "-c", "c.yaml", *options, "--run", "other", "-q"),
        cwd=tmp_path,
        env={"PYTHONHASHSEED": "7", "W2V_DATA": "elsewhere"},
    )
    expect(row, outcome, 0)
    digests = {sha256(tmp_path / run / "vectors.safetensors") for run in ("run", "other")}
    assert len(digests) == 1


@pytest.mark.slow  # where another program keeps the second core busy
@pytest.mark.fault("N6")
@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two cores")
def test_one_thread_and_two(row, train, tmp_path, threads):
    found = []
    for number in (1, 2):
        expect(row, train(f"train.threads={number}", flags=["--force", "-q"]), 0)
        found.append(RunDir(tmp_path / "run").load_vectors().matrix)
    assert np.allclose(*found, rtol=0, atol=1e-4)


@pytest.mark.fault("N7")
def test_counters_of_an_endless_epoch(row):
    epoch = loop._epoch_from(BEGINNING, torch.device("cpu"))
    one = Tally(torch.ones((), dtype=torch.float32), torch.ones((), dtype=torch.int64))
    epoch.loss_sum += 2.0**52
    epoch.centers += 2**62
    for _ in range(3):
        epoch.add(one, ids=1)
    assert float(epoch.loss_sum) == 2.0**52 + 3
    assert int(epoch.centers) == 2**62 + 3
    assert row.ends == {0: ()}


@pytest.mark.fault("N3")
def test_a_loss_that_stays_far_above_its_start_is_told_once(row, caplog):
    watch, first = LossWatch(), REPORT._replace(loss=0.5)
    losses = {1: 0.5, 500: 1.6, 900: 1.4, 1000: 1.6, 1900: 1.7, 2000: 1.8, 9000: 9.0}
    for step, loss in losses.items():
        watch(first._replace(step=step, loss=loss))
        assert len(caplog.messages) == (step >= 2000)
    assert row.matches(0, caplog.messages[0])
