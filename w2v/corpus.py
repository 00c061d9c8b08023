"""The corpus: text files become sentences of word ids in memory-mapped files on disk.

A `Source` and the settings enter; a `Corpus` leaves. The text is cut into tokens once: while it is
counted, tokens are noted in scratch files by provisional numbers, and when the vocabulary is known
these are turned into ids. Memory holds the distinct tokens and a few blocks, never the text.
The vocabulary is that of the training lines.

A corpus is kept in `corpora/<fingerprint>/`; the fingerprint covers the bytes of the text, the
settings and FORMAT. Its files:

    train_ids.npy, heldout_ids.npy           int32 (N,)    ids of the words in vocabulary
    train_offsets.npy, heldout_offsets.npy   int64 (S+1,)  where each sentence starts and ends
    vocab.tsv, dropped.tsv                   the words, and the commonest of those left out
    corpus.json                              written last: fingerprint, SHA-256 of each file

Legend: N = tokens or words of a text; S = its sentences; W = distinct tokens; V = vocabulary.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from w2v.errors import DataError
from w2v.files import atomic_folder, atomic_write, sha256, unreadable, write_text
from w2v.sources import Source, read_texts
from w2v.tokens import TokenLog, TokenPool, TokenRule
from w2v.vocab import UNK_ID, Vocab, WordCounts, choose_vocab, from_tsv, to_tsv

logger = logging.getLogger(__name__)

FORMAT = 1  # of the files below; a new number makes every cached corpus be built anew
MANIFEST = "corpus.json"
VOCAB = "vocab.tsv"
DROPPED = "dropped.tsv"
PARTS = ("train", "heldout")
BLOCK_BYTES = 2**21  # fits the processor's cache: half as fast again as blocks of 16 MiB


@dataclass(frozen=True, slots=True, eq=False)
class Sentences:
    """Sentences of word ids, end to end: sentence s is ids_N[offsets_S[s] : offsets_S[s + 1]]."""

    ids_N: npt.NDArray[np.int32]
    offsets_S: npt.NDArray[np.int64]  # S + 1 of them; a sentence may be empty

    def __len__(self) -> int:
        return len(self.offsets_S) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """An encoded text: its words in vocabulary, sentence by sentence."""

    vocab: Vocab
    dropped: WordCounts  # the commonest words that the vocabulary leaves out
    train: Sentences
    heldout: Sentences
    digest: str  # SHA-256 over the text and the settings

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
        StorageError: the text cannot be read, or the cache not be written.
    """
    rule = TokenRule(lowercase=lowercase, pattern=token_pattern)
    every = None if source.heldout else heldout_every
    settings = Settings(rule, every, min_count, max_size)
    stamps = _stamps(source)
    digest = _fingerprint(source, settings)
    target = folder / "corpora" / digest[:16]
    corpus = _open(target, digest=digest)
    if corpus is not None:
        logger.info("corpus %s: found in %s", source.name, target)
        return corpus
    with atomic_folder(target, proof=MANIFEST) as build:
        _build(source, settings, folder=build, digest=digest)
        if _stamps(source) != stamps:
            raise DataError(f"{_names(source)}: changed while it was read; start again")
        return _load(build, digest=digest)


def _build(source: Source, settings: Settings, *, folder: Path, digest: str) -> None:
    """Counts, chooses the vocabulary, encodes; writes every file of the corpus."""
    pool = TokenPool(settings.rule)
    with TokenLog(folder) as train, TokenLog(folder) as heldout:
        _count(source, settings.heldout_every, pool, train=train, heldout=heldout)
        words = pool.words()
        counts_W = train.counts(len(words))
        vocab, dropped = choose_vocab(
            words, counts_W, min_count=settings.min_count, max_size=settings.max_size
        )
        if len(vocab) == 1:
            raise DataError(f"no words in {_names(source)}")
        logger.info(
            "corpus %s: counted %s words, %s distinct; %s are in the vocabulary",
            *(source.name, f"{counts_W.sum():,}", f"{np.count_nonzero(counts_W):,}"),
            f"{len(vocab) - 1:,}",
        )
        ids_W = vocab.encode(words)
        for part, log in zip(PARTS, (train, heldout), strict=True):
            _encode(log, ids_W, folder=folder, part=part)
    write_text(folder / VOCAB, vocab.to_tsv())
    write_text(folder / DROPPED, to_tsv(dropped))
    write_text(folder / MANIFEST, _manifest(folder, digest=digest))


def _count(
    source: Source, every: int | None, pool: TokenPool, *, train: TokenLog, heldout: TokenLog
) -> None:
    """Cuts all text into tokens, and parts training lines from held-out ones."""
    num_lines = 0
    for tokens in pool.number_all(read_texts(source.train, block_bytes=BLOCK_BYTES)):
        if every is None:
            train.note(tokens)
            continue
        lines_S = np.arange(1, len(tokens.lengths_S) + 1) + num_lines
        num_lines += len(lines_S)
        train.note(tokens.of_lines(lines_S % every != 0))
        heldout.note(tokens.of_lines(lines_S % every == 0))
    for tokens in pool.number_all(read_texts(source.heldout, block_bytes=BLOCK_BYTES)):
        heldout.note(tokens)


def _encode(log: TokenLog, ids_W: npt.NDArray[np.int32], *, folder: Path, part: str) -> None:
    """Writes the ids of noted tokens and the offsets of their sentences, `<unk>` left out.

    Written front to back, not through a memory map: a full disk is then an error, not a signal.
    """
    num_ids = int(log.counts(len(ids_W))[ids_W != UNK_ID].sum())
    end = 0
    with (
        atomic_write(folder / f"{part}_ids.npy") as ids_file,
        atomic_write(folder / f"{part}_offsets.npy") as offsets_file,
    ):
        _write_header(ids_file, "<i4", num_ids)
        _write_header(offsets_file, "<i8", log.num_lines + 1)
        offsets_file.write(np.int64(0).tobytes())
        for tokens in log:
            kept = tokens.of_kind(ids_W[tokens.numbers_N] != UNK_ID)
            ends_S = end + np.cumsum(kept.lengths_S)
            ids_file.write(ids_W[kept.numbers_N].tobytes())
            offsets_file.write(ends_S.tobytes())
            end += len(kept.numbers_N)


def _write_header(file: BinaryIO, dtype: str, size: int) -> None:
    header = {"descr": dtype, "fortran_order": False, "shape": (size,)}
    np.lib.format.write_array_header_1_0(file, header)


def _open(folder: Path, *, digest: str) -> Corpus | None:
    """The corpus in `folder`; None where none is, or where a file of it is damaged."""
    if not (folder / MANIFEST).exists():
        return None
    try:
        if (folder / MANIFEST).read_bytes() == _manifest(folder, digest=digest).encode():
            return _load(folder, digest=digest)
        logger.warning("the corpus in %s is damaged: building it anew", folder)
    except OSError as error:
        logger.warning("the corpus in %s is damaged: building it anew: %s", folder, error)
    return None


def _load(folder: Path, *, digest: str) -> Corpus:
    vocab = Vocab.from_tsv((folder / VOCAB).read_text("utf-8"), path=folder / VOCAB)
    dropped = from_tsv((folder / DROPPED).read_text("utf-8"), path=folder / DROPPED)
    train, heldout = (_map(folder, part) for part in PARTS)
    return Corpus(vocab, dropped, train, heldout, digest)


def _map(folder: Path, part: str) -> Sentences:
    ids_N = np.load(folder / f"{part}_ids.npy", mmap_mode="r")
    offsets_S = np.load(folder / f"{part}_offsets.npy", mmap_mode="r")
    return Sentences(ids_N.view(np.ndarray), offsets_S.view(np.ndarray))


def _manifest(folder: Path, *, digest: str) -> str:
    """What `corpus.json` must say of the files beside it."""
    names = [f"{part}_{kind}.npy" for part in PARTS for kind in ("ids", "offsets")]
    parts = {name: sha256(folder / name) for name in (*names, VOCAB, DROPPED)}
    record = {"format": FORMAT, "digest": digest, "sha256": parts}
    return json.dumps(record, indent=1) + "\n"


def _fingerprint(source: Source, settings: Settings) -> str:
    """SHA-256 over all that decides how the corpus comes out."""
    record = {
        "format": FORMAT,
        "train": [_digest(path) for path in source.train],
        "heldout": [_digest(path) for path in source.heldout],
        **settings._asdict(),
    }
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


def _names(source: Source) -> str:
    first, *others = source.train
    return f"{first} and {len(others):,} more" if others else f"{first}"
