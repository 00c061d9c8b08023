"""A folder is built by one process, appears whole, and is swept where that process was killed."""

import errno
import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest

from w2v import flocks
from w2v.errors import StorageError
from w2v.files import TEMP_PREFIX, atomic_write
from w2v.flocks import alone
from w2v.folders import UNFINISHED, Lasting, atomic_folder, swapped_folder, sweep_stale, turn
from w2v.leaving import undo_all


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "made" / "folder"

    def fail_in_the_middle():
        with atomic_folder(target, proof="p") as build:
            (build / "p").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert list(target.parent.iterdir()) == []
    with atomic_folder(target, proof="p") as build:
        (build / "p").write_text("whole")
        assert not target.exists()
    assert (target / "p").read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "folder"
    build(target)

    def fail():
        with atomic_folder(target, proof="p"):
            assert (target / "p").read_text() == "whole"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (target / "p").read_text() == "whole"
    with atomic_folder(target, proof="p") as folder:
        (folder / "p").write_text("new")
    assert (target / "p").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_what_replaced_it_in_between_is_kept(tmp_path):
    target = tmp_path / "folder"
    build(target)
    with atomic_folder(target, proof="p") as slow:
        (slow / "p").write_text("slow")
        with atomic_folder(target, proof="p") as fast:
            (fast / "p").write_text("fast")
    assert (target / "p").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_came_in_between_is_kept(tmp_path):
    target = tmp_path / "folder"

    def overtaken(name):
        with atomic_folder(target, proof="p") as build:
            (build / "p").write_text("ours")
            target.mkdir()
            (target / name).write_text("theirs")

    overtaken("p")
    assert (target / "p").read_text() == "theirs"
    with pytest.raises(StorageError, match="cannot write"):
        overtaken("unproven")
    assert list(tmp_path.iterdir()) == [target]


BUILD = """
import sys
from pathlib import Path
from w2v.folders import atomic_folder
with atomic_folder(Path(sys.argv[1]), proof="p") as build:
    (build / "p").write_text("half")
    print(build.name, flush=True)
    sys.stdin.read()
"""


@contextmanager
def builder(target):
    """A process that builds a folder until its stdin is closed, and the name of what it builds."""
    command = [sys.executable, "-c", BUILD, target]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def build(target):
    with atomic_folder(target, proof="p") as folder:
        (folder / "p").write_text("whole")


def test_a_build_of_a_killed_process_is_swept_and_one_of_a_living_process_is_not(tmp_path):
    with builder(tmp_path / "a") as (living, spared), builder(tmp_path / "b") as (doomed, swept):
        doomed.kill()
        doomed.wait()
        assert {spared, swept} == {path.name for path in tmp_path.iterdir()}
        build(tmp_path / "c")
        assert {spared, "c"} == {path.name for path in tmp_path.iterdir()}
        living.communicate()
    assert {"a", "c"} == {path.name for path in tmp_path.iterdir()}


def test_a_build_is_no_stray_of_its_own_process(tmp_path):
    with atomic_folder(tmp_path / "a", proof="p") as first:
        (first / "p").write_text("first")
        build(tmp_path / "b")
        assert first.exists()
    assert (tmp_path / "a" / "p").read_text() == "first"


def test_a_process_that_is_stopped_is_alive(tmp_path):
    with builder(tmp_path / "a") as (stopped, spared):
        stopped.send_signal(signal.SIGSTOP)
        build(tmp_path / "b")
        assert (tmp_path / spared).exists()
        stopped.send_signal(signal.SIGCONT)


# As versions before named them, by host and process, whichever these are.
NAMES = [
    f"{platform.node()}-gpu-12-ab",
    f"{platform.node()}-4711-ab",
    f"{platform.node()}-{os.getpid()}-ab",
    "elsewhere-1-ab",
    "-",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_do_not_matter(tmp_path, name):
    stray = tmp_path / f"{TEMP_PREFIX}{name}"
    stray.mkdir()
    (stray / "half").write_text("")
    build(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_is_neither_file_nor_folder_is_not_swept(tmp_path):
    (tmp_path / "mine").mkdir()
    link, pipe = tmp_path / f"{TEMP_PREFIX}link", tmp_path / f"{TEMP_PREFIX}pipe"
    link.symlink_to(tmp_path / "mine")
    os.mkfifo(pipe)
    build(tmp_path / "a")
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "a", link.name, pipe.name}


def refuse(*_arguments):
    raise OSError("no locks here")


@pytest.mark.parametrize("flock", [refuse, lambda *_: None], ids=["none", "granted to everybody"])
def test_where_locks_do_not_hold_nothing_is_swept(tmp_path, monkeypatch, flock):
    monkeypatch.setattr("fcntl.flock", flock)
    stray = tmp_path / f"{TEMP_PREFIX}0"
    stray.mkdir()
    build(tmp_path / "a")
    assert stray.exists()
    (tmp_path / f"{TEMP_PREFIX}half").write_text("")
    with turn(tmp_path):
        pass
    assert (tmp_path / f"{TEMP_PREFIX}half").exists()


@pytest.mark.parametrize("moment", ["before it is opened", "while it is locked"])
def test_a_new_build_that_is_taken_for_a_stray_is_made_again(tmp_path, monkeypatch, moment):
    taken = []

    def swept(call):
        def once(*arguments, **options):
            if not taken:
                [stray] = tmp_path.iterdir()
                taken.append(stray.name)
                stray.rmdir()
            return call(*arguments, **options)

        return once

    if moment == "while it is locked":
        monkeypatch.setattr(flocks, "locked", swept(flocks.locked))
    else:
        monkeypatch.setattr(os, "open", swept(os.open))
    with atomic_folder(tmp_path / "a", proof="p") as folder:
        assert folder.name not in taken
        (folder / "p").write_text("")
    assert len(taken) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


TURN = """
import sys
from pathlib import Path
from w2v.folders import turn
print("asks", flush=True)
with turn(Path(sys.argv[1])):
    print("in", flush=True)
"""


def test_a_turn_clears_what_was_left_and_waits_for_the_one_before(tmp_path):
    folder = tmp_path / "new"
    pipes = {"stdout": subprocess.PIPE, "text": True}
    with ExitStack() as afterwards:
        with turn(folder):
            command = [sys.executable, "-c", TURN, folder]
            other = afterwards.enter_context(subprocess.Popen(command, **pipes))
            assert other.stdout.readline() == "asks\n"
            with pytest.raises(subprocess.TimeoutExpired):
                other.wait(0.3)
            (folder / f"{TEMP_PREFIX}half").write_text("")
            (folder / "whole").write_text("")
        assert other.communicate(timeout=20) == ("in\n", None)
    assert [path.name for path in folder.iterdir()] == ["whole"]


# --- gone on with ---------------------------------------------------------------------------


def lasting(folder):
    return Lasting(folder / f"key{UNFINISHED}", lambda place: (place / "step").exists())


def stopped(folder, **files):
    """A build in a lasting folder that fails after it wrote files."""

    def fail():
        with atomic_folder(folder / "a", proof="p", lasting=lasting(folder)) as place:
            for name, text in files.items():
                (place / name).write_text(text)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_what_is_worth_it_lasts_and_becomes_the_folder(tmp_path):
    stopped(tmp_path, nothing="worth keeping")
    assert list(tmp_path.iterdir()) == []
    stopped(tmp_path, step="1")
    assert names(tmp_path) == ["key.unfinished"]
    (tmp_path / "key.unfinished" / f"{TEMP_PREFIX}half").write_text("")
    with atomic_folder(tmp_path / "a", proof="p", lasting=lasting(tmp_path)) as build:
        assert names(build) == ["step"]
        (build / "p").write_text("")
    assert names(tmp_path) == ["a"]


def test_a_signal_spares_what_is_worth_it(tmp_path):
    folder = atomic_folder(tmp_path / "a", proof="p", lasting=lasting(tmp_path))
    place = folder.__enter__()
    (place / "step").write_text("1")
    half = atomic_write(place / "file")
    half.__enter__().write(b"half")
    undo_all()
    assert names(tmp_path) == ["key.unfinished"]
    assert names(place) == ["step"]
    (place / "step").unlink()
    undo_all()
    assert names(tmp_path) == []
    for context in (half, folder):
        assert not context.__exit__(ValueError, ValueError(), None)


def test_another_builder_gets_a_folder_of_its_own(tmp_path):
    stopped(tmp_path, step="1")
    target, place = tmp_path / "a", tmp_path / "key.unfinished"
    with atomic_folder(target, proof="p", lasting=lasting(tmp_path)) as first:
        assert first == place
        with atomic_folder(target, proof="p", lasting=lasting(tmp_path)) as second:
            assert second.name.startswith(TEMP_PREFIX)
            (second / "p").write_text("second")
        assert names(first) == ["step"]
        (first / "p").write_text("first")
    assert (target / "p").read_text() == "second"
    assert names(tmp_path) == ["a"]


def test_another_users_unfinished_folder_is_left_alone(tmp_path, monkeypatch):
    stopped(tmp_path, step="1")
    place = tmp_path / "key.unfinished"
    (place / f"{TEMP_PREFIX}half").write_text("")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != place and real(path, mode))
    with atomic_folder(tmp_path / "a", proof="p", lasting=lasting(tmp_path)) as folder:
        assert folder.name.startswith(TEMP_PREFIX)
        (folder / "p").write_text("")
    assert names(tmp_path) == ["a", "key.unfinished"]
    assert names(place) == [f"{TEMP_PREFIX}half", "step"]


@pytest.mark.parametrize(("age_s", "stays"), [(0, True), (6 * 86_400, True), (8 * 86_400, False)])
def test_what_nobody_goes_on_with_is_swept_after_a_week(tmp_path, age_s, stays):
    stopped(tmp_path, step="1")
    then = time.time() - age_s
    os.utime(tmp_path / "key.unfinished", (then, then))
    with alone(tmp_path / "key.unfinished"):
        build(tmp_path / "b")
        assert names(tmp_path) == ["b", "key.unfinished"]
    os.utime(tmp_path / "key.unfinished", (then, then))
    build(tmp_path / "c")
    assert names(tmp_path) == ["b", "c", *["key.unfinished"] * stays]


def test_what_is_old_is_gone_on_with_all_the_same(tmp_path):
    stopped(tmp_path, step="1")
    os.utime(tmp_path / "key.unfinished", (0, 0))
    with atomic_folder(tmp_path / "a", proof="p", lasting=lasting(tmp_path)) as folder:
        assert names(folder) == ["step"]
        (folder / "p").write_text("")


def test_a_link_in_the_place_is_left_alone(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "key.unfinished").symlink_to(tmp_path / "elsewhere")
    with atomic_folder(tmp_path / "a", proof="p", lasting=lasting(tmp_path)) as folder:
        (folder / "p").write_text("")
    assert names(tmp_path) == ["a", "elsewhere", "key.unfinished"]
    assert names(tmp_path / "elsewhere") == []


# --- swapped --------------------------------------------------------------------------------


def written_folder(target, content):
    with swapped_folder(target) as build:
        (build / "a").write_text(content)


def test_a_folder_takes_the_place_of_another_when_it_is_whole(tmp_path):
    target = tmp_path / "made" / "folder"
    with swapped_folder(target) as build:
        (build / "a").write_text("old")
        assert not target.exists()
        assert build.parent == target.parent
    assert (target / "a").read_text() == "old"
    (target / "more").write_text("old too")
    with swapped_folder(target) as build:
        (build / "a").write_text("new")
        assert names(target) == ["a", "more"]
    assert (target / "a").read_text() == "new"
    assert names(target) == ["a"]
    assert names(target.parent) == ["folder"]


@pytest.mark.parametrize("step", ["fsync", "rename"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_swap_that_fails_leaves_the_old_folder(tmp_path, monkeypatch, step, nth):
    target = tmp_path / "folder"
    written_folder(target, "old")
    calls, real = [], getattr(os, step)

    def refuse(*arguments):
        calls.append(arguments)
        if len(calls) == nth:
            raise OSError(errno.EIO, "Input/output error")
        return real(*arguments)

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(StorageError, match=r"cannot write .*folder: Input/output error"):
        written_folder(target, "new")
    assert len(calls) >= nth
    assert (target / "a").read_text() == "old"
    assert names(tmp_path) == ["folder"]


def test_a_swap_that_is_told_to_leave_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "folder"
    written_folder(target, "old")
    between = []

    def rename(*arguments, real=os.rename):
        real(*arguments)
        if not between:
            between.append(target.exists())
            undo_all()
            between.append((target / "a").read_text())
            raise SystemExit

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(SystemExit):
        written_folder(target, "new")
    assert between == [False, "old"]
    assert names(tmp_path) == ["folder"]


def test_a_file_in_the_place_of_a_swapped_folders_parent(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(StorageError, match="cannot write"):
        written_folder(tmp_path / "file" / "folder", "new")
    assert names(tmp_path) == ["file"]


def test_a_folder_that_is_being_swapped_is_swept_by_nobody(tmp_path, monkeypatch):
    target = tmp_path / "folder"
    written_folder(target, "old")
    rename, met = os.rename, []

    def between(*arguments):
        sweep_stale(tmp_path)
        met.append(names(tmp_path))
        rename(*arguments)

    monkeypatch.setattr(os, "rename", between)
    written_folder(target, "new")
    assert [len(found) for found in met] == [2, 2]  # new and old, whatever the old one is called
    assert names(tmp_path) == ["folder"]
    assert (target / "a").read_text() == "new"


def test_strays_are_swept_whatever_their_names_and_files_of_the_living_are_not(tmp_path):
    for name in (f"{platform.node()}-{os.getpid()}-new", "elsewhere-1-new", ""):
        (tmp_path / f"{TEMP_PREFIX}{name}").write_bytes(b"half")
    (tmp_path / "a.txt-old").write_bytes(b"mine")
    with atomic_write(tmp_path / "b.txt") as file:
        file.write(b"b")
        sweep_stale(tmp_path)
        kept, mine = names(tmp_path)
        assert kept.startswith(TEMP_PREFIX)
    assert names(tmp_path) == [mine, "b.txt"] == ["a.txt-old", "b.txt"]
    sweep_stale(tmp_path / "nowhere")
