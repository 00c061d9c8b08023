"""A prompt on a terminal: lines with history and completion, by the readline of the system.

Lines are kept in $XDG_STATE_HOME/w2v/similar_history (~/.local/state where that is not set), the
newest HISTORY_LINES of them. The prompt is written to the terminal: where standard output is a pipe
or a file it goes to standard error, and lines are typed plainly. A signal ends the process at once
(`w2v.leaving`); before that the terminal gets its modes back.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

import typer

from w2v.errors import StorageError
from w2v.files import write_text
from w2v.leaving import undoing

log = logging.getLogger(__name__)

HISTORY_LINES = 1000
SPACES = " \t\n"  # what parts words, which may hold any punctuation


def ask_lines(prompt: str, *, completions: Sequence[str]) -> Iterator[str]:
    """The lines that are typed, until Ctrl-D; a line that is not text is told and passed over."""
    with ExitStack() as stack:
        ask: Callable[[str], str] = _plain
        if sys.stdout.isatty() and sys.stdin is sys.__stdin__:
            ask = stack.enter_context(_edited(completions))
        while True:
            try:
                yield ask(prompt)
            except UnicodeDecodeError:
                typer.echo("w2v: error: what was typed is not UTF-8", err=True)
            except EOFError:
                typer.echo(err=True)  # what follows begins a line
                return


def history_path() -> Path | None:
    """Where the lines are kept; None where there is no home to keep them in."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:  # the XDG base directory specification has relative paths ignored
        state = given if given.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return state / "w2v" / "similar_history"


def _plain(prompt: str) -> str:
    typer.echo(prompt, nl=False, err=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


@contextmanager
def _edited(completions: Sequence[str]) -> Iterator[Callable[[str], str]]:
    """`input`, with completion and history, where this Python has them; then it leaves as found."""
    try:
        import readline
        import termios
    except ImportError as error:  # Windows, and some builds of Python
        log.info("lines are typed plainly: %s", error)
        yield input
        return
    before = termios.tcgetattr(sys.stdin)

    def leave() -> None:
        _save_history(readline)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    with undoing(leave):
        _prepare(readline, completions)
        try:
            yield input
        finally:
            readline.set_completer(None)
            _save_history(readline)


def _prepare(readline: ModuleType, completions: Sequence[str]) -> None:
    uses_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if uses_libedit else "tab: complete")
    readline.set_completer_delims(SPACES)
    readline.set_completer(_completer(completions))
    readline.clear_history()
    path = history_path()
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path else []
    except OSError:  # there is none yet, or none that can be read
        lines = []
    for line in lines[-HISTORY_LINES:]:
        readline.add_history(line)


def _completer(completions: Sequence[str]) -> Callable[[str, int], str | None]:
    """What readline asks: the n-th completion of a text, None after the last."""
    found: list[str] = []

    def complete(text: str, number: int) -> str | None:
        if number == 0:
            found[:] = [word for word in completions if word.startswith(text)] if text else []
        return found[number] + " " * (len(found) == 1) if number < len(found) else None

    return complete


def _save_history(readline: ModuleType) -> None:
    path = history_path()
    count = readline.get_current_history_length()
    if path is None or not count:
        return
    first = max(1, count + 1 - HISTORY_LINES)
    lines = [readline.get_history_item(at) or "" for at in range(first, count + 1)]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(path, "".join(f"{line}\n" for line in lines))
    except (OSError, StorageError) as error:
        log.warning("the history is not kept: %s", error)
