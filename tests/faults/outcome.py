"""What a command left behind, compared with a row of the table; and real processes to ask."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Outcome

from w2v.files import TEMP_PREFIX

ROOT = Path(__file__).parents[2]
# From linux/prctl.h and linux/capability.h.
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
# What must never reach a user: a traceback, and the inner voices of the libraries.
FORBIDDEN = ("Traceback", "enforce fail", "gloo/transport", "Exception ignored")


def expect(row, outcome, code, *, warned=False, partial=False):
    """Compares an outcome with a row.

    Args:
        row: of the table.
        outcome: what the command left.
        code: the exit code, which the row has.
        warned: with code 0, one of the row's messages was said.
        partial: something may have been printed before the failure.

    Returns the error message, or what was said.
    """
    assert code in row.ends
    assert outcome.code == code, outcome.err
    assert not [word for word in FORBIDDEN if word in outcome.err]
    lines = outcome.err.splitlines()
    errors = [line.removeprefix("w2v: error: ") for line in lines if line.startswith("w2v: error:")]
    hints = [line for line in lines if line.startswith("hint: ")]
    if code in (0, 141):
        assert not errors
        assert not warned or any(row.matches(code, line) for line in lines), outcome.err
        return outcome.err
    assert len(errors) == 1, outcome.err
    assert len(hints) <= 1
    assert row.matches(code, errors[0]), errors[0]
    assert partial or not outcome.out
    return errors[0]


def process(*arguments, cwd, humble=False, prefix=(), module="w2v", env=None, **options):
    """Runs a module as a process of its own; a humble one is refused what the modes refuse."""
    program = ["-m", module] if module else []
    command = [*prefix, sys.executable, *program, *map(str, arguments)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    if humble:
        options |= {"preexec_fn": obey_modes}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    done = subprocess.run(
        command, cwd=cwd, env=environment, timeout=120, text=True, errors="replace", **options
    )
    return Outcome(done.returncode, done.stdout or "", done.stderr or "")


def obey_modes():
    """Makes root's next program obey the modes of files, as everybody must; runs before it starts.

    What root may do beyond its modes is a capability, which can be given up.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "root cannot give up its capabilities here")


def small_disk(folder, *, size):
    """The start of a command that sees a disk of so many bytes at a folder; else a skip.

    The disk is mounted for that command alone, and gone with it.
    """
    script = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@"'
    prefix = ["unshare", "-rm", "sh", "-c", script, str(folder)]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare to mount a small disk with")
    if subprocess.run([*prefix, "true"], capture_output=True, timeout=20).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    return prefix


@contextlib.contextmanager
def peak_growth():
    """Gives a function: by how many bytes the peak of memory is above the start; else a skip."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    except OSError:
        pytest.skip("the system does not tell the peak of memory")

    def peak():
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    start = peak()
    yield lambda: peak() - start


def temporaries(folder):
    """What an atomic write has not finished."""
    return list(folder.rglob(f"{TEMP_PREFIX}*"))


def children():
    """The processes that this one has started and that are still there."""
    listed = Path("/proc/self/task").glob("*/children")
    pids = set()
    for path in listed:
        with contextlib.suppress(OSError):  # a thread that is gone
            pids.update(path.read_text().split())
    return pids


def gone_soon(pids, *, within_s=5.0):
    """Whether none of these children is left; those that have ended are on their way out."""
    give_up = time.monotonic() + within_s
    while children() & pids and time.monotonic() < give_up:
        time.sleep(0.01)
    return not children() & pids
