"""What is kept of a counted segment, and the sums over all of them."""

import os
from collections import Counter

import polars as pl
import pytest

from w2v import segments
from w2v.counting import Blocks
from w2v.segments import KINDS, opened, record, record_of, segment_key, summed, whole_segments
from w2v.tokens import TokenRule

TEXTS = ["a b a\nlonger-than-twelve-bytes\n", "b <unk> c\n", "c a ééé\n\n", "z z\n"]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Four segments in a folder."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(segments, "PARTITIONS", 3)
    found = []
    for index, text in enumerate(TEXTS):
        with opened(tmp_path, index, TokenRule()) as count:
            count.read(Blocks([("train", text), ("heldout", text)], skip_lines=0), every=None,
                       lines_before=0)  # fmt: skip
        is_last = index == len(TEXTS) - 1
        found.append(record(tmp_path, index, count, key="key", is_last=is_last))
    return found


def test_what_is_read_back_is_what_was_written(kept, tmp_path):
    assert whole_segments(tmp_path, "key", done=0) == kept
    assert [segment.num_lines for segment in kept] == [4, 2, 4, 2]
    for segment, text in zip(kept, TEXTS, strict=True):
        rows = segment.rows()
        counts = Counter(text.split())
        assert dict(rows.select("word", "train").rows()) == counts
        assert dict(rows.select("word", "heldout").rows()) == counts
        words = dict(rows.select("number", "word").rows()) | {1: "\n"}
        for part in ("train", "heldout"):
            numbers = [number for chunk in segment.numbers(part) for number in chunk.tolist()]
            lines = "".join(f"{words[number]} " for number in numbers).replace(" \n ", "\n")
            assert lines.split() == text.split()
            assert lines.count("\n") == text.count("\n")


def test_a_word_is_in_one_partition_and_its_counts_are_summed(kept):
    parts = list(summed(kept))
    assert len(parts) == 3
    assert dict(pl.concat(parts).select("word", "train").rows()) == Counter(" ".join(TEXTS).split())
    assert sum(part.height for part in parts) == pl.concat(parts)["word"].n_unique()


@pytest.mark.parametrize("kind", [*KINDS, "json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_segments_are_whole_up_to_a_damaged_one(kept, tmp_path, kind, damage):
    path = kept[2].stem.with_suffix(f".{kind}")
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "cut" else bytes([data[0] ^ 1]) + data[1:])
    assert whole_segments(tmp_path, "key", done=0) == kept[:2]
    if kind != "json":  # the contents of those that are encoded are gone
        assert whole_segments(tmp_path, "key", done=3) == kept


def test_segments_of_another_text_are_none_of_ours(kept, tmp_path):
    assert whole_segments(tmp_path, "other", done=0) == []
    record_of(tmp_path, 0).write_bytes(record_of(tmp_path, 1).read_bytes())
    assert whole_segments(tmp_path, "key", done=0) == []


def test_the_key_knows_text_and_hash(monkeypatch):
    key = segment_key({"train": ["a"]})
    assert key == segment_key({"train": ["a"]})
    assert key != segment_key({"train": ["b"]})
    monkeypatch.setattr(pl.Series, "hash", lambda self: pl.Series([1, 2, 3]))
    assert key != segment_key({"train": ["a"]})
