"""Files that are what their digest says: checked before a byte of them is used.

A path and a SHA-256 enter, the file's bytes leave. A small file is read, and what was read is what
was checked, each time. A big one is mapped into memory, so that a question takes from it what it
needs; and since hashing a gigabyte takes longer than answering, the check is remembered beside it:

    .NAME.seal    SHA-256, size, mtime_ns, ctime_ns, inode, device; its own mtime: when

For a text or a corpus, which are other people's files and perhaps on a disk that cannot be written,
only the digest leaves, and what is remembered lies in a folder of ours, under the file's path:

    seals/<first 32 hex digits of the SHA-256 of the absolute path>.seal    the same

A seal holds while all of these are what they were, for SEAL_S at the most; where none can be
written, each load checks in full. So any change that the filesystem knows of, a write, a copy, a
move, is followed by a full check. What is lost, for big files and until the seal ends, is damage
beneath the filesystem (a failing disk or memory, a device written to directly) and whatever is
written through somebody else's memory map before the kernel notes it.
"""

import hashlib
import json
import mmap
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from w2v.errors import DataError, StorageError
from w2v.files import unreadable, write_text

BIG_BYTES = 64 * 2**20  # are hashed in 0.06 s
SEAL_S = 7 * 86_400
# A file that changes twice within one tick of its clock keeps its times; two seconds is the longest
# tick in use (FAT). The same guard as git's against "racily clean" entries of its index.
YOUNG_S = 2

Bytes = bytes | mmap.mmap
SHA256 = re.compile(r"[0-9a-f]{64}")


def read_verified(path: Path, sha256: str, *, said_by: str) -> Bytes:
    """The bytes of a file that has this digest; mapped, read-only, where there are many.

    A mapped file may be replaced meanwhile, as this package does it, but not written in place.

    Args:
        path: the file.
        sha256: the digest that it must have, in hex.
        said_by: what says so, named in the error.

    Raises:
        DataError: it has another digest, or is not there.
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data, found = _checked(file, path, sha256)
    except OSError as error:
        raise unreadable(path, error) from error
    if found != sha256:
        raise DataError(
            f"checksum mismatch: {path} has SHA-256 {found}, {said_by} says {sha256}",
            hint="the file was changed or damaged; copy the run again, or train it again",
        )
    return data


def digest_of(path: Path, *, seals: Path) -> str:
    """The SHA-256 of a file, in hex; that of a big one is computed where no seal tells it.

    Args:
        path: the file; it is read from front to back, never mapped.
        seals: the folder that remembers it.

    Raises:
        OSError: it cannot be read.
    """
    seal = seals / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]}.seal"
    with path.open("rb") as file:
        started_s, stat = time.time(), os.fstat(file.fileno())
        known = _remembered(seal, stat) if stat.st_size >= BIG_BYTES else None
        if known is not None:
            return known
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if stat.st_size >= BIG_BYTES:
            _remember(seal, found, file, read=stat, started_s=started_s)
    return found


def seal_of(path: Path) -> Path:
    """Where it is remembered that a file was checked."""
    return path.with_name(f".{path.name}.seal")


def _checked(file: BinaryIO, path: Path, sha256: str) -> tuple[Bytes, str]:
    """The bytes of an open file and their digest, or the expected one where a seal holds."""
    started_s, stat = time.time(), os.fstat(file.fileno())
    if stat.st_size < BIG_BYTES:
        data = file.read()
        return data, hashlib.sha256(data).hexdigest()
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if _remembered(seal_of(path), stat) == sha256:
        return mapped, sha256
    found = hashlib.sha256(mapped).hexdigest()
    if found == sha256:
        _remember(seal_of(path), found, file, read=stat, started_s=started_s)
    return mapped, found


def _remember(
    seal: Path, sha256: str, file: BinaryIO, *, read: os.stat_result, started_s: float
) -> None:
    """Notes the digest of an open file, unless it may have changed since it was looked at."""
    text, changed_s = _seal_text(read, sha256), max(read.st_mtime, read.st_ctime)
    unchanged = _seal_text(os.fstat(file.fileno()), sha256) == text
    if unchanged and started_s - changed_s > YOUNG_S:
        with suppress(StorageError):  # then the next load checks again
            write_text(seal, text)


def _seal_text(stat: os.stat_result, sha256: str) -> str:
    facts = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)
    return f"{sha256} {' '.join(map(str, facts))}\n"


def _remembered(seal: Path, stat: os.stat_result) -> str | None:
    """The digest of a file that is as it was when it was noted; None where there is none."""
    try:
        age_s = time.time() - seal.stat().st_mtime
        text = seal.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # none is there, or none of ours
        return None
    sha256 = text.partition(" ")[0]
    holds = 0 <= age_s < SEAL_S and text == _seal_text(stat, sha256)
    return sha256 if holds and SHA256.fullmatch(sha256) else None


def write_signed(path: Path, content: dict[str, Any]) -> None:
    """Writes a record under its own SHA-256."""
    text = json.dumps(content)
    write_text(path, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n")


def read_signed(path: Path) -> dict[str, Any] | None:
    """A record that is what was written; else None."""
    try:
        digest, text, _ = path.read_bytes().split(b"\n")
    except (OSError, ValueError):
        return None
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    content: dict[str, Any] = json.loads(text)
    return content
