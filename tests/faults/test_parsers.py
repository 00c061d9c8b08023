"""Readers of foreign bytes: any input is accepted, or refused with a documented error."""

from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.parsers import PARSERS, SEEDS_FOLDER, Parser, damaged
from w2v.errors import W2VError

# The same inputs every time, so that a failure is nobody's luck; `make fuzz` has the others.
QUICK = settings(max_examples=200, derandomize=True, deadline=None, database=None)
KEPT = sorted(path for path in SEEDS_FOLDER.glob("*/*") if path.is_file())

every_parser = pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)


def feed(parser: Parser, data: bytes) -> None:
    """Anything but a documented error passes through and fails the test."""
    with suppress(W2VError):
        parser.parse(data)


@every_parser
def test_good_inputs_are_accepted(parser):
    for seed in parser.seeds:
        parser.parse(seed)


@every_parser
def test_any_bytes(parser):
    QUICK(given(data=st.binary(max_size=300))(lambda data: feed(parser, data)))()


@every_parser
def test_a_good_input_with_a_piece_replaced(parser):
    def replaced(seed, at, length, piece):
        at = at * len(seed) // 1000
        feed(parser, seed[:at] + piece + seed[at + length :])

    piece = st.binary(max_size=20) | st.sampled_from(parser.tokens)
    places = {"at": st.integers(0, 1000), "length": st.integers(0, 64)}
    QUICK(given(seed=st.sampled_from(parser.seeds), piece=piece, **places)(replaced))()


@every_parser
def test_words_of_the_language_in_any_order(parser):
    tokens = st.lists(st.sampled_from((*parser.tokens, b" ", b"\n", *parser.seeds)), max_size=40)
    QUICK(given(tokens=tokens)(lambda tokens: feed(parser, b"".join(tokens))))()


@every_parser
def test_what_the_fuzzer_makes(parser):
    rng = Random(0)
    for _ in range(200):
        feed(parser, damaged(parser, rng))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_broke_a_reader(path):
    feed(PARSERS[path.parent.name], path.read_bytes())


def test_a_broken_reader_is_noticed():
    def broken(data):
        raise IndexError

    with pytest.raises(IndexError):
        feed(Parser("broken", broken, (b"",), (b"x",)), b"")
