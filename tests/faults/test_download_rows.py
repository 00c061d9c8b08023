"""Rows D: the download and its cache, through `w2v corpus fetch`."""

import contextlib
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import zlib

import pytest
import server
from server import Server

from faults.outcome import ROOT, expect, peak_growth, process, small_disk
from faults.treebank import (
    ARCHIVE,
    COMPLETE,
    FAST,
    OTHER_TEXTS,
    REPACKED,
    TEXTS,
    TRAIN,
    VALID,
    is_complete,
    pack,
    published,
    put,
    tree,
)
from w2v.sources import ptb

HALF = len(ARCHIVE) // 2
OLD = b"an older file"


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def fetch(cli, monkeypatch, tmp_path):
    """Runs `w2v corpus fetch` for the tiny treebank, published at these addresses."""
    (tmp_path / "c.yaml").write_text("corpus: {name: ptb}\n")

    def run(*urls, patience=FAST, **settings):
        monkeypatch.setitem(ptb.fetch.__kwdefaults__, "published", published(*urls))
        monkeypatch.setitem(ptb.fetch.__kwdefaults__, "patience", patience)
        options = [f"--set=corpus.{key}={value}" for key, value in settings.items()]
        return cli("corpus", "fetch", "-c", "c.yaml", *options)

    return run


@pytest.fixture
def offline():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}/ptb.zip"


@pytest.mark.fault("D1")
def test_nobody_listens(row, fetch, offline, data):
    outcome = fetch(offline)
    expect(row, outcome, 3)
    assert "hint: put the file at data/ptb.zip by hand" in outcome.err
    assert "quickstart.yaml" in outcome.err
    assert tree(data) == {}


@pytest.mark.fault("D1")
def test_an_unknown_name(row, fetch, monkeypatch):
    def unknown(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    expect(row, fetch("https://nope.invalid/ptb.zip"), 3)


@pytest.mark.fault("D2")
@pytest.mark.parametrize("cache", [COMPLETE, TEXTS, {"ptb.zip": ARCHIVE}], ids=len)
def test_offline_with_a_good_cache(row, fetch, offline, data, cache):
    put(data, cache)
    outcome = fetch(offline)
    expect(row, outcome, 0)
    assert outcome.out == f"data/{TRAIN}\ndata/{VALID}\n"
    assert tree(data) == (TEXTS if cache == TEXTS else COMPLETE)


@pytest.mark.fault("D3")
@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_refusal_is_final(row, fetch, data, code):
    with Server(server.status(code)) as web:
        assert f"server said {code}" in expect(row, fetch(web.url), 3)
    assert len(web.requests) == 1
    assert tree(data) == {}


@pytest.mark.fault("D4")
@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_a_busy_server_recovers(row, fetch, data, code):
    busy = server.status(code, Retry_After=3600)
    with Server(busy, server.status(code), server.good(ARCHIVE)) as web:
        expect(row, fetch(web.url), 0)
    assert len(web.requests) == 3
    assert tree(data) == COMPLETE


@pytest.mark.fault("D5")
def test_a_server_busy_for_ever(row, fetch, data):
    with Server(server.status(500)) as web:
        expect(row, fetch(web.url), 3)
    assert len(web.requests) == 4
    assert tree(data) == {}


@pytest.mark.fault("D6")
def test_a_body_cut_short(row, fetch, data):
    with Server(server.cut(ARCHIVE, HALF)) as web:
        message = expect(row, fetch(web.url), 3)
    assert f"after {HALF:,} of {len(ARCHIVE):,} bytes" in message
    assert len(web.requests) == 4
    assert tree(data) == {}


@pytest.mark.fault("D7")
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_body_of_unknown_length_cut_short(row, fetch, offline, data, elsewhere):
    put(data, {"ptb.zip": OLD})
    with Server(server.no_length(ARCHIVE[:HALF])) as web:
        outcome = fetch(offline, url=web.url) if elsewhere else fetch(web.url)
    # An old archive that is the wrong one is told first.
    outcome = outcome._replace(err=outcome.err.replace("cached file damaged: data/ptb.zip; ", ""))
    expect(row, outcome, 3)
    assert tree(data) == {"ptb.zip": OLD}


@pytest.mark.fault("D8")
@pytest.mark.parametrize(
    "behavior",
    [
        server.reset(ARCHIVE, HALF),
        server.chunked(ARCHIVE[:HALF], end=b""),
        server.chunked(ARCHIVE[:HALF], end=b"zz\r\n"),
        server.chunked(ARCHIVE[:HALF], end=b"-5\r\n"),
    ],
    ids=["reset", "cut", "no size", "negative"],
)
def test_a_reset_or_bad_chunks(row, fetch, data, behavior):
    with Server(behavior) as web:
        expect(row, fetch(web.url), 3)
    assert len(web.requests) == 4
    assert tree(data) == {}


@pytest.mark.fault("D9")
@pytest.mark.parametrize(
    "start", [b"", server.head(200, Content_Length=len(ARCHIVE)) + ARCHIVE[:HALF]]
)
def test_silence(row, fetch, data, start):
    with Server(server.stall(start)) as web:
        expect(row, fetch(web.url, patience=FAST._replace(read_s=0.2)), 3)
    assert len(web.requests) == 3
    assert tree(data) == {}


@pytest.mark.fault("D10")
@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX: ", server.head(200, Content_Length=len(ARCHIVE))]
)
def test_a_trickle(row, fetch, data, start):
    with Server(server.drip(start)) as web:
        expect(row, fetch(web.url, patience=FAST._replace(deadline_s=0.5)), 3)
    assert tree(data) == {}


@pytest.mark.fault("D11")
@pytest.mark.parametrize("at", [0, HALF, len(ARCHIVE) - 1])
def test_wrong_bytes(row, fetch, data, at):
    wrong = bytearray(ARCHIVE)
    wrong[at] ^= 1
    with Server(server.good(wrong)) as web:
        expect(row, fetch(web.url), 3)
    assert tree(data) == {}


@pytest.mark.fault("D11")
def test_wrong_texts_from_elsewhere(row, fetch, offline, data):
    with Server(server.good(pack(OTHER_TEXTS, method=0))) as web:
        expect(row, fetch(offline, url=web.url), 3)
    assert tree(data) == {}


@contextlib.contextmanager
def watched(folder):
    """Looks again and again how many bytes a folder takes; gives the most that were seen."""
    sizes, over = [0], threading.Event()

    def look():
        while not over.wait(0.001):
            with contextlib.suppress(OSError):  # a file that is gone
                sizes.append(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lambda: max(sizes)
    finally:
        over.set()
        thread.join()


@pytest.mark.fault("D12")
@pytest.mark.parametrize(
    "behavior",
    [server.endless(server.head(200)), server.good(ARCHIVE + b"x"), server.no_length(ARCHIVE * 2)],
    ids=["endless", "longer", "longer, no length"],
)
def test_a_body_longer_than_published(row, fetch, data, behavior):
    with Server(behavior) as web, watched(data) as largest:
        expect(row, fetch(web.url), 3)
    assert largest() <= len(ARCHIVE) + 2**20
    assert tree(data) == {}


@pytest.mark.fault("D12")
def test_an_endless_body_from_elsewhere(row, fetch, offline, data):
    with Server(server.endless(server.head(200))) as web, watched(data) as largest:
        expect(row, fetch(offline, url=web.url), 3)
    assert largest() <= published().most_bytes() + 2**20
    assert tree(data) == {}


def bomb(size):
    """So many zeros, packed by gzip without ever being held."""
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(2**20)
    return b"".join([*(packer.compress(block) for _ in range(size // 2**20)), packer.flush()])


@pytest.mark.fault("D13")
def test_a_gzip_bomb(row, fetch, data):
    body = bomb(200 * 2**20)
    with Server(server.good(body, Content_Encoding="gzip")) as web, peak_growth() as grown:
        expect(row, fetch(web.url), 3)
        assert grown() < 50 * 2**20
    assert web.requests[0].headers["accept-encoding"] == "identity"
    assert tree(data) == {}


@pytest.mark.fault("D13")
def test_a_bomb_that_goes_off_is_noticed(row):
    body = bomb(200 * 2**20)
    with peak_growth() as grown:
        zlib.decompress(body, wbits=31)
        assert grown() > 150 * 2**20


@pytest.mark.fault("D14")
@pytest.mark.parametrize("location", ["/ptb.zip", "file:///etc/passwd", "ftp://host/ptb.zip"])
def test_redirects_that_lead_nowhere(row, fetch, data, location):
    with Server(server.redirect(location)) as web:
        assert location in expect(row, fetch(web.url), 3)
    assert len(web.requests) <= 6
    assert tree(data) == {}


@pytest.mark.fault("D14")
def test_https_is_not_left(row, fetch, tls, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("public.pem")))
    with Server(server.good(ARCHIVE)) as plain, Server(server.redirect(plain.url), tls=tls) as web:
        assert plain.url in expect(row, fetch(web.url), 3)
    assert plain.requests == []


@pytest.mark.fault("D15")
@pytest.mark.parametrize(
    "behavior",
    [
        server.raw(b"no such protocol\r\n\r\n"),
        server.good(ARCHIVE, X="y" * 70_000),
        server.raw(server.head(200, Content_Length=-5) + ARCHIVE),
        server.status(204),
        server.raw(server.head(206, Content_Range="bytes 5-9/3", Content_Length=5) + b"hello"),
    ],
    ids=["garbage", "long header", "negative", "204", "206"],
)
def test_nonsense(row, fetch, data, behavior):
    with Server(behavior) as web:
        expect(row, fetch(web.url), 3)
    assert tree(data) == {}


@pytest.mark.fault("D16")
@pytest.mark.parametrize("name", ["../../evil", "/evil", "..\\evil", "a\0b", "x" * 300])
def test_hostile_names(row, fetch, tmp_path, data, name):
    before = {*tmp_path.parent.iterdir()}
    with Server(server.good(ARCHIVE, Content_Disposition=f'attachment; filename="{name}"')) as web:
        expect(row, fetch(f"http://{web.host}/..%2F..%2Fevil"), 0)
    assert tree(tmp_path) == {"c.yaml": b"corpus: {name: ptb}\n"} | {
        f"data/{file}": content for file, content in COMPLETE.items()
    }
    assert {*tmp_path.parent.iterdir()} == before


@pytest.mark.fault("D17")
def test_a_dead_proxy_and_a_password(row, fetch, offline, data, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, logger="w2v")
    monkeypatch.setenv("http_proxy", offline.replace("//", "//user:secret@").rpartition("/")[0])
    outcome = fetch("http://me:hidden@nope.invalid/ptb.zip?key=private")
    assert "the proxy http://127.0.0.1:" in expect(row, outcome, 3)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    told = outcome.err + caplog.text + fetch(offline.replace("//", "//me:hidden@")).err
    assert not [secret for secret in ("secret", "hidden", "private") if secret in told]
    with Server(server.good(ARCHIVE)) as web:
        expect(row, fetch(web.url), 0)
    assert tree(data) == COMPLETE


@pytest.mark.fault("D18")
def test_netrc_is_not_sent(row, fetch, tmp_path):
    netrc = tmp_path / "home" / ".netrc"
    netrc.parent.mkdir()
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    netrc.chmod(0o600)
    with Server(server.good(ARCHIVE)) as web:
        expect(row, fetch(web.url), 0)
    assert "authorization" not in web.requests[0].headers


@pytest.mark.fault("D19")
def test_the_second_address_helps_out(row, fetch, data):
    with Server(server.good(b"x" + ARCHIVE[1:])) as bad, Server(server.good(ARCHIVE)) as good:
        expect(row, fetch(bad.url, good.url), 0, warned=True)
    assert tree(data) == COMPLETE


def slowly(exchange):
    """Sends the archive in pieces, so that a kill meets a body on its way."""
    exchange.send(server.head(200, Content_Length=len(ARCHIVE)))
    for at in range(0, len(ARCHIVE), 100):
        exchange.send(ARCHIVE[at : at + 100])
        exchange.over.wait(0.003)


def kills(job, times, folder, argument):
    """Kills so many jobs before their end, each in a process of its own, and checks the folder."""
    outcome = process(job, times, folder, argument, cwd=folder, module="faults.kill")
    assert outcome.code == 0, outcome.err
    assert int(outcome.out) >= times


@pytest.mark.fault("D20")
@pytest.mark.parametrize("times", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_downloads(row, data, times):
    data.mkdir()
    with Server(slowly) as web:
        kills("fetch", times, data, f"http://{web.host}/archive")
    assert is_complete(data)
    assert row.ends == {0: ()}


def eight_at_once(folder, url, *, prelude=""):
    """The exit codes of eight `w2v corpus fetch` that start together."""
    (folder / "c.yaml").write_text("corpus: {name: ptb}\n")
    arguments = [url, "corpus", "fetch", "-c", "c.yaml"]
    code = f"import runpy, sys\n{prelude}\nsys.argv[1:] = {arguments!r}\n"
    command = [
        sys.executable,
        "-c",
        f"{code}runpy.run_module('faults.driver', run_name='__main__')",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, cwd=folder, env=environment, **quiet) for _ in range(8)]
    return [process.wait(timeout=60) for process in processes]


@pytest.mark.slow
@pytest.mark.fault("D21")
def test_eight_first_runs_at_once(row, tmp_path, data):
    with Server(server.good(ARCHIVE)) as web:
        assert eight_at_once(tmp_path, web.url) == [0] * 8
    assert tree(data) == COMPLETE
    assert len(web.requests) == 1


@pytest.mark.slow
@pytest.mark.fault("D22")
def test_eight_first_runs_where_locks_do_not_hold(row, tmp_path, data):
    prelude = "import fcntl; fcntl.flock = lambda *_: None"
    with Server(server.good(ARCHIVE)) as web:
        assert eight_at_once(tmp_path, web.url, prelude=prelude) == [0] * 8
    assert tree(data) == COMPLETE


@pytest.mark.fault("D23")
@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:99] + b"?" + d[100:]])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_damaged_cache(row, fetch, offline, data, damage, elsewhere):
    archive = REPACKED if elsewhere else ARCHIVE
    damaged = damage(archive)
    put(data, {"ptb.zip": damaged})
    expect(row, fetch(offline, url=offline) if elsewhere else fetch(offline), 3)
    assert tree(data) == {"ptb.zip": damaged}
    with Server(server.good(archive)) as web:
        outcome = fetch(offline, url=web.url) if elsewhere else fetch(web.url)
    expect(row, outcome, 0, warned=True)
    assert tree(data) == COMPLETE | {"ptb.zip": archive}


@pytest.mark.fault("D24")
@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: b"x" + text[1:]])
def test_a_damaged_text(row, fetch, offline, data, damage):
    put(data, COMPLETE | {VALID: damage(TEXTS[VALID])})
    expect(row, fetch(offline), 0, warned=True)
    assert tree(data) == COMPLETE


def driver(folder, url, **options):
    """`w2v corpus fetch` as a process of its own, the tiny treebank published at `url`."""
    (folder / "c.yaml").write_text("corpus: {name: ptb}\n")
    arguments = ("corpus", "fetch", "-c", "c.yaml")
    return process(url, *arguments, cwd=folder, module="faults.driver", **options)


@pytest.mark.fault("D25")
def test_a_read_only_folder(row, tmp_path, data, offline, read_only):
    data.mkdir()
    with read_only(data):
        expect(row, driver(tmp_path, offline, humble=True), 5)
    put(data, COMPLETE)
    with read_only(data), read_only(data / "ptb"):
        expect(row, driver(tmp_path, offline, humble=True), 0)
    assert tree(data) == COMPLETE


@pytest.mark.fault("D26")
@pytest.mark.parametrize("make", ["file", "link"])
def test_a_data_folder_that_is_none(row, fetch, tmp_path, make):
    data = tmp_path / "data"
    if make == "file":
        data.write_text("mine")
    else:
        data.symlink_to(tmp_path / "nowhere")
    with Server(server.good(ARCHIVE)) as web:
        expect(row, fetch(web.url), 5)
    assert web.requests == []
    assert make == "link" or data.read_text() == "mine"


@pytest.mark.fault("D26")
def test_a_full_disk(row, tmp_path, offline):
    (tmp_path / "data").mkdir()
    (tmp_path / "outside.zip").write_bytes(ARCHIVE)
    prefix = small_disk(tmp_path / "data", size=4096)
    with Server(server.good(ARCHIVE)) as web:
        expect(row, driver(tmp_path, web.url, prefix=prefix), 5)


@pytest.mark.fault("D27")
def test_an_unknown_certificate(row, fetch, tls):
    with Server(server.good(ARCHIVE), tls=tls) as web:
        expect(row, fetch(web.url), 3)
    assert web.requests == []


@pytest.mark.fault("D27")
def test_a_certificate_of_another_host(row, fetch, tls, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("public.pem")))
    with Server(server.good(ARCHIVE), tls=tls) as web:
        expect(row, fetch(web.url.replace("127.0.0.1", "localhost")), 3)
        assert web.requests == []
        expect(row._replace(ends={0: ()}), fetch(web.url), 0)


@pytest.mark.fault("D27")
def test_an_expired_certificate(row, fetch, certificate, tmp_path, monkeypatch):
    public = tmp_path / "old.pem"
    command = ["openssl", "x509", "-in", certificate, "-signkey", certificate, "-days", "-1"]
    made = subprocess.run([*command, "-out", public], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this openssl makes no certificate that has expired")
    both = tmp_path / "both.pem"
    both.write_bytes(
        certificate.read_bytes().partition(b"-----BEGIN CERT")[0] + public.read_bytes()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(public))
    with Server(server.good(ARCHIVE), tls=context) as web:
        expect(row, fetch(web.url), 3)
    assert web.requests == []
