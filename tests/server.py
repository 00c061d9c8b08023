"""A local HTTP server that misbehaves on demand: one function a fault, every request recorded.

A behavior is called with an `Exchange` once the request is read; when it returns, the connection is
closed. `Server(first, second)` answers the first request with `first` and all others with `second`.
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple


class Request(NamedTuple):
    line: str
    headers: dict[str, str]


class Exchange(NamedTuple):
    request: Request
    connection: socket.socket
    over: threading.Event  # set when the server shuts down: whoever waits, waits on it

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)


Behavior = Callable[[Exchange], None]


class Server:
    """Serves on 127.0.0.1 while its `with` block lasts."""

    def __init__(self, *behaviors: Behavior, tls: ssl.SSLContext | None = None) -> None:
        self.behaviors = list(behaviors)
        self.requests: list[Request] = []
        self._over = threading.Event()
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"http{'s' if tls else ''}://{self.host}/ptb.zip"

    def __enter__(self) -> "Server":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.settimeout(5)
            thread = threading.Thread(target=self._serve, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that hangs up early is what many tests are about.
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                stack.callback(connection.close)
            request = _read_request(connection)
            self.requests.append(request)
            behavior = self.behaviors[min(len(self.requests), len(self.behaviors)) - 1]
            behavior(Exchange(request, connection, self._over))


def _read_request(connection: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(65_536)
        if not block:
            raise ConnectionError("no request")
        data += block
    first, *lines = data.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Request(first, {name.lower(): value for name, value in headers.items()})


def head(status: int, **headers: object) -> bytes:
    """A status line and headers; an underscore in a name stands for a hyphen."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {status} x\r\nConnection: close\r\n{''.join(lines)}\r\n".encode("latin-1")


def raw(data: bytes) -> Behavior:
    return lambda exchange: exchange.send(data)


def good(body: bytes, **headers: object) -> Behavior:
    return raw(head(200, Content_Length=len(body), **headers) + body)


def no_length(body: bytes) -> Behavior:
    return raw(head(200) + body)


def status(code: int, **headers: object) -> Behavior:
    return raw(head(code, Content_Length=4, **headers) + b"oops")


def redirect(location: str) -> Behavior:
    return status(302, Location=location)


def cut(body: bytes, at: int) -> Behavior:
    """Closes the connection in the middle of an announced body."""
    return raw(head(200, Content_Length=len(body)) + body[:at])


def reset(body: bytes, at: int) -> Behavior:
    """Resets the connection in the middle of an announced body."""

    def behave(exchange: Exchange) -> None:
        exchange.send(head(200, Content_Length=len(body)) + body[:at])
        exchange.over.wait(0.05)  # what was sent arrives before the reset
        linger = struct.pack("ii", 1, 0)
        exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    return behave


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> Behavior:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return raw(head(200, Transfer_Encoding="chunked") + body + end)


def stall(data: bytes = b"") -> Behavior:
    """Sends `data`, then nothing more."""

    def behave(exchange: Exchange) -> None:
        exchange.send(data)
        exchange.over.wait(20)

    return behave


def drip(start: bytes, byte: bytes = b"x", *, every_s: float = 0.02) -> Behavior:
    """Sends `start`, then one byte again and again, often enough for any read timeout."""

    def behave(exchange: Exchange) -> None:
        exchange.send(start)
        while not exchange.over.wait(every_s):
            exchange.send(byte)

    return behave


def endless(start: bytes, block: bytes = bytes(65_536)) -> Behavior:
    def behave(exchange: Exchange) -> None:
        exchange.send(start)
        while not exchange.over.is_set():
            exchange.send(block)

    return behave
