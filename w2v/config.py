"""The settings: one frozen section per stage; defaults, ranges and meaning are written here alone.

Values enter, a `Config` that is right in every part leaves; `dump_yaml` writes one down again,
`json_schema` describes it to editors. `configfile` reads it from YAML files and the command line.
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from w2v.loader import KeyPath, as_scalar
from w2v.names import (
    DeviceName,
    Freeze,
    Init,
    KeepFormula,
    KernelName,
    Merge,
    Objective,
    OptimizerName,
    Schedule,
)

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


IN_PLACE = {"hogwild": "cpu", "triton": "cuda"}  # kernels that update in place: on what device
IN_PLACE_OPTIMIZERS = {"sgd", "adagrad"}
MOST_TRITON_BLOCK = 32  # centers of a block; with more, one program runs out of registers

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
TokenPattern = Annotated[str, AfterValidator(_token_pattern)]


class CorpusSection(BaseModel):
    """Where the text comes from and how a line becomes tokens."""

    model_config = STRICT
    name: Literal["ptb", "pydoc", "text", "encoded"] = Field(
        "pydoc",
        description="ptb: Penn Treebank; pydoc: Python's documentation; text: your files; "
        "encoded: a folder of w2v corpus encode",
    )
    path: Text | Annotated[list[Text], Field(min_length=1)] | None = Field(
        None, description="text: a file, folder or glob, or a list of them; encoded: the folder"
    )
    url: Text | None = Field(None, description="ptb only: another address of the archive")
    sha256: Sha256 | None = Field(None, description="ptb only: SHA-256 of the archive at url")
    lowercase: bool = Field(False, description="turn every token into lower case")
    token_pattern: TokenPattern | None = Field(
        None, description="a regex whose matches are the tokens; null: split at white space"
    )
    heldout_every: Annotated[int, Field(ge=2, le=MAX_COUNT)] | None = Field(
        None, description="pydoc, text: every n-th line is set aside for the held-out loss"
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
    subsample_formula: KeepFormula = Field(
        "paper", description="share kept; paper: sqrt(t/f), word2vec: sqrt(t/f) + t/f"
    )
    block: int = Field(1, ge=1, le=1024, description="centers that share targets (T)")
    shared_negatives: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        None, description="noise words that a block shares; null: K for each context (textbook)"
    )
    avoid_contexts: bool = Field(True, description="a center's negatives are none of its contexts")
    redraw: bool = Field(
        True, description="draw anew in every epoch; false: once, as the chapter does"
    )


class ModelSection(BaseModel):
    """The two tables."""

    model_config = STRICT
    dim: int = Field(100, ge=1, le=10_000, description="length of a vector (D)")
    init: Init = Field(
        "xavier", description="first values; word2vec: centers within 0.5/D, contexts zero"
    )
    init_from: Text | None = Field(
        None, description="a vector file or run folder to start from; other words as init says"
    )
    freeze: Freeze = Field(
        "none", description="rows that stay; pretrained: those of init_from, all: every center's"
    )
    max_norm: Annotated[float, Field(gt=0)] | None = Field(
        None, description="rows longer than this are shortened when a step uses them; null: off"
    )
    scale_grad_by_freq: bool = Field(
        False, description="divide a row's gradient by how often it occurs in the step"
    )


class TrainSection(BaseModel):
    """How the tables are trained, and on what."""

    model_config = STRICT
    kernel: KernelName = Field(
        "auto",
        description="bmm: torch, any device; hogwild: CPU threads; triton: GPU; auto: says which",
    )
    epochs: int = Field(5, ge=1, le=10_000, description="passes over the corpus")
    batch_size: Annotated[int, Field(ge=1, le=10**7)] | None = Field(
        512, description="centers in a step; null: as the kernel does best"
    )
    optimizer: OptimizerName = Field("adam", description="the update rule")
    lr: float = Field(0.002, gt=0, le=10, description="learning rate")
    lr_schedule: Schedule = Field(
        "constant", description="linear: falls to almost nothing over the run"
    )
    objective: Objective = Field(
        "center_mean", description="of a center's targets; center_mean: mean, pair_sum: sum"
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="start of every random stream")
    device: DeviceName = Field("auto", description="auto: a GPU if any")
    threads: Threads | None = Field(None, description="CPU threads; null: as torch chooses")


class DistributedSection(BaseModel):
    """How several processes train one model; it says nothing to one that is alone."""

    model_config = STRICT
    merge: Merge = Field(
        "tables",
        description="tables: each its share of the text, then merged; gradients: of each step, bmm",
    )
    sync_words: Count | None = Field(
        None, description="words of each process between two merges; null: as the kernel does best"
    )
    timeout_s: float = Field(
        60.0, gt=0, le=86_400, description="a process silent for so long has stopped"
    )


class OutputSection(BaseModel):
    """Where a run is written, and how often."""

    model_config = STRICT
    run: Text | None = Field(None, description="the run folder; null: a new one under runs/")
    checkpoint_every_s: float = Field(60.0, gt=0, description="seconds between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, le=1000, description="newest checkpoints that are kept")


def obstacles(
    kernel: KernelName,
    model: ModelSection,
    sampling: SamplingSection,
    train: TrainSection,
    distributed: DistributedSection,
) -> Iterator[tuple[str, str]]:
    """The settings that a kernel cannot honor: which, and what it needs instead."""
    if kernel not in IN_PLACE:
        return
    if distributed.merge == "gradients":
        yield "distributed.merge", "tables"
    if train.optimizer not in IN_PLACE_OPTIMIZERS:
        yield "train.optimizer", f"{' or '.join(sorted(IN_PLACE_OPTIMIZERS))}"
    if kernel == "hogwild" and train.batch_size is not None:
        yield "train.batch_size", "null: it updates after every few centers"
    if sampling.shared_negatives is None:
        yield "sampling.shared_negatives", "a number (16, with sampling.block=16)"
    if kernel == "triton" and sampling.block > MOST_TRITON_BLOCK:
        yield "sampling.block", f"at most {MOST_TRITON_BLOCK}"
    # Both speak of a step's rows, and a kernel that updates in place has no steps.
    if model.max_norm is not None:
        yield "model.max_norm", "null"
    if model.scale_grad_by_freq:
        yield "model.scale_grad_by_freq", "false"
    if train.device not in ("auto", IN_PLACE[kernel]):
        yield "train.device", IN_PLACE[kernel]


def disagreements(
    corpus: CorpusSection,
    model: ModelSection,
    sampling: SamplingSection,
    train: TrainSection,
    distributed: DistributedSection,
) -> Iterator[tuple[tuple[KeyPath, KeyPath], str]]:
    """The rules between settings: which two disagree, and how."""
    name = ("corpus", "name")
    if corpus.name == "text" and corpus.path is None:
        what = "corpus.name=text needs corpus.path: a file, a folder, a glob, or a list of them"
        yield (name, ("corpus", "path")), what
    if corpus.name == "encoded" and not isinstance(corpus.path, str):
        what = "corpus.name=encoded needs corpus.path: one folder that w2v corpus encode made"
        yield (name, ("corpus", "path")), what
    owners = {"path": ("text", "encoded"), "url": ("ptb",), "sha256": ("ptb",)}
    for key, names in owners.items():
        if corpus.name not in names and getattr(corpus, key) is not None:
            needs = f"corpus.{key} needs corpus.name={' or '.join(names)}"
            yield (name, ("corpus", key)), f"{needs}; found corpus.name={corpus.name}"
    if corpus.name == "ptb" and corpus.heldout_every is not None:
        what = "corpus.heldout_every must be null: ptb has a held-out text of its own"
        yield (name, ("corpus", "heldout_every")), what
    if model.freeze != "none" and model.init_from is None:
        what = f"model.freeze={model.freeze} needs model.init_from: the vectors that are to stay"
        yield (("model", "freeze"), ("model", "init_from")), what
    if sampling.block > 1 and sampling.shared_negatives is None:
        what = f"sampling.shared_negatives needs a number with sampling.block={sampling.block}"
        yield (("sampling", "block"), ("sampling", "shared_negatives")), f"{what} (64, say)"
    if train.batch_size is not None and train.batch_size % sampling.block:
        sizes = f"train.batch_size={train.batch_size} is not a multiple of sampling.block"
        yield (("train", "batch_size"), ("sampling", "block")), f"{sizes}={sampling.block}"
    sections: dict[str, BaseModel] = {
        "model": model, "sampling": sampling, "train": train, "distributed": distributed
    }  # fmt: skip
    for key, need in obstacles(train.kernel, model, sampling, train, distributed):
        owner, setting = key.split(".")
        found = _as_yaml(getattr(sections[owner], setting))
        what = f"train.kernel={train.kernel} needs {key} to be {need}; found {found}"
        yield (("train", "kernel"), (owner, setting)), what


class Config(BaseModel):
    """All settings of a run."""

    model_config = STRICT
    corpus: CorpusSection = Field(default_factory=CorpusSection, description="the text")
    vocab: VocabSection = Field(default_factory=VocabSection, description="the words")
    sampling: SamplingSection = Field(default_factory=SamplingSection, description="the draws")
    model: ModelSection = Field(default_factory=ModelSection, description="the tables")
    train: TrainSection = Field(default_factory=TrainSection, description="the loop")
    distributed: DistributedSection = Field(
        default_factory=DistributedSection, description="several processes"
    )
    output: OutputSection = Field(default_factory=OutputSection, description="the run folder")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        sections = self.corpus, self.model, self.sampling, self.train, self.distributed
        for _, what in disagreements(*sections):
            raise ValueError(what)
        return self


SECTIONS: dict[str, type[BaseModel]] = {name: type(section) for name, section in Config()}
SETTINGS = [(name, key) for name, section in SECTIONS.items() for key in section.model_fields]
LEAVES = {key: f"{name}.{key}" for name, key in SETTINGS}
PLAIN_TEXT = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")


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
