"""What a run is, told from its folder, finished or not: `w2v info`.

A `RunDir` enters; names and values leave, in an order for reading. Nothing is changed, and nothing
here needs torch. docs/figures.md says what each name means.
"""

import json
from typing import Any

from w2v import locks
from w2v.config import SETTINGS
from w2v.configfile import load_config
from w2v.errors import ConfigError, DataError, StorageError
from w2v.files import sha256, unreadable
from w2v.rundir import FILES, INFO, RunDir
from w2v.states import SchemaError, complete, verify

RESTORE = "the file was changed or damaged; copy the run again, or train it again"
EPOCH_KEYS = ("epoch", "loss", "heldout_loss", "centers", "words", "seconds")
LATER_KEYS = ("schema", "finished", "sha256", "min_count", "epochs")  # told otherwise, or elsewhere


def describe(run: RunDir) -> dict[str, Any]:
    """All that there is to tell of a run; values that JSON can hold.

    Raises:
        DataError: this is no run folder, or run.json is damaged.
        StorageError: a file may not be read.
    """
    info = run.read_info()
    saved = checkpoints(run)
    return {
        "run": str(run.path),
        "state": state(run, info),
        **{name: value for name, value in info.items() if name not in LATER_KEYS},
        "epochs": epochs(run),
        "checkpoints": saved,
        "files": files(run, info),
        "settings": settings(run),
    }


def state(run: RunDir, info: dict[str, Any]) -> str:
    """Whether training goes on just now, is finished, or was left off."""
    try:
        locks.require_free(run.path)
    except StorageError:
        return "training"
    return "finished" if info["finished"] else "unfinished"


def epochs(run: RunDir) -> list[dict[str, Any]]:
    """What metrics.jsonl tells of each epoch that ended; a last line cut short is passed over."""
    try:
        lines = run.metrics.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(run.metrics, error) from error
    found = []
    for line in lines:
        try:
            values = json.loads(line)
            if values["event"] == "epoch":
                found.append({key: values.get(key) for key in EPOCH_KEYS})
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # whether the file is what was written, `files` tells
    return found


def checkpoints(run: RunDir) -> list[dict[str, Any]]:
    """The states of training that are kept, the oldest first, and whether each is whole."""
    found = []
    for path in complete(run.checkpoints):
        step = epoch = None
        try:
            told = verify(path)
        except SchemaError:
            judged = "other version"
        except DataError:
            judged = "damaged"
        else:
            step, epoch, judged = told.step, told.report.epoch, "whole"
        found.append({"file": path.name, "step": step, "epoch": epoch, "state": judged})
    return found


def files(run: RunDir, info: dict[str, Any]) -> list[dict[str, Any]]:
    """The files of the run, and whether each is what was written.

    run.json vouches for the files of a finished run; those of an unfinished one still grow.
    """
    digests = info.get("sha256")
    digests = digests if isinstance(digests, dict) else {}
    found = []
    for name in FILES:
        path = run.path / name
        if not path.exists() and name not in digests:
            continue
        size = digest = None
        try:
            if path.exists():
                size, digest = path.stat().st_size, sha256(path)
        except OSError as error:
            raise unreadable(path, error) from error
        judged = _judged(digest, digests.get(name))
        found.append({"file": name, "bytes": size, "sha256": digest, "state": judged})
    return found


def settings(run: RunDir) -> dict[str, Any]:
    """Every setting by its full name; none where config.yaml is not to be read."""
    if not run.config.exists():
        return {}
    try:
        config = load_config(str(run.config)).config
    except ConfigError:
        return {}
    return {f"{name}.{key}": getattr(getattr(config, name), key) for name, key in SETTINGS}


def require_whole(run: RunDir, about: dict[str, Any]) -> None:
    """Refuses a finished run of which a file is not what was written.

    Args:
        run: the run.
        about: what `describe` told of it.

    Raises:
        DataError: a file is missing or damaged; it names the first.
    """
    for file in about["files"]:
        path, found = run.path / file["file"], file["sha256"]
        if file["state"] == "missing":
            raise DataError(f"{path} is missing", hint=RESTORE)
        if file["state"] == "damaged":
            expected = run.read_info()["sha256"][file["file"]]
            raise DataError(
                f"checksum mismatch: {path} has SHA-256 {found}, {INFO} says {expected}",
                hint=RESTORE,
            )


def resuming(run: RunDir, about: dict[str, Any]) -> list[str] | None:
    """The words of the command that goes on with an unfinished run; None where nothing can."""
    whole = any(saved["state"] == "whole" for saved in about["checkpoints"])
    if about["state"] != "unfinished" or not whole:
        return None
    return ["w2v", "train", "--config", str(run.config), "--run", str(run.path), "--resume"]


def _judged(found: str | None, expected: str | None) -> str:
    if found is None:
        return "missing"
    if expected is None:
        return "unsealed"
    return "whole" if found == expected else "damaged"
