"""Streams read ahead by threads: their items in order, a bounded size of them waiting.

Generators enter, one generator leaves. It is of use where making an item leaves the interpreter
free: reading, decompressing, hashing.

The threads are daemons: an interpreter that ends while somebody still holds the generator does not
wait for them.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from queue import SimpleQueue
from threading import Condition, Event, Thread
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

THREAD_NAME = "w2v-ahead"


class _End(NamedTuple):
    """Stands behind the last item of a stream."""

    error: BaseException | None  # that ended it


class _Job(Generic[Item]):
    """A stream, and its items that wait for their turn."""

    def __init__(
        self, stream: Generator[Item], *, most: int, size_of: Callable[[Item], int], stop: Event
    ) -> None:
        self._stream, self._most, self._size_of, self._stop = stream, most, size_of, stop
        self._waiting: deque[tuple[Item | _End, int]] = deque()
        self._size = 0
        self._changed = Condition()

    def run(self) -> None:
        """Makes the items, until told to stop."""
        error: BaseException | None = None
        try:
            while self._has_room():
                item = next(self._stream)
                self._put(item, self._size_of(item))
        except StopIteration:
            pass
        except BaseException as raised:  # whatever it is, it is the reader's
            error = raised
        self._stream.close()
        self._put(_End(error), 0)

    def take(self) -> Item | _End:
        """The next item, once it is there."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            item, size = self._waiting.popleft()
            self._size -= size
            self._changed.notify_all()
        return item

    def wake(self) -> None:
        """Makes who waits for room see that it is to stop."""
        with self._changed:
            self._changed.notify_all()

    def _has_room(self) -> bool:
        """Waits for room before an item is made, so that none is held that does not wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < self._most or self._stop.is_set())
        return not self._stop.is_set()

    def _put(self, item: Item | _End, size: int) -> None:
        with self._changed:
            self._waiting.append((item, size))
            self._size += size
            self._changed.notify_all()


def chain_ahead(
    streams: Iterable[Generator[Item]], *, threads: int, most: int, size_of: Callable[[Item], int]
) -> Generator[Item]:
    """Yields the items of streams, one stream after the other, as `itertools.chain` does.

    What a stream raises is raised behind its items. Closing the generator, or its end, ends the
    threads and closes the streams.

    Args:
        streams: are begun in their order, each run by one thread.
        threads: streams that are read at the same time.
        most: the size of a stream's items that wait, above which no more are made: the last of them
            may go beyond it, however big it is.
        size_of: the size of an item, above 0.
    """
    stop, jobs = Event(), SimpleQueue[_Job[Item] | None]()
    threads_ahead = [
        Thread(target=_work, args=(jobs,), name=THREAD_NAME, daemon=True) for _ in range(threads)
    ]
    coming = (_Job(stream, most=most, size_of=size_of, stop=stop) for stream in streams)
    window: deque[_Job[Item]] = deque()
    try:
        for thread in threads_ahead:
            thread.start()
        for job in islice(coming, threads):
            _begin(job, jobs, window)
        while window:
            while not isinstance(item := window[0].take(), _End):
                yield item
            if item.error is not None:
                raise item.error
            window.popleft()
            for job in islice(coming, 1):
                _begin(job, jobs, window)
    finally:
        stop.set()
        for job in window:
            job.wake()
        for _ in threads_ahead:
            jobs.put(None)
        for thread in threads_ahead:
            if thread.ident is not None:
                thread.join()


def _begin(
    job: _Job[Item], jobs: "SimpleQueue[_Job[Item] | None]", window: deque[_Job[Item]]
) -> None:
    window.append(job)
    jobs.put(job)


def _work(jobs: "SimpleQueue[_Job[Item] | None]") -> None:
    """Runs one stream after the other."""
    while (job := jobs.get()) is not None:
        job.run()
