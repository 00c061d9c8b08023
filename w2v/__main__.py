"""The program: `w2v` and `python -m w2v`. Signals are handled before anything else is imported.

Python itself answers Ctrl-C with an exception and its traceback. From the first line here on it
ends the process without a word, as SIGTERM does, until `install` has imported what it needs; then
all three are answered. What happens while Python starts, before it comes here, is out of our hands.
"""

# What `signal` is made of: it is there already, with nothing to import.
import _signal  # type: ignore[import-not-found]

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # not ignored
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

from w2v.cli.signals import ignore, install


def main() -> None:
    """Runs the command line of the process."""
    install()
    from w2v.cli.main import main as run

    try:
        run()
    finally:
        ignore()  # the outcome is known; Python would die of a signal while it ends


if __name__ == "__main__":
    main()
