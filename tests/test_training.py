import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from conftest import TINY_SETTINGS

import w2v
from w2v import record, training
from w2v.config import ModelSection, SamplingSection, TrainSection
from w2v.configfile import load_config
from w2v.errors import ConfigError, DataError, DivergedError, StorageError
from w2v.files import sha256
from w2v.kernels.choice import choose_kernel
from w2v.rundir import RunDir
from w2v.states import complete

BLOCKED = ("sampling.block=8", "sampling.shared_negatives=16")


@pytest.fixture
def config(tiny_text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.yaml").write_text("train: {seed: 0}\n")

    def make(*settings):
        overrides = (*TINY_SETTINGS, f"corpus.path={tiny_text}", *settings)
        return load_config("empty.yaml", overrides).config

    return make


def test_a_finished_run_folder_is_what_the_readme_says(config, tmp_path):
    run = w2v.train(config("train.seed=3"), run="runs/a")
    assert run == RunDir(tmp_path / "runs/a") or run.path.resolve() == tmp_path / "runs/a"
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints", "config.yaml", "dropped.tsv", "metrics.jsonl", "run.json",
        "vectors.safetensors", "vocab.tsv",
    ]  # fmt: skip
    info = json.loads((run.path / "run.json").read_text())
    assert info["finished"] is True
    assert (info["kernel"], info["device"], info["seed"]) == ("bmm", "cpu", 3)
    assert info["sha256"]["vectors.safetensors"] == sha256(run.path / "vectors.safetensors")
    assert info["words_per_s"] * info["train_s"] == pytest.approx(3 * 297 * 9, rel=0.02)
    assert info["prepare_s"] >= 0
    rows = (run.path / "vocab.tsv").read_text().splitlines()
    assert rows[0] == "<unk>\t0"
    assert len(rows) == 19
    tables = safetensors.numpy.load((run.path / "vectors.safetensors").read_bytes())
    assert {name: table.shape for name, table in tables.items()} == {
        "center": (19, 16), "context": (19, 16)
    }  # fmt: skip
    assert not tables["center"][0].any()
    epochs = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in epochs if line["event"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [1, 2, 3]
    assert [line["words"] for line in epochs] == [297 * 9] * 3
    assert epochs[-1]["loss"] < epochs[0]["loss"] < 0.7


def test_what_is_written_is_what_was_trained(config, monkeypatch):
    learners = []

    def remembered(*arguments, **options):
        learners.append(make_learner(*arguments, **options))
        return learners[0]

    make_learner = training.make_learner
    monkeypatch.setattr(training, "make_learner", remembered)
    run = w2v.train(config("train.optimizer=adagrad"), run="runs/a")
    trained = learners[0].tensors()
    written = safetensors.numpy.load(run.vectors.read_bytes())
    for table in ("center", "context"):
        assert np.array_equal(written[table], trained[table].numpy())
    assert not np.array_equal(written["center"], written["context"])
    state = complete(run.checkpoints)[-1]
    saved = safetensors.numpy.load(state.with_suffix(".safetensors").read_bytes())
    assert saved.keys() == trained.keys() > {"center", "context"}
    assert all(np.array_equal(saved[name], trained[name].numpy()) for name in saved)
    info = run.read_info()
    assert info["min_count"] == 1
    assert info["centers_per_s"] * info["train_s"] == pytest.approx(3 * 297 * 9, rel=0.02)
    assert info["sha256"].keys() == {
        "config.yaml", "metrics.jsonl", "vocab.tsv", "vectors.safetensors", "dropped.tsv"
    }  # fmt: skip


def test_a_forced_run_leaves_no_checkpoint_of_the_old_one(config):
    w2v.train(config("train.epochs=9"), run="runs/a")
    run = w2v.train(config("train.epochs=1"), run="runs/a", force=True)
    (state,) = complete(run.checkpoints)
    assert json.loads(state.read_text())["report"]["epoch"] == 1
    assert len(run.metrics.read_text().splitlines()) == 1


def test_memory_that_runs_out_is_a_storage_error(config, monkeypatch):
    def starve(*_, **__):
        torch.empty(2**58, dtype=torch.uint8)  # torch's own error, no class of its own
        yield

    monkeypatch.setattr(training, "reports", starve)
    with pytest.raises(StorageError, match="out of memory on cpu: the tables of 19 words") as error:
        w2v.train(config(), run="runs/a")
    assert "lower" in error.value.hint


def test_it_finds_the_planted_neighbors(config):
    vectors = w2v.train(config("train.epochs=8"), run="runs/a").load_vectors()
    for word in ("apple0", "metal3", "river5"):
        neighbors = [other for other, _ in vectors.similar(word, k=5)]
        assert {other[:5] for other in neighbors} == {word[:5]}


@pytest.mark.parametrize(
    "settings",
    [
        (),
        (*BLOCKED, "train.optimizer=adagrad", "train.lr=0.1", "train.objective=pair_sum"),
        (*BLOCKED, "train.optimizer=sgd", "train.lr_schedule=linear"),
        ("sampling.subsample=0.05", "sampling.subsample_formula=word2vec", "model.init=word2vec"),
    ],
)
def test_equal_seeds_give_equal_bytes_and_other_seeds_others(config, settings):
    digests = [
        sha256(w2v.train(config(*settings, f"train.seed={seed}"), run=f"runs/{i}").vectors)
        for i, seed in enumerate((1, 1, 2))
    ]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_a_finished_run_is_refused_and_replaced_by_force(config):
    first = w2v.train(config(), run="runs/a")
    before = sha256(first.vectors)
    with pytest.raises(StorageError, match="holds a finished run") as error:
        w2v.train(config("train.seed=9"), run="runs/a")
    assert "--force" in error.value.hint
    assert sha256(first.vectors) == before
    w2v.train(config("train.seed=9"), run="runs/a", force=True)
    assert sha256(first.vectors) != before
    assert first.load_vectors()


def test_a_forced_run_that_fails_leaves_the_finished_one_whole(config, monkeypatch):
    run = w2v.train(config(), run="runs/a")
    before = run.load_vectors().matrix.copy()

    def explode(*_, **__):
        raise DivergedError("made up")
        yield

    monkeypatch.setattr(training, "reports", explode)
    files = {path: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    with pytest.raises(DivergedError):
        w2v.train(config("train.seed=9"), run="runs/a", force=True)
    assert run.is_finished()
    assert np.array_equal(run.load_vectors().matrix, before)
    assert {path: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == files


def test_divergence_writes_no_vectors_and_keeps_the_last_good_state(config, monkeypatch):
    reports = training.reports

    def poisoned(*arguments, **options):
        for report in reports(*arguments, **options):
            yield report
            if report.epoch == 2 and report.epoch_ended:
                arguments[0].model.center.weight.data[3, 0] = torch.nan

    monkeypatch.setattr(training, "reports", poisoned)
    with pytest.raises(DivergedError, match="epoch 3"):
        w2v.train(config(), run="runs/a")
    run = RunDir(training.Path("runs/a"))
    assert not run.is_finished()
    assert not run.vectors.exists()
    states = complete(run.checkpoints)
    last = json.loads(states[-1].read_text())
    assert last["report"]["epoch"] == 2
    data = states[-1].with_suffix(".safetensors").read_bytes()
    assert all(np.isfinite(table).all() for table in safetensors.numpy.load(data).values())
    assert len((run.metrics).read_text().splitlines()) == 2


def test_a_great_learning_rate_diverges_with_advice(config):
    with pytest.raises(DivergedError) as error:
        w2v.train(config("train.optimizer=sgd", "train.lr=10", "sampling.negatives=1000",
                         "train.objective=pair_sum", "train.epochs=50"), run="runs/a")  # fmt: skip
    assert "lower train.lr" in error.value.hint


def test_an_epoch_without_pairs_after_others_keeps_what_was_trained(config, monkeypatch):
    reports = training.reports

    def run_dry(*arguments, **options):
        for report in reports(*arguments, **options):
            yield report
            if report.epoch_ended:
                raise DataError("no training pairs")

    monkeypatch.setattr(training, "reports", run_dry)
    with pytest.raises(DataError):
        w2v.train(config(), run="runs/a")
    assert complete(training.Path("runs/a/checkpoints"))


def test_force_replaces_a_damaged_run_and_no_stranger(config):
    run = w2v.train(config(), run="runs/a")
    (run.checkpoints / "mine.pt").write_text("mine")
    run.info.write_text("{")
    with pytest.raises(DataError, match="is damaged") as error:
        w2v.train(config(), run="runs/a")
    assert "--force" in error.value.hint
    w2v.train(config(), run="runs/a", force=True)
    assert run.is_finished()
    assert (run.checkpoints / "mine.pt").read_text() == "mine"


def test_a_start_that_is_killed_can_be_repeated(config, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    run = RunDir(training.Path("runs/a"))
    for owner, name in (
        (record, "write_text"),
        (record, "dump_yaml"),
        (RunDir, "write_started"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killed)
            with pytest.raises(KeyboardInterrupt):
                w2v.train(config(), run="runs/a")
    assert w2v.train(config(), run="runs/a") == run


def test_an_unfinished_attempt_is_started_over(config):
    run = RunDir(training.Path("runs/a"))
    run.checkpoints.mkdir(parents=True)
    (run.checkpoints / "step-1000000.json").write_text("{}")
    run.write_started({})
    w2v.train(config(), run="runs/a")
    assert complete(run.checkpoints)[-1].name != "step-1000000.json"
    assert run.is_finished()


def test_the_folder_is_checked_before_the_corpus_is_touched(config, tmp_path):
    (tmp_path / "taken").write_text("a file")
    for folder in ("taken", "taken/inside"):
        with pytest.raises(StorageError):
            w2v.train(config("corpus.path=/nowhere.txt"), run=folder)


def test_an_empty_corpus_leaves_no_run_folder(config, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(DataError, match="no words in"):
        w2v.train(config("corpus.path=empty.txt"), run="runs/a")
    assert not (tmp_path / "runs").exists()


def test_a_device_that_is_not_here_is_a_config_error(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"train\.device=cuda") as error:
        w2v.train(config("train.device=cuda"), run="runs/a")
    assert "auto" in error.value.hint


def test_threads_are_used_and_given_back(config, monkeypatch):
    before, seen = torch.get_num_threads(), []
    reports = training.reports

    def watched(*arguments, **options):
        seen.append(torch.get_num_threads())
        yield from reports(*arguments, **options)

    monkeypatch.setattr(training, "reports", watched)
    run = w2v.train(config(f"train.threads={before + 1}"), run="runs/a")
    assert seen == [before + 1] == [run.read_info()["threads"]]
    assert torch.get_num_threads() == before


def test_kernels_are_chosen_with_a_reason():
    cpu, shared = torch.device("cpu"), SamplingSection(block=16, shared_negatives=16)
    sgd = TrainSection(optimizer="sgd", batch_size=None)
    chosen = choose_kernel(sgd, shared, cpu)
    assert (chosen.name, chosen.reason) == ("hogwild", "the fastest on a CPU, and it has sgd")
    mps = choose_kernel(sgd, shared, torch.device("mps"))
    assert (mps.name, mps.reason) == ("bmm", "it runs on mps")
    for train, sampling, obstacle in (
        (TrainSection(batch_size=None), shared, "train.optimizer to be adagrad or sgd"),
        (TrainSection(optimizer="adagrad"), shared, "train.batch_size to be null"),
        (sgd, SamplingSection(), "sampling.shared_negatives to be a number"),
    ):
        chosen = choose_kernel(train, sampling, cpu)
        assert chosen.name == "bmm"
        assert chosen.reason.startswith(f"hogwild, which is faster, needs {obstacle}")
    assert choose_kernel(TrainSection(kernel="bmm"), shared, cpu).reason == "as configured"
    for model, obstacle in (
        (ModelSection(max_norm=1.0), "model.max_norm to be null"),
        (ModelSection(scale_grad_by_freq=True), "model.scale_grad_by_freq to be false"),
    ):
        chosen = choose_kernel(sgd, shared, cpu, model=model)
        assert (chosen.name, chosen.reason) == (
            "bmm", f"hogwild, which is faster, needs {obstacle}"
        )  # fmt: skip
    frozen = ModelSection(init_from="a.vec", freeze="pretrained")
    assert choose_kernel(sgd, shared, cpu, model=frozen).name == "hogwild"
