"""From an address to a verified file: the only network access of the package.

In goes an address with the size and SHA-256 that were published, out comes the file under its own
name, or a `DownloadError`. What a server sends is never believed: names and types are ignored, no
compression is asked for, no body grows past its published size, and nothing takes the file's name
before its digest is right. Trouble that may pass (no answer, a broken body, an overloaded server)
is tried again, with growing waits, within one deadline; everything else fails at once.
"""

import hashlib
import http.client
import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth
from requests.utils import get_environ_proxies, select_proxy

from w2v.errors import DownloadError
from w2v.files import atomic_write

logger = logging.getLogger(__name__)

# Told the bytes so far and the bytes in all, where known; a new try starts again at 0.
Progress = Callable[[int, int | None], None]

CHUNK_BYTES = 65_536
MOST_BYTES = 64 * 1024**2  # of a body whose size was not published
BUSY_STATUSES = frozenset({429, 500, 502, 503, 504})
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})

# The first kind found among the causes of a failure names it.
REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "TLS certificate not valid"),
    (ssl.SSLError, "TLS failed"),
    (socket.gaierror, "host name not found"),
    (ConnectionRefusedError, "connection refused"),
    (http.client.RemoteDisconnected, "connection closed without an answer"),
    (ConnectionResetError, "connection reset"),
    (http.client.HTTPException, "not an HTTP answer"),
)


class Patience(NamedTuple):
    """How long to wait, and how often to try."""

    connect_s: float = 10.0
    read_s: float = 15.0  # of silence, before or within the answer
    deadline_s: float = 120.0  # for one address: all tries, waits and redirects together
    tries: int = 4
    tries_silent: int = 3  # where the other side sends nothing
    backoff_s: float = 0.5  # before the second try; doubles with each
    longest_wait_s: float = 10.0  # also where the server asks for more
    redirects: int = 5


PATIENCE = Patience()


class _Errand(NamedTuple):
    """One address, what it is to send, and until when (on the monotonic clock)."""

    url: str
    size: int | None
    most_bytes: int
    progress: Progress | None
    patience: Patience
    deadline: float

    def left_s(self) -> float:
        return max(self.deadline - time.monotonic(), 0.0)

    def failure(self, reason: str) -> DownloadError:
        return DownloadError(f"cannot download {shown(self.url)}: {reason}")

    def overdue(self) -> DownloadError:
        return self.failure(f"timed out after {self.patience.deadline_s:g} s")


class _Setback(Exception):
    """A failure that may pass with the next try."""

    def __init__(self, error: DownloadError, *, silent: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(str(error))
        self.silent = silent  # the other side sent nothing
        self.wait_s = wait_s  # what the other side asks for


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
        progress: told the bytes so far, out of how many.
        patience: how long to wait, how often to try.

    Raises:
        DownloadError: no answer, a refusal, or other bytes than were published.
        StorageError: `to` cannot be written; a folder that refuses is found before any request.
    """
    _check_address(url)
    deadline = time.monotonic() + patience.deadline_s
    errand = _Errand(url, size, max_bytes if size is None else size, progress, patience, deadline)
    with atomic_write(to) as file:
        digest = _fill(file, errand)
        if sha256 is not None and digest != sha256:
            raise errand.failure(f"SHA-256 mismatch: got {digest}, want {sha256}")
    return to


def _fill(file: BinaryIO, errand: _Errand) -> str:
    """Tries until `file` holds the whole body, and returns its SHA-256."""
    with requests.Session() as session:
        # A compressed answer would be neither the bytes nor the size that were published.
        session.headers.update({"User-Agent": "w2v", "Accept-Encoding": "identity"})
        # A session without an auth of its own sends what .netrc holds for the host.
        session.auth = _no_auth
        tries = 0
        while True:
            tries += 1
            file.seek(0)
            file.truncate()
            try:
                with closing(_answer(session, errand)) as answer:
                    _check_answer(answer, errand)
                    return _copy(answer, file, errand)
            except _Setback as setback:
                _pause(setback, errand, tries=tries)


def shown(url: str) -> str:
    """An address fit for a message: without user, password and query, on one line."""
    scheme, slashes, rest = url.partition("://")
    # From the last "@", not the first: a password may hold one, or a "/" that ends the host early.
    rest = rest.rpartition("@")[2].partition("?")[0].partition("#")[0]
    return ascii(scheme + slashes + rest)[1:-1][:200]


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _answer(session: requests.Session, errand: _Errand) -> requests.Response:
    """The answer at the end of the redirects, if there are any."""
    address = errand.url
    for _ in range(errand.patience.redirects + 1):
        answer = _ask(session, address, errand)
        location = answer.headers.get("Location")
        if answer.status_code not in REDIRECT_STATUSES or location is None:
            return answer
        answer.close()
        address = _redirected(address, location)
    limit = errand.patience.redirects
    raise errand.failure(f"more than {limit} redirects, last to {shown(address)}")


def _redirected(address: str, location: str) -> str:
    try:
        target = urljoin(address, location)
    except ValueError:
        target = location
    _check_address(target)
    if urlsplit(address).scheme == "https" and urlsplit(target).scheme != "https":
        raise DownloadError(f"{shown(address)} redirects to {shown(target)}, which is not https")
    return target


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise DownloadError(f"not an http or https address: {shown(url)}")


def _ask(session: requests.Session, address: str, errand: _Errand) -> requests.Response:
    """Sends one request and waits for the headers of its answer.

    It waits for a thread, since headers that trickle in beat every timeout of a socket. A thread
    that is left behind dies with the process.
    """
    parts = urlsplit(address)
    auth = None
    if parts.username is not None and parts.netloc == urlsplit(errand.url).netloc:
        auth = HTTPBasicAuth(unquote(parts.username), unquote(parts.password or ""))
    # The address goes on without its password, so that no exception can quote it.
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    results: queue.SimpleQueue[requests.Response | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer = _send(session, requests.Request("GET", bare, auth=auth), errand.patience)
        except Exception as error:
            results.put(error)
            return
        if not errand.left_s():  # nobody waits for it any more
            answer.close()
        results.put(answer)

    threading.Thread(target=ask, daemon=True, name="w2v-download").start()
    try:
        result = results.get(timeout=errand.left_s())
    except queue.Empty:
        raise errand.overdue() from None
    if isinstance(result, Exception):
        raise _unreachable(result, bare, errand.patience) from result
    return result


def _send(
    session: requests.Session, request: requests.Request, patience: Patience
) -> requests.Response:
    """Sends by the adapter: `session.send` reads the body of a redirect, however long it is."""
    prepared = session.prepare_request(request)
    environment = session.merge_environment_settings(request.url, {}, True, True, None)
    settings: dict[str, Any] = {**environment}  # proxies, certificates
    timeouts = (patience.connect_s, patience.read_s)
    return session.get_adapter(request.url).send(prepared, timeout=timeouts, **settings)


def _unreachable(error: Exception, address: str, patience: Patience) -> Exception:
    """What to raise where no answer came: a setback, or an error that no new try can mend."""
    causes = list(_causes(error))
    if isinstance(error, ValueError):
        return DownloadError(f"cannot reach {shown(address)}: address or proxy not usable")
    if not isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError):
        return error
    where = ascii(urlsplit(address).netloc)[1:-1]
    if isinstance(error, requests.exceptions.ProxyError):
        proxy = select_proxy(address, get_environ_proxies(address)) or "of the environment"
        where = f"the proxy {shown(proxy)}"
    message = f"cannot reach {where}: {_reason(error, causes, patience)}"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return DownloadError(message)
    return _Setback(DownloadError(message), silent=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: Exception, causes: Sequence[BaseException], patience: Patience) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return f"timed out after {patience.connect_s:g} s"
    if isinstance(error, requests.Timeout):
        return f"timed out after {patience.read_s:g} s"
    for kind, words in REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return words
    own_words = (cause.strerror for cause in causes if isinstance(cause, OSError))
    return next((words for words in own_words if words), "connection failed")


def _check_answer(answer: requests.Response, errand: _Errand) -> None:
    """Refuses by its headers what is not the whole, plain body."""
    status = answer.status_code
    if status in BUSY_STATUSES:
        what = "too many requests" if status == 429 else "server error"
        raise _Setback(errand.failure(f"{what} {status}"), wait_s=_retry_after(answer))
    if status != 200:
        phrase = http.client.responses.get(status, "unknown status")
        raise errand.failure(f"server said {status} {phrase}")
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise errand.failure(f"sent as {encoding!a:.40}, asked for plain bytes")
    length = answer.headers.get("Content-Length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise errand.failure(f"not an HTTP answer: Content-Length {length!a:.40}")


def _retry_after(answer: requests.Response) -> float:
    try:
        return urllib3.Retry().parse_retry_after(answer.headers.get("Retry-After", "0"))
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return 0.0


def _copy(answer: requests.Response, file: BinaryIO, errand: _Errand) -> str:
    """Writes the body as it comes and returns its SHA-256."""
    announced = answer.headers.get("Content-Length")
    total = errand.size if announced is None else int(announced)
    if total is not None and (total > errand.most_bytes or errand.size not in (None, total)):
        wanted = "want" if errand.size is not None else "want at most"
        reason = f"size mismatch: got {total:,}, {wanted} {errand.most_bytes:,} bytes"
        raise errand.failure(reason)
    digest, done = hashlib.sha256(), 0
    with _watch(answer, errand):
        while chunk := _read(answer, errand, done=done, total=total):
            done += len(chunk)
            if done > errand.most_bytes:
                raise errand.failure(f"size mismatch: got more than {errand.most_bytes:,} bytes")
            file.write(chunk)
            digest.update(chunk)
            if errand.progress is not None:
                errand.progress(done, total)
    if total is not None and done != total:
        raise _Setback(errand.failure(f"size mismatch: got {done:,}, want {total:,} bytes"))
    return digest.hexdigest()


@contextmanager
def _watch(answer: requests.Response, errand: _Errand) -> Iterator[None]:
    """Ends the body at the deadline: one that trickles in beats every timeout of a socket."""

    def end() -> None:
        # The body may have ended by itself meanwhile.
        with suppress(ValueError, RuntimeError, OSError):
            answer.raw.shutdown()

    timer = threading.Timer(errand.left_s(), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read(answer: requests.Response, errand: _Errand, *, done: int, total: int | None) -> bytes:
    so_far = f"{done:,} bytes" if total is None else f"{done:,} of {total:,} bytes"
    try:
        chunk: bytes = answer.raw.read1(CHUNK_BYTES, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        if not errand.left_s():
            raise errand.overdue() from error
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            reason = f"timed out after {errand.patience.read_s:g} s with {so_far}"
            raise _Setback(errand.failure(reason), silent=True) from error
        raise _Setback(errand.failure(f"connection broken after {so_far}")) from error
    if not errand.left_s():
        raise errand.overdue()
    return chunk


def _pause(setback: _Setback, errand: _Errand, *, tries: int) -> None:
    """Waits before the next try, where one is left."""
    patience = errand.patience
    wait_s = max(setback.wait_s, patience.backoff_s * 2 ** (tries - 1))
    wait_s = min(wait_s, patience.longest_wait_s)
    allowed = patience.tries_silent if setback.silent else patience.tries
    if tries >= allowed or wait_s >= errand.left_s():
        counted = "1 try" if tries == 1 else f"{tries} tries"
        raise DownloadError(f"{setback} ({counted})") from setback
    logger.info("%s; trying again in %g s", setback, wait_s)
    time.sleep(wait_s)
