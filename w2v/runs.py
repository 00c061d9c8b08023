"""Finding run folders: where a new run goes, and which one a command asks.

What the command line names enters, a `RunDir` or its `WordVectors` leave. Without torch.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from w2v import formats
from w2v.config import Config
from w2v.configfile import load_config
from w2v.errors import ConfigError, DataError
from w2v.formats.kinds import TextRule
from w2v.rundir import INFO, RunDir, Table
from w2v.vectors import WordVectors

RUNS = Path("runs")  # the folder of run folders, in the current folder

log = logging.getLogger(__name__)


def default_run(config_path: Path) -> RunDir:
    """Where a run goes that is told nothing else: `runs/`, by the name of its config."""
    return RunDir(RUNS / config_path.stem)


def run_of(config: Config, config_path: Path) -> RunDir:
    """Where a config's run goes: where it says, else by its name."""
    place = config.output.run
    return default_run(config_path) if place is None else RunDir(Path(place))


def newest_finished(root: Path = RUNS) -> RunDir | None:
    """The run under `root` that finished last, by its own word: files may have been copied.

    Damaged runs are passed over with a warning.
    """
    finished: list[tuple[datetime, Path]] = []
    for info_path in sorted(root.glob(f"*/{INFO}")):
        run = RunDir(info_path.parent)
        try:
            info = run.read_info()
        except DataError as error:
            log.warning("passed over: %s", error)
            continue
        if info["finished"]:
            finished.append((_finished_at(info), run.path))
    return RunDir(max(finished)[1]) if finished else None


def find_run(
    given: Path | None, *, config: str | None = None, overrides: Sequence[str] = ()
) -> RunDir:
    """The run that a command asks, and says so: `given`, else the config's, else the newest.

    Args:
        given: the folder named by `--run`.
        config: what `--config` named; the run that it trained by default, where that is finished.
        overrides: what `--set` named.

    Raises:
        ConfigError: the config cannot be used.
        DataError: there is no finished run.
    """
    loaded = load_config(config, overrides)
    if given is not None:
        run, why = RunDir(given), "--run"
    elif loaded.config.output.run is not None:
        run, why = RunDir(Path(loaded.config.output.run)), f"output.run, {loaded.path}"
    elif config is not None and default_run(loaded.path).is_finished():
        run, why = default_run(loaded.path), f"trained by {loaded.path.name}"
    elif (newest := newest_finished()) is not None:
        run, why = newest, "the newest finished run"
    else:
        raise DataError(f"no finished run under {RUNS}/", hint="train one: w2v train")
    log.info("using %s (%s)", run.path, why)
    return run


def load_chosen(
    run: Path | None,
    *,
    vectors: Path | None = None,
    config: str | None = None,
    overrides: Sequence[str] = (),
    table: Table = "center",
) -> WordVectors:
    """The vectors that a command asks: those of a file, or of the run that `find_run` finds.

    Raises:
        ConfigError: both are named, or a file is asked for another table than its own.
        DataError: there are none, or they are damaged.
    """
    chosen = choose(run, vectors=vectors, config=config, overrides=overrides, table=table)
    return load_table(chosen, table)


def choose(
    run: Path | None,
    *,
    vectors: Path | None,
    config: str | None,
    overrides: Sequence[str],
    table: Table,
) -> RunDir | Path:
    """What a command asks, a run or a vector file, not yet read.

    Raises:
        ConfigError: both are named, or a file is asked for another table than its own.
        DataError: there is no finished run.
    """
    if vectors is None:
        return find_run(run, config=config, overrides=overrides)
    if run is not None:
        raise ConfigError("--run and --vectors exclude each other: give one")
    if table != "center":
        raise ConfigError(f"a vector file has one table; only a run has {table} vectors")
    load_config(config, overrides)  # a mistake in it is told, though little of it is used
    return vectors


def load_table(chosen: RunDir | Path, table: Table) -> WordVectors:
    """The vectors of what was chosen. Raises `DataError` where they are damaged."""
    return chosen.load_vectors(table=table) if isinstance(chosen, RunDir) else formats.read(chosen)


def load(path: str | Path) -> WordVectors:
    """The vectors of a run folder or of a vector file.

    Raises:
        DataError: it is neither, or it is damaged.
    """
    path = Path(path)
    return RunDir(path).load_vectors() if path.is_dir() else formats.read(path)


def text_rule(
    source: RunDir | Path,
    *,
    config: str | None = None,
    overrides: Sequence[str] = (),
    lowercase: bool | None = None,
) -> TextRule:
    """How the text behind some vectors became words; another text is cut alike.

    A run knows. A vector file does not: there the config in force says it.

    Args:
        source: a run, or a vector file.
        config: what `--config` named.
        overrides: what `--set` named; stronger than what the run knows.
        lowercase: what a flag says; stronger still.

    Raises:
        ConfigError: the config, or what overrides it, cannot be used.
        DataError: the config in the run folder is missing or damaged.
    """
    corpus = load_config(config, overrides).config.corpus
    if isinstance(source, RunDir):
        try:
            corpus = load_config(str(source.config), overrides).config.corpus
        except ConfigError as error:
            what = f"{source.path} does not say how text becomes words: {error}"
            raise DataError(what) from error
    if lowercase is None:
        # The sentences of that documentation are made in lower case.
        lowercase = corpus.lowercase or (isinstance(source, RunDir) and corpus.name == "pydoc")
    return TextRule(lowercase, corpus.token_pattern)


def _finished_at(info: Mapping[str, Any]) -> datetime:
    """When a finished run ended; long ago where run.json does not tell."""
    try:
        at = datetime.fromisoformat(info.get("finished_at", ""))
    except (TypeError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
