"""The states of training that lie in a run's `checkpoints/`: which there are, what they tell.

A folder enters; the paths of its checkpoints and what their JSON tells leave. Nothing here needs
torch, so that asking a run is quick; `checkpoints` has the tensors. Older checkpoints go here, too.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_origin

from w2v.errors import DataError
from w2v.files import sha256, sweep_temporaries, unreadable
from w2v.reporting import Place, Report

SCHEMA = 2  # 1 could not be gone on from
STATE_NAME = re.compile(r"step-([0-9]{1,18})\.json")
MOST_STATE_BYTES = 1 << 20  # of a JSON; ours have some thousand
NO_DIGEST = b"0" * 64
DIGEST = re.compile(rb'\n  "digest": "([0-9a-f]{64})"\n}\n\Z')


class State(NamedTuple):
    """What the JSON of a checkpoint tells."""

    schema: int
    step: int
    sha256: str  # of the tensors
    run: dict[str, Any]
    report: Report


Fields = TypeVar("Fields", Place, Report, State)


def verify(path: Path) -> State:
    """What the JSON of a checkpoint tells, once it and the tensors are what was written.

    Raises:
        DataError: a file is missing, damaged, or of another schema (`read`).
        StorageError: a file may not be read.
    """
    state = read(path)
    tables = tensors_of(path)
    try:
        found = sha256(tables)
    except OSError as error:
        raise unreadable(tables, error) from error
    if found != state.sha256:
        raise DataError(f"{tables} is damaged: its SHA-256 is not that of {path.name}")
    return state


def read(path: Path) -> State:
    """The JSON of a checkpoint, its own digest checked.

    Raises:
        DataError: it is missing or damaged; a `SchemaError`: whole, of another version of w2v.
        StorageError: it may not be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_STATE_BYTES + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        told = _unsealed(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if told.get("schema") != SCHEMA:
        raise SchemaError(f"{path} has schema {told.get('schema')!r}, expected {SCHEMA}")
    try:
        place = _checked(Place, told["report"]["place"])
        report = _checked(Report, told["report"] | {"place": place})
        return _checked(State, {name: told[name] for name in State._fields} | {"report": report})
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error!r}") from error


def _checked(kind: type[Fields], values: Mapping[str, Any]) -> Fields:
    """A named tuple of these values, once each is of its field's type and no number is negative."""
    hints: dict[str, Any] = kind.__annotations__
    for name, wanted in hints.items():
        value = values[name]
        kinds: tuple[type, ...] = (get_origin(wanted) or wanted,)
        if wanted in (float, float | None):
            kinds = (float, int) if wanted is float else (float, int, NoneType)
        fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if not fits or (isinstance(value, int | float) and not 0 <= value < 2**63):
            raise TypeError(f"{name} is {value!r:.40}")
    return kind(**values)


class SchemaError(DataError):
    """A checkpoint of another version of w2v."""


def tensors_of(path: Path) -> Path:
    """The file of tensors that belongs to the JSON of a checkpoint."""
    return path.with_suffix(".safetensors")


def prune(folder: Path, *, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints, and what a killed process left behind."""
    states = complete(folder)
    for state in states[: max(0, len(states) - keep)]:
        state.unlink(missing_ok=True)
    for tensors in folder.glob("step-*.safetensors"):
        state = tensors.with_suffix(".json")
        if STATE_NAME.fullmatch(state.name) and tensors.is_file() and not state.exists():
            tensors.unlink(missing_ok=True)
    sweep_temporaries(folder)


def drop_after(folder: Path, *, step: int) -> None:
    """Removes the checkpoints after a step: a run goes on from there, they are not its own."""
    for state in complete(folder):
        if _step(state) > step:
            state.unlink(missing_ok=True)
    prune(folder, keep=len(complete(folder)))


def complete(folder: Path) -> list[Path]:
    """The JSON files of the checkpoints in `folder`, by step, oldest first."""
    found = folder.glob("step-*.json")
    named = (path for path in found if STATE_NAME.fullmatch(path.name) and path.is_file())
    return sorted(named, key=_step)


def _step(state: Path) -> int:
    return int(state.stem.removeprefix("step-"))


def sealed(told: Mapping[str, object]) -> bytes:
    """As JSON that holds its own digest, in the last line but one."""
    text = json.dumps({**told, "digest": NO_DIGEST.decode()}, indent=2, allow_nan=False) + "\n"
    blank = text.encode()
    digest = hashlib.sha256(blank).hexdigest().encode()
    return DIGEST.sub(b'\n  "digest": "' + digest + b'"\n}\n', blank)


def _unsealed(data: bytes) -> dict[str, Any]:
    """The JSON, if its digest is right. Raises ValueError."""
    match = DIGEST.search(data)
    if len(data) > MOST_STATE_BYTES or match is None:
        raise ValueError("it does not end with its digest")
    blank = data[: match.start(1)] + NO_DIGEST + data[match.end(1) :]
    if hashlib.sha256(blank).hexdigest().encode() != match[1]:
        raise ValueError("its SHA-256 is not the one it tells")
    told = json.loads(data)
    if not isinstance(told, dict):
        raise ValueError("no object")
    return told
