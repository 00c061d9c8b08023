"""An encoded corpus as a folder: what lies in it, and how it is opened.

A folder enters, a `Corpus` leaves, whose numbers stay on disk. `corpus` builds such folders and
keeps them as a cache; `portable` opens those that come from elsewhere. docs/corpora.md has every
file byte by byte.

    train_ids.npy, heldout_ids.npy           int32 (N,)    ids of the words in vocabulary
    train_offsets.npy, heldout_offsets.npy   int64 (S+1,)  where each sentence starts and ends
    vocab.tsv, dropped.tsv                   the words, and the commonest of those left out
    spectrum.npy                             int64 (X, 2)  how many words occur how often
    corpus.json                              format, digest, settings, SHA-256 of each file

Legend: N = words of a text; S = its sentences; V = vocabulary; X = distinct counts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from w2v.config import CorpusSection, VocabSection
from w2v.counting import PARTS
from w2v.errors import DataError
from w2v.file_arrays import FileArray
from w2v.files import unreadable
from w2v.sentences import Sentences
from w2v.tokens import TokenRule
from w2v.vocab import Vocab, WordCounts, from_tsv

FORMAT = 3  # of the files; a new number makes every cached corpus be built anew
MANIFEST = "corpus.json"
VOCAB = "vocab.tsv"
DROPPED = "dropped.tsv"
SPECTRUM = "spectrum.npy"
SEALS = "seals"  # a folder beside the cache, see `digests`
SHOWN_CHARS = 80  # of what a file says that anybody may have written


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """An encoded text: its words in vocabulary, sentence by sentence."""

    vocab: Vocab
    dropped: WordCounts  # the commonest words that the vocabulary leaves out
    train: Sentences
    heldout: Sentences
    digest: str  # SHA-256 over the text and the settings
    spectrum_X2: npt.NDArray[np.int64]  # see `ranking.Choice`; of all words, dropped ones too

    @property
    def raw_words(self) -> int:
        """All tokens of the training text, those outside the vocabulary included."""
        return int(self.vocab.counts_V.sum())


class Settings(NamedTuple):
    """What decides, beside the text, how a corpus comes out."""

    rule: TokenRule
    heldout_every: int | None  # the n-th, 2n-th, ... line of the training files is set aside
    min_count: int
    max_size: int | None

    def named(self) -> dict[str, object]:
        """Each by its name in the config."""
        return {
            "corpus.lowercase": self.rule.lowercase,
            "corpus.token_pattern": self.rule.pattern,
            "corpus.heldout_every": self.heldout_every,
            "vocab.min_count": self.min_count,
            "vocab.max_size": self.max_size,
        }


def settings_of(corpus: CorpusSection, vocab: VocabSection) -> Settings:
    """Those that a config asks for."""
    rule = TokenRule(lowercase=corpus.lowercase, pattern=corpus.token_pattern)
    return Settings(rule, corpus.heldout_every, vocab.min_count, vocab.max_size)


def ids_of(part: str) -> str:
    """The file of the ids of `train` or `heldout`."""
    return f"{part}_ids.npy"


def offsets_of(part: str) -> str:
    """The file of the borders of its sentences."""
    return f"{part}_offsets.npy"


def file_names() -> list[str]:
    """All files of a corpus, but for the manifest that vouches for them."""
    return [name(part) for part in PARTS for name in (ids_of, offsets_of)] + [
        VOCAB,
        DROPPED,
        SPECTRUM,
    ]


def manifest_text(sums: Mapping[str, str], *, digest: str, settings: Settings) -> str:
    """What `corpus.json` must say of the files beside it, given their SHA-256."""
    record = {
        "format": FORMAT,
        "digest": digest,
        "settings": settings.named(),
        "sha256": {name: sums[name] for name in file_names()},
    }
    return json.dumps(record, indent=1) + "\n"


def cached_at(digest: str, *, folder: Path) -> Path:
    """Where in the data folder the cache keeps the corpus of that digest."""
    return folder / "corpora" / digest[:16]


def opened(
    folder: Path,
    vocab: Vocab,
    dropped: WordCounts,
    *,
    digest: str,
    name: Path | None = None,
) -> Corpus:
    """The corpus in a folder that is known to be whole; errors call it `name`, where it moves."""
    columns: list[Sentences] = []
    for part in PARTS:
        ids, offsets = ids_of(part), offsets_of(part)
        called = folder if name is None else name
        columns.append(
            Sentences(
                FileArray(folder / ids, np.int32, name=called / ids),
                FileArray(folder / offsets, np.int64, name=called / offsets),
            )
        )
    train, heldout = columns
    return Corpus(vocab, dropped, train, heldout, digest, _spectrum(folder / SPECTRUM))


def words_in(folder: Path) -> tuple[Vocab, WordCounts]:
    """The vocabulary, and what it leaves out. Raises `DataError`, `OSError`."""
    vocab, dropped = folder / VOCAB, folder / DROPPED
    try:
        return (
            Vocab.from_tsv(vocab.read_text("utf-8"), path=vocab),
            from_tsv(dropped.read_text("utf-8"), path=dropped),
        )
    except UnicodeDecodeError as error:
        raise DataError(f"{folder}: {VOCAB} or {DROPPED} is not UTF-8") from error


def _spectrum(path: Path) -> npt.NDArray[np.int64]:
    """The numbers of a file whose size is what its header says, which takes no memory before."""
    try:
        with path.open("rb") as file:
            shape, is_by_column, dtype = _npy_header(file, path)
            if dtype != np.int64:
                raise DataError(f"{path}: expected int64 numbers")
            told = str(shape)[:SHOWN_CHARS]
            if len(shape) != 2 or shape[1] != 2:
                raise DataError(f"{path}: expected two columns, found {told}")
            room = path.stat().st_size - file.tell()
            if room != shape[0] * 2 * dtype.itemsize:
                raise DataError(f"{path}: {told} numbers by its header, but {room:,} bytes")
            numbers_N = np.fromfile(file, dtype)
    except OSError as error:
        raise unreadable(path, error) from error
    return numbers_N.reshape(shape, order="F" if is_by_column else "C")


def _npy_header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns are written one after the other, and dtype."""
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise DataError(f"{path}: expected a .npy file of version 1.0")
        return np.lib.format.read_array_header_1_0(file)
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise DataError(f"{path}: no .npy file: {str(error)[:SHOWN_CHARS]}") from error
