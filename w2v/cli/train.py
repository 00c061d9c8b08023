"""`w2v train`: from a config to a run folder."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from w2v.cli import signals
from w2v.cli.options import ConfigOption, SetOption, set_verbosity
from w2v.errors import ConfigError, StoppedError, StorageError

if TYPE_CHECKING:
    from w2v.record import Run

log = logging.getLogger(__name__)


def train(
    config: ConfigOption = None,
    settings: SetOption = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="DIR", help="Where to write the run folder.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a finished run; start an unfinished one over.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run folder.")
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda or mps.", metavar="NAME")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Open the corpus, say what would be done, and stop.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
) -> None:
    """Train word vectors as the config says; prints the run folder's path.

    Example: w2v train --config ptb.yaml
    """
    from w2v.configfile import load_config

    set_verbosity(quiet=quiet)
    if resume and force:
        raise ConfigError("--resume goes on with a run, --force replaces it: choose one")
    flags = {"train.device": device, "output.run": run}
    loaded = load_config(config, settings or (), flags=flags)
    log.info("config %s: %s", loaded.path, loaded.chosen)

    from w2v import training  # torch takes seconds: only once the config is known to be right
    from w2v.cli.progress import download_bar
    from w2v.runs import run_of
    from w2v.sources import data_folder

    folder = run_of(loaded.config, loaded.path).path
    with download_bar() as bar:
        prepared = training.prepare_run(
            loaded.config,
            folder,
            data_folder=data_folder(),
            force=force or dry_run,
            resume=resume,
            download_progress=bar,
        )
    if prepared is not None and dry_run:
        from w2v.cli.output import echo_report
        from w2v.stats import describe

        echo_report(describe(prepared.survey, loaded.config), as_json=False)
        try:
            training.require_place(prepared.folder, force=force or resume)
        except StorageError as error:
            log.warning("train would be refused: %s; %s", error, error.hint)
        return
    if prepared is not None:
        _execute(prepared, quiet=quiet)
    typer.echo(folder)


def _execute(run: "Run", *, quiet: bool) -> None:
    """Trains; who stops it is told how to go on."""
    from w2v import training
    from w2v.reporting import progress_listener

    listeners = () if quiet else (progress_listener(),)
    try:
        training.execute(run, listeners=listeners, wish=signals.WISH)
    except StoppedError as error:
        error.hint = f"to go on: {signals.resuming()}"
        raise
