"""Leaving early: what is half done when the process is told to end, and who wants to know first.

A signal comes at any moment, also in the middle of an import or of a library's callback, where an
exception would be swallowed or shown as somebody's bug. So nothing is raised: what must not stay
behind, a temporary file or a child process, is noted here while it exists, and `undo_all` takes it
away before the process leaves at once. The training loop alone asks to be told instead (`Wish`):
it ends its step and saves first. What takes a moment and must not be half done is `unbroken`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_undos: dict[object, Callable[[], object]] = {}
_saved: dict[object, Callable[[], bool]] = {}
_unbroken: set[object] = set()
_waiting: list[Callable[[], object]] = []


@contextmanager
def undoing(undo: Callable[[], object]) -> Iterator[None]:
    """While the block runs, a process that leaves at once calls `undo` before."""
    key = object()
    _undos[key] = undo
    try:
        yield
    finally:
        del _undos[key]


def undo_all() -> None:
    """Undoes what is half done, the latest first."""
    for undo in reversed(list(_undos.values())):
        with suppress(OSError):
            undo()


@contextmanager
def resumable(is_saved: Callable[[], bool]) -> Iterator[None]:
    """While the block runs, what it does can be gone on with once `is_saved` says so."""
    key = object()
    _saved[key] = is_saved
    try:
        yield
    finally:
        del _saved[key]


def can_go_on() -> bool:
    """Whether what is left early can be gone on with."""
    with suppress(OSError):
        return any(is_saved() for is_saved in list(_saved.values()))
    return False


@contextmanager
def unbroken() -> Iterator[None]:
    """While the block runs, which must be short, whoever wants to leave at once waits."""
    key = object()
    _unbroken.add(key)
    try:
        yield
    finally:
        _unbroken.remove(key)
        while _waiting and not _unbroken:
            _waiting.pop(0)()


def leave(now: Callable[[], object]) -> None:
    """Calls what leaves at once, or lets it wait for the end of what is `unbroken`."""
    if _unbroken:
        _waiting.append(now)
    else:
        now()


class Wish:
    """A signal's wish that training ends, once somebody heeds it."""

    def __init__(self) -> None:
        self.signal: int | None = None  # its number, once it was sent
        self._heeded = False

    def __bool__(self) -> bool:
        return self.signal is not None

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """While the block runs, the first signal waits for whoever asks."""
        self._heeded = True
        try:
            yield
        finally:
            self._heeded = False

    def accept(self, signal: int) -> bool:
        """Takes a signal; False where the process must leave at once."""
        if not self._heeded or self.signal is not None:
            return False
        self.signal = signal
        return True
