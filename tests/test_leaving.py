"""What is undone before leaving, and who is asked first."""

import subprocess
import sys

from w2v import leaving
from w2v.cli import signals
from w2v.files import atomic_folder, atomic_write


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
