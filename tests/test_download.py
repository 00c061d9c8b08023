import gzip
import hashlib
import io
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack
from functools import partial

import pytest
import server
from server import Server

from w2v.cli.progress import download_bar
from w2v.download import download, first_of
from w2v.errors import DownloadError, StorageError
from w2v.web import Patience, shown

BODY = bytes(range(256)) * 400  # 102,400 bytes
SIZE = len(BODY)
SHA256 = hashlib.sha256(BODY).hexdigest()
FAST = Patience(connect_s=5, read_s=5, deadline_s=20, backoff_s=0.01, longest_wait_s=0.05)
OLD = b"an older file, still good"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def target(tmp_path):
    """A file that a failed download must leave alone, in a folder of its own."""
    path = tmp_path / "data" / "ptb.zip"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def get(url, target, *, sha256=SHA256, size=SIZE, patience=FAST, **options):
    return download(url, sha256=sha256, size=size, to=target, patience=patience, **options)


def refusal(url, target, **options):
    """The message of a download that fails, and leaves the folder as it was."""
    with pytest.raises(DownloadError) as caught:
        get(url, target, **options)
    assert target.read_bytes() == OLD
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return str(caught.value)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_a_good_file_arrives_and_is_reported(target):
    seen = []
    with Server(server.good(BODY)) as web:
        assert get(web.url, target, progress=lambda *now: seen.append(now)) == target
    assert target.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert len(web.requests) == 1
    assert web.requests[0].line == "GET /ptb.zip HTTP/1.1"
    assert web.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "behavior",
    [
        server.no_length(BODY),
        server.chunked(BODY[:70_000], BODY[70_000:]),
        server.good(BODY, Content_Disposition='attachment; filename="../../evil"'),
        server.good(BODY, Content_Type="text/html", Content_Encoding="identity"),
    ],
    ids=["no length", "chunked", "hostile name", "odd type"],
)
def test_other_ways_to_send_the_same_bytes(target, behavior):
    with Server(behavior) as web:
        get(web.url, target)
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("code", [204, 206, 304, 400, 401, 403, 404, 410, 501])
def test_a_refusal_is_final(target, code):
    with Server(server.status(code)) as web:
        assert f"server said {code}" in refusal(web.url, target)
    assert len(web.requests) == 1


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(target, code):
    with Server(server.status(code), server.status(code), server.good(BODY)) as web:
        get(web.url, target)
    assert target.read_bytes() == BODY
    assert len(web.requests) == 3


def test_a_server_busy_for_ever(target):
    with Server(server.status(500)) as web:
        message = refusal(web.url, target)
    assert message == f"cannot download {web.url}: server error 500 (4 tries)"
    assert len(web.requests) == 4


def test_retry_after_is_honored_up_to_a_cap(target):
    busy = server.status(429, Retry_After=30)
    with Server(busy, server.good(BODY)) as web:
        started = time.monotonic()
        get(web.url, target, patience=FAST._replace(longest_wait_s=0.3))
    assert 0.3 <= time.monotonic() - started < 10


@pytest.mark.parametrize(
    "value", ["soon", "-1", "9" * 5000, "Wed, 21 Oct 2015 07:28:00 GMT", "Mon, 99 Foo 99999999"]
)
def test_an_odd_retry_after_is_no_obstacle(target, value):
    with Server(server.status(503, Retry_After=value), server.good(BODY)) as web:
        get(web.url, target)
    assert len(web.requests) == 2


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [
        (server.cut(BODY, 50_000), "connection broken after 50,000 of 102,400 bytes"),
        (server.reset(BODY, 50_000), "connection broken after 50,000 of 102,400 bytes"),
        (server.no_length(BODY[:50_000]), "size mismatch: got 50,000, want 102,400 bytes"),
        (server.chunked(BODY[:50_000]), "size mismatch: got 50,000, want 102,400 bytes"),
        (server.chunked(BODY[:50_000], end=b""), "connection broken after 50,000 of 102,400"),
        (server.chunked(BODY[:50_000], end=b"zz\r\n"), "connection broken after 50,000 of 102,400"),
        (server.chunked(BODY[:50_000], end=b"-5\r\n"), "connection broken after 50,000 of 102,400"),
    ],
    ids=["cut", "reset", "cut, no length", "short chunks", "cut chunks", "bad chunk", "negative"],
)
def test_a_broken_body_is_tried_again_then_told(target, behavior, reason):
    with Server(behavior) as web:
        message = refusal(web.url, target)
    assert reason in message
    assert message.endswith("(4 tries)")
    with Server(behavior, server.good(BODY)) as web:
        get(web.url, target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("behavior", "tries"),
    [
        (server.stall(), 3),
        (server.stall(server.head(200, Content_Length=len(BODY)) + BODY[:50_000]), 3),
    ],
    ids=["before the headers", "in the body"],
)
def test_silence(target, behavior, tries):
    with Server(behavior) as web:
        message = refusal(web.url, target, patience=FAST._replace(read_s=0.2))
    assert "timed out after 0.2 s" in message
    assert message.endswith(f"({tries} tries)")
    assert len(web.requests) == tries


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        server.head(200, Content_Length=len(BODY)),
        server.head(200),
        server.head(200, Transfer_Encoding="chunked") + b"1;",
    ],
    ids=["headers", "body", "body, no length", "chunk size"],
)
def test_a_trickle_ends_at_the_deadline(target, start):
    started = time.monotonic()
    with Server(server.drip(start)) as web:
        message = refusal(web.url, target, patience=FAST._replace(deadline_s=0.5))
        assert time.monotonic() - started < 5
    assert message == f"cannot download {web.url}: timed out after 0.5 s"


def test_no_try_begins_after_the_deadline(target):
    patience = FAST._replace(deadline_s=1, backoff_s=0.4, longest_wait_s=9)
    started = time.monotonic()
    with Server(server.status(503)) as web:
        assert "(2 tries)" in refusal(web.url, target, patience=patience)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("at", [0, 50_000, len(BODY) - 1])
def test_wrong_bytes(target, at):
    wrong = bytearray(BODY)
    wrong[at] ^= 1
    with Server(server.good(wrong)) as web:
        message = refusal(web.url, target)
    got = hashlib.sha256(wrong).hexdigest()
    assert f"SHA-256 mismatch: got {got}, want {SHA256}" in message


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [
        (server.good(BODY + b"x"), "size mismatch: got 102,401, want 102,400 bytes"),
        (server.good(BODY[:-1]), "size mismatch: got 102,399, want 102,400 bytes"),
        (server.no_length(BODY + b"x"), "size mismatch: got more than 102,400 bytes"),
        (server.good(b""), "size mismatch: got 0, want 102,400 bytes"),
    ],
)
def test_wrong_size(target, behavior, reason):
    with Server(behavior) as web:
        assert reason in refusal(web.url, target)


@pytest.mark.parametrize("size", [len(BODY), None])
def test_an_endless_body_is_cut_off(target, size):
    largest = 0

    def look(*_):
        nonlocal largest
        largest = max(largest, *(path.stat().st_size for path in target.parent.iterdir()))

    with Server(server.endless(server.head(200))) as web:
        message = refusal(web.url, target, size=size, max_bytes=300_000, progress=look)
    assert f"got more than {size or 300_000:,} bytes" in message
    assert largest <= 300_000


def test_without_a_published_size_the_announced_one_counts(target):
    with Server(server.good(BODY)) as web:
        get(web.url, target, size=None, sha256=None)
    assert target.read_bytes() == BODY
    target.write_bytes(OLD)
    with Server(server.good(BODY)) as web:
        message = refusal(web.url, target, size=None, max_bytes=1000)
    assert "size mismatch: got 102,400, want at most 1,000 bytes" in message


def test_a_compressed_answer_is_refused(target):
    bomb = gzip.compress(bytes(30_000_000))
    with Server(server.good(bomb, Content_Encoding="gzip")) as web:
        assert "sent as 'gzip', asked for plain bytes" in refusal(web.url, target, size=None)
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("ftp://example.com/ptb.zip", "ftp://example.com/ptb.zip"),
        ("http://[broken/", "http://[broken/"),
        ("http://127.0.0.1:99999/", "http://127.0.0.1:99999/"),
        ("javascript:alert(1)", "javascript:alert(1)"),
    ],
)
def test_a_redirect_away_from_the_web(target, location, named):
    with Server(server.redirect(location)) as web:
        assert refusal(web.url, target) == f"not an http or https address: {named}"
    assert len(web.requests) == 1


def test_redirects_are_followed_to_another_server(target):
    with (
        Server(server.good(BODY)) as second,
        Server(server.redirect("/moved"), server.redirect(second.url)) as first,
    ):
        get(first.url.replace("//", "//user:secret@"), target)
    assert target.read_bytes() == BODY
    assert [request.line.split()[1] for request in first.requests] == ["/ptb.zip", "/moved"]
    assert "authorization" in first.requests[0].headers
    assert "authorization" not in second.requests[0].headers


def test_the_body_of_a_redirect_is_not_read(target):
    with Server(server.good(BODY)) as second:
        start = server.head(302, Location=second.url)
        with Server(server.endless(start)) as first:
            get(first.url, target)
    assert target.read_bytes() == BODY


def test_a_redirect_loop(target):
    with Server(server.redirect("/ptb.zip")) as web:
        assert f"more than 5 redirects, last to {web.url}" in refusal(web.url, target)
    assert len(web.requests) == 6


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [
        (server.raw(b"no such protocol\r\n\r\n"), "not an HTTP answer"),
        (server.raw(b""), "connection closed without an answer"),
        (server.good(BODY, X="y" * 70_000), "not an HTTP answer"),
        (server.raw(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200), "not an HTTP answer"),
        (server.raw(server.head(200, Content_Length=-5) + BODY), "Content-Length '-5'"),
        (server.raw(server.head(200, Content_Length="9" * 30) + BODY), "Content-Length '999"),
        (server.raw(server.head(302)), "server said 302 Found"),
        (server.raw(server.head(999)), "server said 999 unknown status"),
    ],
    ids=["garbage", "nothing", "long", "many", "negative", "huge", "nowhere", "999"],
)
def test_nonsense(target, behavior, reason):
    with Server(behavior) as web:
        assert reason in refusal(web.url, target)


def test_nobody_listens(target):
    port = closed_port()
    message = refusal(f"http://127.0.0.1:{port}/ptb.zip", target)
    assert message == f"cannot reach 127.0.0.1:{port}: connection refused (3 tries)"


def test_no_such_host(target, monkeypatch):
    def unknown(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    message = refusal("https://nope.invalid/ptb.zip", target)
    assert message == "cannot reach nope.invalid: host name not found (3 tries)"


def test_a_dead_proxy_is_named_without_its_password(target, monkeypatch):
    port = closed_port()
    monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{port}")
    message = refusal("http://nope.invalid/ptb.zip", target)
    assert f"cannot reach the proxy http://127.0.0.1:{port}" in message
    assert "connection refused" in message
    assert "secret" not in message
    with Server(server.good(BODY)) as web:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        get(web.url, target)


@pytest.mark.parametrize(
    "proxy", ["http://", "nonsense://x", "http://[::1", "socks5://127.0.0.1:9"]
)
def test_a_nonsensical_proxy(target, monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    assert refusal("http://nope.invalid/ptb.zip", target).startswith("cannot reach ")


def test_certificates_that_are_not_there(target, monkeypatch, tmp_path):
    missing = str(tmp_path / "none.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", missing)
    message = refusal("https://nope.invalid/ptb.zip", target)
    assert message.startswith("cannot reach https://nope.invalid/ptb.zip: ")
    assert missing in message


def test_a_password_is_sent_and_never_shown(target, caplog):
    caplog.set_level(logging.DEBUG, logger="w2v")
    with Server(server.status(500)) as web:
        url = web.url.replace("//", "//user:p%40ss@") + "?token=hidden"
        with pytest.raises(DownloadError) as caught:
            get(url, target)
    assert web.requests[0].headers["authorization"] == "Basic dXNlcjpwQHNz"  # user:p@ss
    told = f"{caught.value} {caught.value.hint} {caplog.text}"
    assert not [secret for secret in ("p%40ss", "p@ss", "user", "hidden") if secret in told]


def test_netrc_is_not_read(target, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Server(server.good(BODY)) as web:
        get(web.url, target)
    assert "authorization" not in web.requests[0].headers


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://user:secret@host/a?token=1#x", "http://host/a"),
        ("http://user:sec/ret@host/a", "http://host/a"),
        ("http://host/\x1b[31m\n", "http://host/\\x1b[31m\\n"),
        ("not an address", "not an address"),
    ],
)
def test_an_address_in_a_message(url, text):
    assert shown(url) == text


@pytest.mark.parametrize(
    "url", ["", "ptb.zip", "ftp://host/x", "http://", "http://[::1", "http://h:x"]
)
def test_no_address(target, url):
    assert refusal(url, target).startswith("not an http or https address")


def test_a_folder_that_refuses_is_found_before_any_request(tmp_path):
    (tmp_path / "file").write_text("")
    with Server(server.good(BODY)) as web, pytest.raises(StorageError):
        get(web.url, tmp_path / "file" / "ptb.zip")
    assert web.requests == []


def test_a_disk_that_refuses_is_no_network_failure(target):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Server(server.good(BODY)) as web, ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(StorageError, match="File too large"):
            get(web.url, target)
    assert target.read_bytes() == OLD
    assert len(web.requests) == 1


def test_the_second_address_helps_out(target, caplog):
    wrong = b"x" + BODY[1:]
    get_one = partial(download, sha256=SHA256, size=len(BODY), to=target, patience=FAST)
    with Server(server.good(wrong)) as bad, Server(server.good(BODY)) as good:
        assert first_of([bad.url, good.url], get_one) == target
    assert target.read_bytes() == BODY
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{bad.url}: SHA-256 mismatch" in caplog.text


def test_every_address_fails(target):
    get_one = partial(download, sha256=SHA256, size=len(BODY), to=target, patience=FAST)
    with (
        Server(server.status(404)) as one,
        Server(server.status(500)) as two,
        pytest.raises(DownloadError) as caught,
    ):
        first_of([one.url, two.url], get_one, hint="put it there by hand")
    assert f"{one.url}: server said 404 Not Found; " in str(caught.value)
    assert f"{two.url}: server error 500 (4 tries)" in str(caught.value)
    assert caught.value.hint == "put it there by hand"
    assert target.read_bytes() == OLD


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    command = f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test"
    command += " -addext subjectAltName=IP:127.0.0.1"
    public = path.with_name("public.pem")
    subprocess.run(
        [*command.split(), "-keyout", path, "-out", public], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + public.read_bytes())
    return path


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_an_unknown_certificate_is_refused_at_once(target, tls):
    with Server(server.good(BODY), tls=tls) as web:
        message = refusal(web.url, target)
    assert message == f"cannot reach {web.host}: TLS certificate not valid"
    assert web.requests == []


def test_a_trusted_certificate_must_name_the_host(target, tls, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("public.pem")))
    with Server(server.good(BODY), tls=tls) as web:
        get(web.url, target)
        target.write_bytes(OLD)
        message = refusal(web.url.replace("127.0.0.1", "localhost"), target)
    assert message.endswith("TLS certificate not valid")


def test_https_is_not_left_for_http(target, tls, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("public.pem")))
    with Server(server.good(BODY)) as plain, Server(server.redirect(plain.url), tls=tls) as web:
        message = refusal(web.url, target)
    assert message == f"{web.url} redirects to {plain.url}, which is not https"
    assert plain.requests == []


def test_a_trickle_over_tls_ends_at_the_deadline(target, tls, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("public.pem")))
    with Server(server.drip(server.head(200)), tls=tls) as web:
        message = refusal(web.url, target, patience=FAST._replace(deadline_s=0.5))
    assert message.endswith("timed out after 0.5 s")


def test_no_thread_is_left_behind(target):
    before = threading.active_count()
    with Server(server.good(BODY)) as web:
        get(web.url, target)
    give_up = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_thread_left_at_the_deadline_ends_by_itself(target):
    with Server(server.drip(server.head(200))) as web:
        refusal(web.url, target, patience=FAST._replace(deadline_s=0.3))
        give_up = time.monotonic() + 5
        while any(thread.name == "w2v-download" for thread in threading.enumerate()):
            assert time.monotonic() < give_up
            time.sleep(0.01)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_shows_on_a_terminal_only_and_goes(monkeypatch):
    for stream, shown_text in ((Terminal(), "60.0k/100k"), (io.StringIO(), "")):
        monkeypatch.setattr("sys.stderr", stream)
        with download_bar() as show:
            assert stream.getvalue() == ""
            for done in (60_000, 20_000, 100_000):
                time.sleep(0.11)  # more often it does not draw
                show(done, 100_000)
        assert shown_text in stream.getvalue()
        assert stream.getvalue().rpartition("\r")[2].strip() == ""
