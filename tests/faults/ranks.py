"""`python -m faults.ranks FAULT ARGUMENT...`: w2v as one rank of several, with a fault.

FAULT is `none`, or one of FAULTS with what it needs behind a sign of equality:

    kill=1,20        rank 1, after its 20th update, in torchrun's first attempt alone
    slow=0.02        every update takes so many seconds more
    published=URL    the tiny treebank is published there
    opens=FOLDER     each rank notes there what it opened to write, in a file of its own

Before a rank comes to harm it makes the file `harmed`, whose time tells when.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from faults.treebank import FAST, published
from w2v import learner
from w2v.cli.signals import ignore, install
from w2v.sources import ptb

HARMED = "harmed"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main(fault: str, arguments: list[str]) -> None:
    """What `python -m w2v` does, with a fault; leaves as that does."""
    install()
    name, _, of = fault.partition("=")
    FAULTS[name](of)
    from w2v.cli.main import main as run

    try:
        run(arguments)
    finally:
        ignore()


def rank() -> int:
    """Which one this is."""
    return int(os.environ.get("RANK", "0"))


def after_updates(act: Callable[[int], object]) -> None:
    """Calls `act` with the number of each update that this rank has done, from 1."""
    train_span, numbers = learner.Learner.train_span, count(1)

    def watched(self: learner.Learner) -> Callable[..., Iterator[object]]:
        def updates(*arguments, **options) -> Iterator[object]:
            for update in train_span.__get__(self)(*arguments, **options):
                yield update
                act(next(numbers))

        return updates

    learner.Learner.train_span = property(watched)


def harm(do: Callable[[], object]) -> Callable[[str], None]:
    """A fault of one rank after so many updates: `1,20`."""

    def prepare(of: str) -> None:
        victim, at = map(int, of.split(","))

        def act(number: int) -> None:
            if number == at:
                Path(HARMED).touch()
                do()

        if victim == rank() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
            after_updates(act)

    return prepare


def _send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def _raise() -> None:
    raise RuntimeError("a fault of the test")


def slow(of: str) -> None:
    """Every update takes longer."""
    after_updates(lambda _: time.sleep(float(of)))


def publish(of: str) -> None:
    """As if the tiny treebank were published at a URL."""
    ptb.fetch.__kwdefaults__.update(published=published(of), patience=FAST)


def opens(of: str) -> None:
    """Notes what Python opens to write, makes, renames and removes, a path a line."""
    notes = os.open(Path(of) / str(rank()), os.O_WRONLY | os.O_CREAT)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _mode, flags = arguments
            if not isinstance(flags, int) or not flags & WRITING:
                return
        elif event in ("os.mkdir", "os.remove", "os.rmdir"):
            path = arguments[0]
        elif event == "os.rename":
            path = arguments[1]
        else:
            return
        if isinstance(path, str | bytes):  # not a number of what is open already
            os.write(notes, os.path.abspath(os.fsencode(path)) + b"\n")  # noqa: PTH100

    sys.addaudithook(hook)


FAULTS: dict[str, Callable[[str], None]] = {
    "none": lambda _: None,
    "kill": harm(_send(signal.SIGKILL)),
    "freeze": harm(_send(signal.SIGSTOP)),
    "term": harm(_send(signal.SIGTERM)),
    "raise": harm(_raise),
    "exit": harm(lambda: os._exit(0)),
    "slow": slow,
    "published": publish,
    "opens": opens,
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
