"""Processes that train together, played by threads: what several tests need."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from w2v.world import World

PATIENCE_S = 30


class ThreadGroup:
    """A `w2v.group.Group` of threads; they meet at a barrier."""

    def __init__(self, rank, meeting, told):
        self.world = World(rank, meeting.parties)
        self._meeting, self._told = meeting, told

    def _exchange(self, mine):
        self._told[self.world.rank] = mine
        self._meeting.wait(PATIENCE_S)
        told = list(self._told)
        self._meeting.wait(PATIENCE_S)
        return told

    def total(self, values):
        return values.copy_(sum(self._exchange(values.clone())))

    def begin_total(self, values):
        done = self.total(values)
        return lambda: done

    def most(self, values):
        return values.copy_(torch.stack(self._exchange(values.clone())).amax(0))

    def spread(self, values):
        return values.copy_(self._exchange(values.clone())[0])

    def gather(self, told):
        return self._exchange(told)

    def hurry(self, timeout_s):
        pass

    def tell(self, error):
        pass

    def close(self):
        pass


def together(size, work):
    """What `work(group)` returns in each of so many threads, by rank; the first error is raised."""
    meeting, told = threading.Barrier(size), [None] * size

    def one(rank):
        try:
            return work(ThreadGroup(rank, meeting, told))
        except BaseException:
            meeting.abort()  # nobody waits for whoever failed
            raise

    with ThreadPoolExecutor(size) as threads:
        done = [threads.submit(one, rank) for rank in range(size)]
    errors = [of_one.exception() for of_one in done if of_one.exception()]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return [of_one.result() for of_one in done]
