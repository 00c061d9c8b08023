"""The program: `w2v` and `python -m w2v`. Signals are handled before anything else is imported."""

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
