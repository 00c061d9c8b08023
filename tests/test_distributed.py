"""Several processes train one model: the plumbing, through real ones that talk over gloo.

What happens when one of them dies is in tests/faults/test_rank_rows.py.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from faults.outcome import FORBIDDEN, ROOT
from faults.torchrun import (
    KERNELS,
    Nursery,
    Part,
    apart,
    ended,
    free_port,
    several,
    soon_s,
    tiny_config,
    torchrun,
)
from namespaces import ADDRESSES, two_hosts
from safetensors.numpy import load_file

from w2v import resume
from w2v.rundir import RunDir

PAGE = ROOT / "docs" / "distributed.md"
TEXTBOOK, BLOCKS = (), ("sampling.block=4", "sampling.shared_negatives=8")
SHARE = 32  # centers of a step, for each rank


def tables(folder):
    return load_file(folder / "run" / "vectors.safetensors")


def metrics(folder):
    """The epochs of a run."""
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [told for told in map(json.loads, lines) if told["event"] == "epoch"]


def by(nursery, folder, kernel, *settings, size):
    """Trains with so many ranks in a new folder, and gives that."""
    folder.mkdir(exist_ok=True)
    command = ["train", *tiny_config(folder, kernel, *settings), "-s", "output.run=run"]
    with several(nursery, *command, cwd=folder, size=size) as ranks:
        first, *others = ended(ranks)
    assert (first.code, first.out) == (0, "run\n"), first.err
    assert [tuple(outcome) for outcome in others] == [(0, "", "")] * (size - 1)
    return folder


def distance(one, other):
    """The greatest difference of any number."""
    here, there = tables(one), tables(other)
    assert here.keys() == there.keys() == {"center", "context"}
    return max(np.abs(here[name] - there[name]).max() for name in here)


# --- gradients: the oracle --------------------------------------------------------------------


def many_words(folder, *, lines=600, types=300):
    """A text whose words are used seldom, so that sums in another order are rounded alike."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    text = (" ".join(f"w{i}" for i in rng.integers(types, size=9)) for _ in range(lines))
    (folder / "planted.txt").write_text("\n".join(text) + "\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "settings"),
    [
        (2, (*TEXTBOOK, "train.optimizer=sgd", "train.lr=0.1")),
        (2, (*BLOCKS, "train.optimizer=adam", "train.lr=0.01")),
        (3, (*BLOCKS, "train.optimizer=adagrad", "train.lr=0.05", "train.objective=pair_sum")),
    ],
    ids=["textbook, sgd", "blocks, adam", "blocks, adagrad"],
)
def test_ranks_take_the_steps_of_one_with_a_larger_batch(size, settings, nursery, tmp_path):
    """More combinations, played by threads: tests/test_merging.py."""
    same = (*settings, "distributed.merge=gradients", "train.epochs=1")
    share, whole = (f"train.batch_size={SHARE * number}" for number in (1, size))
    many, one, half = (
        by(nursery, many_words(tmp_path / name), "bmm", *same, of, size=number)
        for name, of, number in (("several", share, size), ("one", whole, 1), ("half", share, 1))
    )
    assert distance(many, one) < 1e-5
    assert distance(many, half) > 1e-3  # so the batch matters
    for here, there in zip(metrics(many), metrics(one), strict=True):
        assert (here["words"], here["centers"]) == (there["words"], there["centers"])
        assert here["loss"] == pytest.approx(there["loss"], abs=1e-6)
        assert here["heldout_loss"] == pytest.approx(there["heldout_loss"], abs=1e-6)


# --- tables -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_two_ranks_train_one_model(kernel, nursery, tmp_path):
    two = by(nursery, tmp_path / "two", kernel, size=2)
    again = by(nursery, tmp_path / "again", kernel, size=2)
    one = by(nursery, tmp_path / "one", kernel, size=1)
    assert (two / "run" / "vectors.safetensors").read_bytes() == (
        again / "run" / "vectors.safetensors"
    ).read_bytes()
    assert all(np.isfinite(table).all() for table in tables(two).values())
    assert distance(two, one) > 1e-4  # each had its own sentences
    assert [path.name for path in two.glob("run*")] == ["run"]
    for here, there in zip(metrics(two), metrics(one), strict=True):
        # Nothing is left out by chance, so that all is known.
        assert (here["words"], here["centers"]) == (there["words"], there["centers"])
        assert here["loss"] == pytest.approx(there["loss"], rel=0.1)
        assert here["heldout_loss"] == pytest.approx(there["heldout_loss"], rel=0.25)


@pytest.mark.slow
def test_the_metrics_are_those_of_all_ranks(nursery, tmp_path):
    thinned = "sampling.subsample=0.02"
    two, one = (
        metrics(by(nursery, tmp_path / str(size), "hogwild", thinned, size=size))[0]
        for size in (2, 1)
    )
    assert two["words"] == one["words"]
    assert two["centers"] != one["centers"]
    assert two["centers"] == pytest.approx(one["centers"], rel=0.05)


@pytest.mark.slow
def test_another_number_of_ranks_is_another_run(nursery, tmp_path):
    two, three = (by(nursery, tmp_path / str(size), "bmm", size=size) for size in (2, 3))
    assert distance(two, three) > 1e-4


@pytest.mark.slow
def test_a_world_of_one_is_no_other_world(nursery, cli, tmp_path):
    one = by(nursery, tmp_path / "one", "hogwild", size=1)
    (tmp_path / "alone").mkdir()
    command = tiny_config(tmp_path / "alone", "hogwild")
    assert cli("train", *command, "-s", "output.run=alone/run", "-q").code == 0
    assert distance(one, tmp_path / "alone") == 0


# --- ranks that do not fit together -----------------------------------------------------------


def folders(tmp_path, *, size=2):
    """A folder for each rank, and the same command in each."""
    made = [tmp_path / f"host-{rank}" for rank in range(size)]
    for folder in made:
        folder.mkdir()
    return [Part(at, ["train", *tiny_config(at, "hogwild"), "-s", "output.run=run"]) for at in made]


def refused(nursery, parts, code):
    """What the first of them says; all leave with the code, and nobody else says a word."""
    started = time.monotonic()
    with apart([nursery] * len(parts), parts) as ranks:
        first, *others = ended(ranks, within_s=60)
    assert time.monotonic() - started < soon_s()
    assert first.code == code, first.err
    assert [tuple(outcome) for outcome in others] == [(code, "", "")] * len(others)
    assert not [word for word in FORBIDDEN if word in first.err]
    [error] = [line for line in first.err.splitlines() if line.startswith("w2v: error: ")]
    assert not [part for part in parts if (part.cwd / "run").exists()]
    return error


@pytest.mark.slow
def test_different_settings_are_refused(nursery, tmp_path):
    first, second = folders(tmp_path)
    second.arguments.extend(["-s", "train.lr=0.02"])
    assert "train.lr" in refused(nursery, [first, second], 2)


@pytest.mark.slow
def test_different_texts_are_refused(nursery, tmp_path):
    parts = folders(tmp_path, size=3)
    text = parts[2].cwd / "planted.txt"
    text.write_text(text.read_text() + "apple1 apple2\n")
    assert "rank 2" in refused(nursery, parts, 4)


@pytest.mark.slow
def test_a_text_that_one_of_them_has_not_ends_all(nursery, tmp_path):
    parts = folders(tmp_path)
    (parts[1].cwd / "planted.txt").unlink()
    assert "planted.txt" in refused(nursery, parts, 4)


@pytest.mark.slow
def test_the_commands_of_the_page_that_need_no_torchrun(example_folder, tmp_path):
    """Its block of `sh`, in a folder with a tiny quickstart.yaml."""
    [script] = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert "=29500" in script
    here = shutil.copytree(example_folder, tmp_path / "here", ignore=shutil.ignore_patterns("runs"))
    w2v = tmp_path / "w2v"
    w2v.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m w2v "$@"\n')
    w2v.chmod(0o755)
    done = subprocess.run(
        ["sh", "-e", "-c", script.replace("29500", str(free_port()))],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "runs/quickstart\n"), done.stderr


# --- hosts ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_with_folders_of_their_own_train_one_model(nursery, tmp_path):
    shared = by(nursery, tmp_path / "shared", "hogwild", size=2)
    parts = folders(tmp_path)
    with apart([nursery] * 2, parts) as ranks:
        first, second = ended(ranks)
    assert (first.code, first.out) == (0, "run\n"), first.err
    assert tuple(second) == (0, "", "")
    assert distance(shared, parts[0].cwd) == 0
    assert {path.name for path in parts[1].cwd.iterdir()} == {
        *("planted.txt", "data", "rank-1.out", "rank-1.err")
    }


@pytest.fixture(scope="module")
def hosts():
    """Two hosts, with a nursery on each; a skip where they cannot be made."""
    with two_hosts() as made:
        nurseries = [Nursery(prefix=made.prefix(host)) for host in (0, 1)]
        yield made, nurseries
        for nursery in nurseries:
            nursery.close()


SLOW = "slow=0.05"  # of some hundred updates: time enough to cut the wire


def until(path):
    """Waits for a file, not for ever."""
    give_up = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.slow
def test_two_hosts_outlast_a_short_cut(hosts, nursery, tmp_path):
    whole = by(nursery, tmp_path / "whole", "hogwild", size=2)
    (made, nurseries), parts = hosts, folders(tmp_path)
    there = [f"--master-addr={ADDRESSES[0]}", "--nnodes=2", "--nproc-per-node=1"]
    agents = [
        torchrun(
            nurseries[host],
            *part.arguments,
            cwd=part.cwd,
            fault=SLOW,
            hosts=[*there, f"--node-rank={host}"],
            port=29_500,
        )
        for host, part in enumerate(parts)
    ]
    with agents[0] as first, agents[1] as second:
        until(parts[0].cwd / "run" / "checkpoints")
        made.cut()
        try:
            time.sleep(10)
            assert first.nursery.code(first.pid) is None
        finally:
            made.mend()
        assert [outcome.code for outcome in ended([first, second])] == [0, 0]
    assert distance(whole, parts[0].cwd) == 0
    assert not (parts[1].cwd / "run").exists()


@pytest.mark.slow
def test_two_hosts_end_at_a_long_cut_and_go_on(hosts, nursery, tmp_path):
    whole = by(nursery, tmp_path / "whole", "hogwild", size=2)
    (made, nurseries), parts = hosts, folders(tmp_path)
    for part in parts:
        part.arguments.extend(["-s", "distributed.timeout_s=3"])
    with apart(nurseries, parts, fault=SLOW, address=ADDRESSES[0]) as ranks:
        until(parts[0].cwd / "run" / "checkpoints")
        made.cut()
        try:
            cut_at = time.monotonic()
            outcomes = ended(ranks)
            assert time.monotonic() - cut_at < 3 + 35
        finally:
            made.mend()
    assert [outcome.code for outcome in outcomes] == [8, 8], outcomes
    for rank, outcome in enumerate(outcomes):
        assert f"w2v: error: rank {1 - rank} " in outcome.err
        assert not [word for word in FORBIDDEN if word in outcome.err]
    assert resume.newest(RunDir(parts[0].cwd / "run").checkpoints)
    for part in parts:
        part.arguments.append("--resume")
    with apart(nurseries, parts, address=ADDRESSES[0]) as ranks:
        assert [outcome.code for outcome in ended(ranks)] == [0, 0]
    assert distance(whole, parts[0].cwd) == 0
