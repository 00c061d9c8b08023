"""A segment of text in memory: where it begins and ends, and what is counted."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v import counting
from w2v.counting import Blocks, Count
from w2v.tokens import END, TokenRule

BLOCKS = [("train", "a b\nc\n"), ("train", "d"), ("heldout", "a\n\nx a\n")]


def never():
    return False


def rest(skip_lines):
    blocks = Blocks(BLOCKS, skip_lines=skip_lines)
    return [(part, text) for part in ("train", "heldout") for text in blocks.of(part, until=never)]


def test_blocks_begin_at_any_line():
    assert rest(0) == BLOCKS
    assert rest(1) == [("train", "c\n"), *BLOCKS[1:]]
    assert rest(2) == BLOCKS[1:]
    assert rest(3) == BLOCKS[2:]
    assert rest(4) == [("heldout", "\nx a\n")]
    assert rest(5) == [("heldout", "x a\n")]
    assert rest(6) == rest(7) == []


@given(st.text(st.sampled_from("ab \n"), min_size=1), st.integers(0, 9))
def test_blocks_have_the_lines_that_are_counted(text, skip_lines):
    def counted(blocks):
        count = Count(TokenRule(), [BytesIO(), BytesIO()])
        count.read(blocks, every=None, lines_before=0)
        return count.train.num_lines

    every = counted(Blocks([("train", text)], skip_lines=0))
    left = counted(Blocks([("train", text)], skip_lines=skip_lines))
    assert left == max(every - skip_lines, 0)


def test_blocks_end_where_the_part_or_the_segment_does():
    blocks = Blocks(BLOCKS, skip_lines=0)
    assert blocks.part == "train"
    assert list(blocks.of("heldout", until=never)) == []
    taken = []
    taken += blocks.of("train", until=lambda: len(taken) > 0)
    assert taken == ["a b\nc\n"]  # it is asked before each
    assert blocks.part == "train"
    assert list(blocks.of("train", until=never)) == ["d"]
    assert list(blocks.of("heldout", until=lambda: True)) == []
    assert len(list(blocks.of("heldout", until=never))) == 1
    assert blocks.part is None


@pytest.mark.parametrize(("every", "before"), [(None, 0), (2, 0), (2, 1)])
def test_rows_by_hand(every, before):
    count = Count(TokenRule(), files := [BytesIO(), BytesIO()])
    count.read(Blocks(BLOCKS, skip_lines=0), every=every, lines_before=before)
    rows = {word: tuple(counts) for word, *counts in count.rows().drop("number").rows()}
    aside = {None: set(), 0: {"c"}, 1: {"a b", "d"}}[before if every else None]
    for word in "abcdx":
        in_train = sum(word in line for line in ("a b", "c", "d") if line not in aside)
        in_heldout = sum(word in line for line in ("a", "x a", *aside))
        assert rows[word] == (in_train, in_heldout)
    assert count.train.num_lines == 3 - len(aside)
    assert count.heldout.num_lines == 3 + len(aside)
    numbers = {number for log in count.logs.values() for part in log for number in part.tolist()}
    assert numbers == {END, *count.rows()["number"].to_list()}
    assert all(file.tell() for file in files)


def test_a_segment_is_full_by_text_or_by_words(monkeypatch):
    monkeypatch.setattr("w2v.tokens.THREADS", 1)
    many = [("train", f"w{i}\n") for i in range(50)]
    for chars, tokens, lines in ((10**9, 10**6, 50), (8, 10**6, 3), (10**9, 9, 9)):
        monkeypatch.setattr(counting, "SEGMENT_CHARS", chars)
        monkeypatch.setattr(counting, "SEGMENT_TOKENS", tokens)
        count = Count(TokenRule(), [BytesIO(), BytesIO()])
        count.read(Blocks(many, skip_lines=0), every=None, lines_before=0)
        assert count.train.num_lines == lines
