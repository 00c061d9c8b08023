"""`w2v corpus`: the text that a config trains on."""

import logging

import typer

from w2v.cli.options import ConfigOption, SetOption

log = logging.getLogger(__name__)

corpus_app = typer.Typer(
    help="Fetch the text that a config trains on.", no_args_is_help=True, rich_markup_mode=None
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
