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


def stream(items):
    yield from items


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=6), st.integers(1, 4),
       st.integers(1, 3))  # fmt: skip
def test_items_come_in_the_order_of_a_chain(lists, threads, depth):
    found = chain_ahead((stream(items) for items in lists), threads=threads, depth=depth)
    assert list(found) == [item for items in lists for item in items]
    assert not alive()


def test_streams_run_at_the_same_time():
    meeting = threading.Barrier(3, timeout=20)

    def meet(number):
        meeting.wait()
        yield number

    assert list(chain_ahead(map(meet, range(3)), threads=3, depth=1)) == [0, 1, 2]


def test_so_many_items_wait_and_no_more():
    made = []

    def endless(name):
        for number in count():
            made.append((name, number))
            yield number

    found = chain_ahead(map(endless, "abc"), threads=2, depth=3)
    assert next(found) == 0
    deadline = time.monotonic() + 5
    while len(made) < 9 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    found.close()
    assert {name for name, _ in made} == {"a", "b"}  # c's turn has not come
    assert len(made) <= (1 + 3 + 1) + (3 + 1) + 2  # taken, waiting, in hand; and one more each


def test_an_error_comes_behind_the_items_before_it():
    def failing():
        yield 3
        raise ValueError("damaged")

    found = chain_ahead((stream([1, 2]), failing(), stream([4])), threads=3, depth=2)
    assert [next(found) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="damaged"):
        next(found)
    assert not alive()


@pytest.mark.parametrize("taken", [1, 2, 50])
def test_who_stops_early_leaves_no_thread_and_no_open_stream(taken):
    closed = []

    def endless(name):
        try:
            yield from count()
        finally:
            closed.append(name)

    found = chain_ahead(map(endless, "abc"), threads=3, depth=2)
    for _ in range(taken):
        next(found)
    assert len(alive()) == 3
    found.close()
    assert not alive()
    assert sorted(closed) == ["a", "b", "c"]


def test_what_is_never_begun_starts_nothing():
    chain_ahead((stream([1]),), threads=2, depth=1).close()
    assert not alive()


def test_an_interpreter_ends_although_somebody_holds_the_generator():
    program = (
        "from itertools import count\n"
        "from w2v.ahead import chain_ahead\n"
        "def endless():\n"
        "    yield from count()\n"
        "held = chain_ahead((endless(), endless()), threads=2, depth=1)\n"
        "print(next(held))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
