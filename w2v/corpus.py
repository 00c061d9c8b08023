"""The corpus: text files become sentences of word ids in memory-mapped files on disk.

A `Source` and the settings enter; a `Corpus` leaves: opened, where it was prepared before, else
built (`building`), in memory that does not grow with the text. The vocabulary is that of the
training lines.

A corpus is kept in `corpora/<fingerprint>/`; the fingerprint covers the bytes of the text, the
settings and FORMAT. Its files:

    train_ids.npy, heldout_ids.npy           int32 (N,)    ids of the words in vocabulary
    train_offsets.npy, heldout_offsets.npy   int64 (S+1,)  where each sentence starts and ends
    vocab.tsv, dropped.tsv                   the words, and the commonest of those left out
    spectrum.npy                             int64 (X, 2)  how many words occur how often
    corpus.json                              written last: fingerprint, SHA-256 of each file

While it is built it is called `corpora/<key>.unfinished`, which the next process goes on with where
this one ends early; the key covers the text and how it is cut, not what is kept of it. Another
process that builds at the same time does so in a folder of its own.

Legend: N = words of a text; S = its sentences; X = distinct counts.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
import numpy.typing as npt

from w2v.building import (
    DROPPED,
    SPECTRUM,
    VOCAB,
    Job,
    Settings,
    all_done,
    build,
    can_go_on,
    described,
)
from w2v.counting import PARTS
from w2v.encoding import ids_file, offsets_file
from w2v.errors import DataError
from w2v.files import sha256, unreadable, write_text
from w2v.folders import UNFINISHED, Lasting, atomic_folder
from w2v.segments import segment_key
from w2v.sentences import Sentences
from w2v.sources import Source
from w2v.tokens import TokenRule
from w2v.vocab import Vocab, WordCounts, from_tsv

logger = logging.getLogger(__name__)

FORMAT = 2  # of the files below; a new number makes every cached corpus be built anew
MANIFEST = "corpus.json"
# What of a corpus's record decides how its text is cut into segments and numbered.
CUT = ("format", "train", "heldout", "rule", "heldout_every")


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


def prepare(
    source: Source,
    *,
    lowercase: bool,
    token_pattern: str | None,
    heldout_every: int | None,
    min_count: int,
    max_size: int | None,
    folder: Path,
) -> Corpus:
    """Opens the encoded corpus of `source`: from the cache in `folder`, or built and kept there.

    `heldout_every` counts only where the source has no held-out text of its own.

    Raises:
        ConfigError: `token_pattern` cannot be used.
        DataError: the text is missing, damaged, not UTF-8, without words, or changed meanwhile;
            or no word occurs `min_count` times.
        StorageError: the text cannot be read, the cache not be written, or the vocabulary will
            not fit into memory.
    """
    rule = TokenRule(lowercase=lowercase, pattern=token_pattern)
    every = None if source.heldout else heldout_every
    settings = Settings(rule, every, min_count, max_size)
    stamps = _stamps(source)
    record = _record(source, settings)
    digest = _sha256(record)
    target = folder / "corpora" / digest[:16]
    corpus = _open(target, digest=digest)
    if corpus is not None:
        logger.info("corpus %s: found in %s", source.name, target)
        return corpus

    def require_unchanged() -> None:
        if _stamps(source) != stamps:
            raise DataError(f"{described(source)}: changed while it was read; start again")

    key = segment_key({name: record[name] for name in CUT})
    place = target.with_name(f"{key[:16]}{UNFINISHED}")
    with atomic_folder(target, proof=MANIFEST, lasting=Lasting(place, can_go_on)) as build_in:
        built = build(Job(source, settings, digest, key, require_unchanged), build_in)
        write_text(build_in / MANIFEST, _manifest(built.sums, digest=digest))
        all_done(build_in)
        return _corpus(build_in, built.vocab, built.dropped, digest=digest)


def _open(folder: Path, *, digest: str) -> Corpus | None:
    """The corpus in `folder`; None where none is, or where a file of it is damaged."""
    if not (folder / MANIFEST).exists():
        return None
    try:
        sums = {name: sha256(folder / name) for name in _files()}
        if (folder / MANIFEST).read_bytes() == _manifest(sums, digest=digest).encode():
            vocab = Vocab.from_tsv((folder / VOCAB).read_text("utf-8"), path=folder / VOCAB)
            dropped = from_tsv((folder / DROPPED).read_text("utf-8"), path=folder / DROPPED)
            return _corpus(folder, vocab, dropped, digest=digest)
        logger.warning("the corpus in %s is damaged: building it anew", folder)
    except OSError as error:
        logger.warning("the corpus in %s is damaged: building it anew: %s", folder, error)
    return None


def _corpus(folder: Path, vocab: Vocab, dropped: WordCounts, *, digest: str) -> Corpus:
    train, heldout = (_map(folder, part) for part in PARTS)
    return Corpus(vocab, dropped, train, heldout, digest, np.load(folder / SPECTRUM))


def _map(folder: Path, part: str) -> Sentences:
    ids_N = np.load(folder / ids_file(part), mmap_mode="c")
    offsets_S = np.load(folder / offsets_file(part), mmap_mode="c")
    return Sentences(ids_N.view(np.ndarray), offsets_S.view(np.ndarray))


def _files() -> list[str]:
    """All files of a corpus, but for the manifest that vouches for them."""
    return [
        *(name(part) for part in PARTS for name in (ids_file, offsets_file)),
        *(VOCAB, DROPPED, SPECTRUM),
    ]


def _manifest(sums: dict[str, str], *, digest: str) -> str:
    """What `corpus.json` must say of the files beside it, given their SHA-256."""
    record = {"format": FORMAT, "digest": digest, "sha256": {name: sums[name] for name in _files()}}
    return json.dumps(record, indent=1) + "\n"


def fingerprint(source: Source, settings: Settings) -> str:
    """SHA-256 over all that decides how the corpus comes out: its digest.

    Raises:
        DataError: a file of the text is missing.
        StorageError: a file may not be read.
    """
    return _sha256(_record(source, settings))


def _record(source: Source, settings: Settings) -> dict[str, Any]:
    """All that decides how the corpus comes out."""
    return {
        "format": FORMAT,
        "train": [_digest(path) for path in source.train],
        "heldout": [_digest(path) for path in source.heldout],
        **settings._asdict(),
    }


def _sha256(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _stamps(source: Source) -> list[tuple[int, int]]:
    """Size and time of every text file, which must be there and be a regular one."""
    stamps = []
    for path in (*source.train, *source.heldout):
        try:
            stat = path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
        if not S_ISREG(stat.st_mode):
            raise DataError(f"{path} is no regular file")
        stamps.append((stat.st_size, stat.st_mtime_ns))
    return stamps
