"""How a config file and its overrides become a `Config`, or one error that lists all problems.

Enters: the name of a YAML file, `--set` options, named flags. Leaves: a `Config` that is right in
every part, or a `ConfigError` with a line for each thing that is wrong, at its place. The words of
an error are made from the schema in `config`, so they cannot disagree with it.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from w2v.config import LEAVES, SECTIONS, Config, disagreements
from w2v.errors import ConfigError
from w2v.loader import (
    Document,
    KeyPath,
    Place,
    Problem,
    as_scalar,
    overlay,
    read_override,
    read_yaml,
    refusal,
    shown,
)

DEFAULT_NAME = "quickstart.yaml"
LOCAL_NAME = "w2v.yaml"
SIMILAR = 0.7  # difflib ratio from which a misspelling is taken for a name


class Loaded(NamedTuple):
    """A config, the file it came from, how that file was chosen, and where settings were set."""

    config: Config
    path: Path
    chosen: str
    places: Mapping[KeyPath, Place]


def load_config(
    name: str | None, overrides: Sequence[str] = (), *, flags: Mapping[str, Any] | None = None
) -> Loaded:
    """Reads a config: defaults, then the file, then `overrides`, then `flags`; the last one wins.

    Args:
        name: a path, or the name of a shipped config; None: `w2v.yaml` of the current folder
            where there is one, else the shipped quickstart.
        overrides: `section.key=value` each, as `--set` takes them.
        flags: values of named options by setting, `{"train.device": "cpu"}`; None: not given.

    Raises:
        ConfigError: no such file, not plain YAML, or settings that cannot be: all of them, each
            on a line with its place.
    """
    path, chosen = find_config(name)
    documents = [read_yaml(path), *map(read_override, overrides)]
    documents += [_flag(key, value) for key, value in (flags or {}).items() if value is not None]
    values, places = overlay(documents)
    sections, problems = _check(values, places)
    problems += [problem for document in documents for problem in document.problems]
    if problems:
        raise refusal(problems, documents)
    return Loaded(Config(**sections), path, chosen, places)


def find_config(name: str | None) -> tuple[Path, str]:
    """The file that `name` means, and how it was chosen. Raises `ConfigError` if there is none."""
    shipped = shipped_folder()
    if name is None:
        if _is_there(Path(LOCAL_NAME)):
            return Path(LOCAL_NAME), "found in the current folder"
        return shipped / DEFAULT_NAME, f"shipped; no --config, and no {LOCAL_NAME} here"
    path = Path(name)
    if _is_there(path):
        return path, "given by --config"
    is_bare = path.name == name
    if is_bare and _is_there(shipped / name):
        return shipped / name, "shipped, given by --config"
    names = sorted(entry.name for entry in shipped.glob("*.yaml"))
    known = {entry.name for entry in path.parent.glob("*.yaml")} | set(names if is_bare else ())
    near = f"{path.name}.yaml" if f"{path.name}.yaml" in known else _near(path.name, sorted(known))
    guess = f"; did you mean '{shown(str(path.parent / near))}'?" if near else ""
    raise ConfigError(
        f"no config file '{shown(name)}'{guess}", hint=f"shipped with w2v: {', '.join(names)}"
    )


def shipped_folder() -> Path:
    """The configs that come with w2v: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _is_there(path: Path) -> bool:
    """Whether there is something to read, or to complain about, at `path`."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


def _flag(setting: str, value: Any) -> Document:
    """A named option as an override: `--device` is `train.device`."""
    section, key = setting.split(".")
    place = Place(f"--{key} {shown(str(value))}")
    plain = str(value) if isinstance(value, Path) else value
    return Document(
        place.source, {section: {key: plain}}, {(section,): place, (section, key): place}, []
    )


def _check(
    values: Mapping[str, Any], places: Mapping[KeyPath, Place]
) -> tuple[dict[str, Any], list[Problem]]:
    """The sections, with defaults where something is wrong, and all that is wrong."""
    sections: dict[str, Any] = {}
    wrong: dict[KeyPath, str] = {}
    for name in values.keys() - SECTIONS.keys():
        wrong[name,] = f"{shown(name)}: unknown section; {_guess(name, SECTIONS)}"
    for name, section in SECTIONS.items():
        found = values.get(name, {})
        if not isinstance(found, dict):
            what = f"expected a section of settings; found {_found(found, places[name,])}"
            wrong[name,], found = f"{name}: {what}", {}
        wrong |= _wrong_settings(name, section, found, places)
        bad = {path[1] for path in wrong if path[0] == name and len(path) > 1}
        right = {key: value for key, value in found.items() if key not in bad}
        sections[name] = section.model_validate(right)
    problems = [Problem(places[path], what) for path, what in wrong.items()]
    tainted = {path[:2] for path in wrong}
    judged = (sections[name] for name in ("corpus", "model", "sampling", "train", "distributed"))
    for pair, what in disagreements(*judged):
        if tainted.isdisjoint([*pair, *(path[:1] for path in pair)]):
            written = [places[path] for path in pair if path in places]
            last = max(written, key=lambda place: (not place.line, place))
            problems.append(Problem(last, what))
    return sections, problems


def _wrong_settings(
    name: str, section: type[BaseModel], values: dict[str, Any], places: Mapping[KeyPath, Place]
) -> dict[KeyPath, str]:
    """What is wrong with each setting of a section, in the words of its schema."""
    try:
        section.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    else:
        return {}
    schemas = section.model_json_schema()["properties"]
    rules = {d["loc"][0]: str(d["ctx"]["error"]) for d in details if d["type"] == "value_error"}
    wrong: dict[KeyPath, str] = {}
    for key in dict.fromkeys(str(detail["loc"][0]) for detail in details):
        if key not in schemas:
            unknown = f"unknown setting; {_guess(key, schemas)}"
            wrong[name, key] = f"{name}.{shown(key)}: {unknown}"
        elif key in rules:
            found = _found(values[key], places[name, key])
            wrong[name, key] = f"{name}.{key}: {rules[key]}; found {found}"
        elif items := _wrong_items(values[key], schemas[key]):
            for item in items:
                place = places.get((name, key, item), places[name, key])
                what = _mismatch(values[key][item], place, {"type": "string"})
                wrong[name, key, item] = f"{name}.{key}[{item}]: {what}"
        else:
            what = _mismatch(values[key], places[name, key], schemas[key])
            wrong[name, key] = f"{name}.{key}: {what}"
    return wrong


def _wrong_items(value: Any, schema: Mapping[str, Any]) -> list[int]:
    """Which items are no text, where a list of texts was allowed and given."""
    is_list = isinstance(value, list) and any("items" in choice for choice in _choices(schema))
    items = value if is_list else []
    return [index for index, item in enumerate(items) if not isinstance(item, str) or not item]


def _mismatch(value: Any, place: Place, schema: Mapping[str, Any]) -> str:
    advice = _advice(value, place, schema)
    expected = ", or ".join(map(_expected, _choices(schema)))
    return f"expected {expected}; found {_found(value, place)}" + (f"; {advice}" if advice else "")


def _choices(schema: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    choices: Sequence[Mapping[str, Any]] = schema.get("anyOf", [schema])
    return choices


def _expected(schema: Mapping[str, Any]) -> str:
    """A JSON Schema without alternatives, in words."""
    match schema:
        case {"enum": words}:
            return f"one of {', '.join(words)}"
        case {"const": word}:
            return str(word)
        case {"pattern": _}:
            return "64 hexadecimal digits"
        case {"type": "integer" | "number" as kind}:
            noun = "a whole number" if kind == "integer" else "a number"
            if "minimum" in schema and "maximum" in schema:
                return f"{noun} from {schema['minimum']} to {schema['maximum']}"
            above = f"{noun} above {schema['exclusiveMinimum']}"
            return f"{above}, at most {schema['maximum']}" if "maximum" in schema else above
    return {"boolean": "true or false", "array": "a list of texts", "string": "text"}.get(
        schema["type"], "null"
    )


def _found(value: Any, place: Place) -> str:
    """A value as the user knows it."""
    match value:
        case str():
            return f"'{shown(value)}'"
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a mapping"
        case None if not place.spelled:
            return "nothing"
    return shown(place.spelled or json.dumps(value))


def _advice(value: Any, place: Place, schema: Mapping[str, Any]) -> str:
    """What to write instead, where that can be told; otherwise nothing."""
    types = {choice["type"] for choice in _choices(schema)}
    words = [*schema.get("enum", [schema["const"]] if "const" in schema else [])]
    if not isinstance(value, str):
        if isinstance(value, float) and "integer" in types and value.is_integer():
            return f"write {int(value)}" if abs(value) < 1e15 else ""
        is_scalar = not isinstance(value, list | dict) and place.spelled
        is_text = "string" in types and not words
        return f"quote it: '{shown(place.spelled)}'" if is_scalar and is_text else ""
    folded = value.casefold()
    if words:
        near = _near(folded, words)
        return f"did you mean '{near}'?" if near else ""
    if "null" in types and folded in ("null", "none", "off", "no", "~"):
        return "write null"
    if types & {"integer", "number"}:
        if type(as_scalar(value)) in (int, float):
            return "remove the quotes"
        return "write a plain decimal" if re.match(r"[-+.]?[0-9]", value) else ""
    if "boolean" in types and folded in ("true", "yes", "on", "false", "no", "off"):
        return f"write {str(folded in ('true', 'yes', 'on')).lower()}"
    return ""


def _guess(key: str, own: Iterable[str]) -> str:
    """The setting that was probably meant by an unknown `key`, or those that there are."""
    own = list(own)
    near = LEAVES.get(key) or _near(key, own) or LEAVES.get(_near(key, LEAVES))
    return f"did you mean '{near}'?" if near else f"known: {', '.join(own)}"


def _near(word: str, among: Iterable[str]) -> str:
    """The one of `among` that looks most like `word`; empty where none does."""
    return next(iter(difflib.get_close_matches(word, list(among), n=1, cutoff=SIMILAR)), "")
