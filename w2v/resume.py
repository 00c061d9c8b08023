"""Going on with a run that stopped: from which checkpoint, and whether it is this run's.

What a run is (`identity`) goes into each of its checkpoints. A run folder and the identity of the
run that is wanted enter; the newest checkpoint that is whole leaves, or a `ResumeError` that says
what differs. Nothing here changes a file.

Free to differ are output.*, train.threads, a greater train.epochs, and where the same text lies,
encoded or not.
Kernel and device are compared as they were chosen, not as they were asked for; with a finished run,
for which nothing is chosen, `auto` stands for any.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from w2v.config import SETTINGS, Config
from w2v.configfile import load_config
from w2v.corpus import fingerprint
from w2v.encoded import SEALS, Corpus, settings_of
from w2v.errors import ConfigError, DataError, ResumeError, StorageError
from w2v.portable import digest_in, given_folder
from w2v.rundir import INFO, RunDir
from w2v.sources import data_folder, open_source
from w2v.states import SchemaError, State, complete, read, verify

TEXT_PLACE = ("corpus.path", "corpus.url", "corpus.sha256")
FREE = {
    *(f"output.{key}" for name, key in SETTINGS if name == "output"),
    *TEXT_PLACE,  # the digest of the text decides
    *(f"train.{key}" for key in ("kernel", "device", "threads", "epochs")),
    "distributed.timeout_s",
}
# What processes that train together may each have their own of.
OWN = {*TEXT_PLACE, "output.run", "train.threads"}


class Saved(NamedTuple):
    """A checkpoint to go on from."""

    path: Path  # of its JSON
    state: State
    passed_over: str  # what is wrong with the newest of all, where this is an older one


def settings(config: Config) -> dict[str, object]:
    """Every setting by its full name, as JSON gives it back."""
    whole = {f"{name}.{key}": getattr(getattr(config, name), key) for name, key in SETTINGS}
    found: dict[str, object] = json.loads(json.dumps(whole))
    return found


def common_settings(config: Config) -> dict[str, object]:
    """The settings that processes which train together must share."""
    return {name: value for name, value in settings(config).items() if name not in OWN}


def identity(
    config: Config, *, corpus: Corpus, kernel: str, device: str, init_from: str | None
) -> dict[str, object]:
    """What must be the same for a run to go on; `init_from` is the digest of those vectors."""
    return {
        "kernel": kernel,
        "device": device,
        "corpus": corpus.digest,
        "vocabulary": hashlib.sha256(corpus.vocab.to_tsv().encode()).hexdigest(),
        "init_from": init_from,
        "settings": settings(config),
    }


def is_complete(run: RunDir, config: Config) -> bool:
    """Whether there is nothing to go on with, because the run came to its end.

    A finished run that was being replaced (`--force`) has checkpoints of the new run.

    Raises:
        DataError: a file of the run is missing or damaged.
        ResumeError: the run that ended was another one.
    """
    if not run.info.exists():
        return False
    try:
        info = run.read_info()
    except DataError as error:
        goes_on = f"without {INFO} --resume goes on from the newest checkpoint, --force starts over"
        kept = complete(run.checkpoints)
        raise DataError(str(error), hint=goes_on if kept else "--force replaces it") from error
    if not info["finished"]:
        return False
    started_at = info.get("started_at")
    for path in complete(run.checkpoints):
        try:
            if read(path).run.get("started_at") != started_at:
                return False
        except DataError:
            continue  # of no use to anybody
    try:
        run.verify(info)
    except DataError as error:
        raise DataError(str(error), hint="--force trains it again") from error
    found = list(_differing_from_finished(run, info, config))
    if found:
        raise ResumeError(
            f"{run.path} holds a finished run with other settings: {'; '.join(found)}",
            hint="--run DIR trains elsewhere, --force replaces it",
        )
    return True


def _differing_from_finished(run: RunDir, info: Mapping[str, Any], config: Config) -> Iterator[str]:
    """What a finished run and the one that is wanted differ in."""
    try:
        there = settings(load_config(str(run.config)).config)
    except ConfigError as error:
        raise DataError(f"{run.config} is damaged: {error}") from error
    here = settings(config)
    yield from _differing(there, here)
    if there["train.epochs"] != here["train.epochs"]:
        yield _difference("train.epochs", there, here)
    for name in ("kernel", "device"):
        asked, was = here[f"train.{name}"], info.get(name)
        if asked not in ("auto", was):
            yield _difference(name, info, {name: asked})
    yield from _other_text(info, config, there, here)


def _other_text(
    info: Mapping[str, Any], config: Config, there: Mapping[str, Any], here: Mapping[str, Any]
) -> Iterator[str]:
    """Whether the text is another: by its digest, else by the place where it was and is to lie."""
    about = info.get("corpus")
    digest = about.get("digest") if isinstance(about, dict) else None
    try:
        found = _digest_of_text(config)
    except DataError:  # it is gone; a finished run needs it no more
        found = None
    if digest is not None and found is not None:
        if digest != found:
            yield _difference("corpus", {"corpus": digest}, {"corpus": found})
        return
    for name in TEXT_PLACE:
        if there.get(name) != here[name]:
            yield _difference(name, there, here)


def _digest_of_text(config: Config) -> str | None:
    """The digest of a text that is at hand; None where it would have to be fetched or made."""
    corpus, folder = config.corpus, data_folder()
    if (given := given_folder(corpus)) is not None:
        return digest_in(given)
    if corpus.name != "text":
        return None
    chosen = settings_of(corpus, config.vocab)
    return fingerprint(open_source(corpus, data_folder=folder), chosen, seals=folder / SEALS)


def newest(folder: Path) -> Saved:
    """The newest checkpoint that is whole.

    Raises:
        ResumeError: there is none, or it is of another version of w2v.
        StorageError: a file may not be read.
    """
    states, problems = complete(folder), []
    if not states:
        raise ResumeError(f"no checkpoint in {folder}", hint="leave --resume out to start a run")
    for path in reversed(states):
        try:
            state = verify(path)
        except SchemaError as error:
            raise ResumeError(str(error), hint="go on with the w2v that wrote it") from error
        except DataError as error:
            problems.append(str(error))
            continue
        return Saved(path, state, passed_over=problems[0] if problems else "")
    raise ResumeError(
        f"no checkpoint in {folder} is whole: {problems[0]}",
        hint="leave --resume out to start over",
    )


def require_none(run: RunDir) -> None:
    """Refuses to start over where there is a whole checkpoint, of this version of w2v or another.

    Raises:
        StorageError: there is one, or a file may not be read.
    """
    for path in reversed(complete(run.checkpoints)):
        try:
            verify(path)
        except SchemaError:
            pass
        except DataError:
            continue
        raise StorageError(
            f"{run.path} holds an unfinished run, saved as {path.name}",
            hint="--resume goes on, --force starts over",
        )


def require_same(saved: Saved, here: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of another run.

    Args:
        saved: the checkpoint.
        here: `identity` of the run that is wanted; parts of it where not all is known yet.

    Raises:
        ResumeError: with all that differs.
    """
    there = saved.state.run
    if not _is_identity(there):
        raise ResumeError(f"{saved.path} does not say of what run it is")
    same = [name for name in here if name != "settings"]
    # A setting that is younger than the checkpoint had the value that is now its default.
    found = list(_differing(settings(Config()) | there["settings"], here["settings"]))
    found += [_difference(name, there, here) for name in same if there.get(name) != here[name]]
    key = "train.epochs"
    if here["settings"][key] < there["settings"][key]:
        found.append(_difference(key, there["settings"], here["settings"]) + ", it may only grow")
    if found:
        raise ResumeError(
            f"{saved.path} is of another run: {'; '.join(found)}",
            hint="--run DIR trains elsewhere, --force instead of --resume starts over",
        )


def changed(saved: Saved, here: Mapping[str, Any]) -> str:
    """What `record.surroundings` says here and did not when a checkpoint was saved; perhaps "".

    A run may go on all the same. What the checkpoint does not tell is not compared.
    """
    there, found = _flat(saved.state.run), []
    for name, now in _flat(here).items():
        was = there.get(name)
        if was not in (None, now):
            found.append(f"{name} {_short(was)}, now {_short(now)}")
    return "; ".join(found)


def _flat(told: Mapping[str, Any]) -> dict[str, Any]:
    versions = told.get("versions")
    return {**(versions if isinstance(versions, dict) else {}), "threads": told.get("threads")}


def _is_identity(told: Mapping[str, Any]) -> bool:
    found = told.get("settings")
    return isinstance(found, dict) and type(found.get("train.epochs")) is int


def _differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for name in here:
        free = name in FREE or _is_encoded(name, there, here)
        if not free and there.get(name) != here[name]:
            yield _difference(name, there, here)


def _is_encoded(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether a text, of whatever name, may be the one that is encoded: its digest will tell."""
    return name == "corpus.name" and "encoded" in (there.get(name), here[name])


def _difference(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    return f"{name} (there {_short(there.get(name))}, here {_short(here[name])})"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
