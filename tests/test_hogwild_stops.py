import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from conftest import kernel_threads, planted_text
from test_bmm import two_topics
from test_hogwild_runs import (
    PIECE,
    SAMPLING,
    config_of,
    corpus_of,
    learner_of,
    prepared,
    seeded,
    streams,
)

from w2v import loop
from w2v.draws import SpanText
from w2v.errors import DivergedError
from w2v.files import sha256
from w2v.kernels import hogwild
from w2v.model import SkipGram
from w2v.rundir import RunDir

SETTINGS = (
    "corpus.name=text", "vocab.min_count=1", "model.dim=8", "train.kernel=hogwild",
    "train.batch_size=null", "train.optimizer=sgd", "train.lr=0.02", "train.objective=pair_sum",
    *(f"sampling.{key}={json.dumps(value)}" for key, value in SAMPLING.items()),
)  # fmt: skip


# --- what it refuses, and how it fails ----------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "options", "what"),
    [
        ({}, {"batch_size": 64}, "has no batches"),
        ({"block": 1, "shared_negatives": None}, {}, "shares negatives"),
        ({"optimizer": "adam"}, {}, "hogwild cannot do Adam"),
        ({"model": SkipGram(11, 8, init="xavier", generator=seeded(0))}, {}, "16 floats apart"),
    ],
)
def test_obstacles_are_refused(changes, options, what):
    asked = {"batch_size": None, "objective": "pair_sum"} | options
    with pytest.raises(ValueError, match=what):
        hogwild.prepare(*prepared(**changes), **asked, lr=0.1)


def test_no_negatives_are_refused_with_their_line(cli, tmp_path):
    (tmp_path / "none.yaml").write_text(
        "train: {kernel: hogwild, optimizer: sgd, batch_size: null}\n"
        "sampling:\n  block: 4\n  negatives: 0\n  shared_negatives: 0\n"
    )
    outcome = cli("train", "--config", "none.yaml")
    assert outcome.code == 2
    assert "none.yaml:4:3: sampling.negatives" in outcome.err
    assert "none.yaml:5:3: sampling.shared_negatives" in outcome.err


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_number_that_is_none_stops_training_within_a_report(optimizer, num_threads, threads):
    threads(num_threads)
    corpus, config = corpus_of(*[50] * 2000), config_of(optimizer=optimizer, epochs=10_000)
    learner = learner_of(config, corpus)
    learner.model.context.weight.data[3, 2] = math.nan
    began = time.perf_counter()
    with pytest.raises(DivergedError, match="became nan"):
        list(loop.reports(learner, corpus, config.train))
    assert time.perf_counter() - began < loop.REPORT_EVERY_S + 2


def test_an_error_in_a_thread_reaches_the_caller(threads, monkeypatch):
    threads(3)
    train_span = hogwild.prepare(*prepared(), batch_size=None, objective="pair_sum", lr=0.1)
    calls = []

    def fail(*_):
        calls.append(threading.current_thread().name)
        if len(calls) == 5:
            raise RuntimeError("out of luck")
        time.sleep(0.01)
        return hogwild.Tally(torch.tensor(1.0), torch.tensor(1))

    monkeypatch.setattr(hogwild.Hogwild, "train_piece", fail)
    text = SpanText(torch.ones(40 * PIECE).int(), torch.tensor([0, 40 * PIECE]))
    with pytest.raises(RuntimeError, match="out of luck"):
        list(train_span(text, lr=(0.02, 0.02), streams=streams(0)))
    assert not kernel_threads()
    assert len(calls) < 30
    assert all(name.startswith("w2v-hogwild") for name in calls)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_who_stops_listening_ends_the_threads(num_threads, threads):
    threads(num_threads)
    train_span = hogwild.prepare(*prepared(), batch_size=None, objective="pair_sum", lr=0.1)
    ids_N = two_topics(2**14).ids_N
    text = SpanText(ids_N.repeat(128), torch.arange(0, 2**21 + 1, 8))
    steps = train_span(text, lr=(0.02, 0.02), streams=streams(0))
    assert 0 < next(steps).done < 0.5
    assert len(kernel_threads()) == (num_threads if num_threads > 1 else 0)
    began = time.perf_counter()
    steps.close()
    assert time.perf_counter() - began < 1
    assert not kernel_threads()


def test_reports_keep_coming_while_threads_run(threads, monkeypatch):
    threads(2)
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 0.02)
    corpus, config = corpus_of(*[50] * 40_000), config_of(epochs=1)
    found = list(loop.reports(learner_of(config, corpus), corpus, config.train))
    times = [0.0, *(report.run_seconds for report in found)]
    assert len(found) > 2
    assert np.diff(times).max() < 0.5
    assert [report.done for report in found] == sorted(report.done for report in found)


# --- as a command -------------------------------------------------------------------------------


@pytest.fixture
def options(tmp_path):
    (tmp_path / "planted.txt").write_text(planted_text(lines=6000, seed=0))
    settings = (*SETTINGS, f"corpus.path={tmp_path / 'planted.txt'}", "train.epochs=3")
    return [part for setting in settings for part in ("-s", setting)]


def test_a_run_says_what_it_did(cli, options, threads, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 0.0)
    outcome = cli("train", *options, "-s", "train.threads=2", "--run", "runs/a")
    assert outcome.code == 0
    run = RunDir(tmp_path / "runs/a")
    info = run.read_info()
    assert (info["kernel"], info["threads"], info["finished"]) == ("hogwild", 2, True)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert any(line["event"] == "progress" for line in lines)
    epochs = [line for line in lines if line["event"] == "epoch"]
    assert [line["centers"] for line in epochs] == [9 * (6000 - 60)] * 3  # 60 are held out
    vectors = run.load_vectors()
    for word in ("apple0", "metal3", "river5"):
        assert {other[:5] for other, _ in vectors.similar(word, k=5)} == {word[:5]}


@pytest.mark.slow
def test_equal_seeds_give_equal_bytes_in_other_processes(options, tmp_path):
    digests = set()
    for hash_seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-m", "w2v", "train", *options, "-s", "train.threads=1", "--run",
             f"runs/{hash_seed}"],
            cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True,
            capture_output=True, timeout=120,
        )  # fmt: skip
        digests.add(sha256(tmp_path / "runs" / hash_seed / "vectors.safetensors"))
    assert len(digests) == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_ctrl_c_ends_threads_and_run(options, tmp_path):
    command = [sys.executable, "-m", "w2v", "train", *options, "--run", "runs/a"]
    with subprocess.Popen(
        [*command, "-s", "train.threads=2", "-s", "train.epochs=10000"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    ) as trainer:  # fmt: skip
        for line in trainer.stderr:
            if line.startswith("epoch 2:"):
                break
        began = time.perf_counter()
        trainer.send_signal(signal.SIGINT)
        errors = trainer.stderr.read()
        assert trainer.wait(timeout=30) == 130
        assert time.perf_counter() - began < 3
    assert "w2v: error: ended by SIGINT at step" in errors
    assert errors.endswith("--resume\n")
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob(".w2v-tmp-*"))
    run = RunDir(tmp_path / "runs/a")
    assert not run.is_finished()
    assert all(json.loads(line) for line in run.metrics.read_text().splitlines())
