"""The commands of the README and of the pages in docs/ do what these show.

Every fenced `console` block is typed in, from top to bottom, in a folder for each page: an empty
one, or where nothing is trained on the page, one with a finished run (`conftest.example_folder`).
Of its lines that begin with `$`,

    $ w2v ...        is run; so are programs of PIPED before or behind it, `|` between them
    $ torchrun ...   is run, where it starts w2v
    $ cat FILE       alone makes FILE: what is shown below is its content
    others           (`$ make`, `$ pip`) are passed over with what they show, and so is a command
                     of w2v that this version has not

and the lines below are what it prints; `...` stands for any number of lines left out. Where
`w2v: error:` is shown, the command must fail with these words. The one change is that training
runs for one epoch. Output that no training decides (EXACT) is compared word for word; of all other
only the shape is: the number of lines, and on each line where a number stands and where text.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from w2v.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_DOWNLOAD = "ptb"
ONE_EPOCH = ["-s", "train.epochs=1"]
PIPED = {"cat", "echo", "head", "printf", "tail"}
EXACT = {"config", "corpus"}  # the commands whose output no training decides
VARYING = ("device", "estimated_train_s")  # the lines of it that the machine decides
OWN = set(typer.main.get_command(app).commands) | {"--version", "--help"}
MODULES = {"w2v": "w2v", "torchrun": "torch.distributed.run"}
TIMEOUT_S = 900
CLOSED_PIPE = 141


class Command(NamedTuple):
    typed: str
    shown: list[str]

    @property
    def stages(self) -> list[list[str]]:
        """The words of each program of a pipeline."""
        words = shlex.shlex(self.typed, posix=True, punctuation_chars="|")
        words.whitespace_split = True
        stages: list[list[str]] = [[]]
        for word in words:
            if word == "|":
                stages.append([])
            else:
                stages[-1].append(word)
        return stages

    @property
    def makes(self) -> str | None:
        """The file whose content is shown."""
        (name, *arguments), *more = self.stages
        return arguments[0] if name == "cat" and len(arguments) == 1 and not more else None

    @property
    def runs(self) -> bool:
        """Whether it is one of ours, and there is such a command."""
        ours = [stage for stage in self.stages if own_command(stage)]
        others = [stage[0] for stage in self.stages if not own_command(stage)]
        return bool(ours) and set(others) <= PIPED and set(map(own_command, ours)) <= OWN


def own_command(stage: list[str]) -> str:
    """Which of our commands a program is, also if torchrun starts it; empty: none."""
    name, *arguments = stage
    if name == "torchrun" and "w2v" in arguments:
        arguments = arguments[arguments.index("w2v") + 1 :]
    elif name != "w2v":
        return ""
    return arguments[0] if arguments else ""


def console_blocks(page: str) -> list[list[Command]]:
    """The commands that are run or make a file, block by block; blocks without any are left out."""
    blocks = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        commands: list[Command] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append(Command(line[2:], []))
            elif commands:
                commands[-1].shown.append(line)
        ours = [command for command in commands if command.runs or command.makes]
        if ours:
            blocks.append(ours)
    return blocks


def shape(line: str) -> list[str]:
    """Where a number stands on a line and where text."""
    return ["number" if re.fullmatch(r"-?[\d.,]+%?", word) else "text" for word in line.split()]


def words_of(line: str) -> list[str]:
    """The words of a line, or only its shape where the machine decides them."""
    return shape(line) if line.startswith(VARYING) else line.split()


def same(printed: list[str], shown: list[str], *, exact: bool = False) -> bool:
    """Whether the printed lines are the shown ones, or have their shape; `...` is any lines."""
    if not shown or not printed:
        return not printed and set(shown) <= {"..."}
    if shown[0] == "...":
        here = same(printed, shown[1:], exact=exact)
        return here or same(printed[1:], shown, exact=exact)
    of = words_of if exact else shape
    return of(printed[0]) == of(shown[0]) and same(printed[1:], shown[1:], exact=exact)


def run_command(command: Command, *, cwd: Path) -> tuple[list[str], bool]:
    """Types one command in; what it printed, failures too, and whether to the word."""
    given, failure, exact = "", "", True
    for stage in command.stages:
        words = list(stage)
        if own := own_command(stage):
            words[:1] = [sys.executable, "-m", MODULES[words[0]]]
            exact &= own in EXACT
            if own == "train":
                words += ONE_EPOCH
        environment = os.environ | {"W2V_DATA": str(cwd / "data")}
        done = subprocess.run(
            words, cwd=cwd, env=environment, input=given, capture_output=True, text=True,
            timeout=TIMEOUT_S,
        )  # fmt: skip
        given = done.stdout
        if done.returncode not in (0, CLOSED_PIPE):
            failure = done.stderr
    told = [line for line in failure.splitlines() if line.startswith(("w2v: error: ", "hint: "))]
    assert bool(told) == any(line.startswith("w2v: error: ") for line in command.shown), (
        f"$ {command.typed}\n{failure}"
    )
    return given.splitlines() + told, exact or bool(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if console_blocks(page.read_text())], ids=lambda page: page.name
)
def test_a_page_does_what_it_shows(page, tmp_path, example_folder):
    blocks = console_blocks(page.read_text())
    if not any("w2v train" in command.typed for block in blocks for command in block):
        shutil.copytree(example_folder, tmp_path, dirs_exist_ok=True)
    test_data = os.environ.get("W2V_TEST_DATA")
    if test_data:
        (tmp_path / "data").mkdir(exist_ok=True)
        shutil.copy(Path(test_data) / "ptb.zip", tmp_path / "data")
        shutil.copytree(Path(test_data) / "eval", tmp_path, dirs_exist_ok=True)
    for block in blocks:
        # What follows such a block may query the run that it trains, so the rest is left out too.
        if not test_data and any(NEEDS_DOWNLOAD in command.typed for command in block):
            pytest.skip(f"the rest of {page.name} needs ptb.zip: W2V_TEST_DATA is not set")
        for command in block:
            if command.makes:
                (tmp_path / command.makes).write_text("".join(f"{s}\n" for s in command.shown))
                continue
            printed, exact = run_command(command, cwd=tmp_path)
            if command.shown:
                told = f"$ {command.typed}\n" + "\n".join(printed)
                assert same(printed, command.shown, exact=exact), told


def test_the_readme_shows_the_three_commands():
    blocks = console_blocks((ROOT / "README.md").read_text())
    typed = [command.typed for block in blocks for command in block]
    assert {"train", "similar", "export"} <= {words.split()[1] for words in typed}


def test_blocks_are_found_with_their_output():
    console = "```console\n$ make test\nfine\n$ w2v similar chip\nintel\t0.6\n```\n"
    readme = f"{console}text\n```sh\n$ w2v train\n```\n"
    assert console_blocks(readme) == [[("w2v similar chip", ["intel\t0.6"])]]


@pytest.mark.parametrize(
    ("typed", "runs", "makes"),
    [
        ("w2v similar chip", True, None),
        ("w2v --version -v", True, None),
        ("w2v frobnicate", False, None),  # of another version
        ("torchrun --nproc-per-node=2 -m w2v train", True, None),
        ("torchrun --nproc-per-node=2 -m w2v frobnicate", False, None),
        ("torchrun train.py", False, None),
        ("cat queries.txt", False, "queries.txt"),
        ("cat queries.txt | w2v similar -", True, None),
        ("w2v export - | head -1", True, None),
        ("w2v export - | less", False, None),
        ("make quickstart", False, None),
    ],
)
def test_what_a_line_is(typed, runs, makes):
    command = Command(typed, [])
    assert (command.runs, command.makes) == (runs, makes)


def test_a_quoted_bar_is_no_pipe():
    assert Command("w2v similar 'a|b' | head -1", []).stages == [
        ["w2v", "similar", "a|b"], ["head", "-1"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("printed", "shown", "exact", "expected"),
    [
        (["intel\t0.6658"], ["chips   0.7000"], False, True),
        (["intel\t0.6658"], ["chips   many"], False, False),
        (["intel\t0.6658"], ["intel\t0.6658", "chips\t0.6"], False, False),
        (["a 1", "b 2", "c 3", "d"], ["x 9", "...", "y"], False, True),
        (["a 1", "b 2", "c 3", "d"], ["x 9", "...", "y 1"], False, False),
        (["a 1"], ["a 1", "...", "a 1"], False, False),
        (["a 1", "b 2"], ["a 1", "..."], True, True),
        (["a 1", "b 2", "c 3", "d 4"], ["a 1", "...", "c 3", "..."], True, True),
        (["a 1", "b 2", "c 3", "d 4"], ["a 1", "...", "c 4", "..."], True, False),
        (["a 1"], ["a 2"], True, False),
        (["device\tcuda:0", "estimated_train_s\t4.1"], ["device cpu", "estimated_train_s 3"],
         True, True),
    ],
)  # fmt: skip
def test_what_is_printed_is_what_is_shown(printed, shown, exact, expected):
    assert same(printed, shown, exact=exact) == expected
