"""From an address to a verified file: with `w2v.web`, the only network access of the package.

In goes an address with the size and SHA-256 that were published, out comes the file under its own
name, or a `DownloadError`. What a server sends is never believed: names and types are ignored, no
body grows past its published size, and nothing takes the file's name before its digest is right.
Trouble that may pass (no answer, a broken body, an overloaded server) is tried again, with growing
waits, within one deadline; everything else fails at once.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import requests
import urllib3

from w2v.errors import DownloadError
from w2v.files import atomic_write
from w2v.web import PATIENCE, Patience, TransientError, check_address, failure, opened

logger = logging.getLogger(__name__)

# Told the bytes so far and the bytes in all, where known; a new try starts again at 0.
Progress = Callable[[int, int | None], None]

CHUNK_BYTES = 65_536
MOST_BYTES = 64 * 1024**2  # of a body whose size was not published


class _Errand(NamedTuple):
    """One address, and what it is to send."""

    url: str
    size: int | None
    most_bytes: int
    progress: Progress | None
    patience: Patience


def first_of(urls: Sequence[str], get: Callable[[str], Path], *, hint: str | None = None) -> Path:
    """Calls `get` with one address after the other until one succeeds.

    Args:
        urls: the addresses, best first.
        get: `download` with everything but its address.
        hint: what the user can do where every address fails.

    Raises:
        DownloadError: every address failed; the message says how each did.
    """
    failures: list[str] = []
    for url in urls:
        if failures:
            logger.warning("%s; trying the next address", failures[-1])
        try:
            return get(url)
        except DownloadError as error:
            failures.append(str(error))
    raise DownloadError("; ".join(failures), hint=hint)


def download(
    url: str,
    *,
    sha256: str | None,
    size: int | None,
    to: Path,
    max_bytes: int = MOST_BYTES,
    progress: Progress | None = None,
    patience: Patience = PATIENCE,
) -> Path:
    """Downloads one file, verifies it, and only then gives it its name.

    Args:
        url: an http or https address; `user:password@` in it is sent to its own host only.
        sha256: the published digest in lower-case hex, where there is one.
        size: the published size in bytes, where there is one.
        to: the file to write; one that exists stays untouched unless the download succeeds.
        max_bytes: how large a body without a published size may be.
        progress: told the bytes so far, out of how many, from a thread of its own.
        patience: how long to wait, how often to try.

    Raises:
        DownloadError: no answer, a refusal, or other bytes than were published.
        StorageError: `to` cannot be written; a folder that refuses is found before any request.
    """
    check_address(url)
    errand = _Errand(url, size, max_bytes if size is None else size, progress, patience)
    with atomic_write(to) as file:
        digest = _in_time(partial(_fill, file, errand), errand)
        if sha256 is not None and digest != sha256:
            raise DownloadError(failure(url, f"SHA-256 mismatch: got {digest}, want {sha256}"))
    return to


def _in_time(work: Callable[[], str], errand: _Errand) -> str:
    """What `work` returns or raises, or an error at the deadline.

    It works in a thread, since headers or a body that trickle in beat every timeout of a socket.
    A thread that is left behind ends when it finds its file closed, or with the process.
    """
    outcome: Future[str] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=run, daemon=True, name="w2v-download")
    thread.start()
    thread.join(timeout=errand.patience.deadline_s)
    if not outcome.done():
        reason = f"timed out after {errand.patience.deadline_s:g} s"
        raise DownloadError(failure(errand.url, reason))
    return outcome.result()


def _fill(file: BinaryIO, errand: _Errand) -> str:
    """Tries until `file` holds the whole body, and returns its SHA-256."""
    patience = errand.patience
    deadline = time.monotonic() + patience.deadline_s
    tries = 0
    while True:
        tries += 1
        file.seek(0)
        file.truncate()
        try:
            with opened(errand.url, patience=patience) as answer:
                return _copy(answer, file, errand)
        except TransientError as error:
            wait_s = max(error.wait_s, patience.backoff_s * 2 ** (tries - 1))
            wait_s = min(wait_s, patience.longest_wait_s)
            if tries >= error.tries or time.monotonic() + wait_s >= deadline:
                counted = "1 try" if tries == 1 else f"{tries} tries"
                raise DownloadError(f"{error} ({counted})") from error
            logger.info("%s; trying again in %g s", error, wait_s)
        time.sleep(wait_s)


def _copy(answer: requests.Response, file: BinaryIO, errand: _Errand) -> str:
    """Writes the body as it comes and returns its SHA-256."""
    announced = answer.headers.get("Content-Length")
    total = errand.size if announced is None else int(announced)
    if total is not None and (total > errand.most_bytes or errand.size not in (None, total)):
        wanted = "want" if errand.size is not None else "want at most"
        reason = f"size mismatch: got {total:,}, {wanted} {errand.most_bytes:,} bytes"
        raise DownloadError(failure(errand.url, reason))
    digest, done = hashlib.sha256(), 0
    while chunk := _read(answer, errand, done=done, total=total):
        done += len(chunk)
        if done > errand.most_bytes:
            reason = f"size mismatch: got more than {errand.most_bytes:,} bytes"
            raise DownloadError(failure(errand.url, reason))
        file.write(chunk)
        digest.update(chunk)
        if errand.progress is not None:
            errand.progress(done, total)
    if total is not None and done != total:
        reason = f"size mismatch: got {done:,}, want {total:,} bytes"
        raise TransientError(failure(errand.url, reason), tries=errand.patience.tries)
    return digest.hexdigest()


def _read(answer: requests.Response, errand: _Errand, *, done: int, total: int | None) -> bytes:
    so_far = f"{done:,} bytes" if total is None else f"{done:,} of {total:,} bytes"
    try:
        chunk: bytes = answer.raw.read1(CHUNK_BYTES, decode_content=False)
    except urllib3.exceptions.ReadTimeoutError as error:
        reason = f"timed out after {errand.patience.read_s:g} s with {so_far}"
        tries = errand.patience.tries_silent
        raise TransientError(failure(errand.url, reason), tries=tries) from error
    except urllib3.exceptions.HTTPError as error:
        reason = f"connection broken after {so_far}"
        tries = errand.patience.tries
        raise TransientError(failure(errand.url, reason), tries=tries) from error
    return chunk
