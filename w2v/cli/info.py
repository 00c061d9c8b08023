"""`w2v info`: what a run is, or a vector file."""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2v.cli.options import ConfigOption, JsonOption, RunOption, SetOption, VectorsOption
from w2v.cli.output import echo_report
from w2v.errors import ConfigError

if TYPE_CHECKING:
    from w2v.rundir import RunDir

log = logging.getLogger(__name__)


def info(
    folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder, as with --run.")
    ] = None,
    run: RunOption = None,
    vectors: VectorsOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Tell what a run is, finished or not, and whether its files are whole.

    Example: w2v info --json
    """
    given = [place for place in (folder, run, vectors) if place is not None]
    if len(given) > 1:
        raise ConfigError(f"one run or file at a time: found {' and '.join(map(str, given))}")

    from w2v.runs import find_run, load_chosen

    if vectors is not None:
        table = load_chosen(None, vectors=vectors, config=config, overrides=settings or ())
        words, dim = table.matrix.shape
        echo_report({"vectors": str(vectors), "words": words, "dim": dim}, as_json=as_json)
        return
    chosen = find_run(folder or run, config=config, overrides=settings or ())
    _tell(chosen, as_json=as_json)


def _tell(run: "RunDir", *, as_json: bool) -> None:
    """Prints what there is to tell, then refuses a run that is not whole."""
    from w2v import runinfo

    about = runinfo.describe(run)
    command = runinfo.resuming(run, about)
    told: dict[str, Any] = about | {"resume_command": command and shlex.join(command)}
    if not as_json:
        told["command"] = shlex.join(told.get("command") or [])
    echo_report(told, as_json=as_json)
    runinfo.require_whole(run, about)
