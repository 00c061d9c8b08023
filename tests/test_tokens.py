import os
import subprocess
import sys
from io import BytesIO
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v import tokens
from w2v.cores import MAX_WORKERS
from w2v.errors import ConfigError, DataError
from w2v.tokens import END, OTHER_SPACES, TokenLog, TokenPool, TokenRule, cut, map_ahead

# Unassigned characters may have a case in one Unicode version and none in another.
TEXT = st.text(
    st.one_of(
        st.sampled_from("ab <unk>\n" + OTHER_SPACES),
        st.characters(exclude_categories=["Cs", "Cn"]),
    )
)


def lines_of(text):
    return text.removesuffix("\n").split("\n")


def tokens_of(text, rule):
    """Every line's tokens, by way of their numbers."""
    pool = TokenPool(rule)
    numbers = pool.number(text).tolist()
    words = pool.words()
    ends = [i for i, number in enumerate(numbers) if number == END]
    assert ends[-1] == len(numbers) - 1
    return [
        [words[number] for number in numbers[start:end]]
        for start, end in zip([0, *(i + 1 for i in ends)], ends, strict=False)
    ]


def test_other_spaces_are_all_the_white_space_there_is():
    every = {char for char in map(chr, range(sys.maxunicode + 1)) if char.isspace()}
    assert {*OTHER_SPACES, " ", "\n"} == every


def test_tokens_of_a_few_lines():
    text = "the cat  sat\n\n on\tthe\x1cmat \n"
    assert tokens_of(text, TokenRule()) == [["the", "cat", "sat"], [], ["on", "the", "mat"]]


@pytest.mark.parametrize(
    "text",
    ["a b c", "a\r b\r c\r\n", "a\u00a0b\u2009c", "a\u0085b\u2028c", "a\x1fb\rc", "\ta \v b \f c"],
)
def test_every_kind_of_space_gives_the_tokens_of_the_clean_text(text):
    assert tokens_of(text, TokenRule()) == [["a", "b", "c"]]


def test_nul_and_zero_width_characters_are_part_of_a_token():
    assert tokens_of("a\0b \u200bc", TokenRule()) == [["a\0b", "\u200bc"]]


@given(TEXT)
def test_default_rule_equals_split(text):
    assert tokens_of(text, TokenRule()) == [line.split() for line in lines_of(text)]


@given(TEXT)
def test_lowercase_equals_lower(text):
    lowered = [line.lower().split() for line in lines_of(text)]
    assert tokens_of(text, TokenRule(lowercase=True)) == lowered


def test_pattern_takes_whole_matches_after_lower_casing():
    rule = TokenRule(lowercase=True, pattern=r"([a-z])[a-z']*|\d+")
    assert tokens_of("It's 42, ISN'T it?\n...\nÉa\n", rule) == [
        ["it's", "42", "isn't", "it"],
        [],
        ["a"],
    ]


def test_pattern_that_can_match_nothing_leaves_empty_tokens_out():
    assert tokens_of("aab c", TokenRule(pattern="a*")) == [["aa"]]


def test_pattern_that_polars_does_not_know():
    with pytest.raises(ConfigError, match=r"token_pattern='\(\?<=a\)b' is no regex of the Rust"):
        TokenPool(TokenRule(pattern="(?<=a)b"))


def test_pattern_that_matches_white_space():
    pool = TokenPool(TokenRule(pattern=r"\w+ \w+"))
    pool.number("in new york\n")
    with pytest.raises(DataError, match="token_pattern matches 'in new', but words hold no white"):
        pool.words()


@pytest.mark.parametrize("text", ["a  b\n", "a  b"])
def test_cutting_keeps_empty_tokens_for_the_caller_to_drop(text):
    assert cut(text, TokenRule()).to_list() == ["a", "", "b", "\n"]
    assert cut(text, TokenRule(pattern="a*|b")).to_list()[-1] == "\n"


@pytest.mark.parametrize("piece_chars", [1, 2, 3, 7])
def test_a_long_line_is_split_in_pieces(monkeypatch, piece_chars):
    text = "a bb  ccc\n\n d eeeeeeeee f \ng"
    whole = cut(text, TokenRule()).to_list()
    monkeypatch.setattr(tokens, "PIECE_CHARS", piece_chars)
    assert cut(text, TokenRule()).to_list() == whole
    assert tokens_of(text, TokenRule()) == [line.split() for line in lines_of(text)]
    assert [token for token in whole if token] == [
        *("a", "bb", "ccc", "\n", "\n", "d", "eeeeeeeee", "f", "\n", "g", "\n"),
    ]


def test_numbering_ahead_keeps_the_order():
    texts = [f"w{i} w{i // 2}\n" * 50 for i in range(40)]
    pool = TokenPool(TokenRule())
    found = [number for numbers in pool.number_all(texts) for number in numbers if number != END]
    words = pool.words().to_list()
    assert [words[number] for number in found] == "".join(texts).split()
    assert len(words) == len(set(words)) == 2 + 40  # the empty token and the line end are two
    assert words[:2] == ["", "\n"]


def test_working_ahead_is_bounded():
    taken = []

    def items():
        for i in range(20):
            taken.append(i)
            yield i

    for i, double in enumerate(map_ahead(lambda i: 2 * i, items())):
        assert double == 2 * i
        assert len(taken) <= i + 1 + tokens.THREADS
    assert len(taken) == 20


def test_errors_of_the_text_pass_through_numbering_ahead():
    def texts():
        yield "a b\n"
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        list(TokenPool(TokenRule()).number_all(texts()))


def test_log_gives_back_what_it_noted_and_counts_it(monkeypatch):
    file = BytesIO(b"head")
    file.seek(4)
    log = TokenLog(file)
    noted = [[2, 3, END, END, 5, END], [5, 5000, END], [], [END, END]]
    for numbers in noted:
        log.note(np.array(numbers, np.uint32))
    for size in (1, 2, 100):
        monkeypatch.setattr(tokens, "CHUNK_NUMBERS", size)
        chunks = [numbers.tolist() for numbers in log]
        assert list(chain(*chunks)) == list(chain(*noted))
        assert max(map(len, chunks)) == min(size, 11)
    assert log.num_lines == 6
    assert log.num_distinct == 5001
    counts_W = log.counts(5001)
    assert counts_W[:6].tolist() == [0, 0, 1, 1, 0, 2]
    assert counts_W[5000] == 1
    assert counts_W.sum() == 5
    assert len(log.counts(20_000)) == 20_000
    assert file.getvalue().startswith(b"head")


def test_log_may_be_overwritten_where_it_was_read(monkeypatch):
    monkeypatch.setattr(tokens, "CHUNK_NUMBERS", 2)
    log = TokenLog(file := BytesIO())
    noted = [[2, 3], [4, END], [5, END]]
    for numbers in noted:
        log.note(np.array(numbers, np.uint32))
    for i, numbers in enumerate(log):
        assert numbers.tolist() == noted[i]
        file.seek(0)
        file.write(b"-" * 8 * (i + 1))


@pytest.mark.skipif(sys.platform != "linux", reason="sets the cores of a process")
def test_as_many_threads_as_there_are_cores():
    program = (
        "import os; os.sched_setaffinity(0, {%d}); from w2v import tokens; print(tokens.THREADS)"
    )
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", program % core], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
    assert min(len(os.sched_getaffinity(0)), MAX_WORKERS) == tokens.THREADS


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_any_number_of_threads_gives_the_same(monkeypatch, threads):
    monkeypatch.setattr(tokens, "THREADS", threads)
    assert list(map_ahead(str, range(30))) == [str(i) for i in range(30)]
    assert list(map_ahead(str, [])) == []
