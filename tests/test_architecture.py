"""The shape of the repository: who imports whom, what stays light, what the README names.

The README's tree is the first fenced block after the line `<!-- tree -->`. It begins with `w2v/`
and has one line a file or folder: two spaces of indentation a level, the name (a folder's ends
with `/`), two or more spaces, a description of at most eight words.

    w2v/              the package
      vocab.py        words, counts and ids
      formats/        one file per format
        __init__.py   suffix to format
    Makefile          quickstart, test, check, bench
    data/             downloads land here

Every tracked file of the package, configs/, scripts/, docs/ and tests/ and every file at the top is
named; a folder of COLLAPSED may stand for what is in it.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from w2v.rundir import RunDir
from w2v.vocab import Vocab

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "w2v"

# A module imports modules of a lower number only. A package's number holds for all that is in it.
LAYERS = {
    "errors": 0,
    "cores": 0,
    "leaving": 0,
    "flocks": 0,
    "names": 0,
    "spelling": 0,
    "preflight": 2,
    "sentences": 3,
    "ahead": 0,
    "file_arrays": 2,
    "encoded": 4,
    "portable": 5,
    "colors": 0,
    "schedule": 1,
    "extras": 1,
    "files": 1,
    "room": 1,
    "loader": 1,
    "config": 2,
    "digests": 2,
    "configfile": 3,
    "testsets": 2,
    "tokens": 2,
    "web": 2,
    "archive": 3,
    "download": 3,
    "vocab": 3,
    "vectors": 3,
    "projection": 3,
    "sources": 4,
    "devices": 3,
    "sampling": 4,
    "formats": 4,
    "evaluate": 4,
    "selection": 4,
    "layers": 2,
    "line_vectors": 5,
    "embed": 6,
    "counting": 3,
    "ranking": 4,
    "segments": 5,
    "encoding": 6,
    "building": 7,
    "corpus": 8,
    "draws": 5,
    "canvas": 4,
    "labels": 4,
    "wordmap": 4,
    "map_page": 5,
    "batches": 6,
    "feed": 6,
    "fixed": 7,
    "lengths": 6,
    "model": 5,
    "optimizers": 6,
    "restraints": 7,
    "pretrained": 11,
    "memory": 4,
    "kernels": 8,
    "reporting": 8,
    "rundir": 9,
    "states": 9,
    "survey": 9,
    "checkpoints": 10,
    "learner": 9,
    "loop": 10,
    "locks": 2,
    "expectation": 4,
    "pace": 10,
    "folders": 3,
    "resume": 10,
    "runinfo": 10,
    "stats": 11,
    "runs": 10,
    "metrics": 10,
    "plots": 11,
    "world": 1,
    "group": 2,
    "accord": 3,
    "rendezvous": 3,
    "meetings": 3,
    "merging": 4,
    "shares": 7,
    "positions": 11,
    "record": 12,
    "desk": 13,
    "outlook": 13,
    "training": 14,
    "cli": 15,
}
EXEMPT = {"w2v", "w2v.__main__"}  # the public names and the door
# Inside a folder the same: helpers first, then the members (MEMBER), then what lists them.
MEMBER = 6
INNER_LAYERS = {
    "w2v.cli.options": 0,
    "w2v.cli.output": 0,
    "w2v.cli.progress": 0,
    "w2v.cli.prompt": 0,
    "w2v.cli.signals": 0,
    "w2v.cli.versions": 0,
    "w2v.cli.main": 9,
    "w2v.formats.kinds": 0,
    "w2v.formats.rows": 0,
    "w2v.formats.places": 1,
    "w2v.formats.text_rows": 1,
    "w2v.formats.word_list": 1,
    "w2v.formats.writing": 1,
    "w2v.formats.tsv": 2,
    "w2v.formats.safetensors_file": 2,
    "w2v.formats": 9,
    "w2v.kernels.interface": 0,
    "w2v.kernels.jit": 0,
    "w2v.kernels.recorded": 0,
    "w2v.kernels.program": 0,
    "w2v.kernels.tiles": 0,
    "w2v.kernels.pieces": 1,
    "w2v.kernels.shapes": 2,
    "w2v.kernels.steps": 3,
    "w2v.kernels.updates": 4,
    "w2v.kernels.compiled": 5,
    "w2v.kernels": 0,  # a docstring
    "w2v.kernels.choice": 9,
    "w2v.sources.docstrings": 0,
    "w2v.sources": 0,  # what the sources share; see LATE
}
LATE = {"w2v.sources"}  # imports a sibling only once it is asked for, inside a function

FORBIDDEN_MODULES = {
    "click": "typer brings its own",
    "pickle": "loading one runs code",
}
FORBIDDEN_CALLS = {
    "print": "only w2v.cli writes, through typer.echo",
    "torch.load": "loading a pickle runs code",
    "torch.save": "it writes a pickle",
}

HEAVY = {"torch", "numba", "polars"}
TREE_MARKER = "<!-- tree -->"
TREE_FOLDERS = ("w2v/", "configs/", "scripts/", "docs/", "tests/")
COLLAPSED = ("tests/golden/", "tests/faults/", "data/", "locks/", ".ci/")
MAX_DESCRIPTION_WORDS = 8


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def layer(module: str) -> int:
    name = module.split(".")[1]
    assert name in LAYERS, f"{module} has no layer: add it to LAYERS"
    return LAYERS[name]


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Every module that a source imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & MODULES.keys()
            if names - MODULES.keys():
                yield node.module


def import_problems(module: str, source: str) -> list[str]:
    """The imports of one module that do not point down."""
    problems = []
    for target in sorted(set(imported_modules(ast.parse(source))) & (MODULES.keys() - {"w2v"})):
        if layer(target) >= layer(module) and not points_down_inside(module, target):
            problems.append(f"{module} ({layer(module)}) imports {target} ({layer(target)})")
    return problems


def points_down_inside(module: str, target: str) -> bool:
    """Whether both are in one folder, the target deeper, or the import known to be late."""
    if module.split(".")[:2] != target.split(".")[:2]:
        return False
    inner = [INNER_LAYERS.get(name, MEMBER) for name in (target, module)]
    return module in LATE or inner[0] < inner[1]


def forbidden(source: str) -> list[str]:
    """What one module may not import or call."""
    tree = ast.parse(source)
    imported = {name.split(".")[0] for name in imported_modules(tree)}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return sorted(imported & FORBIDDEN_MODULES.keys()) + sorted(called & FORBIDDEN_CALLS.keys())


@pytest.mark.parametrize("module", sorted(MODULES.keys() - EXEMPT))
def test_imports_point_down(module):
    assert import_problems(module, MODULES[module].read_text()) == []


def test_every_layer_is_a_module():
    assert LAYERS.keys() == {module.split(".")[1] for module in MODULES.keys() - EXEMPT}
    assert MODULES.keys() >= INNER_LAYERS.keys() | LATE


@pytest.mark.parametrize("module", sorted(LATE))
def test_late_imports_are_late(module):
    top = ast.Module(ast.parse(MODULES[module].read_text()).body, [])
    top.body = [node for node in top.body if not isinstance(node, ast.FunctionDef)]
    assert not [name for name in imported_modules(top) if name.startswith(f"{module}.")]


@pytest.mark.parametrize(
    ("module", "source", "count"),
    [
        ("w2v.vectors", "from w2v.errors import DataError", 0),
        ("w2v.vectors", "import w2v\nfrom w2v import __version__, errors", 0),
        ("w2v.errors", "from w2v.files import sha256", 1),  # upward
        ("w2v.errors", "from w2v import files", 1),
        ("w2v.errors", "def late():\n    import w2v.files", 1),
        ("w2v.vectors", "import w2v.vocab", 1),  # sideways
        ("w2v.evaluate", "from w2v.formats import read", 1),
        ("w2v.formats", "from w2v.formats.word2vec_text import read", 0),
        ("w2v.cli.similar", "from w2v.cli.options import RunOption", 0),
        ("w2v.cli.similar", "from w2v.cli.main import app", 1),
    ],
)
def test_the_rule_on_imports_can_fail(module, source, count, monkeypatch):
    extra = ("w2v.formats.word2vec_text", "w2v.cli.similar", "w2v.cli.main")
    monkeypatch.setattr(sys.modules[__name__], "MODULES", MODULES | dict.fromkeys(extra, PACKAGE))
    assert len(import_problems(module, source)) == count


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_forbidden_is_imported_or_called(module):
    assert forbidden(MODULES[module].read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import click",
        "from click import echo",
        "def late():\n    import pickle",
        "print(1)",
        "import torch\ntorch.save({}, path)",
    ],
)
def test_the_rule_on_forbidden_names_can_fail(source):
    assert len(forbidden(source)) == 1


def heavy_after(code: str, *, cwd: Path) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded once it ran `code`, exits included."""
    report = "import atexit, sys\natexit.register(lambda: print('\\nloaded', *sys.modules))\n"
    command = [sys.executable, "-c", report + code]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.rpartition("\nloaded ")[2].split())


@pytest.mark.parametrize(
    "module",
    [
        "vectors",
        "line_vectors",
        "formats",
        "evaluate",
        "testsets",
        "digests",
        "rundir",
        "config",
        "cli.main",
    ],
)
def test_using_vectors_stays_light(module, tmp_path):
    assert heavy_after(f"import w2v.{module}", cwd=tmp_path) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["similar", "--help"],
        ["similar", "red", "-k", "1", "--run", "tiny"],
        ["similar", "red", "-k", "1", "--vectors", "tiny.vec"],
        ["similar", "red", "--run", "tiny", "--restrict", "1", "--matrix", "sum"],
        ["eval", "pairs.tsv", "--run", "tiny"],
        ["export", "copy.vec", "--run", "tiny"],
        ["embed", "--help"],
        ["info", "--run", "tiny"],
        ["info", "--vectors", "tiny.vec"],
        ["config", "show"],
        ["plot", "--help"],
        ["plot", "loss", "tiny"],
        ["plot", "map", "red", "--run", "tiny"],
        ["plot", "map", "-o", "map.html", "--run", "tiny"],
        ["--version", "-v"],
    ],
    ids=" ".join,
)
def test_commands_that_do_not_train_stay_light(arguments, tmp_path):
    (tmp_path / "tiny.vec").write_text("2 2\nred 1 0\nblue 1 1\n")
    (tmp_path / "pairs.tsv").write_text("red\tblue\t1\n")
    vocab = Vocab(("<unk>", "red", "blue"), np.array([0, 2, 1]))
    table_VD = np.eye(3, dtype=np.float32)
    run = RunDir(tmp_path / "tiny")
    report = b'{"event": "epoch", "epoch": 1, "loss": 0.5, "words": 3}\n'
    run.write_finished(
        {"corpus": {"raw_words": 3}},
        vocab=vocab,
        center_VD=table_VD,
        context_VD=table_VD,
        others={run.metrics: report},
    )
    code = f"import w2v.cli.main\nw2v.cli.main.main({arguments!r})"
    assert heavy_after(code, cwd=tmp_path) == set()


# What a bare machine with torch lacks: the core trains without it.
MORE_THAN_TORCH = {"numba", "polars", "pydantic", "requests", "safetensors", "typer", "yaml"}


CORE = ("draws", "evaluate", "feed", "kernels.bmm", "kernels.triton", "model", "optimizers")


def test_the_training_core_needs_torch_and_numpy_alone(tmp_path):
    without = f"import sys\nsys.modules.update(dict.fromkeys({MORE_THAN_TORCH}))\n"
    code = without + "\n".join(f"import w2v.{module}" for module in CORE)
    assert heavy_after(code, cwd=tmp_path) <= HEAVY


def test_the_check_on_light_imports_can_fail(tmp_path):
    assert heavy_after("import w2v.training", cwd=tmp_path) >= {"torch", "polars"}


class Entry(NamedTuple):
    path: str
    description: str


def read_tree(readme: str) -> list[Entry]:
    """The lines of the README's tree, a folder's path ending with `/`."""
    block = re.search(rf"{TREE_MARKER}\s*```\w*\n(w2v/.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert block, f"README.md has no tree: {TREE_MARKER}, then a fenced block that begins with w2v/"
    entries: list[Entry] = []
    folders: list[str] = []
    for line in block[1].splitlines():
        parsed = re.fullmatch(r"((?:  )*)(\S+)(?: {2,}(\S.*))?", line.rstrip())
        assert parsed, f"not an indented name, two spaces and a description: {line!r}"
        depth = len(parsed[1]) // 2
        assert depth <= len(folders), f"deeper than its folder: {line!r}"
        folders = folders[:depth]
        entries.append(Entry("".join(folders) + parsed[2], parsed[3] or ""))
        if parsed[2].endswith("/"):
            folders.append(parsed[2])
    return entries


def tree_problems(entries: list[Entry], tracked: set[str]) -> list[str]:
    """Where the tree and the files under version control differ."""
    named = {entry.path for entry in entries}
    folders = {f"{parent}/" for path in tracked for parent in Path(path).parents}
    inside = tuple(named.intersection(COLLAPSED))
    wanted = {path for path in tracked if "/" not in path or path.startswith(TREE_FOLDERS)}
    missing = {path for path in wanted - named if not path.startswith(inside)}
    problems = [f"{path} is not in the tree" for path in missing]
    problems += [f"{path} is not on disk" for path in named - tracked - folders]
    for path, description in entries:
        if not 1 <= len(description.split()) <= MAX_DESCRIPTION_WORDS:
            problems.append(f"{path} wants 1 to {MAX_DESCRIPTION_WORDS} words: {description!r}")
    if len(named) < len(entries):
        problems.append("a path is named twice")
    return sorted(problems)


def tracked_files() -> set[str]:
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no list of tracked files: {done.stderr.strip()}")
    return set(done.stdout.split("\0")) - {""}


def test_the_readme_names_every_file():
    tree = read_tree((ROOT / "README.md").read_text())
    assert tree_problems(tree, tracked_files()) == []


TRACKED = {"w2v/vocab.py", "w2v/formats/npy.py", "Makefile", "data/.gitkeep"}
TREE = """<!-- tree -->
```text
w2v/              the package
  vocab.py        words, counts and ids
  formats/        one file per format
    npy.py        numpy's own
Makefile          make targets
```
"""


def test_a_true_tree_passes():
    assert read_tree(TREE)[3] == ("w2v/formats/npy.py", "numpy's own")
    assert tree_problems(read_tree(TREE), TRACKED) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("Makefile ", "makefile ", "Makefile is not in the tree"),
        ("npy.py", "npz.py", "w2v/formats/npz.py is not on disk"),
        ("make targets", "", "Makefile wants 1 to 8 words"),
        ("make targets", "one two three four five six seven eight nine", "Makefile wants 1 to 8"),
        ("Makefile ", "Makefile  once\nMakefile ", "a path is named twice"),
    ],
)
def test_the_rule_on_the_tree_can_fail(old, new, problem):
    problems = tree_problems(read_tree(TREE.replace(old, new)), TRACKED)
    assert any(found.startswith(problem) for found in problems)
