"""`w2v train`: from a config to a run folder."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from w2v.cli import signals
from w2v.cli.options import ConfigOption, SetOption, set_verbosity
from w2v.errors import ConfigError, StoppedError, StorageError

if TYPE_CHECKING:
    from w2v.configfile import Loaded
    from w2v.group import Group
    from w2v.record import Run
    from w2v.world import World

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
    from w2v.world import world_of

    world = world_of()
    set_verbosity(quiet=quiet, silent=not world.is_first)
    if not world.is_first:
        signals.silence()
    asked = Asked(
        config, tuple(settings or ()), {"train.device": device, "output.run": run},
        force=force, resume=resume, dry_run=dry_run, quiet=quiet,
    )  # fmt: skip
    if world.size == 1:
        _train(asked, _loaded(asked), world)
        return
    from w2v import rendezvous  # torch takes seconds: only once it is known to be needed

    with rendezvous.joined(world) as group:
        from w2v.accord import agree

        _train(asked, agree(group, lambda: _loaded(asked)), world, group)


class Asked(NamedTuple):
    """What the command line says."""

    config: str | None
    settings: Sequence[str]
    flags: Mapping[str, str | None]
    force: bool
    resume: bool
    dry_run: bool
    quiet: bool


def _loaded(asked: Asked) -> "Loaded":
    from w2v.configfile import load_config

    if asked.resume and asked.force:
        raise ConfigError("--resume goes on with a run, --force replaces it: choose one")
    loaded = load_config(asked.config, asked.settings, flags=asked.flags)
    log.info("config %s: %s", loaded.path, loaded.chosen)
    return loaded


def _train(asked: Asked, loaded: "Loaded", world: "World", group: "Group | None" = None) -> None:
    """Trains as it is asked for, alone or with the processes of a group."""
    from w2v import training  # torch takes seconds: only once the config is known to be right
    from w2v.cli.progress import download_bar
    from w2v.group import Alone
    from w2v.runs import run_of
    from w2v.sources import data_folder

    speaks = world.is_first
    folder = run_of(loaded.config, loaded.path).path
    with download_bar() if speaks else nullcontext() as bar:
        prepared = training.prepare_run(
            loaded.config,
            folder,
            data_folder=data_folder(),
            force=asked.force or asked.dry_run,
            resume=asked.resume,
            download_progress=bar,
            group=group or Alone(world),
        )
    if prepared is not None and asked.dry_run:
        if speaks:
            _describe(prepared, asked)
        return
    if prepared is not None:
        _execute(prepared, quiet=asked.quiet or not speaks)
    if speaks:
        typer.echo(folder)


def _describe(run: "Run", asked: Asked) -> None:
    """What would be trained, and whether it would be refused."""
    from w2v.cli.output import echo_report
    from w2v.outlook import require_place
    from w2v.stats import describe

    echo_report(describe(run.survey, run.config), as_json=False)
    try:
        require_place(run.folder, force=asked.force or asked.resume)
    except StorageError as error:
        log.warning("train would be refused: %s; %s", error, error.hint)


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
