"""The row that a test holds, what must be true after each of them, and how many rows were held."""

import os
import resource
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_download import certificate, tls  # noqa: F401

from faults.matrix import ROWS
from faults.outcome import children, gone_soon, temporaries

MOST_LISTED = 12
NO_PROXY = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        for marker in item.iter_markers("fault"):
            item.user_properties.append(("fault", marker.args[0]))


def pytest_terminal_summary(terminalreporter):
    """Counts rows: a row is held when a test of it ran and none failed or was skipped."""
    outcomes = defaultdict(set)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in getattr(report, "user_properties", ()):
                if name == "fault":
                    outcomes[value].add(outcome)
    if not outcomes:
        return
    counts = defaultdict(list)
    for row in ROWS.values():
        seen = outcomes[row.id]
        state = "not yet" if row.not_yet else "held" if seen == {"passed"} else "not run"
        if seen & {"failed", "error"}:
            state = "failed"
        elif "skipped" in seen:
            state = "skipped in part" if "passed" in seen else "skipped"
        counts[state].append(row.id)
    listed = "; ".join(
        f"{len(ids)} {state}" + (f" ({' '.join(ids)})" if len(ids) < MOST_LISTED else "")
        for state, ids in counts.items()
    )
    terminalreporter.write_line(f"faults: of {len(ROWS)} rows {listed}")


@pytest.fixture(autouse=True)
def own_world(monkeypatch, tmp_path):
    """No proxies, a home and data of its own."""
    monkeypatch.delenv("W2V_DATA", raising=False)
    for name in NO_PROXY:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def row(request, tmp_path):
    """The row that the test's marker names. Afterwards: in time, no child, no temporary file."""
    marked = ROWS[request.node.get_closest_marker("fault").args[0]]
    before = children()
    started = time.monotonic()
    yield marked
    if request.node.get_closest_marker("slow") is None:
        assert time.monotonic() - started < marked.limit_s
    assert gone_soon(children() - before)
    assert temporaries(tmp_path) == []


@pytest.fixture
def little_memory():
    """Lets the process ask for so many bytes more, until the test ends."""
    before = resource.getrlimit(resource.RLIMIT_AS)

    def limit(more_bytes):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        now = pages * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + more_bytes, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def read_only():
    """Makes a file or folder read-only, or gives it another mode, while a block lasts."""

    @contextmanager
    def without(path, mode=0o555):
        before = path.stat().st_mode & 0o777
        path.chmod(mode)
        try:
            yield
        finally:
            path.chmod(before)

    return without
