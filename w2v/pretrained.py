"""Training that starts from vectors: which words they know, and which rows they fill.

A vector file or a run folder and a vocabulary enter, a `Pretrained` leaves: the rows of the words
in both, as they are, and what is told of them. A vector file fills the center table, a run both.
Words are compared as they are written. The other rows are what `model.init` draws: longer ones,
of the mean length of the known, made training worse in every comparison (docs/pretrained.md).

What costs little is asked before the corpus is opened: whether the file is there, and its
dimension. A file is parsed once, and text only where a row is wanted.

Legend: N = words that both know, D = dimension.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from w2v import formats
from w2v.config import ModelSection
from w2v.errors import ConfigError, DataError
from w2v.files import sha256, unreadable
from w2v.formats.rows import nothing_in_common
from w2v.model import KnownRows
from w2v.names import Freeze
from w2v.rundir import VECTORS, VOCAB, RunDir
from w2v.spelling import escaped
from w2v.vectors import WordVectors
from w2v.vocab import UNK_ID, Vocab

CENTER, CONTEXT = "center", "context"
HINTED_SHARE = 0.05  # of the vocabulary: so many words more, were they in lower case

log = logging.getLogger(__name__)


class Told(NamedTuple):
    """What run.json and checkpoints tell of the vectors that a run started from."""

    path: str
    sha256: dict[str, str]  # of each file, by name
    tables: list[str]  # that they filled
    words: int  # that have a vector there
    of_words: int  # in the vocabulary
    of_text: float  # their share of the text's words in vocabulary

    def digest(self) -> str:
        """What other vectors would differ in."""
        return "+".join(self.sha256.values())

    def described(self) -> str:
        """For the user: `init_from FILE: 6,112 of 6,718 words (91.0 %, 97.2 % of the text's)`."""
        found = f"{self.words:,} of {self.of_words:,} words ({_percent(self.words / self.of_words)}"
        return f"init_from {self.path}: {found}, {_percent(self.of_text)} of the text's words)"


class Pretrained:
    """The vectors that a run starts from; the rows until they are taken."""

    def __init__(self, told: Told, known: KnownRows | None) -> None:
        """`known` is None where a checkpoint has the rows."""
        self.told = told
        self._known = known

    def take(self) -> KnownRows | None:
        """Hands the rows over, once: they may be as large as the tables they go to."""
        known, self._known = self._known, None
        return known


def require_fit(name: str, *, dim: int) -> None:
    """Refuses, at little cost, what `read` could not use.

    Args:
        name: `model.init_from`.
        dim: `model.dim`.

    Raises:
        ConfigError: its vectors have another dimension.
        DataError: nothing is there, or it is neither a vector file nor a finished run.
    """
    path = _path_of(name)
    if not path.is_dir():
        _require_dim(path, formats.dim_of(path), dim)
        return
    info = RunDir(path).read_info()
    if isinstance(info.get("dim"), int):
        _require_dim(path, info["dim"], dim)


def start(
    model: ModelSection, vocab: Vocab, *, told: Mapping[str, Any] | None
) -> Pretrained | None:
    """What a run starts from, or, where it goes on, started from, as its checkpoint has `told`.

    Raises:
        W2VError: as `read` and `digests` say.
    """
    if model.init_from is None:
        return None
    return read(model, vocab) if told is None else of_checkpoint(told)


def read(model: ModelSection, vocab: Vocab) -> Pretrained:
    """The rows of the words that `model.init_from` and the vocabulary share.

    Raises:
        ConfigError: its vectors have another dimension; every row would be frozen.
        DataError: it cannot be read, is damaged, or knows no word of the vocabulary.
        StorageError: it may not be read.
    """
    path = _path_of(str(model.init_from))
    tables = _read_tables(path, vocab)
    center = next(iter(tables.values()))
    _require_dim(path, center.matrix.shape[1], model.dim)
    # In the order of ids, so that the order in the file changes nothing.
    ids = [i for i, word in enumerate(vocab.words) if i != UNK_ID and word in center]
    hint = _hint(vocab, center)
    if not ids:
        raise nothing_in_common(path, hint=hint)
    rows_N = [center.index(vocab.words[i]) for i in ids]
    counts_V = vocab.known_counts_V
    told = Told(
        str(path),
        digests(path),
        list(tables),
        words=len(ids),
        of_words=len(vocab) - 1,
        of_text=round(float(counts_V[ids].sum() / counts_V.sum()), 4),
    )
    _require_something_to_train(model.freeze, told)
    log.info("%s", told.described())
    if hint is not None:
        log.info("%s", hint)
    known = {name: torch.from_numpy(table.matrix[rows_N]) for name, table in tables.items()}
    return Pretrained(told, KnownRows(torch.tensor(ids), known[CENTER], known.get(CONTEXT)))


def of_checkpoint(told: Mapping[str, Any]) -> Pretrained:
    """What a run started from that goes on; the checkpoint has the rows.

    Where the vectors are still there, they are told with the digests that they have by now.
    """
    before = Told(**told)
    path = Path(before.path)
    if not path.exists():
        log.warning("init_from %s is gone; the checkpoint has what came from it", path)
        return Pretrained(before, None)
    return Pretrained(before._replace(sha256=digests(path)), None)


def digests(path: Path) -> dict[str, str]:
    """The SHA-256 of each file of the vectors; of a run, as its run.json has them."""
    if path.is_dir():
        told = RunDir(path).read_info()["sha256"]
        return {name: str(told.get(name, "")) for name in (VECTORS, VOCAB)}
    try:
        return {file.name: sha256(file) for file in formats.files_of(path)}
    except OSError as error:
        raise unreadable(path, error) from error


def _path_of(name: str) -> Path:
    path = Path(name).expanduser()
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a NUL
        raise DataError(
            f"model.init_from: no such file or folder: {escaped(str(path))}",
            hint="name a vector file, or the folder of a finished run",
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    return path


def _read_tables(path: Path, vocab: Vocab) -> dict[str, WordVectors]:
    """The tables that are there, center first; of a file, the rows that may be wanted."""
    if path.is_dir():
        run = RunDir(path)
        return {CENTER: run.load_vectors(), CONTEXT: run.load_vectors(table="context")}
    words = vocab.words[UNK_ID + 1 :]
    return {CENTER: formats.read(path, only={*words, *map(str.lower, words)})}


def _hint(vocab: Vocab, center: WordVectors) -> str | None:
    """What lower case would bring, where that is much."""
    words = vocab.words[UNK_ID + 1 :]
    more = sum(word not in center and word.lower() in center for word in words)
    if more <= HINTED_SHARE * len(words):
        return None
    return f"{more:,} words more are there in lower case: corpus.lowercase=true"


def _require_dim(path: Path, found: int, dim: int) -> None:
    if found != dim:
        raise ConfigError(
            f"model.dim={dim}, but the vectors of model.init_from={path} have {found} dimensions",
            hint=f"set model.dim={found}",
        )


def _require_something_to_train(freeze: Freeze, told: Told) -> None:
    rest = told.of_words - told.words
    if freeze == "pretrained" and not rest and CONTEXT in told.tables:
        raise ConfigError(
            f"model.freeze=pretrained leaves no row to train: {told.path} has all "
            f"{told.words:,} words, as centers and as contexts",
            hint="model.freeze=all keeps the centers and trains the contexts",
        )
    if freeze == "all" and rest:
        log.warning("model.freeze=all: %d words keep the vectors that model.init draws", rest)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
