"""The help of every command shows an example, and every example runs.

The commands are found by walking the application, so a new one is tested as soon as it is there.
Examples are typed in a folder prepared for them: configs of the shipped names that train on a tiny
text, a finished run, and the files that examples name.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from conftest import planted_text

from w2v.cli.main import app, main
from w2v.config import dump_yaml
from w2v.configfile import load_config

SHIPPED = ("quickstart.yaml", "ptb.yaml", "ptb-d2l.yaml", "text.yaml")
TINY = ("corpus.name=text", "corpus.path=text.txt", "corpus.heldout_every=50", "vocab.min_count=1",
        "sampling.subsample=null", "model.dim=8", "train.epochs=1", "train.kernel=bmm",
        "train.threads=1")  # fmt: skip
WORDS = ("king", "queen", "man", "woman", "chip", "computer")  # that examples ask for
# What examples read beside a run, by name.
FILES = {
    "text.txt": planted_text(lines=200, seed=0) + " ".join(WORDS * 3) + "\n",
    "ws353.tsv": "king\tqueen\t9\nman\twoman\t8\nchip\tking\t1\n",
    "questions-words.txt": ": family\nking queen man woman\n",
    "reviews.txt": "the king and the queen\nno word is known here\n",
}
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


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder that examples are typed in."""
    folder = tmp_path_factory.mktemp("examples")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for name in SHIPPED:
        (folder / name).write_text(dump_yaml(load_config("text.yaml", TINY).config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("W2V_DATA", raising=False)
        with pytest.raises(SystemExit) as ended:
            main(["train", "-c", "quickstart.yaml", "-q"])
    assert ended.value.code == 0
    return folder


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_of_itself(path):
    found = examples(COMMANDS[path].help or "")
    assert found, f"the docstring of w2v {' '.join(path)} has no line 'Example: w2v ...'"
    assert all(shlex.split(line)[1 : 1 + len(path)] == list(path) for line in found)


@pytest.mark.parametrize(("path", "line"), ALL, ids=[line for _, line in ALL])
def test_every_example_runs(path, line, prepared, tmp_path, monkeypatch, capsys):
    if path[0] in NEEDS:
        pytest.importorskip(NEEDS[path[0]], reason=f"w2v {path[0]} is of an extra")
    here = shutil.copytree(prepared, tmp_path / "here")
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


def test_examples_leave_the_prepared_folder_as_it_is(prepared):
    assert sorted(path.name for path in Path(prepared).iterdir()) == sorted(
        [*FILES, *SHIPPED, "data", "runs"]
    )
