"""Training that starts from vectors: what is taken, what is told, what is refused, what stays."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_SETTINGS, planted_text

import w2v
from w2v import checkpoints, formats, pretrained, states, training
from w2v.config import ModelSection
from w2v.configfile import load_config
from w2v.errors import ConfigError, DataError, ResumeError, StoppedError
from w2v.files import sha256
from w2v.leaving import Wish
from w2v.rundir import RunDir
from w2v.vectors import WordVectors
from w2v.vocab import Vocab

VOCAB = Vocab(("<unk>", "the", "Cat", "sat", "Dogs"), np.array([7, 50, 30, 15, 5]))
HARD = [-0.0, 1e-41, 2.5]  # an addition of zero, or a flush, would change the first two


def vectors_of(**rows):
    return WordVectors(list(rows), np.array(list(rows.values()), np.float32))


def write(path, **rows):
    formats.write(vectors_of(**rows), path)
    return path


def read(path, *, dim=3, vocab=VOCAB, freeze="none"):
    return pretrained.read(ModelSection(dim=dim, init_from=str(path), freeze=freeze), vocab)


# --- what is taken ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["v.txt", "v.vec", "v.txt.gz", "v.bin", "v.npy", "v.safetensors", "v.glove"]
)
def test_the_rows_of_words_in_both_are_taken_as_they_are(name, tmp_path):
    path, format = tmp_path / name, "glove" if name == "v.glove" else None
    rows = {"sat": HARD, "mat": [7, 8, 9], "the": [1, 2, 3], "<unk>": [4, 4, 4], "zebra": [0, 0, 1]}
    formats.write(vectors_of(**rows), path, format=format)
    pretrained.require_fit(str(path), dim=3)
    found = read(path)
    known = found.take()
    assert known.ids_N.tolist() == [1, 3]  # in the order of ids, <unk> never
    assert known.center_ND.numpy().tobytes() == np.array([[1, 2, 3], HARD], "f4").tobytes()
    assert known.context_ND is None
    files = {file.name: sha256(file) for file in formats.files_of(path)}
    assert found.told == pretrained.Told(str(path), files, ["center"], 2, 4, 0.65)
    assert found.take() is None  # the memory is free


def test_fasttext_vec_files_with_spaces_at_line_ends_are_taken(tmp_path):
    (tmp_path / "ft.vec").write_bytes(b"3 2\n</s> 0 0 \nthe 1 -0.5 \nsat 2e-3 4 \n")
    known = read(tmp_path / "ft.vec", dim=2).take()
    assert known.center_ND.tolist() == [[1, -0.5], [pytest.approx(2e-3), 4]]


def finished(folder, words, center_VD, context_VD):
    run = RunDir(folder)
    vocab = Vocab(("<unk>", *words), np.arange(len(words) + 1)[::-1].copy())
    run.write_finished({"dim": 3}, vocab=vocab, center_VD=center_VD, context_VD=context_VD)
    return run


def test_a_run_fills_both_tables(tmp_path):
    center_VD, context_VD = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    run = finished(tmp_path / "run", ("Dogs", "the"), center_VD, context_VD)
    pretrained.require_fit(str(run.path), dim=3)
    found = read(run.path)
    known = found.take()
    assert known.ids_N.tolist() == [1, 4]
    assert known.center_ND.tolist() == center_VD[[2, 1]].tolist()
    assert known.context_ND.tolist() == context_VD[[2, 1]].tolist()
    assert found.told.tables == ["center", "context"]
    assert found.told.sha256 == {
        "vectors.safetensors": sha256(run.vectors),
        "vocab.tsv": sha256(run.vocab),
    }


def test_only_rows_of_the_vocabulary_are_parsed(tmp_path):
    (tmp_path / "v.txt").write_text("3 2\nthe 1 2\nmat one two\nsat 3 4\n")
    assert read(tmp_path / "v.txt", dim=2).told.words == 2
    (tmp_path / "v.txt").write_text("3 2\nthe 1 two\nmat 1 2\nsat 3 4\n")
    with pytest.raises(DataError, match="line 2: expected a number, found b'two'"):
        read(tmp_path / "v.txt", dim=2)


# --- what is told -----------------------------------------------------------------------------


def test_the_overlap_is_told(tmp_path, caplog):
    caplog.set_level("INFO", logger="w2v")
    path = write(tmp_path / "v.vec", the=[1, 2, 3], sat=[1, 1, 1], Cat=[1, 1, 2])
    read(path)
    told = f"init_from {path}: 3 of 4 words (75.0 %, 95.0 % of the text's words)"
    assert caplog.messages == [told]


def test_what_lower_case_would_bring_is_a_hint(tmp_path, caplog):
    caplog.set_level("INFO", logger="w2v")
    path = write(tmp_path / "v.vec", the=[1, 2, 3], cat=[1, 1, 1], dogs=[1, 1, 2], Cat=[0, 1, 2])
    assert read(path).told.words == 2
    hint = "1 words more are there in lower case: corpus.lowercase=true"
    assert caplog.messages[1:] == [hint]
    path = write(tmp_path / "lower.vec", cat=[1, 2, 3])
    with pytest.raises(DataError, match="has no word in common with the vocabulary") as caught:
        read(path)
    assert caught.value.hint == hint
    many = Vocab(("<unk>", "Cat", *(f"w{i}" for i in range(40))), np.full(42, 5))
    caplog.clear()
    read(write(tmp_path / "few.vec", cat=[1, 1, 1], w3=[1, 1, 1]), vocab=many)
    assert len(caplog.messages) == 1  # one word of forty is no reason


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.npy", "v.safetensors", "v.txt.gz"])
def test_another_dimension_is_refused_by_the_first_bytes(name, tmp_path):
    path = write(tmp_path / name, the=[1, 2, 3])
    if name == "v.txt":
        path.write_bytes(path.read_bytes()[:9])  # what follows is not looked at
    with pytest.raises(ConfigError) as caught:
        pretrained.require_fit(str(path), dim=100)
    what = f"model.dim=100, but the vectors of model.init_from={path} have 3 dimensions"
    assert (str(caught.value), caught.value.hint) == (what, "set model.dim=3")


def test_a_run_of_another_dimension_is_refused(tmp_path):
    table_VD = np.ones((2, 3), np.float32)
    run = finished(tmp_path / "run", ("the",), table_VD, table_VD)
    what = r"model\.dim=4, but .* have 3 dimensions"
    with pytest.raises(ConfigError, match=what):
        pretrained.require_fit(str(run.path), dim=4)
    with pytest.raises(ConfigError, match=what):
        read(run.path, dim=4)


@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.npy", "v.safetensors"])
def test_no_word_in_common_is_refused(name, tmp_path):
    path = write(tmp_path / name, die=[1, 2, 3], Katze=[1, 1, 1])
    with pytest.raises(DataError, match=f"{name} has no word in common with the vocabulary"):
        read(path)


def test_a_run_without_a_word_in_common_is_refused(tmp_path):
    table_VD = np.ones((2, 3), np.float32)
    run = finished(tmp_path / "run", ("Katze",), table_VD, table_VD)
    with pytest.raises(DataError, match="run has no word in common with the vocabulary"):
        read(run.path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("nowhere.vec", "model.init_from: no such file or folder: nowhere.vec"),
        ("nowhere/v.vec", "model.init_from: no such file or folder: nowhere/v.vec"),
        ("a\0b", r"model.init_from: no such file or folder: a\x00b"),
        (".", ". is no run folder: run.json: No such file or directory"),
        ("m.pkl", "m.pkl is a pickle: that is not read"),
        ("empty.vec", "empty.vec: line 1: expected 'COUNT DIM'"),
    ],
)
def test_what_is_no_vectors_is_refused(name, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.pkl").touch()
    Path("empty.vec").touch()
    with pytest.raises(DataError) as caught:
        pretrained.require_fit(name, dim=3)
    assert str(caught.value) == what


def test_words_that_come_twice_are_refused(tmp_path):
    (tmp_path / "v.txt").write_text("3 1\nthe 1\nsat 2\nthe 3\n")
    (tmp_path / "v.bin").write_bytes(b"9 1\n" + b"the " * 9 * 2)
    for name in ("v.txt", "v.bin"):
        with pytest.raises(DataError, match="'the' comes twice"):
            read(tmp_path / name, dim=1)


def test_freezing_every_row_is_refused_and_centers_without_vectors_are_told(tmp_path, caplog):
    caplog.set_level("WARNING")  # whatever an earlier test has set
    table_VD = np.ones((5, 3), np.float32)
    run = finished(tmp_path / "run", VOCAB.words[1:], table_VD, table_VD)
    with pytest.raises(ConfigError, match=r"no row to train: .*run has all 4 words") as caught:
        read(run.path, freeze="pretrained")
    assert "model.freeze=all" in caught.value.hint
    assert read(run.path, freeze="all").told.words == 4
    path = write(tmp_path / "v.vec", **{word: [1, 2, 3] for word in VOCAB.words[1:]})
    assert read(path, freeze="pretrained").told.words == 4  # its contexts are trained
    assert not caplog.messages
    read(write(tmp_path / "w.vec", the=[1, 2, 3]), freeze="all")
    assert caplog.messages == ["model.freeze=all: 3 words keep the vectors that model.init draws"]


# --- through training -------------------------------------------------------------------------


BLOCKED = ("sampling.block=8", "sampling.shared_negatives=16")
KERNELS = {
    **{
        f"bmm-{name}-{block}": (
            "train.kernel=bmm", f"train.optimizer={name}", *(BLOCKED if block > 1 else ())
        )
        for name in ("adam", "sgd", "adagrad")
        for block in (1, 8)
    },
    "hogwild": (
        *BLOCKED, "train.kernel=hogwild", "train.batch_size=null", "train.optimizer=sgd"
    ),
}  # fmt: skip


@pytest.fixture
def config(tiny_text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty.yaml").write_text("train: {seed: 0}\n")

    def make(*settings):
        overrides = (*TINY_SETTINGS, f"corpus.path={tiny_text}", "train.threads=1", *settings)
        return load_config("empty.yaml", overrides).config

    return make


def hard_rows(*words):
    rng = np.random.default_rng(0)
    rows = {word: rng.normal(size=16) for word in words}
    rows[words[0]][:3] = HARD
    return rows


@pytest.fixture
def some_vectors(tmp_path):
    """A file with 7 of the 18 words."""
    words = [f"{topic}{i}" for topic in ("apple", "river") for i in range(3)]
    return write(tmp_path / "some.vec", **hard_rows(*words, "metal5"), elsewhere=np.ones(16))


def rows_of(run, words, table="center"):
    vectors = run.load_vectors(table=table)
    return vectors.matrix[[vectors.index(word) for word in words]]


def same_bytes(one, other):
    return np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()


@pytest.mark.parametrize("kernel", KERNELS)
def test_frozen_words_keep_their_bytes_through_a_run(kernel, config, some_vectors, tmp_path):
    settings = (*KERNELS[kernel], "train.epochs=1", "model.freeze=pretrained")
    run = w2v.train(config(*settings, f"model.init_from={some_vectors}"), run=tmp_path / "run")
    given = formats.read(some_vectors)
    known = [word for word in given.words if word != "elsewhere"]
    assert same_bytes(rows_of(run, known), given.matrix[[given.index(word) for word in known]])
    rest = sorted(set(run.load_vectors().words) - set(known))
    assert len(rest) == 11
    assert np.abs(rows_of(run, rest)).max() > 0.1
    told = run.read_info()["init_from_vectors"]
    assert told == {
        "path": str(some_vectors),
        "sha256": {"some.vec": sha256(some_vectors)},
        "tables": ["center"],
        "words": 7,
        "of_words": 18,
        "of_text": pytest.approx(7 / 18, abs=0.03),
    }


def begun(run, **kinds):
    """The tables that training begins with."""
    known = run.pretrained.take() if run.pretrained else None
    learner = training.make_learner(
        run.corpus, model=run.config.model, sampling=run.config.sampling, train=run.config.train,
        kernel=run.kernel.kernel, device=torch.device("cpu"), known=known, **kinds,
    )  # fmt: skip
    return [table.detach().clone() for table in learner.model.parameters()]


def prepared(config, folder, *, resume=False):
    return training.prepare_run(
        config, folder, data_folder=folder.parent / "data", force=False, resume=resume
    )


@pytest.mark.parametrize("init", ["xavier", "word2vec"])
def test_the_other_rows_are_those_of_a_cold_start(init, config, some_vectors, tmp_path):
    cold_VD = begun(prepared(config(f"model.init={init}"), tmp_path / "a"))
    run = prepared(config(f"model.init={init}", f"model.init_from={some_vectors}"), tmp_path / "b")
    known_V = torch.zeros(19, dtype=torch.bool)
    known_V[run.pretrained._known.ids_N] = True
    warm_VD = begun(run)
    assert known_V.sum() == 7
    assert torch.equal(warm_VD[0][~known_V], cold_VD[0][~known_V])
    assert torch.equal(warm_VD[1], cold_VD[1])
    assert not torch.isclose(warm_VD[0][known_V], cold_VD[0][known_V]).any(dim=1).all()


def test_all_keeps_the_center_table_of_a_run_and_trains_the_contexts(config, tmp_path):
    first = w2v.train(config("train.epochs=1"), run=tmp_path / "first")
    settings = (f"model.init_from={first.path}", "model.freeze=all", "train.epochs=1")
    for kernel in ("bmm-adam-1", "hogwild"):
        run = w2v.train(config(*settings, *KERNELS[kernel]), run=tmp_path / kernel)
        words = first.load_vectors().words
        assert same_bytes(rows_of(run, words), rows_of(first, words))
        contexts = [rows_of(one, words, "context") for one in (run, first)]
        assert (contexts[0] != contexts[1]).any(axis=1).all()


def test_a_run_with_some_of_the_words_freezes_both_tables(config, tmp_path):
    half = tmp_path / "half.txt"
    half.write_text(re.sub("river[0-5]", "apple0", planted_text(lines=300, seed=1)))
    first = w2v.train(config("train.epochs=1", f"corpus.path={half}"), run=tmp_path / "first")
    words = first.load_vectors().words
    assert len(words) == 12
    settings = (f"model.init_from={first.path}", "model.freeze=pretrained", "train.epochs=1")
    for kernel in ("bmm-adagrad-8", "hogwild"):
        run = w2v.train(config(*settings, *KERNELS[kernel]), run=tmp_path / kernel)
        for table in ("center", "context"):
            assert same_bytes(rows_of(run, words, table), rows_of(first, words, table))
            assert np.abs(rows_of(run, [f"river{i}" for i in range(6)], table)).max() > 0.1


def test_restraints_go_from_the_config_to_the_kernel(config, tmp_path):
    """A row leaves the greatest norm by no more than its last step; shared gradients are small."""
    plain = ("train.optimizer=sgd", "train.epochs=1")
    rules = {
        "none": (),
        "norm": ("model.max_norm=0.2",),
        "freq": ("model.scale_grad_by_freq=true",),
    }
    start_VD = begun(prepared(config(*plain), tmp_path / "start"))[0].numpy()[1:]
    center_VD = {
        name: w2v.train(config(*plain, *rule), run=tmp_path / name).load_vectors().matrix
        for name, rule in rules.items()
    }
    norms = {name: np.linalg.norm(of_VD, axis=1) for name, of_VD in center_VD.items()}
    assert norms["norm"].max() < 0.22 < 0.5 < norms["none"].min()
    change = {name: np.abs(of_VD - start_VD).mean() for name, of_VD in center_VD.items()}
    assert 0 < change["freq"] < change["none"] / 2


# --- from the command line --------------------------------------------------------------------


def test_train_tells_the_overlap_and_dry_run_too(cli, tiny_options, some_vectors):
    options = [*tiny_options, "-s", f"model.init_from={some_vectors}", "--dry-run"]
    done = cli("train", *options)
    assert done.code == 0
    assert re.search(r"init_from .*some\.vec: 7 of 18 words \(38\.9 %, \d+\.\d %", done.err)


def test_errors_come_before_the_corpus_is_opened(cli, tmp_path, some_vectors):
    for setting, code, message in (
        ("model.init_from=nowhere.vec", 4, "no such file or folder: nowhere.vec"),
        (f"model.init_from={some_vectors}", 2, "model.dim=100, but the vectors of"),
        ("model.freeze=all", 2, "model.freeze=all needs model.init_from"),
    ):
        done = cli(
            "train", "-s", "corpus.name=text", "-s", "corpus.path=/nowhere.txt", "-s", setting
        )
        assert (done.code, done.out) == (code, ""), done.err
        assert message in done.err
        assert "nowhere.txt" not in done.err
        assert not (tmp_path / "runs").exists()


# --- going on ---------------------------------------------------------------------------------


class StopAt:
    """A listener that sends a wish at a step, as a signal would."""

    def __init__(self, wish, step):
        self.wish, self.step = wish, step

    def __call__(self, report):
        if report.step == self.step:
            self.wish.accept(signal.SIGTERM)

    def close(self):
        pass


def stop_at(config, folder, step):
    wish, run = Wish(), prepared(config, folder)
    with pytest.raises(StoppedError):
        training.execute(run, listeners=[StopAt(wish, step)], wish=wish)
    return run.folder


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr("w2v.loop.REPORT_EVERY_S", 0.0)
    monkeypatch.setattr("w2v.kernels.hogwild.piece_words", lambda _: 150)


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("kernel", ["bmm-adam-1", "bmm-adagrad-8", "hogwild"])
def test_a_frozen_run_that_stops_and_goes_on_is_the_run_that_never_stopped(
    kernel, gone, config, some_vectors, tmp_path, every_step, caplog
):
    settings = config(
        *KERNELS[kernel], f"model.init_from={some_vectors}", "model.freeze=pretrained",
        *(["model.max_norm=3.0", "model.scale_grad_by_freq=true"] if kernel[:3] == "bmm" else []),
    )  # fmt: skip
    whole = training.execute(prepared(settings, tmp_path / "whole"))
    run = stop_at(settings, tmp_path / "run", 12)
    if gone:
        some_vectors.unlink()
    training.execute(prepared(settings, run.path, resume=True))
    assert run.read_info()["resumed_at_steps"] == [12]
    assert sha256(run.vectors) == sha256(whole.vectors)
    assert run.read_info()["init_from_vectors"] == whole.read_info()["init_from_vectors"]
    warned = f"init_from {some_vectors} is gone; the checkpoint has what came from it"
    assert (warned in caplog.messages) == gone


def test_other_vectors_are_another_run(config, some_vectors, tmp_path, every_step):
    settings = (f"model.init_from={some_vectors}", "model.freeze=pretrained")
    run = stop_at(config(*settings), tmp_path / "run", 5)
    before = some_vectors.read_bytes()
    some_vectors.write_bytes(before.replace(b"2.5", b"2.6"))
    with pytest.raises(ResumeError, match='is of another run: init_from \\(there "'):
        training.execute(prepared(config(*settings), run.path, resume=True))
    some_vectors.write_bytes(before)
    for others in (settings[:1], (), ("model.max_norm=1",)):
        with pytest.raises(ResumeError, match=r"model\.(freeze|max_norm) \(there"):
            prepared(config(*others), run.path, resume=True)
    training.execute(prepared(config(*settings), run.path, resume=True))


ADAM = [
    f"optimizer.{table}_{key}"
    for table in ("center", "context")
    for key in ("step", "exp_avg", "exp_avg_sq")
]


def test_a_checkpoint_that_is_older_than_a_setting_had_its_default(config, tmp_path, every_step):
    run = stop_at(config(), tmp_path / "run", 5)
    (state,) = run.checkpoints.glob("*.json")
    told = states.read(state)
    tensors = {name: checkpoints.tensor(state, name) for name in ("center", "context", *ADAM)}
    young = ("model.max_norm", "model.scale_grad_by_freq")
    settings = {name: of for name, of in told.run["settings"].items() if name not in young}
    about = {name: of for name, of in told.run.items() if name != "init_from"}
    checkpoints.save(
        run.checkpoints, tensors=tensors, run=about | {"settings": settings}, report=told.report
    )
    with pytest.raises(ResumeError, match=r"model\.max_norm \(there null, here 1"):
        prepared(config("model.max_norm=1"), run.path, resume=True)
    training.execute(prepared(config(), run.path, resume=True))


# --- on the Penn Treebank ---------------------------------------------------------------------


FAST = (
    "train.kernel=hogwild", "train.batch_size=null", "train.optimizer=sgd", "train.lr=0.03",
    "train.lr_schedule=linear", "train.threads=1",
)  # fmt: skip


@pytest.fixture
def treebank(ptb_data, tmp_path, monkeypatch):
    """Trains `ptb.yaml` with further settings; gives the run and the held-out loss by epoch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("W2V_DATA", str(ptb_data))

    def run(name, *settings):
        done = w2v.train(load_config("ptb.yaml", settings).config, run=tmp_path / name)
        lines = [json.loads(line) for line in done.metrics.read_text().splitlines()]
        return done, [line["heldout_loss"] for line in lines if line["event"] == "epoch"]

    return run


@pytest.mark.slow
def test_a_warm_start_reaches_the_cold_ones_heldout_loss_in_fewer_epochs(treebank, tmp_path):
    """From its run and from the vectors exported from it: two epochs, not five."""
    cold, cold_losses = treebank("cold", *FAST)
    assert min(cold_losses) == cold_losses[4]
    formats.write(cold.load_vectors(), tmp_path / "cold.vec")
    for name, path in (("run", cold.path), ("file", tmp_path / "cold.vec")):
        _, losses = treebank(name, *FAST, "train.epochs=3", f"model.init_from={path}")
        assert losses[1] < cold_losses[4] < cold_losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [FAST, ()], ids=["hogwild", "bmm"])
def test_words_of_another_text_keep_their_bytes(settings, treebank, ptb_data, tmp_path):
    """The vectors of one half of the lines, held while the other half's words join them."""
    lines = (ptb_data / "ptb" / "ptb.train.txt").read_text().splitlines(keepends=True)
    (tmp_path / "half.txt").write_text("".join(lines[::2]))
    text = ("corpus.name=text", f"corpus.path={tmp_path / 'half.txt'}", "train.epochs=1")
    half, _ = treebank("half", *settings, *text)
    frozen = (f"model.init_from={half.path}", "model.freeze=pretrained", "train.epochs=1")
    whole, losses = treebank("whole", *settings, *frozen)
    told = whole.read_info()["init_from_vectors"]
    words = sorted(set(half.load_vectors().words) & set(whole.load_vectors().words))
    assert told["words"] == len(words)
    assert 0.5 < told["words"] / told["of_words"] < told["of_text"] < 1
    for table in ("center", "context"):
        assert same_bytes(rows_of(whole, words, table), rows_of(half, words, table))
    assert losses[0] < 0.6
