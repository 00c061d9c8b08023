"""The help of every command shows an example, and every example runs.

The commands are found by walking the application, so a new one is tested as soon as it is there.
Examples are typed in a folder prepared for them (`conftest.example_folder`).
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from conftest import EXAMPLE_FILES, SHIPPED

from w2v.cli.main import app, main

NEEDS = {"plot": "matplotlib"}  # commands of extras, and what they import


def leaves(command, *path):
    """Every command without commands below it, by what is typed for it."""
    below = getattr(command, "commands", {})
    if not below:
        yield path, command
    for name, child in below.items():
        yield from leaves(child, *path, name)


COMMANDS = dict(leaves(typer.main.get_command(app)))


def examples(text):
    """The commands behind `Example:` and in lines indented below `Examples:`."""
    found = re.findall(r"^ *Examples?: +(w2v .+)$", text, re.MULTILINE)
    below = re.search(r"^ *Examples:\n((?: +w2v .+\n?)+)", text, re.MULTILINE)
    return found + ([line.strip() for line in below[1].splitlines()] if below else [])


ALL = [(path, line) for path, command in COMMANDS.items() for line in examples(command.help or "")]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_of_itself(path):
    found = examples(COMMANDS[path].help or "")
    assert found, f"the docstring of w2v {' '.join(path)} has no line 'Example: w2v ...'"
    assert all(shlex.split(line)[1 : 1 + len(path)] == list(path) for line in found)


@pytest.mark.parametrize(("path", "line"), ALL, ids=[line for _, line in ALL])
def test_every_example_runs(path, line, example_folder, tmp_path, monkeypatch, capsys):
    if path[0] in NEEDS:
        pytest.importorskip(NEEDS[path[0]], reason=f"w2v {path[0]} is of an extra")
    here = shutil.copytree(example_folder, tmp_path / "here")
    monkeypatch.chdir(here)
    monkeypatch.delenv("W2V_DATA", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(line)[1:])
    assert ended.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Does it.\n\n    Example: w2v train -c a.yaml\n", ["w2v train -c a.yaml"]),
        ("Examples:\n  w2v a 'b c'\n  w2v d\n\nAnd more.", ["w2v a 'b c'", "w2v d"]),
        ("For example: w2v is here. Example: nothing", []),
    ],
)
def test_examples_are_found(text, found):
    assert examples(text) == found


def test_examples_leave_the_folder_as_it_is(example_folder):
    assert sorted(path.name for path in Path(example_folder).iterdir()) == sorted(
        [*EXAMPLE_FILES, *SHIPPED, "data", "runs"]
    )
