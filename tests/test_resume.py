"""A run that stops and goes on is the run that never stopped."""

import json
import signal
from os import getpid

import numpy as np
import pytest
from conftest import TINY_SETTINGS

import w2v
from w2v import checkpoints, desk, locks, loop, survey, training
from w2v.configfile import load_config
from w2v.errors import DataError, ResumeError, StoppedError, StorageError
from w2v.files import sha256
from w2v.leaving import Wish
from w2v.rundir import FILES, INFO
from w2v.states import complete, sealed, verify

BLOCKED = ("sampling.block=8", "sampling.shared_negatives=16", "train.batch_size=null")


@pytest.fixture
def config(tiny_text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 1e9)  # the log does not depend on the machine
    (tmp_path / "empty.yaml").write_text("train: {seed: 0}\n")

    def make(*settings):
        overrides = (*TINY_SETTINGS, f"corpus.path={tiny_text}", "train.threads=1", *settings)
        return load_config("empty.yaml", overrides).config

    return make


class StopAt:
    """A listener that sends a wish at a step, as a signal would."""

    def __init__(self, wish, step):
        self.wish, self.step = wish, step

    def __call__(self, report):
        if report.step == self.step:
            self.wish.accept(signal.SIGTERM)

    def close(self):
        pass


def prepared(config, folder, *, resume=False):
    return training.prepare_run(
        config, folder, data_folder=folder.parent / "data", force=False, resume=resume
    )


def stop_at(config, folder, step, *, resume=False):
    wish = Wish()
    run = prepared(config, folder, resume=resume)
    with pytest.raises(StoppedError) as error:
        training.execute(run, listeners=[StopAt(wish, step)], wish=wish)
    assert error.value.exit_code == 143
    return run.folder


def go_on(config, folder):
    return training.execute(prepared(config, folder, resume=True))


def outcome(run):
    """All that must be equal: tables, optimizer, loss log, export."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    state = verify(complete(run.checkpoints)[-1])
    words = run.load_vectors()
    return state.sha256, sha256(run.vectors), lines, words.words, words.matrix.tobytes()


@pytest.fixture
def every_step(monkeypatch):
    """A report, and so a line in the log, for each step."""
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 0.0)


KERNELS = {
    "bmm": ("train.batch_size=134", "train.optimizer=adam", "train.lr_schedule=linear"),
    "bmm-adagrad": (*BLOCKED[:2], "train.batch_size=136", "train.optimizer=adagrad"),
    "bmm-fixed-draws": ("sampling.redraw=false", "train.batch_size=134", "train.optimizer=sgd"),
    "hogwild": (*BLOCKED, "train.kernel=hogwild", "train.optimizer=adagrad", "train.lr=0.05"),
}


@pytest.fixture
def small_spans(monkeypatch):
    """Several spans, and for hogwild several pieces of a span, so that there are some 60 steps."""
    monkeypatch.setattr(survey, "choose_kernel", with_spans_of(1000))
    monkeypatch.setattr("w2v.kernels.hogwild.piece_words", lambda _: 150)


def with_spans_of(words):
    choose = survey.choose_kernel

    def chosen(*arguments, **keywords):
        choice = choose(*arguments, **keywords)
        return choice._replace(kernel=choice.kernel._replace(span_words=words))

    return chosen


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["bmm", "hogwild"])
def test_a_run_goes_on_from_each_step_to_its_end_as_if_it_had_not_stopped(
    kernel, config, tmp_path, every_step, small_spans
):
    settings = config(*KERNELS[kernel])
    whole = training.execute(prepared(settings, tmp_path / "whole"))
    steps = whole.read_info()["steps"]
    assert 57 <= steps <= 66
    expected = outcome(whole)
    for step in range(1, steps):
        run = stop_at(settings, tmp_path / f"run{step}", step)
        assert go_on(settings, run.path) == run
        assert run.read_info()["resumed_at_steps"] == [step]
        assert outcome(run) == expected


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_run_that_stops_after_every_fifth_step_is_the_run_that_never_stopped(
    kernel, config, tmp_path, every_step, small_spans
):
    settings = config(*KERNELS[kernel])
    expected = outcome(training.execute(prepared(settings, tmp_path / "whole")))
    steps = range(1, 57, 5)
    for step in steps:
        run = stop_at(settings, tmp_path / "run", step, resume=step > 1)
    go_on(settings, run.path)
    assert run.read_info()["resumed_at_steps"] == list(steps)
    assert outcome(run) == expected


def test_more_epochs_go_on_and_other_settings_are_refused_with_all_that_differs(config, tmp_path):
    run = stop_at(config("train.epochs=1"), tmp_path / "run", 42)
    longer = config("train.epochs=2", "output.keep_checkpoints=7")
    with pytest.raises(ResumeError) as error:
        go_on(config("model.dim=8", "train.lr=1", "train.seed=4"), run.path)
    for difference in (
        "model.dim (there 16, here 8)",
        "train.lr (there 0.01, here 1",
        "train.seed",
    ):
        assert difference in str(error.value)
    assert go_on(longer, run.path).read_info()["epochs"] == 2
    expected = training.execute(prepared(config("train.epochs=2"), tmp_path / "whole"))
    assert sha256(run.vectors) == sha256(expected.vectors)


def test_fewer_epochs_another_text_or_kernel_are_refused(config, tmp_path, tiny_text):
    run = stop_at(config(), tmp_path / "run", 42)
    with pytest.raises(ResumeError, match=r"train\.epochs \(there 3, here 2\), it may only grow"):
        go_on(config("train.epochs=2"), run.path)
    before = tiny_text.read_text()
    tiny_text.write_text(before + "apple0 apple1\n")
    with pytest.raises(ResumeError, match=r"corpus \(there .*vocabulary \(there"):
        go_on(config(), run.path)
    tiny_text.write_text(before)
    state = verify(complete(run.checkpoints)[-1])
    about = dict(state.run) | {"kernel": "triton", "device": "cuda"}
    checkpoints.save(run.checkpoints, tensors={}, run=about, report=state.report)
    with pytest.raises(ResumeError, match=r'kernel \(there "triton", here "bmm"\); device'):
        go_on(config(), run.path)


def test_a_finished_run_is_complete_and_one_of_other_settings_is_refused(config, tmp_path):
    run = w2v.train(config(), run=tmp_path / "run")
    before = sha256(run.info)
    assert w2v.train(config(), run=tmp_path / "run", resume=True) == run
    assert sha256(run.info) == before
    with pytest.raises(ResumeError, match=r"finished run with other settings: train\.epochs"):
        w2v.train(config("train.epochs=9"), run=tmp_path / "run", resume=True)


def test_a_finished_run_is_complete_wherever_the_same_text_lies(config, tmp_path, tiny_text):
    run = w2v.train(config(), run=tmp_path / "run")
    moved = tiny_text.rename(tmp_path / "moved.txt")
    assert w2v.train(config(f"corpus.path={moved}"), run=run.path, resume=True) == run
    moved.unlink()  # what is finished needs it no more
    assert w2v.train(config(), run=run.path, resume=True) == run


@pytest.mark.parametrize(
    ("asked", "differs"),
    [
        ("train.kernel=triton", 'kernel (there "bmm", here "triton")'),
        ("train.device=cuda", 'device (there "cpu", here "cuda")'),
        ("corpus.path=other.txt", "corpus (there"),
        ("corpus.path=missing.txt", "corpus.path (there"),
        ("text changed", "corpus (there"),
    ],
)
def test_a_finished_run_of_another_text_kernel_or_device_is_refused(
    asked, differs, config, tmp_path, tiny_text
):
    options = (*BLOCKED[:2], "train.batch_size=null", "train.optimizer=sgd", "train.kernel=bmm")
    run = w2v.train(config(*options), run=tmp_path / "run")
    (tmp_path / "other.txt").write_text("another text\n")
    if asked == "text changed":
        tiny_text.write_text(tiny_text.read_text() + "apple0\n")
        asked = options[0]
    with pytest.raises(ResumeError, match="holds a finished run with other settings") as error:
        w2v.train(config(*options, asked), run=run.path, resume=True)
    assert differs in str(error.value)


@pytest.mark.parametrize("without", ["digest", "corpus"])
def test_a_finished_run_that_does_not_tell_its_text_is_compared_by_place(
    without, config, tmp_path, tiny_text
):
    run = w2v.train(config(), run=tmp_path / "run")
    info = json.loads(run.info.read_text())
    del (info["corpus"] if without == "digest" else info)[without]
    run.info.write_text(json.dumps(info))
    assert w2v.train(config(), run=run.path, resume=True) == run
    moved = tiny_text.rename(tmp_path / "moved.txt")
    with pytest.raises(ResumeError, match=r"corpus\.path \(there"):
        w2v.train(config(f"corpus.path={moved}"), run=run.path, resume=True)


@pytest.mark.parametrize("name", [name for name in FILES if name != INFO])
@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_finished_run_with_a_damaged_file_is_not_complete(name, damage, config, tmp_path):
    run = w2v.train(config(), run=tmp_path / "run")
    path = run.path / name
    if damage == "gone":
        path.unlink()
    else:
        data = bytearray(path.read_bytes() or b"more")
        data[-2] ^= 1
        path.write_bytes(data)
    with pytest.raises(DataError, match=name) as error:
        w2v.train(config(), run=run.path, resume=True)
    assert "--force" in error.value.hint


def test_a_run_that_replaces_a_finished_one_goes_on_too(config, tmp_path):
    run = w2v.train(config("train.seed=7"), run=tmp_path / "run")
    before = sha256(run.vectors)
    wish = Wish()
    forced = training.prepare_run(config(), run.path, data_folder=tmp_path / "data", force=True)
    with pytest.raises(StoppedError):
        training.execute(forced, listeners=[StopAt(wish, 42)], wish=wish)
    assert run.is_finished()
    assert sha256(run.vectors) == before
    w2v.train(config(), run=run.path, resume=True)
    whole = w2v.train(config(), run=tmp_path / "whole")
    assert outcome(run) == outcome(whole)
    assert sorted(path.suffix for path in run.checkpoints.iterdir()) == [
        ".json", ".json", ".safetensors", ".safetensors"
    ]  # fmt: skip


def test_a_run_that_was_killed_between_its_last_checkpoint_and_its_end_is_finished(
    config, tmp_path, monkeypatch
):
    whole = w2v.train(config(), run=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(desk, "finish_run", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            w2v.train(config(), run=tmp_path / "run")
    run = go_on(config(), tmp_path / "run")
    assert outcome(run) == outcome(whole)
    info = run.read_info()
    assert info["loss"] == whole.read_info()["loss"]
    assert info["centers_per_s"] > 0


def test_other_versions_and_threads_are_told_in_one_line(config, tmp_path, monkeypatch, caplog):
    run = stop_at(config(), tmp_path / "run", 42)
    stop_at(config(), run.path, 84, resume=True)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    before = np.__version__
    monkeypatch.setattr(np, "__version__", "9.9")
    go_on(config("train.threads=2"), run.path)
    (warned,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warned.message == (
        "the bytes may differ from those of a run that never stopped: "
        f'numpy "{before}", now "9.9"; threads 1, now 2'
    )


def test_what_a_checkpoint_does_not_tell_of_versions_is_not_compared(config, tmp_path, caplog):
    run = stop_at(config(), tmp_path / "run", 42)
    path = complete(run.checkpoints)[-1]
    told = json.loads(path.read_bytes())
    del told["digest"], told["run"]["threads"]
    told["run"]["versions"] = 7
    path.write_bytes(sealed(told))
    go_on(config(), run.path)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 9, "finished": false}'])
def test_a_damaged_run_json_says_what_to_do_about_it(text, config, tmp_path):
    whole = w2v.train(config(), run=tmp_path / "whole")
    run = stop_at(config(), tmp_path / "run", 42)
    run.info.write_text(text)
    with pytest.raises(DataError, match=r"run\.json") as error:
        w2v.train(config(), run=run.path, resume=True)
    assert error.value.hint.startswith("without run.json --resume goes on")
    run.info.unlink()
    w2v.train(config(), run=run.path, resume=True)
    assert sha256(run.vectors) == sha256(whole.vectors)
    for path in complete(run.checkpoints):
        path.unlink()
    run.info.write_text(text)
    with pytest.raises(DataError) as error:
        w2v.train(config(), run=run.path, resume=True)
    assert error.value.hint == "--force replaces it"


def test_without_a_checkpoint_there_is_nothing_to_go_on_with(config, tmp_path):
    with pytest.raises(ResumeError, match="no checkpoint in") as error:
        go_on(config(), tmp_path / "run")
    assert "--resume" in error.value.hint
    assert not (tmp_path / "run").exists()


def test_time_is_the_sum_and_the_log_goes_on(config, tmp_path):
    run = stop_at(config(), tmp_path / "run", 42)
    told = json.loads(complete(run.checkpoints)[-1].read_text())["report"]
    with run.metrics.open("a") as log:
        log.write('{"event": "progress", "step": 50}\n{"event": "epo')  # told after the checkpoint
    go_on(config(), run.path)
    assert run.read_info()["train_s"] > round(told["run_seconds"], 3)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]


def test_a_folder_that_is_in_use_is_refused_before_the_corpus_is_touched(config, tmp_path):
    with (
        locks.held(tmp_path / "run"),
        pytest.raises(StorageError, match=f"in use by pid {getpid()}"),
    ):
        w2v.train(config("corpus.path=/nowhere.txt"), run=tmp_path / "run")
