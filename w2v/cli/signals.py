"""What SIGINT, SIGTERM and SIGHUP do: training saves and ends, anything else ends at once.

`install` is called by the first lines of the program, before anything that takes time is imported;
so this file imports little itself.
Ending at once is `os._exit`: no exception passes through code that is not ours.
"""

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

from w2v.leaving import Wish, can_go_on, leave, undo_all

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
WISH = Wish()  # the process's one
_is_silent = False


def install() -> None:
    """Handles the three signals, but for those that whoever started us wants ignored (nohup)."""
    for name in NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def silence() -> None:
    """Lets another process say what happened."""
    global _is_silent
    _is_silent = True


def ignore() -> None:
    """Handles none of them any more."""
    for name in NAMES:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _handle(number: int, _frame: object) -> None:
    if not WISH.accept(number):
        leave(partial(_leave, number))


def _leave(number: int) -> None:
    undo_all()
    message = f"w2v: error: ended by {signal.Signals(number).name}\n"
    if can_go_on():
        message += f"hint: to go on: {resuming()}\n"
    try:
        if _is_silent:
            return
        start = "\n" if os.isatty(2) else ""  # a progress bar may stand there
        os.write(2, (start + message).encode())
    finally:
        os._exit(128 + number)


def resuming(arguments: Sequence[str] | None = None) -> str:
    """The command that goes on with what this one began; by default that of the process."""
    import shlex

    given = list(sys.argv[1:] if arguments is None else arguments)
    kept = [argument for argument in given if argument not in ("--force", "--resume")]
    return shlex.join(["w2v", *kept, "--resume"])
