"""The `w2v` command: registers the commands and turns every failure into one line and a code.

Nothing heavy is imported here: a command imports its stage inside its body, so that `--help`,
`similar`, `eval` and `export` answer without waiting for torch.
"""

import contextlib
import io
import logging
import os
import sys
import tempfile
import traceback
from typing import Annotated, NoReturn, TextIO

import typer
from typer.exceptions import TyperException

from w2v import __version__
from w2v.cli.config import config_app
from w2v.cli.corpus import corpus_app
from w2v.cli.embed import embed
from w2v.cli.eval import evaluate
from w2v.cli.export import export
from w2v.cli.info import info
from w2v.cli.plot import plot_app
from w2v.cli.similar import similar
from w2v.cli.train import train
from w2v.errors import ConfigError, StorageError, W2VError

EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_CLOSED_PIPE = 70, 130, 141

app = typer.Typer(
    name="w2v",
    help="Word vectors by skip-gram with negative sampling: train, ask, judge, export.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(similar)
app.command("eval")(evaluate)
app.command()(embed)
app.command()(export)
app.command()(info)
app.add_typer(plot_app, name="plot")
app.add_typer(config_app, name="config")
app.add_typer(corpus_app, name="corpus")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show it.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With --version: of what it stands on, too.")
    ] = False,
) -> None:
    if version:
        from w2v.cli.versions import versions

        typer.echo("\n".join(versions() if verbose else versions()[:1]))
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise ConfigError("no command is named", hint="w2v --help lists them")


def main(argv: list[str] | None = None) -> NoReturn:
    """Runs the command line and exits with the code that the outcome means.

    Args:
        argv: the arguments after the program's name; those of the process by default.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us, as daemons do
            buffered = io.BufferedReader if name == "stdin" else io.BufferedWriter
            setattr(sys, name, io.TextIOWrapper(buffered(io.FileIO(os.devnull, "r+"))))
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[_Talk(sys.stderr)], force=True
    )
    sys.exit(_exit_code(argv))


def _exit_code(argv: list[str] | None) -> int:
    try:
        try:
            code = app(argv, prog_name="w2v", standalone_mode=False) or 0
            sys.stdout.flush()
        except SystemExit as exit_:  # typer's answer to a reader that went away is a plain 1
            if isinstance(exit_.__context__, BrokenPipeError):
                raise exit_.__context__ from None
            raise
    except W2VError as error:
        return _fail(error)
    except TyperException as error:
        return _usage(error)
    except BrokenPipeError:
        # Python flushes stdout once more when it ends; by then it must lead somewhere.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CLOSED_PIPE
    except MemoryError as error:
        return _fail(StorageError(f"out of memory: {error or 'an allocation failed'}"))
    except OSError as error:
        return _fail(StorageError(f"{error.strerror or error}: {error.filename or 'stdout'}"))
    except Exception as error:  # the last resort, so that a bug leaves a report, not a traceback
        return _report_bug(error)
    if code == EXIT_INTERRUPTED:  # where Python's own handler was left in place
        _say("w2v: error: ended by SIGINT")
    return int(code)


class _Talk(logging.StreamHandler[TextIO]):
    """What is logged, on a standard error that may have lost its reader."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def _say(text: str) -> None:
    """Writes to standard error; where nobody reads it any more, the exit code still counts."""
    with contextlib.suppress(OSError):
        typer.echo(text, err=True)


def _fail(error: W2VError) -> int:
    _show_if_debugging(error)
    if error.is_told:
        return error.exit_code
    _say(f"w2v: error: {error}")
    if error.hint:
        _say(f"hint: {error.hint}")
    return error.exit_code


def _usage(error: TyperException) -> int:
    message = error.format_message()
    if "\n" in message:  # no command given: the message is the help
        _say(message)
    else:
        _say(f"w2v: error: {message}")
    return 2


def _report_bug(error: Exception) -> int:
    _show_if_debugging(error)
    hint = "W2V_DEBUG=1 shows where"
    with (
        contextlib.suppress(OSError),
        tempfile.NamedTemporaryFile(
            "w", prefix="w2v-bug-", suffix=".txt", delete=False, encoding="utf-8"
        ) as report,
    ):
        report.write(f"w2v {__version__}, Python {sys.version}\n{sys.argv}\n")
        traceback.print_exception(error, file=report)
        hint = f"please report it with {report.name}"
    what = f"{type(error).__name__}: {error}".partition("\n")[0]
    _say(f"w2v: error: internal error: {what}")
    _say(f"hint: {hint}")
    return EXIT_INTERNAL


def _show_if_debugging(error: Exception) -> None:
    if os.environ.get("W2V_DEBUG") == "1":
        _say("".join(traceback.format_exception(error)).rstrip())
