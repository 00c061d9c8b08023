import errno
import json
import logging
import os

import pytest

from w2v.errors import StorageError
from w2v.reporting import MetricsLog, ProgressBar, ProgressLines, Report, describe

FIRST = Report(
    epoch=1, step=10, words=2000, centers=500, loss=0.5, heldout_loss=None, lr=0.1,
    seconds=2.0, run_seconds=2.0, done=0.25, epoch_ended=False,
)  # fmt: skip
END = FIRST._replace(words=4000, centers=1000, seconds=4.0, run_seconds=4.0, done=0.5,
                     step=20, epoch_ended=True, heldout_loss=0.4)  # fmt: skip


def test_rates_and_the_time_left_by_hand():
    assert FIRST.words_per_s == 1000
    assert FIRST.centers_per_s == 250
    assert FIRST.remaining_s == 6.0


def test_a_report_is_described_in_words_and_centers():
    assert describe(FIRST) == "epoch 1: loss 0.5000, 250 centers/s, 1,000 words/s"
    assert describe(END) == ("epoch 1: loss 0.5000, held-out 0.4000, 250 centers/s, 1,000 words/s")


def test_lines_come_at_each_epochs_end_and_every_ten_seconds(caplog):
    caplog.set_level(logging.INFO)
    lines = ProgressLines()
    for seconds in (2.0, 9.9, 10.1, 15.0, 20.2):
        lines(FIRST._replace(run_seconds=seconds))
    lines(END._replace(run_seconds=21.0))
    lines.close()
    assert len(caplog.messages) == 3
    assert caplog.messages[0].endswith("30 s left")
    assert caplog.messages[2] == describe(END)


def test_the_bar_shows_loss_rates_and_the_time_left(capsys):
    bar = ProgressBar()
    bar(FIRST)
    bar(END)
    bar.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "25%" in err
    assert "loss 0.5000, 250 centers/s, 1,000 words/s, 6 s left" in err
    assert describe(END) in err


def test_metrics_are_one_json_object_a_line_flushed_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsLog(path)
    metrics(FIRST)
    metrics(END)
    lines = [json.loads(line) for line in path.read_text().splitlines()]  # before it is closed
    metrics.close()
    assert lines == [
        {"event": "progress", "epoch": 1, "step": 10, "loss": 0.5, "centers": 500,
         "words": 2000, "lr": 0.1, "seconds": 2.0},
        {"event": "epoch", "epoch": 1, "step": 20, "loss": 0.5, "heldout_loss": 0.4,
         "centers": 1000, "words": 4000, "lr": 0.1, "seconds": 4.0},
    ]  # fmt: skip


GOOD = b'{"event": "epoch", "step": 5}\n'


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"event": "epoch", "step": "a"}\n',
        b'{"event": "epoch", "step": null}\n',
        b'{"event": "epoch", "step": NaN}\n',
        b'{"event": "epoch", "step": [1]}\n',
        b'{"step": 6}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\n",
        b"7\n",
        b'{"event": "epoch", "step": 6}',  # cut short
        b'{"event": "epoch", "step": 21}\n',  # after the report
    ],
    ids=lambda damaged: damaged[:40].decode("latin-1"),
)
def test_a_log_goes_on_before_the_first_line_that_is_damaged(damaged, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(GOOD + damaged + GOOD)
    MetricsLog(path, after=END).close()
    assert path.read_bytes() == GOOD


def test_metrics_are_put_on_disk_when_asked(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    log.sync()
    assert synced == [(tmp_path / "metrics.jsonl").stat().st_ino]

    def failing(handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError, match=r"cannot write .*metrics.jsonl: Input/output error"):
        log.sync()
    log.close()


def test_metrics_that_cannot_be_written_are_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write .*No such file or directory"):
        MetricsLog(tmp_path / "missing" / "metrics.jsonl")
