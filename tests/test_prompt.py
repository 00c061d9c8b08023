"""The prompt of `w2v similar`, typed into on a pseudo-terminal, by a real process."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from w2v.cli import prompt
from w2v.rundir import RunDir
from w2v.vocab import Vocab

termios = pytest.importorskip("termios", reason="pseudo-terminals are POSIX")
pytest.importorskip("readline", reason="this Python is built without readline")

pytestmark = pytest.mark.slow  # a process each

WORDS = ("<unk>", "chip", "chips", "intel", "king", "queen's")
CENTER = np.array([[0, 0], [1, 0], [4, 3], [3, 4], [0, 2], [-1, 0]], np.float32)
PROMPT = b"similar> "
CTRL_C, CTRL_D, UP = b"\x03", b"\x04", b"\x1b[A"


@pytest.fixture
def folder(tmp_path):
    vocab = Vocab(WORDS, np.array([5, 10, 9, 8, 7, 6]))
    run = RunDir(tmp_path / "runs" / "tiny")
    run.write_finished({}, vocab=vocab, center_VD=CENTER, context_VD=CENTER)
    (tmp_path / "w2v.yaml").write_text("train: {seed: 1}\n")
    return tmp_path


class Terminal:
    """A process whose standard streams, but for those given, are one terminal."""

    def __init__(self, folder, *arguments, **streams):
        self.ours, theirs = os.openpty()
        self.modes_before = termios.tcgetattr(self.ours)
        environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "TERM": "xterm",
                       "INPUTRC": os.devnull}  # fmt: skip
        command = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        command += "os.execv(sys.executable, [sys.executable, '-m', 'w2v', *sys.argv[1:]])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", command, "similar", "-k", "1", *arguments],
            cwd=folder, env=environment, start_new_session=True,
            **{"stdin": theirs, "stdout": theirs, "stderr": theirs} | streams,
        )  # fmt: skip
        os.close(theirs)

    def read_to(self, token):
        """What appears until `token` does."""
        shown, give_up = b"", time.monotonic() + 30
        while token not in shown and time.monotonic() < give_up:
            if select.select([self.ours], [], [], 0.1)[0]:
                shown += os.read(self.ours, 4096)
        assert token in shown, shown
        return shown

    def type(self, keys, *, until=PROMPT):
        """Types keys and gives what appears until the next prompt."""
        os.write(self.ours, keys)
        return self.read_to(until)

    def wait_until_it_waits(self):
        """A signal that comes between the prompt and the wait for keys is heeded at the next key.

        That is so in Python's readline module; who types is not that fast, but a test is.
        """
        stat, give_up = Path(f"/proc/{self.process.pid}/stat"), time.monotonic() + 30
        while stat.exists() and ") S " not in stat.read_text() and time.monotonic() < give_up:
            time.sleep(0.01)

    def end(self, keys=b""):
        """Types the last keys; gives the exit code and what appeared."""
        if keys:
            os.write(self.ours, keys)
        shown = b""
        with contextlib.suppress(OSError):  # nobody holds the other end any more
            while select.select([self.ours], [], [], 30)[0] and (more := os.read(self.ours, 4096)):
                shown += more
        return self.process.wait(timeout=30), shown


@pytest.fixture
def terminal(folder):
    started = []

    def start(*arguments, **streams):
        started.append(Terminal(folder, *arguments, **streams))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        os.close(one.ours)


def test_questions_are_answered_until_ctrl_d(terminal):
    asked = terminal()
    assert b"using runs/tiny" in asked.read_to(PROMPT)
    assert b"chips\t0.8000\r\n" in asked.type(b"chip\n")
    assert b"chip\t0.9762\r\n" in asked.type(b"chips --minus king --minus queen's\n")
    assert asked.type(b"  \n").count(b"\t") == 0
    assert asked.end(CTRL_D)[0] == 0


def test_a_mistake_is_told_in_one_line_and_the_next_is_asked(terminal):
    asked = terminal()
    asked.read_to(PROMPT)
    shown = asked.type(b"clip\n")
    assert (
        b"w2v: error: 'clip' is not in the vocabulary; did you mean 'chip' or 'chips'?\r\n" in shown
    )
    assert b"--minus wants a word behind it\r\n" in asked.type(b"chip --minus\n")
    assert b"chips\t0.8000" in asked.type(b"chip\n")
    assert asked.end(CTRL_D)[0] == 0


def test_words_are_completed(terminal):
    asked = terminal()
    asked.read_to(PROMPT)
    shown = asked.type(b"int\t--\tqu\t\n")
    assert b"intel --minus queen's" in shown
    assert b"chips\t0.9839" in shown  # (1.6, 0.8) / 1.78885 times (0.8, 0.6)
    # Two of them: both are listed, and the line comes again below.
    shown = asked.type(b"chi\t\t\t", until=PROMPT + b"chip")
    assert b"chip " in shown
    assert b"chips" in shown
    asked.type(b"\n")
    assert asked.end(CTRL_D)[0] == 0


def test_lines_come_back_also_in_the_next_prompt(terminal, folder):
    asked = terminal()
    asked.read_to(PROMPT)
    asked.type(b"chip\n")
    assert b"chips\t0.8000" in asked.type(UP + b"\n")
    asked.type(b"king\n")
    asked.wait_until_it_waits()
    assert asked.end(CTRL_C)[0] == 130
    history = folder / "state" / "w2v" / "similar_history"
    assert history.read_text().splitlines()[-1] == "king"
    assert history.parent.stat().st_mode & 0o777 == 0o700
    again = terminal()
    again.read_to(PROMPT)
    assert b"intel\t0.8000" in again.type(UP + b"\n")
    assert again.end(CTRL_D)[0] == 0


@pytest.mark.parametrize(
    ("sent", "code"), [(CTRL_C, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_ends_it_and_the_terminal_is_as_before(terminal, sent, code):
    asked = terminal()
    asked.read_to(PROMPT)
    assert termios.tcgetattr(asked.ours) != asked.modes_before
    asked.wait_until_it_waits()
    if sent != CTRL_C:
        asked.process.send_signal(sent)
    found, shown = asked.end(CTRL_C if sent == CTRL_C else b"")
    assert found == code
    assert shown.count(b"w2v: error: ended by SIG") == 1
    assert b"Traceback" not in shown
    assert termios.tcgetattr(asked.ours) == asked.modes_before


def test_the_prompt_never_gets_into_a_pipe(terminal):
    asked = terminal(stdout=subprocess.PIPE)
    asked.read_to(PROMPT)
    asked.type(b"chip\n")
    asked.type(b"king\n")
    assert asked.end(CTRL_D)[0] == 0
    with asked.process.stdout as out:
        assert out.read() == b"chips\t0.8000\n\nintel\t0.8000\n"


def test_a_history_that_cannot_be_kept_is_told_and_does_no_harm(terminal, folder):
    (folder / "state").write_text("a file")
    asked = terminal()
    asked.read_to(PROMPT)
    assert b"chips\t0.8000" in asked.type(b"chip\n")
    code, shown = asked.end(CTRL_D)
    assert code == 0
    assert b"the history is not kept: " in shown


def test_where_the_history_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "/else/where")
    assert str(prompt.history_path()) == "/else/where/w2v/similar_history"
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert prompt.history_path() == tmp_path / ".local/state/w2v/similar_history"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert prompt.history_path() is None
