import hashlib
import json

import pytest
import safetensors.torch
import torch

from w2v import checkpoints
from w2v.errors import StorageError
from w2v.reporting import Report
from w2v.states import complete, prune, verify

REPORT = Report(
    epoch=1, step=10, words=2000, centers=500, loss=0.5, heldout_loss=None, lr=0.1,
    seconds=2.0, run_seconds=2.0, done=0.25, epoch_ended=False,
)  # fmt: skip


def steps_in(folder):
    return [int(path.stem.removeprefix("step-")) for path in complete(folder)]


def test_a_checkpoint_holds_tensors_position_and_their_digest(tmp_path):
    tensors = {"center": torch.arange(6.0).view(2, 3), "optimizer.sum": torch.ones(2)}
    report = REPORT._replace(step=7, epoch=2, loss=0.1 + 0.2)
    path = checkpoints.save(tmp_path, tensors=tensors, run={"seed": 3}, report=report)
    about = json.loads(path.read_text())
    data = (tmp_path / "step-7.safetensors").read_bytes()
    state = verify(path)
    assert (state.step, state.run, state.report) == (7, {"seed": 3}, report)
    assert about["step"] == 7
    assert about["sha256"] == hashlib.sha256(data).hexdigest()
    loaded = safetensors.torch.load(data)
    assert {name: t.tolist() for name, t in loaded.items()} == {
        name: t.tolist() for name, t in tensors.items()
    }


def test_the_newest_by_step_stay_and_foreign_files_are_left_alone(tmp_path):
    for step in (9, 10, 100):
        report = REPORT._replace(step=step)
        checkpoints.save(tmp_path, tensors={"x": torch.ones(1)}, run={}, report=report)
    (tmp_path / "step-notes.json").write_text("mine")
    (tmp_path / "step-mine.safetensors").write_text("mine too")
    (tmp_path / ".w2v-tmp-stray").write_text("half")
    (tmp_path / "step-99.safetensors").write_text("its JSON was never written")
    prune(tmp_path, keep=2)
    assert steps_in(tmp_path) == [10, 100]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-10.json", "step-10.safetensors", "step-100.json", "step-100.safetensors",
        "step-mine.safetensors", "step-notes.json",
    ]  # fmt: skip


def test_it_saves_at_each_epochs_end_and_when_it_is_time(tmp_path):
    table = torch.zeros(2)
    reader = checkpoints.Checkpointer(tmp_path, {"center": table}, run={}, every_s=5.0, keep=9)
    moments = ((1, 2.0, False), (2, 5.5, False), (3, 7.0, True), (4, 11.0, False))
    for step, seconds, ended in moments:
        table.fill_(step)
        reader(REPORT._replace(step=step, run_seconds=seconds, epoch_ended=ended))
    reader.close()
    assert steps_in(tmp_path) == [2, 3]
    saved = safetensors.torch.load((tmp_path / "step-3.safetensors").read_bytes())
    assert saved["center"].tolist() == [3.0, 3.0]


def test_a_checkpoint_that_cannot_be_written_is_told_at_the_next_report_and_at_the_end(tmp_path):
    (tmp_path / "file").write_text("no folder")
    reader = checkpoints.Checkpointer(
        tmp_path / "file", {"center": torch.zeros(2)}, run={}, every_s=1.0, keep=1
    )
    ended = REPORT._replace(epoch_ended=True)
    reader(ended)
    with pytest.raises(StorageError):
        reader(ended._replace(step=11))
    reader(ended._replace(step=12))
    with pytest.raises(StorageError):
        reader.settle()
    reader.close()


def test_what_it_takes_for_granted_is_on_disk_first(tmp_path):
    met = []

    def first():
        met.append(steps_in(tmp_path))
        if len(met) == 2:
            raise StorageError("cannot write the log")

    tables = {"center": torch.zeros(2)}
    reader = checkpoints.Checkpointer(tmp_path, tables, run={}, every_s=1.0, keep=1, first=first)
    ended = REPORT._replace(epoch_ended=True)
    reader(ended)
    reader(ended._replace(step=11))
    with pytest.raises(StorageError, match="cannot write the log"):
        reader.settle()
    reader.close()
    assert met == [[], [10]]
    assert steps_in(tmp_path) == [10]


def test_rows_that_lie_apart_are_saved_next_to_each_other(tmp_path):
    table = torch.arange(12.0).view(3, 4)[:, :2]
    reader = checkpoints.Checkpointer(tmp_path, {"center": table}, run={}, every_s=1.0, keep=1)
    reader(REPORT._replace(epoch_ended=True))
    reader.close()
    saved = safetensors.torch.load((tmp_path / "step-10.safetensors").read_bytes())
    assert saved["center"].tolist() == [[0, 1], [4, 5], [8, 9]]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(StorageError, match="cannot write"):
        checkpoints.save(tmp_path / "checkpoints", tensors={}, run={}, report=REPORT)
