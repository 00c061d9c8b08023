import subprocess
import sys
import threading
import time
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2v.ahead import THREAD_NAME, chain_ahead


def alive():
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def one(_item):
    return 1


def stream(items):
    yield from items


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=6), st.integers(1, 4),
       st.integers(1, 3))  # fmt: skip
def test_items_come_in_the_order_of_a_chain(lists, threads, depth):
    found = chain_ahead(
        (stream(items) for items in lists), threads=threads, most=depth, size_of=one
    )
    assert list(found) == [item for items in lists for item in items]
    assert not alive()


def test_streams_run_at_the_same_time():
    meeting = threading.Barrier(3, timeout=20)

    def meet(number):
        meeting.wait()
        yield number

    assert list(chain_ahead(map(meet, range(3)), threads=3, most=1, size_of=one)) == [0, 1, 2]


def test_so_many_items_wait_and_no_more():
    made = []

    def endless(name):
        for number in count():
            made.append((name, number))
            yield number

    found = chain_ahead(map(endless, "abc"), threads=2, most=3, size_of=one)
    assert next(found) == 0
    deadline = time.monotonic() + 5
    while len(made) < 7 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    found.close()
    assert {name for name, _ in made} == {"a", "b"}  # c's turn has not come
    assert len(made) == (1 + 3) + 3  # one taken, and those that wait: none is in hand


def test_what_waits_is_bounded_by_its_size_and_one_of_any_size_may_wait():
    made = []

    def growing(name):
        for size in (2, 5, 100, 100):
            made.append((name, size))
            yield size

    found = chain_ahead(map(growing, "ab"), threads=2, most=6, size_of=int)
    assert next(found) == 2
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert sorted(made) == [("a", 2), ("a", 5), ("a", 100), ("b", 2), ("b", 5)]
    assert list(found) == [5, 100, 100, 2, 5, 100, 100]


def test_an_error_comes_behind_the_items_before_it():
    def failing():
        yield 3
        raise ValueError("damaged")

    found = chain_ahead((stream([1, 2]), failing(), stream([4])), threads=3, most=2, size_of=one)
    assert [next(found) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="damaged"):
        next(found)
    assert not alive()


@pytest.mark.parametrize("taken", [1, 2, 50])
def test_who_stops_early_leaves_no_thread_and_no_open_stream(taken):
    begun, closed = [], []

    def endless(name):
        begun.append(name)
        try:
            yield from count()
        finally:
            closed.append(name)

    found = chain_ahead(map(endless, "abc"), threads=3, most=2, size_of=one)
    for _ in range(taken):
        next(found)
    assert len(alive()) == 3
    found.close()
    assert not alive()
    assert sorted(closed) == sorted(begun)


def test_what_is_never_begun_starts_nothing():
    chain_ahead((stream([1]),), threads=2, most=1, size_of=one).close()
    assert not alive()


def test_an_interpreter_ends_although_somebody_holds_the_generator():
    program = (
        "from itertools import count\n"
        "from w2v.ahead import chain_ahead\n"
        "def endless():\n"
        "    yield from count()\n"
        "held = chain_ahead((endless(), endless()), threads=2, most=1, size_of=int.bit_count)\n"
        "print(next(held))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
