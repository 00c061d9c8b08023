"""The fuzzer: it notices what breaks, is slow or takes memory, keeps it, and says so."""

import sys
import time

import pytest

from faults import parsers
from faults.outcome import ROOT, process
from faults.parsers import PARSERS, Parser
from w2v.errors import DataError

sys.path.append(str(ROOT / "scripts"))
import fuzz


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder in which broken inputs are kept."""
    monkeypatch.setattr(fuzz, "SEEDS_FOLDER", tmp_path)
    return tmp_path


def refuse(data):
    raise DataError("documented")


def test_a_good_reader(kept, capsys):
    assert fuzz.fuzz(Parser("good", len, (b"seed",), (b"x",)), "0", inputs=50, seconds=0) == 0
    assert fuzz.fuzz(Parser("strict", refuse, (b"seed",), (b"x",)), "0", inputs=50, seconds=0) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    # Reader, inputs, accepted, refused, broken.
    assert [[row[column] for column in (0, 1, 3, 4, 6)] for row in rows] == [
        ["good", "50", "50", "0", "0"],
        ["strict", "50", "0", "50", "0"],
    ]
    assert list(kept.iterdir()) == []


def test_a_reader_that_breaks_in_two_places(kept, capsys):
    def broken(data):
        if len(data) % 2:
            raise IndexError
        raise KeyError

    parser = Parser("broken", broken, (b"seed",), (b"x",))
    assert fuzz.fuzz(parser, "0", inputs=100, seconds=0) == 2
    paths = sorted((kept / "broken").iterdir())
    assert {len(path.read_bytes()) % 2 for path in paths} == {0, 1}
    assert "IndexError at test_fuzz.py" in capsys.readouterr().err


def test_a_slow_reader(kept, monkeypatch, capsys):
    monkeypatch.setattr(fuzz, "SLOW_S", 0.001)
    parser = Parser("slow", lambda _: time.sleep(0.002), (b"seed",), (b"x",))
    assert fuzz.fuzz(parser, "0", inputs=5, seconds=0) == 1
    assert "slow: slow" in capsys.readouterr().err


def test_a_reader_that_takes_memory(kept, monkeypatch, capsys):
    monkeypatch.setattr(fuzz, "_peak_bytes", iter(range(0, 10**9, 10**7)).__next__)
    monkeypatch.setattr(fuzz, "GROWTH_BYTES", 10**8 // 4)
    assert fuzz.fuzz(Parser("big", len, (b"seed",), (b"x",)), "0", inputs=9, seconds=0) == 1
    assert "big: memory" in capsys.readouterr().err


def test_equal_seeds_give_equal_inputs():
    for parser in PARSERS.values():
        one, two = (parsers.Random(7), parsers.Random(7))
        assert [parsers.damaged(parser, one) for _ in range(20)] == [
            parsers.damaged(parser, two) for _ in range(20)
        ]


@pytest.mark.slow
def test_the_command(tmp_path):
    outcome = process(ROOT / "scripts" / "fuzz.py", "pairs", "zip", "--inputs", 50,
                      cwd=tmp_path, module=None)  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert [line.split("\t")[:2] for line in outcome.out.splitlines()] == [
        ["reader", "inputs"],
        ["pairs", "50"],
        ["zip", "50"],
    ]
    outcome = process(ROOT / "scripts" / "fuzz.py", "pears", cwd=tmp_path, module=None)
    assert outcome.code == 2
    assert "no such reader: pears" in outcome.err
