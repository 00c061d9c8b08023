import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v.errors import ConfigError, DataError
from w2v.tokens import OTHER_SPACES, TokenLog, TokenPool, TokenRule, Tokens, token_lists

# Unassigned characters may have a case in one Unicode version and none in another.
TEXT = st.text(
    st.one_of(
        st.sampled_from("ab <unk>\n" + OTHER_SPACES),
        st.characters(exclude_categories=["Cs", "Cn"]),
    )
)


def lines_of(text):
    return text.removesuffix("\n").split("\n")


def cut(text, rule):
    """Every line's tokens, by way of their numbers."""
    pool = TokenPool(rule)
    numbers_N, lengths_S = pool.number(text)
    words = pool.words()
    ends = np.cumsum(lengths_S)
    starts = ends - lengths_S
    return [
        [words[int(number)] for number in numbers_N[start:end]]
        for start, end in zip(starts, ends, strict=True)
    ]


def test_other_spaces_are_all_the_white_space_there_is():
    every = {char for char in map(chr, range(sys.maxunicode + 1)) if char.isspace()}
    assert {*OTHER_SPACES, " ", "\n"} == every


def test_tokens_of_a_few_lines():
    text = "the cat  sat\n\n on\tthe\x1cmat \n"
    assert cut(text, TokenRule()) == [["the", "cat", "sat"], [], ["on", "the", "mat"]]


@pytest.mark.parametrize(
    "text",
    ["a b c", "a\r b\r c\r\n", "a\u00a0b\u2009c", "a\u0085b\u2028c", "a\x1fb\rc", "\ta \v b \f c"],
)
def test_every_kind_of_space_gives_the_tokens_of_the_clean_text(text):
    assert cut(text, TokenRule()) == [["a", "b", "c"]]


def test_nul_and_zero_width_characters_are_part_of_a_token():
    assert cut("a\0b \u200bc", TokenRule()) == [["a\0b", "\u200bc"]]


@given(TEXT)
def test_default_rule_equals_split(text):
    assert cut(text, TokenRule()) == [line.split() for line in lines_of(text)]


@given(TEXT)
def test_lowercase_equals_lower(text):
    lowered = [line.lower().split() for line in lines_of(text)]
    assert cut(text, TokenRule(lowercase=True)) == lowered


def test_pattern_takes_whole_matches_after_lower_casing():
    rule = TokenRule(lowercase=True, pattern=r"([a-z])[a-z']*|\d+")
    assert cut("It's 42, ISN'T it?\n...\nÉa\n", rule) == [["it's", "42", "isn't", "it"], [], ["a"]]


def test_pattern_that_can_match_nothing_leaves_empty_tokens_out():
    assert cut("aab c", TokenRule(pattern="a*")) == [["aa"]]


def test_pattern_that_polars_does_not_know():
    with pytest.raises(ConfigError, match=r"token_pattern='\(\?<=a\)b' is no regex of the Rust"):
        TokenPool(TokenRule(pattern="(?<=a)b"))


def test_pattern_that_matches_white_space():
    pool = TokenPool(TokenRule(pattern=r"\w+ \w+"))
    pool.number("in new york\n")
    with pytest.raises(DataError, match="token_pattern matches 'in new', but words hold no white"):
        pool.words()


def test_lists_keep_empty_tokens_for_the_caller_to_drop():
    assert token_lists("a  b\n", TokenRule()).to_list() == [["a", "", "b"]]


def test_numbering_ahead_keeps_the_order():
    texts = [f"w{i} w{i // 2}\n" * 50 for i in range(40)]
    pool = TokenPool(TokenRule())
    found = [numbers for tokens in pool.number_all(texts) for numbers in tokens.numbers_N]
    words = pool.words().to_list()
    assert [words[number] for number in found] == "".join(texts).split()
    assert len(words) == len(set(words)) == 1 + 40  # the empty token is one


def test_errors_of_the_text_pass_through_numbering_ahead():
    def texts():
        yield "a b\n"
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        list(TokenPool(TokenRule()).number_all(texts()))


TOKENS = Tokens(np.array([1, 2, 3, 4, 5], np.uint32), np.array([2, 0, 3]))


def test_tokens_of_chosen_lines():
    numbers_N, lengths_S = TOKENS.of_lines(np.array([False, True, True]))
    assert numbers_N.tolist() == [3, 4, 5]
    assert lengths_S.tolist() == [0, 3]


def test_tokens_of_a_kind_keep_their_lines():
    numbers_N, lengths_S = TOKENS.of_kind(TOKENS.numbers_N % 2 == 0)
    assert numbers_N.tolist() == [2, 4]
    assert lengths_S.tolist() == [1, 0, 1]
    assert TOKENS.of_kind(np.ones(5, bool)) is TOKENS


def test_log_gives_back_what_it_noted_and_counts_it(tmp_path):
    with TokenLog(tmp_path) as log:
        log.note(TOKENS)
        log.note(Tokens(np.array([5, 5000], np.uint32), np.array([2])))
        log.note(Tokens(np.array([], np.uint32), np.array([0, 0])))
        for _ in range(2):
            noted = [(numbers.tolist(), lengths.tolist()) for numbers, lengths in log]
            assert noted == [([1, 2, 3, 4, 5], [2, 0, 3]), ([5, 5000], [2]), ([], [0, 0])]
        assert log.num_lines == 6
        counts_W = log.counts(5001)
    assert counts_W[:6].tolist() == [0, 1, 1, 1, 1, 2]
    assert counts_W[5000] == 1
    assert counts_W.sum() == 7
    assert len(log.counts(20_000)) == 20_000
    assert list(tmp_path.iterdir()) == []
