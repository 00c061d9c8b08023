"""What is undone before leaving, and who is asked first."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

import w2v
from w2v import leaving
from w2v.cli import signals
from w2v.files import atomic_write
from w2v.folders import atomic_folder


def test_the_latest_is_undone_first_and_what_is_done_is_not():
    said = []
    with leaving.undoing(lambda: said.append("outer")):
        with leaving.undoing(lambda: said.append("done")):
            pass
        with leaving.undoing(lambda: said.append("inner")):
            leaving.undo_all()
    assert said == ["inner", "outer"]
    leaving.undo_all()
    assert said == ["inner", "outer"]


def test_a_file_that_is_gone_does_not_stop_the_others(tmp_path):
    said = []
    with leaving.undoing(lambda: said.append(1)), leaving.undoing((tmp_path / "gone").unlink):
        leaving.undo_all()
    assert said == [1]


def test_half_written_files_and_folders_go(tmp_path):
    folder = atomic_folder(tmp_path / "built", proof="p")
    file = atomic_write(tmp_path / "file")
    (folder.__enter__() / "part").write_text("half")
    file.__enter__().write(b"half")
    leaving.undo_all()
    assert list(tmp_path.iterdir()) == []
    for half in (file, folder):
        assert not half.__exit__(ValueError, ValueError(), None)


def test_the_first_signal_waits_for_whoever_heeds_it():
    wish = leaving.Wish()
    assert not wish.accept(15)
    with wish.heeded():
        assert not wish
        assert wish.accept(15)
        assert wish
        assert not wish.accept(2)
    assert wish.signal == 15
    assert not wish.accept(15)


def test_the_command_that_goes_on():
    given = ["train", "-c", "my config.yaml", "--force", "-q"]
    assert signals.resuming(given) == "w2v train -c 'my config.yaml' -q --resume"
    assert signals.resuming([*given, "--resume"]) == signals.resuming(given)


def test_what_is_unbroken_is_ended_first():
    said = []
    with leaving.unbroken():
        leaving.leave(lambda: said.append("first"))
        with leaving.unbroken():
            leaving.leave(lambda: said.append("second"))
        assert said == []
        said.append("done")
    assert said == ["done", "first", "second"]
    leaving.leave(lambda: said.append("at once"))
    assert said[-1] == "at once"


def test_what_fails_unbroken_lets_go_too():
    said = []

    def fail():
        with leaving.unbroken():
            leaving.leave(lambda: said.append("left"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert said == ["left"]


def test_it_can_be_gone_on_with_once_something_is_saved(tmp_path):
    with leaving.resumable((tmp_path / "saved").exists):
        assert not leaving.can_go_on()
        (tmp_path / "saved").write_text("")
        assert leaving.can_go_on()
    assert not leaving.can_go_on()


CALLBACK = """
import os, signal, weakref
from w2v.cli.signals import install
install()
class Thing: pass
thing = Thing()
weakref.finalize(thing, lambda: os.kill(os.getpid(), signal.SIGINT))
del thing  # an exception in here would be swallowed, and shown
print("went on")
"""


def test_a_signal_in_a_callback_is_not_lost():
    done = subprocess.run([sys.executable, "-c", CALLBACK], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "w2v: error: ended by SIGINT\n"


STARTS = {  # the console script is the one that pip writes
    "-m": ["-m", "w2v", "--version"],
    "script": ["-c", "import re, sys; from w2v.__main__ import main; sys.exit(main())"],
}
AT_THE_FIRST_IMPORT = """
import os, runpy, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if "w2v" in sys.modules and name != "w2v.__main__":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""
GOES_ON = {
    "-m": "runpy.run_module('w2v', run_name='__main__')",
    "script": "from w2v.__main__ import main; main()",
}


@pytest.mark.parametrize("start", STARTS)
def test_ctrl_c_while_we_import_our_first_module_shows_no_traceback(start):
    script = AT_THE_FIRST_IMPORT + GOES_ON[start]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_an_early_ctrl_c_shows_at_most_tracebacks_of_pythons_own_start(start):
    rng, ours = random.Random(0), os.path.dirname(w2v.__file__)  # noqa: PTH120
    command = [sys.executable, *STARTS[start]]
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=start == "-m")
    longest_s = time.perf_counter() - began
    shown = []
    for _ in range(15):
        with subprocess.Popen(command, stdout=-1, stderr=subprocess.PIPE, text=True) as started:
            time.sleep(rng.uniform(0, min(longest_s, 0.2)))
            started.send_signal(signal.SIGINT)
            shown.append(started.communicate()[1])
    assert len([text for text in shown if f'File "{ours}' in text]) <= 1, shown
