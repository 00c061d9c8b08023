import sys
from pathlib import Path

import pytest

from w2v import room
from w2v.errors import StorageError


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_free_memory_is_bounded_by_the_limit_of_the_process():
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    unlimited = room.free_bytes()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2**28
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        assert 0 <= room.free_bytes() <= min(2**28, unlimited + 2**24)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("free", "words"),
    [(None, 1000), (10**9, 1000), (800 * 500, 500), (800 * 10, 100), (0, 100)],
)
def test_half_of_the_free_memory_is_for_words(monkeypatch, free, words):
    monkeypatch.setattr(room, "FEW_WORDS", 100)
    monkeypatch.setattr(room, "free_bytes", lambda: free)
    assert room.words_with_room(1000) == words


def test_few_words_have_room_and_many_are_refused(monkeypatch):
    monkeypatch.setattr(room, "free_bytes", lambda: 0)
    room.require_room(room.FEW_WORDS)
    with pytest.raises(StorageError, match="out of memory: a vocabulary of 100,001 words"):
        room.require_room(room.FEW_WORDS + 1)
