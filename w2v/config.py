"""The settings: one frozen section per stage, and how a file and overrides become a `Config`.

Enters: the name of a YAML file, `--set` options, named flags. Leaves: a `Config` that is right in
every part, or one `ConfigError` that lists all that is wrong, each with its place. Defaults,
ranges and their meaning are written here alone; the words of an error are made from the schema.
"""

import difflib
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

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
MAX_COUNT = 10**9  # far above any vocabulary, far below the end of int64
STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def _token_pattern(pattern: str) -> str:
    """A regex that compiles and takes at least one character, or a ValueError that says why."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            matches_nothing = re.compile(pattern).fullmatch("") is not None
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from error
    if matches_nothing:
        raise ValueError("matches empty text, but a token has at least one character")
    return pattern


Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
TokenPattern = Annotated[str, AfterValidator(_token_pattern)]


class CorpusSection(BaseModel):
    """Where the text comes from and how a line becomes tokens."""

    model_config = STRICT
    name: Literal["ptb", "pydoc", "text"] = Field(
        "pydoc", description="ptb: Penn Treebank; pydoc: Python's documentation; text: your files"
    )
    path: Text | Annotated[list[Text], Field(min_length=1)] | None = Field(
        None, description="text only: a file, folder or glob, or a list of them"
    )
    url: Text | None = Field(None, description="ptb only: another address of the archive")
    sha256: Sha256 | None = Field(None, description="ptb only: SHA-256 of the archive at url")
    lowercase: bool = Field(False, description="turn every token into lower case")
    token_pattern: TokenPattern | None = Field(
        None, description="a regex whose matches are the tokens; null: split at white space"
    )
    heldout_every: Annotated[int, Field(ge=2, le=MAX_COUNT)] | None = Field(
        100, description="pydoc, text: every n-th line is set aside for the held-out loss"
    )


class VocabSection(BaseModel):
    """Which words get vectors."""

    model_config = STRICT
    min_count: Count = Field(10, description="rarer words become <unk>")
    max_size: Count | None = Field(None, description="keep only so many of the commonest words")


class SamplingSection(BaseModel):
    """Which contexts and negatives a center meets."""

    model_config = STRICT
    window: int = Field(5, ge=1, le=100, description="largest distance of center and context")
    negatives: int = Field(5, ge=1, le=1000, description="noise words per context (K)")
    noise_power: float = Field(0.75, ge=0, le=2, description="noise is drawn by count ** power")
    subsample: Annotated[float, Field(gt=0, le=1)] | None = Field(
        1e-4, description="frequency above which words are thinned out (t); null: off"
    )
    subsample_formula: Literal["paper", "word2vec"] = Field(
        "paper", description="share kept; paper: sqrt(t/f), word2vec: sqrt(t/f) + t/f"
    )
    block: int = Field(1, ge=1, le=1024, description="centers that share targets (T); 1: textbook")
    shared_negatives: int = Field(64, ge=1, le=65536, description="noise words per block > 1 (S)")
    avoid_contexts: bool = Field(True, description="a center's negatives are none of its contexts")


class ModelSection(BaseModel):
    """The two tables."""

    model_config = STRICT
    dim: int = Field(100, ge=1, le=10_000, description="length of a vector (D)")
    init: Literal["xavier", "word2vec"] = Field(
        "xavier", description="first values; word2vec: centers within 0.5/D, contexts zero"
    )
    init_from: None = Field(None, description="vectors to start from; only null in this version")
    freeze: Literal["none"] = Field(
        "none", description="words whose vectors stay; only none in this version"
    )


class TrainSection(BaseModel):
    """How the tables are trained, and on what."""

    model_config = STRICT
    kernel: Literal["auto", "bmm"] = Field("auto", description="bmm: torch, on any device")
    epochs: int = Field(5, ge=1, le=10_000, description="passes over the corpus")
    batch_size: int = Field(512, ge=1, le=10**7, description="centers in a step")
    optimizer: Literal["adam", "sgd", "adagrad"] = Field("adam", description="the update rule")
    lr: float = Field(0.002, gt=0, le=10, description="learning rate")
    lr_schedule: Literal["constant", "linear"] = Field(
        "constant", description="linear: falls to almost nothing over the run"
    )
    objective: Literal["center_mean", "pair_sum"] = Field(
        "center_mean", description="of a center's targets; center_mean: mean, pair_sum: sum"
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="start of every random stream")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: a GPU if any")
    threads: Threads | None = Field(None, description="CPU threads; null: as torch chooses")


class OutputSection(BaseModel):
    """Where a run is written, and how often."""

    model_config = STRICT
    run: Text | None = Field(None, description="the run folder; null: a new one under runs/")
    checkpoint_every_s: float = Field(60.0, gt=0, description="seconds between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, le=1000, description="newest checkpoints that are kept")


def _disagreements(
    corpus: CorpusSection, sampling: SamplingSection, train: TrainSection
) -> Iterator[tuple[tuple[KeyPath, KeyPath], str]]:
    """The rules between settings: which two disagree, and how."""
    name = ("corpus", "name")
    if corpus.name == "text" and corpus.path is None:
        what = "corpus.name=text needs corpus.path: a file, a folder, a glob, or a list of them"
        yield (name, ("corpus", "path")), what
    for key, owner in (("path", "text"), ("url", "ptb"), ("sha256", "ptb")):
        if corpus.name != owner and getattr(corpus, key) is not None:
            what = f"corpus.{key} needs corpus.name={owner}; found corpus.name={corpus.name}"
            yield (name, ("corpus", key)), what
    if train.batch_size % sampling.block:
        sizes = f"train.batch_size={train.batch_size} is not a multiple of sampling.block"
        yield (("train", "batch_size"), ("sampling", "block")), f"{sizes}={sampling.block}"


class Config(BaseModel):
    """All settings of a run."""

    model_config = STRICT
    corpus: CorpusSection = Field(default_factory=CorpusSection, description="the text")
    vocab: VocabSection = Field(default_factory=VocabSection, description="the words")
    sampling: SamplingSection = Field(default_factory=SamplingSection, description="the draws")
    model: ModelSection = Field(default_factory=ModelSection, description="the tables")
    train: TrainSection = Field(default_factory=TrainSection, description="the loop")
    output: OutputSection = Field(default_factory=OutputSection, description="the run folder")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for _, what in _disagreements(self.corpus, self.sampling, self.train):
            raise ValueError(what)
        return self


SECTIONS: dict[str, type[BaseModel]] = {name: type(section) for name, section in Config()}
SETTINGS = [(name, key) for name, section in SECTIONS.items() for key in section.model_fields]
LEAVES = {key: f"{name}.{key}" for name, key in SETTINGS}
PLAIN_TEXT = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")


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


def dump_yaml(config: Config, *, notes: Mapping[str, str] | None = None) -> str:
    """The whole config as YAML that `load_config` reads back to an equal one.

    Args:
        config: what to write.
        notes: comments to put behind settings, `{"train.lr": "default"}`.
    """
    lines = []
    for name in SECTIONS:
        lines.append(f"{name}:")
        for key, value in getattr(config, name):
            note = (notes or {}).get(f"{name}.{key}")
            line = f"  {key}: {_as_yaml(value)}"
            lines.append(f"{line:<32}  # {note}" if note else line)
    return "\n".join(lines) + "\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a config file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _as_yaml(value: Any) -> str:
    if isinstance(value, str) and PLAIN_TEXT.fullmatch(value) and as_scalar(value) == value:
        return value
    if isinstance(value, str):
        text: str = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9)
        return text.rstrip("\n")
    if isinstance(value, list):
        return f"[{', '.join(map(_as_yaml, value))}]"
    # 1e-05 is text to readers of YAML 1.1, 1.0e-05 is a number to all.
    return re.sub(r"^(\d+)e", r"\1.0e", json.dumps(value))


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
    for pair, what in _disagreements(sections["corpus"], sections["sampling"], sections["train"]):
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
