"""The one reader of YAML: text in; plain values out, with the place of every setting.

Scalars follow YAML 1.2, decimals only: `1e-3` is a number; `no`, `017`, `12:30`, `1_000`, `0x10`
and dates stay text. PyYAML cuts the text into events and nothing more: values are made here, so
no tag can build an object, no alias can multiply, no merge key can explode, and no loader that
other code shares is changed. Anchors, aliases, merge keys, tags, other encodings, deep nesting
and big files are refused at once; duplicate keys are collected, for the config to report with
whatever else is wrong.
"""

import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from w2v.errors import ConfigError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8
MAX_DIGITS = 100
MAX_SHOWN = 60
MAX_PROBLEMS = 50

KeyPath = tuple[str | int, ...]
NUMBER = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
YAML_TAG = "tag:yaml.org,2002:"
_SURROGATE = re.compile("[\ud800-\udfff]")


class Place(NamedTuple):
    """Where a setting stands: line and column from 1 in a file, or an option (line 0)."""

    source: str
    line: int = 0
    column: int = 0
    spelled: str = ""  # an unquoted scalar as it was written

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class Problem(NamedTuple):
    """Something wrong that does not stop the reading."""

    place: Place
    what: str


class Document(NamedTuple):
    """What was read; `places` has an entry for each key and each list item."""

    source: str
    values: dict[str, Any]
    places: dict[KeyPath, Place]
    problems: list[Problem]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A text on its way to values."""

    source: str
    is_file: bool
    places: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, mark: Any) -> Place:
        """The place of a PyYAML mark, whose line and column count from 0."""
        if self.is_file:
            return Place(self.source, mark.line + 1, mark.column + 1)
        return Place(self.source)

    def note(self, path: KeyPath, start: Any, value: Any) -> None:
        """Keeps the place of `path`, which begins with the event `start`; the first one stays."""
        is_plain = isinstance(value, yaml.ScalarEvent) and value.style is None
        spelled = value.value if is_plain else ""
        self.places.setdefault(path, self.place(start.start_mark)._replace(spelled=spelled))


def read_yaml(path: Path) -> Document:
    """Reads a YAML file whose root is a mapping.

    Raises:
        ConfigError: the file cannot be read, or is not the plain YAML that the module describes;
            the message opens with `file:line:column`.
    """
    source = printable(str(path))
    reading = _Reading(source, is_file=True)
    values = _document(reading, _text(path, source), ())
    if not isinstance(values, dict):
        found = {list: "a list", type(None): "nothing"}.get(type(values), "a single value")
        raise ConfigError(f"{source}:1:1: expected a mapping of sections; found {found}")
    return Document(source, values, reading.places, reading.problems)


def read_override(override: str) -> Document:
    """Reads `section.key=value`, as `--set` takes it; the value is YAML and may contain `=`.

    Every place of the result is the option itself.

    Raises:
        ConfigError: there is no key, no `=`, or the value is not plain YAML.
    """
    source = f"--set {shown(override)}"
    dotted, equals, text = override.partition("=")
    path = tuple(dotted.strip().split("."))
    if not equals or not all(path) or len(path) > MAX_DEPTH:
        raise ConfigError(f"{source}: expected SECTION.KEY=VALUE, for example train.epochs=3")
    if _SURROGATE.search(dotted):  # an argument that was no UTF-8
        raise ConfigError(f"{source}: the name of the setting is not valid UTF-8")
    reading = _Reading(source, is_file=False)
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ConfigError(f"{source}: the value is over {MAX_BYTES} bytes")
    value = _document(reading, text, path)
    for size in range(len(path), 0, -1):
        reading.places.setdefault(path[:size], Place(source))
        value = {path[size - 1]: value}
    return Document(source, value, reading.places, reading.problems)


def overlay(documents: Iterable[Document]) -> tuple[dict[str, Any], dict[KeyPath, Place]]:
    """Lays documents over one another, later settings over earlier ones: values and places.

    A section that is no mapping stays what it is, for whoever checks it to report.
    """
    values: dict[str, Any] = {}
    places: dict[KeyPath, Place] = {}
    for document in documents:
        for name, new in document.values.items():
            if name not in values or not isinstance(new, dict):
                values[name], places[name,] = new, document.places[name,]
            elif isinstance(values[name], dict):
                values[name] = values[name] | new
        places |= {path: place for path, place in document.places.items() if len(path) > 1}
    return values, places


def refusal(problems: Sequence[Problem], documents: Sequence[Document]) -> ConfigError:
    """One error for all problems, a line each: file first, by line, then options in their order."""
    order = {document.source: rank for rank, document in enumerate(documents)}
    problems = sorted(problems, key=lambda found: (order[found.place.source], found.place[1:3]))
    lines = [f"{place}: {what}" for place, what in problems[:MAX_PROBLEMS]]
    if len(problems) == 1:
        return ConfigError(lines[0])
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"and {len(problems) - MAX_PROBLEMS} more")
    first = problems[0].place
    where = first.source if first.line else "the options"
    return ConfigError("\n".join([f"{len(problems)} problems in {where}", *lines]))


def as_scalar(text: str) -> str | float | bool | None:
    """What an unquoted scalar means: null, true, false, a decimal number, or itself."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if NUMBER.fullmatch(text):
        return float(text) if set(text) & set(".eE") else int(text)
    return text


def printable(text: str) -> str:
    """`text` on one line, with anything that a terminal could choke on escaped."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def shown(text: str, *, limit: int = MAX_SHOWN) -> str:
    """`text` on one line and short enough for a message."""
    text = printable(text[: limit + 1])
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _text(path: Path, source: str) -> str:
    """The text of a regular file of bounded size; a FIFO or a device is not even opened."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ConfigError(f"{source}: expected a YAML file; found a folder")
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{source}: expected a YAML file; found a pipe or a device")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{source}: no such file") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{source}: cannot be read: {reason}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{source}: is over {MAX_BYTES} bytes, too big for a config")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{source}:1:1: is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8-sig")
        place = _place_after(source, before)
        raise ConfigError(f"{place}: is not valid UTF-8; save the file as UTF-8") from error


def _place_after(source: str, before: str) -> Place:
    """The place that follows the text `before`."""
    lines = re.split(r"\r\n|\r|\n", before)
    return Place(source, len(lines), len(lines[-1]) + 1)


def _events(reading: _Reading, text: str) -> Iterator[Any]:
    """PyYAML's events; what it cannot read becomes a ConfigError with a place."""
    place = Place(reading.source, 1, 1) if reading.is_file else Place(reading.source)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            place = reading.place(event.end_mark)
            yield event
    except yaml.reader.ReaderError as error:
        if reading.is_file:
            place = _place_after(reading.source, text[: error.position])
        raise ConfigError(
            f"{place}: the character U+{ord(text[error.position]):04X} has no place in YAML"
        ) from error
    except yaml.MarkedYAMLError as error:
        place = reading.place(error.problem_mark) if error.problem_mark else place
        raise ConfigError(f"{place}: {_complaint(error)}") from error
    except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF"
        raise ConfigError(f"{place}: what follows is not valid YAML: {error}") from error


def _complaint(error: yaml.MarkedYAMLError) -> str:
    if "'\\t'" in (error.problem or ""):
        return "a tab cannot indent YAML; use spaces"
    if error.context == "while scanning an alias":
        return "text that begins with * needs quotes"
    context = f" ({error.context})" if error.context else ""
    return f"is not valid YAML: {shown(f'{error.problem}{context}', limit=2 * MAX_SHOWN)}"


def _document(reading: _Reading, text: str, path: KeyPath) -> Any:
    """The value of the only document in `text`; None where there is none."""
    events = _events(reading, text)
    value, documents = None, 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _stop(reading, event, "a second document; keep one")
            if event.tags or event.version not in (None, (1, 2)):
                raise _stop(reading, event, "a % directive; w2v reads plain YAML 1.2")
            first = next(events)
            reading.note(path, first, first)
            value = _value(reading, events, first, path)
    return value


def _value(reading: _Reading, events: Iterator[Any], event: Any, path: KeyPath) -> Any:
    """The value that begins with `event`."""
    if isinstance(event, yaml.AliasEvent):
        raise _stop(reading, event, f"alias *{shown(str(event.anchor))}: write the value out")
    if event.anchor is not None:
        raise _stop(reading, event, f"anchor &{shown(event.anchor)}: remove it")
    if event.tag is not None:
        tag = event.tag.replace(YAML_TAG, "!!")
        raise _stop(reading, event, f"tag {shown(tag)}: remove it")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(reading, event)
    if len(path) >= MAX_DEPTH:
        raise _stop(reading, event, f"nested more than {MAX_DEPTH} deep")
    if isinstance(event, yaml.MappingStartEvent):
        return _mapping(reading, events, path)
    return _sequence(reading, events, path)


def _scalar(reading: _Reading, event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if "\0" in text or _SURROGATE.search(text):
        raise _stop(reading, event, "an escape that stands for no character")
    if event.style is not None:
        return text
    if len(text) > MAX_DIGITS and NUMBER.fullmatch(text):
        raise _stop(reading, event, f"a number of more than {MAX_DIGITS} digits")
    return as_scalar(text)


def _sequence(reading: _Reading, events: Iterator[Any], path: KeyPath) -> list[Any]:
    items: list[Any] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        item_path = (*path, len(items))
        reading.note(item_path, event, event)
        items.append(_value(reading, events, event, item_path))
    return items


def _mapping(reading: _Reading, events: Iterator[Any], path: KeyPath) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _key(reading, events, event, path)
        key_path = (*path, key)
        if key in mapping:
            where = f"; first at line {reading.places[key_path].line}" if reading.is_file else ""
            what = f"duplicate key '{shown(key)}'{where}"
            reading.problems.append(Problem(reading.place(event.start_mark), what))
        value = next(events)
        reading.note(key_path, event, value)
        mapping.setdefault(key, _value(reading, events, value, key_path))
    return mapping


def _key(reading: _Reading, events: Iterator[Any], event: Any, path: KeyPath) -> str:
    is_plain = isinstance(event, yaml.ScalarEvent) and event.style is None
    if is_plain and event.value == "<<":
        raise _stop(reading, event, "a merge key (<<): write the settings out")
    key = _value(reading, events, event, (*path, ""))
    if not isinstance(key, str):
        found = f"'{shown(event.value)}'" if is_plain else "a list or a mapping"
        raise _stop(reading, event, f"expected a name as key; found {found}")
    return key


def _stop(reading: _Reading, event: Any, what: str) -> ConfigError:
    return ConfigError(f"{reading.place(event.start_mark)}: {what}")
