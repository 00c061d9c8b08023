import json
import logging
import os
import shutil

import numpy as np
import pytest

from w2v import formats
from w2v.errors import ConfigError, DataError, StorageError
from w2v.files import sha256
from w2v.rundir import RunDir, is_run_file
from w2v.runs import RUNS, find_run, load, load_chosen, newest_finished
from w2v.vocab import Vocab, WordCounts

VOCAB = Vocab(("<unk>", "chip", "intel", "king"), np.array([9, 7, 5, 3]))
CENTER = np.array([[0, 0], [1, 2], [3, 4], [5, 6]], np.float32)
CONTEXT = np.array([[0, 0], [-1, 7], [-2, 8], [-3, 9]], np.float32)
DROPPED = WordCounts(("queen", "rat"), np.array([2, 1]))


@pytest.fixture(autouse=True)
def in_an_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w2v.yaml").write_text("train: {seed: 1}\n")


def make_run(path, *, center=CENTER, finished=True, **info):
    run = RunDir(path)
    told = {"min_count": 3, **info}
    if finished:
        run.write_finished(told, vocab=VOCAB, center_VD=center, context_VD=CONTEXT, dropped=DROPPED)
    else:
        run.path.mkdir(parents=True)
        run.write_started(told)
    return run


def rewrite_info(run, **changes):
    info = json.loads(run.info.read_text()) | changes
    run.info.write_text(json.dumps(info))


# Writing and reading


def test_the_files_of_a_run(tmp_path):
    run = RunDir(tmp_path / "r")
    assert [path.name for path in (run.config, run.vocab, run.vectors, run.dropped)] == [
        "config.yaml",
        "vocab.tsv",
        "vectors.safetensors",
        "dropped.tsv",
    ]
    assert [path.name for path in (run.metrics, run.info, run.checkpoints)] == [
        "metrics.jsonl",
        "run.json",
        "checkpoints",
    ]


def test_vectors_come_back_without_unk(tmp_path):
    run = make_run(tmp_path / "r")
    center = run.load_vectors()
    assert center.words == ("chip", "intel", "king")
    assert center.counts == (7, 5, 3)
    assert center.matrix.tolist() == CENTER[1:].tolist()
    assert run.load_vectors(table="context").matrix.tolist() == CONTEXT[1:].tolist()


def test_the_bytes_of_a_run(tmp_path):
    run = make_run(tmp_path / "r")
    assert run.vocab.read_bytes() == b"<unk>\t9\nchip\t7\nintel\t5\nking\t3\n"
    assert run.dropped.read_bytes() == b"queen\t2\nrat\t1\n"
    text = (
        b'{"center":{"dtype":"F32","shape":[4,2],"data_offsets":[0,32]},'
        b'"context":{"dtype":"F32","shape":[4,2],"data_offsets":[32,64]}}'
    )
    text = text.ljust(-(-len(text) // 8) * 8)
    expected = len(text).to_bytes(8, "little") + text + CENTER.tobytes() + CONTEXT.tobytes()
    assert run.vectors.read_bytes() == expected


def test_equal_runs_have_equal_bytes_and_digests(tmp_path):
    a, b = (
        make_run(tmp_path / name, center=rows)
        for name, rows in (("a", CENTER), ("b", np.asfortranarray(CENTER.astype(np.float64))))
    )
    for name in ("vocab.tsv", "vectors.safetensors", "dropped.tsv"):
        assert (a.path / name).read_bytes() == (b.path / name).read_bytes()
    assert a.read_info()["sha256"] == b.read_info()["sha256"]


def test_run_json_says_what_it_is(tmp_path):
    info = make_run(tmp_path / "r", kernel="bmm").read_info()
    assert list(info)[:3] == ["schema", "finished", "finished_at"]
    assert (info["schema"], info["finished"], info["kernel"]) == (1, True, "bmm")
    assert sorted(info["sha256"]) == ["dropped.tsv", "vectors.safetensors", "vocab.tsv"]
    with pytest.raises(ValueError, match="JSON compliant"):
        make_run(tmp_path / "r", loss=float("nan"))


@pytest.mark.parametrize("digests", [None, 7, [], {}, {"vocab.tsv": 7}])
def test_a_run_json_without_digests_is_damaged(digests, tmp_path):
    run = make_run(tmp_path / "r")
    run.verify(run.read_info())
    rewrite_info(run, sha256=digests)
    with pytest.raises(DataError, match="it has no SHA-256 of vocab"):
        run.verify(run.read_info())


def test_an_unfinished_run_says_so(tmp_path):
    run = make_run(tmp_path / "r", finished=False)
    assert not run.is_finished()
    assert "finished_at" not in run.read_info()
    with pytest.raises(DataError, match="is not finished"):
        run.load_vectors()


def test_rows_and_words_must_match(tmp_path):
    with pytest.raises(ValueError, match="4 words, 3 and 4 rows"):
        make_run(tmp_path / "r", center=CENTER[:3])


def test_a_moved_run_still_works(tmp_path):
    make_run(tmp_path / "r")
    shutil.move(tmp_path / "r", tmp_path / "moved")
    assert len(RunDir(tmp_path / "moved").load_vectors()) == 3


# Words that were left out


def test_a_dropped_word_is_told_with_its_count(tmp_path):
    vectors = make_run(tmp_path / "r").load_vectors()
    with pytest.raises(DataError, match=r"'queen' .* seen 2 times, below vocab.min_count=3"):
        vectors.similar("queen")


def test_dropped_words_are_read_only_when_one_is_asked_for(tmp_path):
    run = make_run(tmp_path / "r")
    run.dropped.write_bytes(b"queen\t9\n")
    vectors = run.load_vectors()
    vectors.similar("chip")
    with pytest.raises(DataError, match="checksum mismatch"):
        vectors.similar("queen")


def test_a_run_without_dropped_words(tmp_path):
    run = RunDir(tmp_path / "r")
    run.write_finished({}, vocab=VOCAB, center_VD=CENTER, context_VD=CONTEXT)
    assert not run.dropped.exists()
    with pytest.raises(DataError, match=r"'queen' is not in the vocabulary$"):
        run.load_vectors().similar("queen")


# Damage


@pytest.mark.parametrize("name", ["vocab.tsv", "vectors.safetensors"])
def test_every_flipped_byte_is_noticed(name, tmp_path):
    run = make_run(tmp_path / "r")
    path = run.path / name
    data = bytearray(path.read_bytes())
    for at in range(len(data)):
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        with pytest.raises(DataError, match=f"checksum mismatch: .*{name}"):
            run.load_vectors()
        data[at] ^= 1 << at % 8
    path.write_bytes(data)
    assert len(run.load_vectors()) == 3


@pytest.mark.parametrize("name", ["vocab.tsv", "vectors.safetensors"])
def test_a_missing_file_is_named(name, tmp_path):
    run = make_run(tmp_path / "r")
    (run.path / name).unlink()
    with pytest.raises(DataError, match=f"cannot read .*{name}: No such file"):
        run.load_vectors()


def test_what_lies_with_the_right_digest_is_still_refused(tmp_path):
    run = make_run(tmp_path / "r")
    for path, data in (
        (run.vocab, b"<unk>\t9\n\xff\t7\n"),
        (run.vocab, b"chip\t7\n"),
        (run.vocab, b"<unk>\t9\nchip\t7\n"),
        (run.vectors, b"no tensors"),
        (run.vectors, b""),
    ):
        run = make_run(tmp_path / "r")
        path.write_bytes(data)
        digests = run.read_info()["sha256"] | {path.name: sha256(path)}
        rewrite_info(run, sha256=digests)
        with pytest.raises(DataError):
            run.load_vectors()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("[]", "does not say whether"),
        ("{}", "does not say whether"),
        ('{"schema": 1, "finished": 1}', "does not say whether"),
        ('{"schema": 2, "finished": true}', "has schema 2, expected 1"),
        ('{"schema": 1, "finished": true}', "it has no SHA-256 of vocab.tsv"),
        ('{"schema": 1, "finished": true, "sha256": []}', "it has no SHA-256"),
        ('{"schema": 1, "finished": true, "min_count": "x"}', "min_count is 'x'"),
    ],
)
def test_a_damaged_run_json_is_told(text, message, tmp_path):
    run = make_run(tmp_path / "r")
    run.info.write_text(text)
    with pytest.raises(DataError, match=message):
        run.load_vectors()


def test_what_is_no_run_folder_is_told(tmp_path):
    with pytest.raises(DataError, match=r"is no run folder: run.json: No such file"):
        RunDir(tmp_path).read_info()
    with pytest.raises(DataError, match="is no run folder"):
        RunDir(tmp_path / "nowhere").load_vectors()
    assert not RunDir(tmp_path).is_finished()


# Overwriting


def test_a_finished_run_is_replaced_only_by_force(tmp_path):
    run = make_run(tmp_path / "r")
    with pytest.raises(StorageError, match="holds a finished run"):
        run.require_free(force=False)
    run.require_free(force=True)
    RunDir(tmp_path / "nowhere").require_free(force=False)
    rewrite_info(run, finished=False)
    run.require_free(force=False)


def test_a_run_needs_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is a file"):
        RunDir(tmp_path / "file").require_free(force=True)


def test_clearing_removes_the_runs_own_files_only(tmp_path):
    run = make_run(tmp_path / "r")
    run.checkpoints.mkdir()
    (run.path / "notes.txt").write_text("mine")
    run.clear()
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]
    run.checkpoints.mkdir()
    (run.checkpoints / "theirs.pt").write_text("mine as well")
    run.clear()
    assert (run.checkpoints / "theirs.pt").exists()
    run.clear()
    RunDir(tmp_path / "nowhere").clear()
    assert not (tmp_path / "nowhere").exists()


def test_a_runs_own_files_are_known(tmp_path):
    run = make_run(tmp_path / "r")
    assert is_run_file(run.vectors)
    assert is_run_file(run.path / ".." / "r" / "config.yaml")
    assert not is_run_file(run.path / "vectors.txt")
    assert not is_run_file(tmp_path / "vectors.safetensors")


# Finding


def test_the_newest_run_is_the_one_that_finished_last_by_its_own_word():
    assert newest_finished() is None
    times = {
        "old": "2026-01-01T10:00:00+00:00",
        "new": "2026-01-01T11:30:00+01:00",
        "naive": "2026-01-01T10:29:00",
    }
    for name, at in times.items():
        rewrite_info(make_run(RUNS / name), finished_at=at)
    make_run(RUNS / "zz-unfinished", finished=False)
    rewrite_info(make_run(RUNS / "zz-odd"), finished_at=5)
    (RUNS / "a-file").write_text("")
    os.utime(RUNS / "new" / "run.json", (1, 1))
    assert newest_finished() == RunDir(RUNS / "new")


def test_damaged_runs_are_passed_over_with_a_warning(caplog):
    make_run(RUNS / "good")
    make_run(RUNS / "zz-bad").info.write_text("{")
    assert newest_finished() == RunDir(RUNS / "good")
    assert "zz-bad" in caplog.text


def test_which_run_is_asked(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "ptb.yaml").write_text("train: {seed: 1}\n")
    (tmp_path / "placed.yaml").write_text("output: {run: elsewhere}\n")
    with pytest.raises(DataError, match="no finished run under runs/") as caught:
        find_run(None)
    assert caught.value.hint == "train one: w2v train"
    make_run(RUNS / "ptb", finished=False)
    make_run(RUNS / "newest")
    assert find_run(None, config="ptb.yaml") == RunDir(RUNS / "newest")
    rewrite_info(make_run(RUNS / "ptb"), finished_at="2020-01-01T00:00:00+00:00")
    assert find_run(None, config="ptb.yaml") == RunDir(RUNS / "ptb")
    assert "using runs/ptb (trained by ptb.yaml)" in caplog.text
    assert find_run(None) == RunDir(RUNS / "newest")
    assert "using runs/newest (the newest finished run)" in caplog.text
    assert find_run(None, config="placed.yaml").path.name == "elsewhere"
    assert find_run(None, overrides=["output.run=there"]).path.name == "there"
    assert find_run(tmp_path / "given", config="placed.yaml").path.name == "given"
    with pytest.raises(ConfigError):
        find_run(tmp_path / "given", overrides=["output.nonsense=1"])


def test_load_takes_a_run_folder_or_a_vector_file(tmp_path):
    run = make_run(tmp_path / "r")
    formats.write(run.load_vectors(), tmp_path / "v.txt")
    assert load(run.path).words == load(str(tmp_path / "v.txt")).words
    with pytest.raises(DataError, match="No such file"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is no run folder"):
        load(tmp_path)


def test_a_command_asks_a_run_or_a_file(tmp_path):
    run = make_run(tmp_path / "r")
    formats.write(run.load_vectors(), tmp_path / "v.txt")
    assert load_chosen(run.path, table="context").matrix.tolist() == CONTEXT[1:].tolist()
    assert load_chosen(None, vectors=tmp_path / "v.txt").words == VOCAB.words[1:]
    with pytest.raises(ConfigError, match="exclude each other"):
        load_chosen(run.path, vectors=tmp_path / "v.txt")
    with pytest.raises(ConfigError, match="only a run has context vectors"):
        load_chosen(None, vectors=tmp_path / "v.txt", table="context")
    with pytest.raises(ConfigError):
        load_chosen(None, vectors=tmp_path / "v.txt", overrides=["output.nonsense=1"])
