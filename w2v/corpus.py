"""The corpus: text files become sentences of word ids in memory-mapped files on disk.

A `Source` and the settings enter; a `Corpus` leaves. The text is cut into tokens once: while it is
counted, tokens are noted on disk by provisional numbers, and when the vocabulary is known these are
turned into ids, in the same file. Memory holds the distinct tokens and a few blocks, never the
text. The vocabulary is that of the training lines.

A corpus is kept in `corpora/<16 hex digits>/`, named by its digest, which covers the bytes of the
text, the settings and FORMAT. `encoded` has what lies there.

Legend: N = tokens or words of a text; S = its sentences; W = distinct tokens; V = vocabulary;
X = distinct counts.
"""

import hashlib
import json
import logging
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from w2v.digests import digest_of
from w2v.encoded import (
    DROPPED,
    FORMAT,
    MANIFEST,
    PARTS,
    SEALS,
    SPECTRUM,
    VOCAB,
    Corpus,
    Settings,
    cached_at,
    file_names,
    manifest_text,
    opened,
    words_in,
)
from w2v.encoded import ids_of as _ids
from w2v.encoded import offsets_of as _offsets
from w2v.errors import DataError, StorageError
from w2v.files import atomic_write, sha256, unreadable, write_text
from w2v.folders import atomic_folder
from w2v.sources import Source, read_texts
from w2v.tokens import END, Ints, Numbers, TokenLog, TokenPool, TokenRule, map_ahead
from w2v.vocab import UNK_ID, Vocab, WordCounts, choose_vocab, spectrum, to_tsv

Ids = npt.NDArray[np.int32]

logger = logging.getLogger(__name__)

END_ID = -1  # stands at the end of a line until the offsets are told
BLOCK_BYTES = 2**21  # fits the processor's cache: half as fast again as blocks of 16 MiB


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
    digest = fingerprint(source, settings, seals=folder / SEALS)
    target = cached_at(digest, folder=folder)
    corpus = _open(target, digest=digest, settings=settings, seals=folder / SEALS)
    if corpus is not None:
        logger.info("corpus %s: found in %s", source.name, target)
        return corpus
    with atomic_folder(target, proof=MANIFEST) as build:
        vocab, dropped = _build(source, settings, folder=build, digest=digest)
        if _stamps(source) != stamps:
            raise DataError(f"{_names(source)}: changed while it was read; start again")
        return opened(build, vocab, dropped, digest=digest, name=target)


def _build(
    source: Source, settings: Settings, *, folder: Path, digest: str
) -> tuple[Vocab, WordCounts]:
    """Counts, chooses the vocabulary, encodes; writes every file of the corpus."""
    pool = TokenPool(settings.rule)
    sums: dict[str, str] = {}
    with ExitStack() as stack:
        files = [stack.enter_context(atomic_write(folder / _ids(part))) for part in PARTS]
        train, heldout = (_log(file) for file in files)
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
        ids_W[END] = END_ID
        for part, log, file in zip(PARTS, (train, heldout), files, strict=True):
            with atomic_write(folder / _offsets(part)) as offsets_file:
                sums[_ids(part)], sums[_offsets(part)] = _encode(
                    log, ids_W, ids_file=file, offsets_file=offsets_file
                )
    for name, text in ((VOCAB, vocab.to_tsv()), (DROPPED, to_tsv(dropped))):
        write_text(folder / name, text)
    with atomic_write(folder / SPECTRUM) as file:
        np.save(file, spectrum(words, counts_W))
    sums |= {name: sha256(folder / name) for name in (VOCAB, DROPPED, SPECTRUM)}
    write_text(folder / MANIFEST, manifest_text(sums, digest=digest, settings=settings))
    return vocab, dropped


def _count(
    source: Source, every: int | None, pool: TokenPool, *, train: TokenLog, heldout: TokenLog
) -> None:
    """Cuts all text into tokens, and parts training lines from held-out ones."""
    num_lines = 0
    for numbers_N in pool.number_all(read_texts(source.train, block_bytes=BLOCK_BYTES)):
        if every is None:
            train.note(numbers_N)
            continue
        ends_S = np.flatnonzero(numbers_N == END)
        lines_S = np.arange(1, len(ends_S) + 1) + num_lines
        num_lines += len(lines_S)
        aside_N = np.repeat(lines_S % every == 0, np.diff(ends_S, prepend=-1))
        train.note(numbers_N[~aside_N])
        heldout.note(numbers_N[aside_N])
    for numbers_N in pool.number_all(read_texts(source.heldout, block_bytes=BLOCK_BYTES)):
        heldout.note(numbers_N)


def _log(file: BinaryIO) -> TokenLog:
    """A log where the ids will be: a file that is new to the system costs more than its reading."""
    file.write(_header("<i4", 0))
    return TokenLog(file)


def _encode(
    log: TokenLog, ids_W: Ids, *, ids_file: BinaryIO, offsets_file: BinaryIO
) -> tuple[str, str]:
    """Writes the ids of noted tokens and the offsets of their sentences, `<unk>` left out.

    Written front to back, not through a memory map: a full disk is then an error, not a signal.
    The ids overwrite the log, but never what is still to be read: a token gives one id at the most.

    Returns the SHA-256 of both files.
    """
    num_ids = int(log.counts(len(ids_W))[ids_W != UNK_ID].sum())
    ids, offsets = _Output(ids_file), _Output(offsets_file)
    ids.write(_header("<i4", num_ids))
    offsets.write(_header("<i8", log.num_lines + 1) + np.int64(0).tobytes())
    end = 0
    for ids_N, ends_S in map_ahead(partial(_sentences, ids_W=ids_W), log):
        ids.write(ids_N.data)
        offsets.write((end + ends_S).data)
        end += len(ids_N)
    return ids.finish(), offsets.finish()


def _sentences(numbers_N: Numbers, *, ids_W: Ids) -> tuple[Ids, Ints]:
    """The ids of the words in vocabulary, and where among them each line ends."""
    ids_N = ids_W.take(numbers_N)  # twice as fast as ids_W[numbers_N]
    ids_N = ids_N[ids_N != UNK_ID]
    ends_S = np.flatnonzero(ids_N == END_ID)
    return ids_N[ids_N != END_ID], ends_S - np.arange(len(ends_S))


class _Output:
    """What is written to a file from its start, over what it held, and the SHA-256 of that."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = 0
        self._digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        self._file.seek(self._end)
        self._file.write(data)
        self._end = self._file.tell()
        self._digest.update(data)

    def finish(self) -> str:
        self._file.truncate(self._end)
        return self._digest.hexdigest()


def _header(dtype: str, size: int) -> bytes:
    """The header of a `.npy` file of `size` numbers; all sizes give it the same length."""
    header = BytesIO()
    content = {"descr": dtype, "fortran_order": False, "shape": (size,)}
    np.lib.format.write_array_header_1_0(header, content)
    return header.getvalue()


def _open(folder: Path, *, digest: str, settings: Settings, seals: Path) -> Corpus | None:
    """The corpus in `folder`; None where none is, or where a file of it is damaged."""
    if not (folder / MANIFEST).exists():
        return None
    reason = ""
    try:
        sums = {name: digest_of(folder / name, seals=seals) for name in file_names()}
        expected = manifest_text(sums, digest=digest, settings=settings)
        if (folder / MANIFEST).read_bytes() == expected.encode():
            return opened(folder, *words_in(folder), digest=digest)
    except (OSError, DataError, StorageError) as error:
        reason = f": {error}"
    logger.warning("the corpus in %s is damaged: building it anew%s", folder, reason)
    return None


def fingerprint(source: Source, settings: Settings, *, seals: Path) -> str:
    """SHA-256 over all that decides how the corpus comes out: its digest.

    `seals` is the folder that remembers the digests of big files, see `digests`.

    Raises:
        DataError: a file of the text is missing.
        StorageError: a file may not be read.
    """
    record = {
        "format": FORMAT,
        "train": [_digest(path, seals=seals) for path in source.train],
        "heldout": [_digest(path, seals=seals) for path in source.heldout],
        **settings._asdict(),
    }
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _digest(path: Path, *, seals: Path) -> str:
    try:
        return digest_of(path, seals=seals)
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
