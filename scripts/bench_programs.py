"""The programs that are measured: how each is started, and what it leaves behind.

A program is a function from a folder and a seed to a command. The settings that programs share are
taken from one resolved w2v config, so that they are written once; `peer_values` names them, and the
command of a peer is a template in which they stand between braces:

    --peer 'word2vec.c=./word2vec -cbow 0 -train {corpus} -output {out} -size {dim} ...'

The template is cut like a shell would cut it, but no shell runs it. It must write vectors, as
word2vec text or binary, to {out}. Where it also leaves a `run.json` beside them (the keys of
`train_gensim.py`), its own timings are shown; otherwise the whole command is its training time.
"""

import re
import shlex
import shutil
import string
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from w2v.config import Config
from w2v.cores import usable_cores
from w2v.errors import ConfigError, DataError
from w2v.schedule import learning_rate
from w2v.sources import data_folder

CHAPTER = Path(__file__).with_name("chapter.py")
GENSIM = Path(__file__).with_name("train_gensim.py")
RUN = "run"  # within the folder of a training: what the program leaves
PEER_VECTORS = "vectors"
PEER_LR = 0.025  # word2vec.c's and gensim's for skip-gram; where w2v's optimizer is none of theirs
REQUIRED = ("corpus", "out")
BY_RUN = ("out", "seed")
OURS = "w2v"


class Program(NamedTuple):
    """One thing to measure."""

    name: str
    command: Callable[[Path, int], list[str]]  # of the folder for this training, and the seed
    vectors: str = RUN  # what to load, in that folder


class Template(NamedTuple):
    """The command line of a peer, cut into words, with names of settings between braces."""

    name: str
    words: tuple[str, ...]

    def fill(self, values: Mapping[str, object]) -> list[str]:
        """The words with the values in place."""
        return [word.format_map(values) for word in self.words]


def w2v_program(config: str, settings: list[str], *, name: str | None = None) -> Program:
    """`w2v train`, as a user would start it."""

    def command(folder: Path, seed: int) -> list[str]:
        start = [sys.executable, "-m", "w2v", "train", "-c", config, "--run", str(folder / RUN)]
        overrides = [f"--set={setting}" for setting in [*settings, f"train.seed={seed}"]]
        return [*start, "--force", *overrides]

    return Program(name or config, command)


def chapter_program() -> Program:
    """The textbook's loop on the Penn Treebank that the configs have put into place."""

    def command(folder: Path, seed: int) -> list[str]:
        places = [data_folder() / "ptb" / "ptb.train.txt", data_folder() / "ptb.zip"]
        corpus = next((place for place in places if place.is_file()), None)
        if corpus is None:
            raise DataError(f"--reference needs {' or '.join(map(str, places))}")
        start = [sys.executable, str(CHAPTER), "--corpus", str(corpus)]
        return [*start, "--out", str(folder / RUN), "--seed", str(seed)]

    return Program(CHAPTER.name, command, f"{RUN}/vectors.vec")


def gensim_program(values: Mapping[str, object]) -> Program:
    """gensim, at the settings of `values`."""
    if find_spec("gensim") is None:
        raise ConfigError("gensim is not installed: pip install 'w2v[dev]', or give --no-gensim")

    def command(folder: Path, seed: int) -> list[str]:
        start = [sys.executable, str(GENSIM), "--out", str(folder / RUN), "--seed", str(seed)]
        return start + [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]

    return Program("gensim", command, f"{RUN}/vectors.bin")


def peer_program(template: Template, values: Mapping[str, object]) -> Program:
    """A program of another kind."""

    def command(folder: Path, seed: int) -> list[str]:
        (folder / RUN).mkdir(parents=True)
        own = dict(zip(BY_RUN, (folder / RUN / PEER_VECTORS, seed), strict=True))
        return template.fill({**values, **own})

    return Program(template.name, command, f"{RUN}/{PEER_VECTORS}")


def peer_values(config: Config, *, corpus: Path, lr: float | None = None) -> dict[str, object]:
    """What every peer is told, by the names that stand in templates.

    A learning rate means the same to all only where w2v takes plain steps on sums of pairs. With
    another optimizer the peers get PEER_LR, falling linearly. `lr` is stronger than both.
    """
    sampling, train = config.sampling, config.train
    if train.optimizer != "sgd" or train.objective != "pair_sum":
        train = train.model_copy(update={"lr": PEER_LR, "lr_schedule": "linear"})
    if lr is not None:
        train = train.model_copy(update={"lr": lr})
    return {
        "corpus": corpus,
        "threads": train.threads or usable_cores(),
        "dim": config.model.dim,
        "window": sampling.window,
        "negatives": sampling.negatives,
        "noise_power": sampling.noise_power,
        "subsample": sampling.subsample or 0,
        "min_count": config.vocab.min_count,
        "epochs": train.epochs,
        "lr": train.lr,
        "min_lr": learning_rate(train.lr_schedule, lr=train.lr, done=1.0),
    }


def require_comparable(config: Config) -> None:
    """Refuses settings that peers do not have. Raises `ConfigError`."""
    if config.sampling.subsample and config.sampling.subsample_formula != "word2vec":
        raise ConfigError(
            "peers know one rule of subsampling: --set sampling.subsample_formula=word2vec"
        )
    if config.vocab.max_size is not None:
        raise ConfigError("peers know no such limit: --set vocab.max_size=null")


def read_template(text: str) -> Template:
    """Reads NAME=COMMAND, as `--peer` takes it.

    Raises:
        ConfigError: no name, an unknown or missing placeholder, or no such program.
    """
    name, _, line = text.partition("=")
    if not re.fullmatch(r"[\w.+-]+", name) or not line.strip() or name in (OURS, "gensim"):
        raise ConfigError(f"--peer {text!r}: expected NAME=COMMAND, NAME neither w2v nor gensim")
    try:
        words = shlex.split(line)
        fields = [field for word in words for field in string.Formatter().parse(word)]
    except ValueError as error:
        raise ConfigError(f"--peer {name}: {error}: {line}") from error
    known = [*peer_values(Config(), corpus=Path()), *BY_RUN]
    used = [field for _, field, _, _ in fields if field is not None]
    plain = all(not spec and conversion is None for _, _, spec, conversion in fields)
    unknown = next((field for field in used if field not in known), None)
    if unknown is not None or not plain:
        found = "a format" if unknown is None else f"{{{unknown}}}"
        raise ConfigError(f"--peer {name}: found {found}, expected {{{'} {'.join(known)}}}")
    missing = next((field for field in REQUIRED if field not in used), None)
    if missing is not None:
        raise ConfigError(f"--peer {name}: the command does not mention {{{missing}}}")
    if shutil.which(words[0]) is None:
        raise ConfigError(f"--peer {name}: no program {words[0]!r} that can be run")
    return Template(name, tuple(words))
