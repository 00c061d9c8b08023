"""Rows R: several processes that train one model."""

import signal
import socket
import time

import pytest
import server
from conftest import Outcome
from server import Server

from faults.matrix import ROWS
from faults.outcome import FORBIDDEN, expect
from faults.ranks import HARMED
from faults.torchrun import (
    KERNELS,
    ended,
    heard,
    living,
    rank_env,
    several,
    soon_s,
    tiny_config,
    torchrun,
)
from faults.treebank import ARCHIVE
from w2v import resume
from w2v.files import sha256
from w2v.rundir import RunDir
from w2v.states import complete

HOGWILD, BMM = "hogwild", "bmm"
EPOCHS = 3
IN_EPOCH_2 = 30  # updates of a rank; an epoch of the tiny text has some 20
SAVED_S, TIMEOUT_S, MORE_S = 30, 3, 35


@pytest.fixture(scope="module")
def whole(nursery, tmp_path_factory):
    """Gives the digest of the vectors of two ranks that nothing happens to, by kernel."""
    digests = {}

    def of(kernel):
        if kernel not in digests:
            folder = tmp_path_factory.mktemp(kernel)
            with several(nursery, *train(folder, kernel), cwd=folder) as ranks:
                assert [done.code for done in ended(ranks)] == [0, 0]
            digests[kernel] = sha256(folder / "run" / "vectors.safetensors")
        return digests[kernel]

    return of


def train(folder, kernel, *settings, more=()):
    return ["train", *tiny_config(folder, kernel, *settings), "-s", "output.run=run", *more]


def vectors(folder):
    return sha256(folder / "run" / "vectors.safetensors")


def since_harm(folder):
    """Seconds since a rank came to harm."""
    return time.time() - (folder / HARMED).stat().st_mtime


def is_clean(text):
    return not [word for word in FORBIDDEN if word in text]


def go_on(nursery, folder, kernel, *, size=2):
    """Two ranks, or so many, that go on; what each left."""
    with several(nursery, *train(folder, kernel, more=["--resume"]), cwd=folder, size=size) as all_:
        return ended(all_)


# --- a rank is lost ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fault("R1")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_run_and_loses_nothing(victim, row, nursery, whole, tmp_path):
    fault = f"kill={victim},{IN_EPOCH_2}"
    command = train(tmp_path, HOGWILD)
    with torchrun(nursery, *command, cwd=tmp_path, fault=fault) as agent:
        done = agent.wait(within_s=60)
        assert since_harm(tmp_path) < soon_s()
        assert not living(tmp_path)
    assert done.code == 1
    told = heard(tmp_path, 1 - victim)
    assert is_clean(told)
    saved = resume.newest(RunDir(tmp_path / "run").checkpoints)
    assert saved.state.report.epoch == 1
    assert saved.state.report.epoch_ended
    outcomes = go_on(nursery, tmp_path, HOGWILD)
    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert vectors(tmp_path) == whole(HOGWILD)


@pytest.mark.slow
@pytest.mark.fault("R1")
@pytest.mark.parametrize("victim", [0, 1])
def test_the_others_of_a_killed_rank_say_who_it_was(victim, row, nursery, tmp_path):
    fault = f"kill={victim},{IN_EPOCH_2}"
    with several(nursery, *train(tmp_path, BMM), cwd=tmp_path, fault=fault) as ranks:
        outcomes = ended(ranks)
    assert outcomes[victim].code == -signal.SIGKILL
    message = expect(row, outcomes[1 - victim], 8)
    assert message.startswith(f"rank {victim} stopped")
    assert "--resume goes on" in outcomes[1 - victim].err


@pytest.mark.slow
@pytest.mark.fault("R2")
@pytest.mark.parametrize(("fault", "code"), [("raise", 70), ("exit", 0)])
def test_a_rank_that_fails_or_leaves_ends_the_others(fault, code, row, nursery, tmp_path):
    fault = f"{fault}=2,{IN_EPOCH_2 // 2}"
    with several(nursery, *train(tmp_path, BMM), cwd=tmp_path, size=3, fault=fault) as ranks:
        *others, culprit = ended(ranks)
        assert since_harm(tmp_path) < soon_s()
    assert culprit.code == code
    assert is_clean(culprit.err)
    if code:
        expect(row, culprit, code)
    first, second = others
    assert expect(row, first, 8).startswith("rank 2 stopped")
    assert (second.code, second.err) == (8, "")


@pytest.mark.slow
@pytest.mark.fault("R3")
@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_rank_is_not_waited_for_for_ever(frozen, row, nursery, tmp_path):
    fault = f"freeze={frozen},{IN_EPOCH_2}"
    command = train(tmp_path, HOGWILD, f"distributed.timeout_s={TIMEOUT_S}")
    with several(nursery, *command, cwd=tmp_path, fault=fault) as ranks:
        outcome = ranks[1 - frozen].wait(within_s=60)
        assert TIMEOUT_S * 0.9 < since_harm(tmp_path) < TIMEOUT_S + MORE_S
        assert f"rank {frozen}" in expect(row, outcome, 8)
        ranks[frozen].send(signal.SIGCONT)
        late = ranks[frozen].wait(within_s=soon_s())
    expect(row, late, 8)
    assert resume.newest(RunDir(tmp_path / "run").checkpoints).state.report.epoch == 1


# --- signals ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fault("R4")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun_saves_once(sent, row, nursery, whole, tmp_path):
    command = train(tmp_path, HOGWILD)
    with torchrun(nursery, *command, cwd=tmp_path, fault="slow=0.05") as agent:
        until(lambda: complete(tmp_path / "run" / "checkpoints"))
        agent.send(sent)
        sent_at = time.monotonic()
        done = agent.wait(within_s=60)
        assert time.monotonic() - sent_at < SAVED_S
        assert not living(tmp_path)
    assert done.code == 1
    first = Outcome(128 + sent, "", heard(tmp_path, 0))
    step = int(expect(row, first, 128 + sent).split("step ")[1].split(",")[0])
    assert heard(tmp_path, 1) == ""
    assert resume.newest(RunDir(tmp_path / "run").checkpoints).state.step == step
    # Of the epoch's end, and this one, unless it is the same.
    assert len(complete(tmp_path / "run" / "checkpoints")) in (1, 2)
    assert [outcome.code for outcome in go_on(nursery, tmp_path, HOGWILD)] == [0, 0]
    assert vectors(tmp_path) == whole(HOGWILD)


def until(condition):
    """Waits, not for ever."""
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.fault("R7")
@pytest.mark.fault("R4")
@pytest.mark.parametrize("asked", [0, 1])
def test_a_signal_to_one_rank_ends_all_and_others_cannot_go_on(
    asked, row, nursery, whole, tmp_path
):
    fault = f"term={asked},{IN_EPOCH_2}"
    with several(nursery, *train(tmp_path, BMM), cwd=tmp_path, fault=fault) as ranks:
        first, second = ended(ranks)
    expect(row, first, 143)
    assert (second.code, second.err) == (143, "")
    for size in (1, 3):
        before = sha256(complete(tmp_path / "run" / "checkpoints")[-1])
        first, *others = go_on(nursery, tmp_path, BMM, size=size)
        assert first.code == 7
        assert "by 2 processes" in expect(ROWS["R7"], first, 7)
        assert [(outcome.code, outcome.err) for outcome in others] == [(7, "")] * (size - 1)
        assert sha256(complete(tmp_path / "run" / "checkpoints")[-1]) == before
    assert [outcome.code for outcome in go_on(nursery, tmp_path, BMM)] == [0, 0]
    assert vectors(tmp_path) == whole(BMM)


# --- before the first step --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fault("R5")
def test_a_download_that_fails_ends_all(row, nursery, tmp_path):
    wrong = bytearray(ARCHIVE)
    wrong[len(wrong) // 2] ^= 1
    with Server(server.good(bytes(wrong))) as web:
        command = ["train", "-c", "ptb.yaml", "-s", "output.run=run"]
        started = time.monotonic()
        with several(nursery, *command, cwd=tmp_path, fault=f"published={web.url}") as ranks:
            first, second = ended(ranks)
        assert time.monotonic() - started < soon_s()
    expect(row, first, 3)
    assert (second.code, second.out, second.err) == (3, "", "")


@pytest.mark.slow
@pytest.mark.fault("R6")
@pytest.mark.parametrize("kernel", KERNELS)
def test_more_ranks_than_sentences(kernel, row, nursery, tmp_path):
    (tmp_path / "planted.txt").write_text("a b a b\nb a b a\n")
    command = train(tmp_path, kernel, "corpus.heldout_every=null")
    with several(nursery, *command, cwd=tmp_path, size=3) as ranks:
        first, *others = ended(ranks, within_s=soon_s())
    expect(row, first, 4)
    assert [(outcome.code, outcome.err) for outcome in others] == [(4, "")] * 2
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.fault("R6")
@pytest.mark.parametrize("kernel", KERNELS)
def test_shares_of_very_different_length(kernel, row, nursery, tmp_path):
    """One sentence is nearly all; some ranks have nearly nothing."""
    long, *rest = (tmp_path / "planted.txt", "a b c d e\n", "a b\n", "c\n", "d e a\n")
    long.write_text("".join(rest) + "a b c d e " * 400 + "\n")
    command = train(tmp_path, kernel, "corpus.heldout_every=null", "distributed.sync_words=16")
    with several(nursery, *command, cwd=tmp_path, size=3) as ranks:
        outcomes = ended(ranks)
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes
    assert outcomes[0].out == "run\n"


# --- going on with others ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fault("R7")
@pytest.mark.parametrize("size", [1, 3])
def test_others_go_on_from_the_end_of_an_epoch(size, row, nursery, tmp_path):
    fault = f"kill=1,{IN_EPOCH_2}"
    with several(nursery, *train(tmp_path, HOGWILD), cwd=tmp_path, fault=fault) as ranks:
        ended(ranks)
    assert resume.newest(RunDir(tmp_path / "run").checkpoints).state.report.epoch_ended
    outcomes = go_on(nursery, tmp_path, HOGWILD, size=size)
    assert [outcome.code for outcome in outcomes] == [0] * size
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert metrics.count('"event": "epoch"') == EPOCHS


# --- the environment --------------------------------------------------------------------------


WRONG = {
    "no address": ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "1"}, "MASTER_ADDR is not"),
    "no port": ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "h"}, "MASTER_PORT is not"),
    "no size": ({"RANK": "0"}, "WORLD_SIZE is not"),
    "no rank": ({"WORLD_SIZE": "2"}, "RANK is not"),
    "nobody": (rank_env(0, 0, 1), "WORLD_SIZE='0'"),
    "too high": (rank_env(2, 2, 1), "RANK='2'"),
    "negative": (rank_env(-1, 2, 1), "RANK='-1'"),
    "no number": (rank_env(0, 2, 1) | {"RANK": "one"}, "RANK='one'"),
    "no port's number": (rank_env(0, 2, 70_000), "MASTER_PORT='70000'"),
    "no local number": (rank_env(0, 2, 1) | {"LOCAL_RANK": "2"}, "LOCAL_RANK='2'"),
}


@pytest.mark.fault("R8")
@pytest.mark.parametrize("wrong", WRONG)
def test_an_environment_that_is_wrong(wrong, row, cli, tiny_options, tmp_path, monkeypatch):
    environment, told = WRONG[wrong]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert told in expect(row, cli("train", *tiny_options, "-s", "output.run=run"), 2)
    assert not (tmp_path / "run").exists()
    assert cli("config", "show").code == 0


@pytest.mark.slow
@pytest.mark.fault("R8")
def test_a_port_in_use(row, nursery, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = {"MASTER_PORT": str(other.getsockname()[1])}
        started = time.monotonic()
        with several(nursery, *train(tmp_path, BMM), cwd=tmp_path, env=port) as ranks:
            first, second = ended(ranks)
        assert time.monotonic() - started < soon_s()
    for outcome in (first, second):
        assert port["MASTER_PORT"] in expect(row, outcome, 2)


# --- started anew -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fault("R9")
@pytest.mark.parametrize("kernel", KERNELS)
def test_torchrun_starts_all_anew(kernel, row, nursery, whole, tmp_path):
    fault = f"kill=1,{IN_EPOCH_2}"
    options = ["--max-restarts=1"]
    command = train(tmp_path, kernel)
    with torchrun(nursery, *command, cwd=tmp_path, fault=fault, options=options) as agent:
        assert agent.wait(within_s=60).code == 0, heard(tmp_path, 0)
    assert heard(tmp_path, 0, "stdout") == "run\n"
    assert is_clean(heard(tmp_path, 0) + heard(tmp_path, 1))
    assert RunDir(tmp_path / "run").read_info()["resumed_at_steps"] != []
    assert vectors(tmp_path) == whole(kernel)


# --- who writes -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.fault("R10")
def test_only_the_first_rank_writes(row, nursery, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    with several(nursery, *train(tmp_path, BMM), cwd=tmp_path, fault=f"opens={notes}") as ranks:
        assert [outcome.code for outcome in ended(ranks)] == [0, 0]
    first, second = (set((notes / str(rank)).read_text().splitlines()) for rank in (0, 1))
    ours = (str(tmp_path / "run"), str(tmp_path / "data"))
    assert {path for path in first if path.startswith(ours[0] + "/")}
    assert {path for path in first if path.startswith(ours[1] + "/")}
    locks = {path for path in second if path.startswith(ours) and not path.endswith("lock")}
    assert locks == set()
