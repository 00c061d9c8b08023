import json
import logging

import pytest

from w2v.errors import DataError
from w2v.metrics import Point, read_curve
from w2v.rundir import RunDir

LINES = (
    {"event": "progress", "epoch": 1, "loss": 0.6, "words": 50},
    {"event": "epoch", "epoch": 1, "loss": 0.5, "words": 200, "heldout_loss": 0.55},
    {"event": "progress", "epoch": 2, "loss": 0.45, "words": 100},
    {"event": "epoch", "epoch": 2, "loss": 0.4, "words": 200, "heldout_loss": None},
)


@pytest.fixture
def run(tmp_path):
    """A run that is not finished, with 200 words an epoch."""
    run = RunDir(tmp_path / "mine")
    run.path.mkdir()
    run.write_started({"corpus": {"raw_words": 200}})
    write(run, *LINES)
    return run


def write(run, *lines, rest=""):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    run.metrics.write_text("".join(f"{text}\n" for text in texts) + rest)


def test_every_report_has_its_place(run):
    curve = read_curve(run, name="mine")
    assert curve.name == "mine"
    assert curve.points == (
        Point(0.25, 0.6, False, None),
        Point(1.0, 0.5, True, 0.55),
        Point(1.5, 0.45, False, None),
        Point(2.0, 0.4, True, None),
    )
    assert curve.ends == [curve.points[1], curve.points[3]]
    assert curve.heldout == [curve.points[1]]


def test_a_run_under_way_may_have_half_a_line(run, caplog):
    write(run, LINES[0], rest='{"event": "epo')
    with caplog.at_level(logging.WARNING):
        assert len(read_curve(run, name="mine").points) == 1
    assert "the last line is cut short" in caplog.text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property"),
        ("5", "it is no object but 5"),
        ("[" * 100_000, ""),
        ("\x00", ""),
        ({"epoch": 1, "loss": 0.6, "words": 50}, "no 'event'"),
        ({"event": "epoch", "epoch": 1, "words": 50}, "no 'loss'"),
        ({**LINES[0], "event": "peace"}, "event is 'peace'"),
        ({**LINES[0], "loss": "low"}, "loss is 'low', not a finite number"),
        ({**LINES[0], "words": True}, "words is True, not a finite number"),
        ({**LINES[0], "epoch": None}, "epoch is None, not a finite number"),
        ({**LINES[1], "heldout_loss": []}, "heldout_loss is [], not a finite number"),
        ('{"event": "epoch", "epoch": 1, "loss": NaN, "words": 1}', "loss is nan, not a finite"),
    ],
)
def test_a_damaged_line_is_named(run, line, reason):
    write(run, LINES[0], line, LINES[1])
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 2 is damaged: ") as caught:
        read_curve(run, name="mine")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_bytes_that_are_no_text(run):
    run.metrics.write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match="line 1 is damaged"):
        read_curve(run, name="mine")


def test_no_report_no_file_no_run(run, tmp_path):
    write(run)
    with pytest.raises(DataError, match="holds no report yet"):
        read_curve(run, name="mine")
    run.metrics.unlink()
    with pytest.raises(DataError, match="cannot read"):
        read_curve(run, name="mine")
    with pytest.raises(DataError, match="is no run folder"):
        read_curve(RunDir(tmp_path / "nowhere"), name="mine")


@pytest.mark.parametrize("corpus", [None, 5, {}, {"raw_words": 0}, {"raw_words": "many"}])
def test_a_run_that_does_not_tell_its_words(run, corpus):
    run.write_started({"corpus": corpus})
    with pytest.raises(DataError, match=r"run\.json is damaged: corpus\.raw_words is"):
        read_curve(run, name="mine")
