"""The Penn Treebank as the textbook chapter uses it: downloaded once, verified at every use.

In goes the data folder, out come the paths of the training and the validation text. What lies in
the data folder is used without any network where its SHA-256 is right: first the texts, then the
archive.

    data/ptb.zip                        the archive as published
    data/ptb/ptb.{train,valid,test}.txt the texts
"""

import hashlib
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from w2v.archive import DamagedArchiveError, Member, read_members
from w2v.download import Progress, download, first_of
from w2v.errors import DataError, DownloadError, StorageError
from w2v.files import (
    TEMP_PREFIX,
    fsync_folder,
    has_temporaries,
    unreadable,
    unwritable,
    write_bytes,
)
from w2v.folders import turn
from w2v.leaving import undoing
from w2v.sources import Source
from w2v.web import PATIENCE, Patience, shown

logger = logging.getLogger(__name__)

ARCHIVE_NAME = "ptb.zip"
QUICKSTART = "quickstart.yaml"
SLACK_BYTES = 65_536  # of a re-zipped archive beyond the texts it holds


class Published(NamedTuple):
    """An archive as it was published."""

    urls: tuple[str, ...]
    size: int
    sha256: str
    train: Member
    valid: Member
    test: Member

    def members(self) -> tuple[Member, ...]:
        """The texts inside."""
        return (self.train, self.valid, self.test)

    def most_bytes(self) -> int:
        """The size of the largest archive that can hold these texts: stored, not compressed."""
        return sum(member.size for member in self.members()) + SLACK_BYTES


PUBLISHED = Published(
    urls=(
        "https://raw.githubusercontent.com/d2l-ai/d2l-zh/"
        "b4cbf0e6d7db8df4efd749d1cbf26adf770e593b/data/ptb.zip",
        "http://d2l-data.s3-accelerate.amazonaws.com/ptb.zip",
    ),
    size=1_981_551,
    sha256="310d8f602882a5716613815ed75596e5764ea84ed04c5630eebaaf2b943ec5aa",
    train=Member(
        "ptb/ptb.train.txt",
        5_101_618,
        "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    ),
    valid=Member(
        "ptb/ptb.valid.txt",
        399_782,
        "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    ),
    test=Member(
        "ptb/ptb.test.txt",
        449_945,
        "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    ),
)


class _Order(NamedTuple):
    """Which archive is wanted, from where, and where its parts belong."""

    data_folder: Path
    published: Published
    urls: tuple[str, ...]
    sha256: str | None  # of the archive; None: any archive that holds the published texts
    pinned: bool  # the published texts; else `sha256` is the user's, and vouches for any texts
    get: Callable[..., Path]  # `download` with everything but its address and its place

    def archive(self) -> Path:
        return self.data_folder / ARCHIVE_NAME

    def texts(self) -> tuple[Path, ...]:
        return tuple(self.data_folder / member.name for member in self.published.members())

    def texts_folder(self) -> Path:
        return self.texts()[0].parent


def fetch(
    *,
    data_folder: Path,
    url: str | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
    published: Published = PUBLISHED,
    patience: Patience = PATIENCE,
) -> Source:
    """Makes sure that the texts lie in the data folder, and names them.

    Args:
        data_folder: where the archive and the texts are, or will be.
        url: an address instead of the published ones. The archive may then be packed anew: the
            published digests of the texts inside decide.
        sha256: the digest of an archive of the user's own; then it alone decides.
        progress: told the bytes so far and the bytes in all while downloading.
        published: which archive to fetch.
        patience: how long to wait for a server, how often to try.

    Raises:
        DataError: the archive has the right digest, yet its texts cannot be read from it.
        DownloadError: nothing usable in the data folder, and no address sends it.
        StorageError: the data folder cannot be read or written.
    """
    digest = sha256.lower() if sha256 else None if url else published.sha256
    order = _Order(
        data_folder,
        published,
        urls=(url,) if url else published.urls,
        sha256=digest,
        pinned=digest in (None, published.sha256),
        get=partial(
            download,
            sha256=digest,
            size=published.size if digest == published.sha256 else None,
            max_bytes=published.most_bytes(),
            progress=progress,
            patience=patience,
        ),
    )
    # A text may be there beside what a killed process left: that is cleared, with the lock.
    if not _has_texts(order) or has_temporaries(order.texts_folder()):
        with turn(order.texts_folder()):
            if not _has_texts(order):
                _make_texts(order)
    train, valid, _ = order.texts()
    return Source("ptb", train=(train,), heldout=(valid,))


def _has_texts(order: _Order) -> bool:
    """Whether the texts are known to be right; nobody reads the test text: it may be absent."""
    if not order.pinned:
        return False
    for member, path in zip(order.published.members(), order.texts(), strict=True):
        if member is order.published.test and not path.exists():
            continue
        text = _read(path, at_most=member.size)
        if text is None or hashlib.sha256(text).hexdigest() != member.sha256:
            return False
    return True


def _make_texts(order: _Order) -> None:
    texts = _cached_texts(order)
    if texts is None:
        _download(order)
        texts = _cached_texts(order)
    if texts is None:
        raise StorageError(f"{order.archive()} changed while it was read")
    for path, text in zip(order.texts(), texts, strict=True):
        if _read(path, at_most=len(text)) != text:
            if path.exists():
                logger.warning("not the text of the archive, unpacked again: %s", path)
            write_bytes(path, text)


def _cached_texts(order: _Order) -> tuple[bytes, ...] | None:
    """The texts of the archive in the data folder; None where it is absent or the wrong one."""
    archive, members = order.archive(), order.published.members()
    data = _read(archive, at_most=order.published.most_bytes())
    if data is None or order.sha256 not in (None, hashlib.sha256(data).hexdigest()):
        return None
    try:
        return read_members(data, members, where=str(archive), pinned=order.pinned)
    except DataError as error:
        if order.sha256 is not None:  # the right archive: another download sends the same
            raise
        logger.info("%s", error)
        return None


def _download(order: _Order) -> None:
    """Puts the wanted archive into the data folder."""
    damaged = next((path for path in (order.archive(), *order.texts()) if path.exists()), None)
    if damaged is not None:
        logger.warning("cached file damaged, downloading the archive again: %s", damaged)
    hint = f"put the file at {order.archive()} by hand, or use {QUICKSTART}: it needs no download"
    try:
        first_of(order.urls, partial(_place, order), hint=hint)
    except DownloadError as error:
        if damaged is None:
            raise
        raise DownloadError(f"cached file damaged: {damaged}; {error}", hint=hint) from error


def _place(order: _Order, url: str) -> Path:
    """Downloads the archive to its place, or leaves what is there.

    Raises:
        DataError: what came is intact, yet an archive of something else.
        DownloadError: nothing came, or it came damaged.
    """
    # Beside the texts, where nobody else writes; it moves on when all is checked.
    unseen = order.texts_folder() / f"{TEMP_PREFIX}{os.getpid()}.zip"
    try:
        with undoing(unseen.unlink):
            order.get(url, to=unseen)
            if order.sha256 is None:
                read_members(unseen.read_bytes(), order.published.members(), where=shown(url))
        unseen.replace(order.archive())
        fsync_folder(order.data_folder)
    except DamagedArchiveError as error:
        raise DownloadError(f"not what was published: {error}") from error
    except OSError as error:
        raise unwritable(order.archive(), error) from error
    finally:
        unseen.unlink(missing_ok=True)
    return order.archive()


def _read(path: Path, *, at_most: int) -> bytes | None:
    """The bytes of a file; None where there is none, or none that small."""
    try:
        if not path.is_file() or path.stat().st_size > at_most:
            return None
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
