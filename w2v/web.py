"""One request to a web server, and its answer as far as the headers tell.

In goes an http or https address, out comes an open answer that promises the whole, plain body, or
the reason why there is none, fit for a message: without user, password and query. Redirects are
followed here, one by one, so that each is an address like any other and none leads out of https.
"""

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth
from requests.utils import get_environ_proxies, select_proxy

from w2v.errors import DownloadError

# A compressed answer would be neither the bytes nor the size that were published.
HEADERS = {"User-Agent": "w2v", "Accept-Encoding": "identity"}
MOST_REDIRECTS = 5
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
BUSY_STATUSES = frozenset({429, 500, 502, 503, 504})

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


PATIENCE = Patience()


class TransientError(DownloadError):
    """A failure that may pass with the next try.

    Args:
        message: as of every error.
        tries: how many tries such a failure is worth.
        wait_s: what the server asks to wait before the next.
    """

    def __init__(self, message: str, *, tries: int, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.tries = tries
        self.wait_s = wait_s


@contextmanager
def opened(url: str, *, patience: Patience) -> Iterator[requests.Response]:
    """The answer to an address, redirects followed, its body still to be read.

    Args:
        url: may hold `user:password@`, which is sent to its own host only.
        patience: how long to wait for the headers.

    Raises:
        DownloadError: no answer, or one that does not promise the whole, plain body.
        TransientError: the same, where the next try may do better.
    """
    with requests.Session() as session, closing(_follow(session, url, patience)) as answer:
        _check(answer, url, patience)
        yield answer


def check_address(url: str) -> None:
    """Raises `DownloadError` for what is no http or https address."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise DownloadError(f"not an http or https address: {shown(url)}")


def shown(url: str) -> str:
    """An address fit for a message: without user, password and query, on one line."""
    scheme, slashes, rest = url.partition("://")
    # From the last "@", not the first: a password may hold one, or a "/" that ends the host early.
    rest = rest.rpartition("@")[2].partition("?")[0].partition("#")[0]
    return ascii(scheme + slashes + rest)[1:-1][:200]


def failure(url: str, reason: str) -> str:
    """The message where a server answers, yet not with the file."""
    return f"cannot download {shown(url)}: {reason}"


def _follow(session: requests.Session, url: str, patience: Patience) -> requests.Response:
    address = url
    for _ in range(MOST_REDIRECTS + 1):
        answer = _send(session, address, patience)
        location = answer.headers.get("Location")
        if answer.status_code not in REDIRECT_STATUSES or location is None:
            return answer
        answer.close()
        address = _redirected(address, location)
    reason = f"more than {MOST_REDIRECTS} redirects, last to {shown(address)}"
    raise DownloadError(failure(url, reason))


def _redirected(address: str, location: str) -> str:
    try:
        target = urljoin(address, location)
    except ValueError:
        target = location
    check_address(target)
    if urlsplit(address).scheme == "https" and urlsplit(target).scheme != "https":
        raise DownloadError(f"{shown(address)} redirects to {shown(target)}, which is not https")
    return target


def _send(session: requests.Session, address: str, patience: Patience) -> requests.Response:
    parts = urlsplit(address)
    auth = None
    if parts.username is not None:
        auth = HTTPBasicAuth(unquote(parts.username), unquote(parts.password or ""))
    # The address goes on without its password, so that no exception can quote it.
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    timeouts = (patience.connect_s, patience.read_s)
    try:
        # Prepared without the session, which would send what .netrc holds for the host.
        request = requests.Request("GET", bare, headers=HEADERS, auth=auth).prepare()
        environment = session.merge_environment_settings(bare, {}, True, True, None)
        settings: dict[str, Any] = {**environment}  # proxies, certificates
        # Sent by the adapter: `session.send` reads the body of a redirect, however long it is.
        return session.get_adapter(bare).send(request, timeout=timeouts, **settings)
    except ValueError as error:
        reason = "address or proxy not usable"
        raise DownloadError(f"cannot reach {shown(bare)}: {reason}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _unreachable(error, bare, patience) from error
    except OSError as error:  # a file of certificates that the environment names
        raise DownloadError(f"cannot reach {shown(bare)}: {error}") from error


def _unreachable(error: Exception, address: str, patience: Patience) -> DownloadError:
    where = ascii(urlsplit(address).netloc)[1:-1]
    if isinstance(error, requests.exceptions.ProxyError):
        proxy = select_proxy(address, get_environ_proxies(address)) or "of the environment"
        where = f"the proxy {shown(proxy)}"
    causes = list(_causes(error))
    message = f"cannot reach {where}: {_reason(causes, patience)}"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return DownloadError(message)
    return TransientError(message, tries=patience.tries_silent)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(causes: list[BaseException], patience: Patience) -> str:
    if isinstance(causes[0], requests.Timeout):
        in_connecting = isinstance(causes[0], requests.ConnectTimeout)
        return f"timed out after {patience.connect_s if in_connecting else patience.read_s:g} s"
    for kind, words in REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return words
    own_words = (cause.strerror for cause in causes if isinstance(cause, OSError))
    return next((words for words in own_words if words), "connection failed")


def _check(answer: requests.Response, url: str, patience: Patience) -> None:
    """Refuses by its headers what is not the whole, plain body."""
    status, headers = answer.status_code, answer.headers
    if status in BUSY_STATUSES:
        what = "too many requests" if status == 429 else "server error"
        wait = headers.get("Retry-After", "")
        wait_s = float(wait) if re.fullmatch(r"[0-9]+", wait) else 0.0
        message = failure(url, f"{what} {status}")
        raise TransientError(message, tries=patience.tries, wait_s=wait_s)
    if status != 200:
        phrase = http.client.responses.get(status, "unknown status")
        raise DownloadError(failure(url, f"server said {status} {phrase}"))
    encoding = headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise DownloadError(failure(url, f"sent as {encoding!a:.40}, asked for plain bytes"))
    length = headers.get("Content-Length", "0")
    if not re.fullmatch(r"[0-9]{1,15}", length):
        raise DownloadError(failure(url, f"not an HTTP answer: Content-Length {length!a:.40}"))
