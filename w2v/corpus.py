"""The corpus: text files become sentences of word ids in files on disk.

A `Source` and the settings enter; a `Corpus` leaves: opened, where it was prepared before, else
built (`building`), in memory that does not grow with the text. The vocabulary is that of the
training lines.

A corpus is kept in `corpora/<16 hex digits>/`, named by its digest, which covers the bytes of the
text, the settings and FORMAT. `encoded` has what lies there.

While it is built it is called `corpora/<key>.unfinished`, which the next process goes on with where
this one ends early; the key covers the text and how it is cut, not what is kept of it. Another
process that builds at the same time does so in a folder of its own.
"""

import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

from w2v.building import Job, all_done, build, can_go_on, described
from w2v.digests import digest_of
from w2v.encoded import (
    FORMAT,
    MANIFEST,
    SEALS,
    Corpus,
    Settings,
    cached_at,
    file_names,
    manifest_text,
    opened,
    words_in,
)
from w2v.errors import DataError
from w2v.files import unreadable, write_text
from w2v.folders import UNFINISHED, Lasting, atomic_folder
from w2v.segments import segment_key
from w2v.sources import Source
from w2v.tokens import TokenRule

logger = logging.getLogger(__name__)

# What of a corpus's record decides how its text is cut into segments and numbered.
CUT = ("format", "train", "heldout", "rule", "heldout_every")


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
        StorageError: the text or what the cache holds cannot be read, the cache not be written, or
            the vocabulary will not fit into memory.
    """
    rule = TokenRule(lowercase=lowercase, pattern=token_pattern)
    every = None if source.heldout else heldout_every
    settings = Settings(rule, every, min_count, max_size)
    stamps = _stamps(source)
    seals = folder / SEALS
    record = _record(source, settings, seals=seals)
    digest = _sha256(record)
    target = cached_at(digest, folder=folder)
    corpus = _open(target, digest=digest, settings=settings, seals=seals)
    if corpus is not None:
        logger.info("corpus %s: found in %s", source.name, target)
        return corpus

    def require_unchanged() -> None:
        if _stamps(source) != stamps:
            raise DataError(f"{described(source)}: changed while it was read; start again")

    key = segment_key({name: record[name] for name in CUT})
    place = target.with_name(f"{key[:16]}{UNFINISHED}")
    with atomic_folder(target, proof=MANIFEST, lasting=Lasting(place, can_go_on)) as folder:
        with suppress(DataError):  # of other settings, perhaps: it is built from what is there
            corpus = _whole(folder, digest=digest, settings=settings, seals=seals, name=target)
            if corpus is not None:
                logger.info("going on with the corpus in %s: all of it is there", folder)
                all_done(folder)
                return corpus
        built = build(Job(source, settings, digest, key, require_unchanged), folder)
        manifest = manifest_text(built.sums, digest=digest, settings=settings)
        write_text(folder / MANIFEST, manifest)
        all_done(folder)
        return opened(folder, built.vocab, built.dropped, digest=digest, name=target)


def _open(folder: Path, *, digest: str, settings: Settings, seals: Path) -> Corpus | None:
    """The corpus in `folder`; None where none is, or where a file of it is damaged."""
    try:
        return _whole(folder, digest=digest, settings=settings, seals=seals, name=folder)
    except DataError as error:
        logger.warning("the corpus in %s is damaged: building it anew: %s", folder, error)
        return None


def _whole(
    folder: Path, *, digest: str, settings: Settings, seals: Path, name: Path
) -> Corpus | None:
    """The corpus of that digest in `folder`, each byte of it; None where there is no manifest.

    Raises:
        DataError: a file is missing, or not what it was.
        StorageError: a file cannot be read, which says nothing of what is in it.
    """
    try:
        found = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(folder / MANIFEST, error) from error
    try:
        sums = {file: digest_of(folder / file, seals=seals) for file in file_names()}
        if found != manifest_text(sums, digest=digest, settings=settings).encode():
            raise DataError(f"checksum mismatch: {MANIFEST} does not vouch for its files")
        return opened(folder, *words_in(folder), digest=digest, name=name)
    except OSError as error:
        raise unreadable(Path(error.filename or folder), error) from error


def fingerprint(source: Source, settings: Settings, *, seals: Path) -> str:
    """SHA-256 over all that decides how the corpus comes out: its digest.

    `seals` is the folder that remembers the digests of big files, see `digests`.

    Raises:
        DataError: a file of the text is missing.
        StorageError: a file may not be read.
    """
    return _sha256(_record(source, settings, seals=seals))


def _record(source: Source, settings: Settings, *, seals: Path) -> dict[str, Any]:
    """All that decides how the corpus comes out."""
    return {
        "format": FORMAT,
        "train": [_digest(path, seals=seals) for path in source.train],
        "heldout": [_digest(path, seals=seals) for path in source.heldout],
        **settings._asdict(),
    }


def _sha256(record: dict[str, Any]) -> str:
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
