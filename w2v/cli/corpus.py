"""`w2v corpus`: the text that a config trains on."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from w2v.cli.options import ConfigOption, JsonOption, SetOption
from w2v.cli.output import echo_report

log = logging.getLogger(__name__)

corpus_app = typer.Typer(
    help="Fetch, describe or encode the text that a config trains on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@corpus_app.callback()
def _corpus() -> None:
    pass


@corpus_app.command()
def fetch(config: ConfigOption = None, settings: SetOption = None) -> None:
    """Download, make or find the corpus; prints the paths of its files.

    Example: w2v corpus fetch --config ptb.yaml
    """
    from w2v.cli.progress import download_bar
    from w2v.configfile import load_config
    from w2v.sources import data_folder, open_source

    loaded = load_config(config, settings or ())
    log.info("config %s: %s", loaded.path, loaded.chosen)
    with download_bar() as bar:
        source = open_source(loaded.config.corpus, data_folder=data_folder(), progress=bar)
    for path in (*source.train, *source.heldout):
        typer.echo(path)


@corpus_app.command()
def stats(
    as_json: JsonOption = False,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Train for a moment to estimate the time.")
    ] = True,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Count words, and tell what training on them would take; nothing is kept but the corpus.

    Example: w2v corpus stats --config ptb.yaml
    """
    from w2v.configfile import load_config

    loaded = load_config(config, settings or ())
    log.info("config %s: %s", loaded.path, loaded.chosen)

    from w2v.cli.progress import download_bar
    from w2v.sources import data_folder
    from w2v.stats import describe
    from w2v.survey import survey

    with download_bar() as bar:
        found = survey(loaded.config, data_folder=data_folder(), download_progress=bar)
    echo_report(describe(found, loaded.config, timed=timed), as_json=as_json)


@corpus_app.command()
def encode(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A folder, which is made; the data goes there.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Replace the encoded corpus that is there.")
    ] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Write the encoded corpus to a folder, to train on it elsewhere without the text.

    Example: w2v corpus encode shared --config ptb.yaml
    """
    from w2v.configfile import load_config

    loaded = load_config(config, settings or ())
    log.info("config %s: %s", loaded.path, loaded.chosen)

    from w2v.cli.progress import download_bar
    from w2v.portable import copy, require_place
    from w2v.preflight import require_writable
    from w2v.sources import data_folder
    from w2v.survey import corpus_folder, open_corpus

    require_place(out, force=force)
    require_writable(out)
    with download_bar() as bar:
        corpus = open_corpus(loaded.config, data_folder=data_folder(), download_progress=bar)
    copy(corpus_folder(loaded.config, corpus, data_folder=data_folder()), out)
    log.info("to train on it: -s corpus.name=encoded -s corpus.path=%s", out)
    typer.echo(out)
