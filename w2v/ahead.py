"""Streams read ahead by threads: their items in order, a bounded number of them waiting.

Generators enter, one generator leaves. It is of use where making an item leaves the interpreter
free: reading, decompressing, hashing.

The threads are daemons: an interpreter that ends while somebody still holds the generator does not
wait for them.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from queue import Empty, Queue, SimpleQueue
from threading import Event, Thread
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

THREAD_NAME = "w2v-ahead"


class _End(NamedTuple):
    """Stands behind the last item of a stream."""

    error: BaseException | None  # that ended it


class _Job(NamedTuple, Generic[Item]):
    """A stream, and where its items wait."""

    stream: Generator[Item]
    items: "Queue[Item | _End]"


def chain_ahead(streams: Iterable[Generator[Item]], *, threads: int, depth: int) -> Iterator[Item]:
    """Yields the items of streams, one stream after the other, as `itertools.chain` does.

    What a stream raises is raised behind its items. Closing the generator, or its end, ends the
    threads and closes the streams.

    Args:
        streams: are begun in their order, each run by one thread.
        threads: streams that are read at the same time.
        depth: items of a stream that wait, at most.
    """
    stop, jobs = Event(), SimpleQueue[_Job[Item] | None]()
    workers = [
        Thread(target=_work, args=(jobs, stop), name=THREAD_NAME, daemon=True)
        for _ in range(threads)
    ]
    coming = (_Job(stream, Queue(depth)) for stream in streams)
    window: deque[_Job[Item]] = deque()
    try:
        for worker in workers:
            worker.start()
        for job in islice(coming, threads):
            _begin(job, jobs, window)
        while window:
            while not isinstance(item := window[0].items.get(), _End):
                yield item
            if item.error is not None:
                raise item.error
            window.popleft()
            for job in islice(coming, 1):
                _begin(job, jobs, window)
    finally:
        stop.set()
        for job in window:
            _empty(job.items)  # whoever waits for room finds some, and then that it is to stop
        for _ in workers:
            jobs.put(None)
        for worker in workers:
            if worker.ident is not None:
                worker.join()


def _begin(
    job: _Job[Item], jobs: "SimpleQueue[_Job[Item] | None]", window: deque[_Job[Item]]
) -> None:
    window.append(job)
    jobs.put(job)


def _work(jobs: "SimpleQueue[_Job[Item] | None]", stop: Event) -> None:
    """Runs one stream after the other."""
    while (job := jobs.get()) is not None:
        error: BaseException | None = None
        try:
            for item in job.stream:
                job.items.put(item)
                if stop.is_set():
                    break
        except BaseException as raised:  # whatever it is, it is the reader's
            error = raised
        job.stream.close()
        if not stop.is_set():
            job.items.put(_End(error))


def _empty(items: "Queue[Item | _End]") -> None:
    try:
        while True:
            items.get_nowait()
    except Empty:
        return
