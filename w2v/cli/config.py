"""`w2v config`: the resolved settings, a check of a file, and the schema for editors."""

import json
import logging
from typing import TYPE_CHECKING, Annotated

import typer

from w2v.cli.options import ConfigOption, SetOption

if TYPE_CHECKING:
    from w2v.configfile import Loaded

log = logging.getLogger(__name__)

config_app = typer.Typer(
    help="Show, check or describe the settings.", no_args_is_help=True, rich_markup_mode=None
)


@config_app.command()
def show(
    config: ConfigOption = None,
    settings: SetOption = None,
    origin: Annotated[
        bool, typer.Option("--origin", help="Say behind each value where it was set.")
    ] = False,
) -> None:
    """Print every setting as it will be used, as YAML.

    Example: w2v config show --config ptb.yaml --origin
    """
    from w2v.config import dump_yaml
    from w2v.configfile import load_config

    loaded = load_config(config, settings or ())
    log.info("config %s: %s", loaded.path, loaded.chosen)
    notes = _origins(loaded) if origin else None
    typer.echo(dump_yaml(loaded.config, notes=notes), nl=False)


@config_app.command()
def check(config: ConfigOption = None, settings: SetOption = None) -> None:
    """Say whether a file and its overrides are right.

    Example: w2v config check --config text.yaml --set corpus.path=text.txt
    """
    from w2v.configfile import load_config

    loaded = load_config(config, settings or ())
    log.info("%s: ok", loaded.path)


@config_app.command()
def schema(config: ConfigOption = None, settings: SetOption = None) -> None:
    """Print the JSON Schema of a config file; a file or overrides, where given, are checked.

    Example: w2v config schema
    """
    from w2v.config import json_schema
    from w2v.configfile import load_config

    if config is not None or settings:
        load_config(config, settings or ())
    typer.echo(json.dumps(json_schema(), indent=2))


def _origins(loaded: "Loaded") -> dict[str, str]:
    """Where each setting was set: `file:line:column`, an option, or `default`."""
    from w2v.config import SETTINGS

    return {
        f"{section}.{key}": str(loaded.places.get((section, key), "default"))
        for section, key in SETTINGS
    }
