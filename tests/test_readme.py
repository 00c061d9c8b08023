"""The README's commands do what the README shows.

Every fenced `console` block is typed in, from top to bottom, in an empty folder. Lines that begin
with `$ w2v` are run; the lines below one are the standard output that it shows, and `...` stands
for any number of lines left out. Other commands (`$ make`, `$ pip`) and what they show are passed
over. The one change is that training runs for one epoch, so the shape of the output is compared
and not its numbers: the number of lines, and on each line where a number stands and where text.
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

README = Path(__file__).parent.parent / "README.md"
NEEDS_DOWNLOAD = "ptb"
ONE_EPOCH = ["-s", "train.epochs=1"]
TIMEOUT_S = 900


class Command(NamedTuple):
    typed: str
    shown: list[str]


def console_blocks(readme: str) -> list[list[Command]]:
    """The `$ w2v` commands with what they show, block by block; blocks without any are left out."""
    blocks = []
    for block in re.findall(r"^```console\n(.*?)^```", readme, re.DOTALL | re.MULTILINE):
        commands: list[Command] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append(Command(line[2:], []))
            elif commands:
                commands[-1].shown.append(line)
        ours = [command for command in commands if command.typed.split()[0] == "w2v"]
        if ours:
            blocks.append(ours)
    return blocks


def shape(line: str) -> list[str]:
    """Where a number stands on a line and where text."""
    return ["number" if re.fullmatch(r"-?[\d.,]+%?", word) else "text" for word in line.split()]


def same_shape(printed: list[str], shown: list[str]) -> bool:
    """Whether the printed lines have the shape of the shown ones, `...` being any lines."""
    if "..." not in shown:
        return [shape(line) for line in printed] == [shape(line) for line in shown]
    before, after = shown[: shown.index("...")], shown[shown.index("...") + 1 :]
    if len(printed) < len(before) + len(after):
        return False
    tail = printed[len(printed) - len(after) :]
    return same_shape(printed[: len(before)], before) and same_shape(tail, after)


def run_command(typed: str, *, cwd: Path) -> list[str]:
    """Types one command in and returns the lines of its standard output."""
    words = shlex.split(typed, comments=True)
    assert not {"|", ">", "&&", ";"} & set(words), f"the README's commands need no shell: {typed}"
    if words[1] == "train":
        words += ONE_EPOCH
    environment = os.environ | {"W2V_DATA": str(cwd / "data")}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"$ {typed}\n{done.stderr}"
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_readme_does_what_it_shows(tmp_path):
    test_data = os.environ.get("W2V_TEST_DATA")
    if test_data:
        (tmp_path / "data").mkdir()
        shutil.copy(Path(test_data) / "ptb.zip", tmp_path / "data")
    for block in console_blocks(README.read_text()):
        # What follows such a block may query the run that it trains, so the rest is left out too.
        if not test_data and any(NEEDS_DOWNLOAD in command.typed for command in block):
            pytest.skip("the rest of the README needs ptb.zip: W2V_TEST_DATA is not set")
        for typed, shown in block:
            printed = run_command(typed, cwd=tmp_path)
            if shown:
                assert same_shape(printed, shown), f"$ {typed}\n" + "\n".join(printed)


def test_the_readme_shows_the_three_commands():
    typed = [command.typed for block in console_blocks(README.read_text()) for command in block]
    assert {"train", "similar", "export"} <= {words.split()[1] for words in typed}


def test_blocks_are_found_with_their_output():
    console = "```console\n$ make test\nfine\n$ w2v similar chip\nintel\t0.6\n```\n"
    readme = f"{console}text\n```sh\n$ w2v train\n```\n"
    assert console_blocks(readme) == [[("w2v similar chip", ["intel\t0.6"])]]


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        (["intel\t0.6658"], ["chips   0.7000"], True),
        (["intel\t0.6658"], ["chips   many"], False),
        (["intel\t0.6658"], ["intel\t0.6658", "chips\t0.6"], False),
        (["a 1", "b 2", "c 3", "d"], ["x 9", "...", "y"], True),
        (["a 1", "b 2", "c 3", "d"], ["x 9", "...", "y 1"], False),
        (["a 1"], ["a 1", "...", "a 1"], False),
    ],
)
def test_shapes(printed, shown, same):
    assert same_shape(printed, shown) == same
