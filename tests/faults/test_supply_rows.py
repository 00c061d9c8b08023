"""Rows S: what the source may not say, what the commands may not do, what a release may hold."""

import ast
import hashlib
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_SETTINGS, planted_text
from test_architecture import tracked_files

from faults.outcome import ROOT, expect
from faults.treebank import COMPLETE, published, put
from w2v.rundir import RunDir
from w2v.sources import ptb
from w2v.vocab import Vocab

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Below these lie: loading with weights_only that runs code (torch), bombs that a streamed answer
# unpacks (urllib3), a .netrc whose passwords go to another host (requests).
FLOORS = {"torch": (2, 10), "urllib3": (2, 7), "requests": (2, 32, 4)}

FORBIDDEN_MODULES = {"pickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.load", "torch.save",
                   "numpy.load", "os.system", "eval", "exec"}  # fmt: skip
FORBIDDEN_METHODS = {"extractall", "extract"}
FORBIDDEN_ARGUMENTS = {"weights_only=False", "verify=False", "shell=True", "allow_pickle=True"}

LOCKED = re.compile(
    r"^([a-z0-9.-]+)==(\S+)(?: ;.*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", re.M
)


def locked(name):
    """The packages of a lock and their versions; nothing may stand there without a digest."""
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    assert not LOCKED.sub("", text)
    return {(package, version) for package, version, _ in LOCKED.findall(text)}


@pytest.mark.fault("S1")
def test_every_package_is_locked_at_the_version_that_is_tested(row):
    core, dev, readers = map(locked, ("core", "dev", "readers"))
    assert not core & dev
    assert not (core | dev) & readers
    pinned = dict(re.findall(r"^([^#=\n]+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.M))
    del pinned["torch"]
    assert {(name.lower(), version) for name, version in pinned.items()} <= core | dev | readers
    project, extras = PROJECT["project"], PROJECT["project"]["optional-dependencies"]
    wanted = {
        "core": project["dependencies"],
        "dev": extras["plot"] + extras["dev"],
        "readers": extras["readers"],
    }
    for name, packages in {"core": core, "dev": core | dev, "readers": readers}.items():
        names = {re.match(r"[A-Za-z0-9-]+", requirement)[0].lower() for requirement in wanted[name]}
        assert names - {"torch", "w2v"} <= {package for package, _ in packages}


@pytest.mark.fault("S1")
@pytest.mark.parametrize("torch", ["cpu", "cuda"])
def test_only_torch_comes_without_a_digest(row, torch, tmp_path):
    making = ["make", "-n", f"VENV={tmp_path}", f"TORCH={torch}", "test"]
    said = subprocess.run(making, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    locks, alone, ours = [line for line in said.splitlines() if "/pip install" in line]
    assert "--require-hashes" in locks
    assert "--no-deps" in locks
    assert [word for word in alone.split("install")[1].split() if not word.startswith("-")] == [
        ":all:", "torch", f"{tmp_path}/constraints-{torch}.txt"
    ]  # fmt: skip
    assert "--no-index" in ours  # what a lock lacks ends it


def install(lock, wheels, target):
    """What `make` does with a lock, but from a folder of wheels and into another folder."""
    making = ["make", "-n", f"VENV={target}/none", f"{target}/none/installed-core-cpu"]
    said = subprocess.run(making, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    line = next(line for line in said.splitlines() if "--require-hashes" in line)
    _, *arguments = shlex.split(line.replace("locks/core.txt", str(lock)))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_TARGET": str(target)}
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(
        command,
        env=clean | offline | {"PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
    )


@pytest.mark.fault("S1")
def test_a_changed_hash_ends_the_installation(row, tmp_path):
    wheel, lock = tmp_path / "tiny-1.0-py3-none-any.whl", tmp_path / "lock.txt"
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "tiny.py,,\n",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        for name, content in about.items():
            archive.writestr(f"tiny-1.0.dist-info/{name}", content)
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wrong = f"{int(right[0], 16) ^ 1:x}{right[1:]}"
    for digest, installs in ((wrong, False), (right, True)):
        lock.write_text(f"tiny==1.0 \\\n    --hash=sha256:{digest}\n")
        done = install(lock, tmp_path, tmp_path / "out")
        assert (done.returncode == 0) == installs, done.stderr
        assert ("DO NOT MATCH THE HASHES" in done.stderr) == (not installs)
        assert (tmp_path / "out/tiny.py").exists() == installs


@pytest.mark.fault("S2")
def test_lower_bounds_leave_out_known_weaknesses(row):
    floors = {}
    for requirement in PROJECT["project"]["dependencies"]:
        name, _, floor = requirement.partition(">=")
        floors[name] = tuple(map(int, floor.split(".")))
    assert {name: floors[name] >= floor for name, floor in FLOORS.items()} == dict.fromkeys(
        FLOORS, True
    )


@pytest.mark.fault("S2")
def test_no_installed_version_has_a_known_weakness(row):
    pytest.skip("pip-audit asks a service on the network")


def dangers(source):
    """What a source imports, calls or passes that it must not."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if name.name in FORBIDDEN_MODULES]
            case ast.ImportFrom(module=str(module)) if module in FORBIDDEN_MODULES:
                found.append(module)
            case ast.Call(func=function, keywords=keywords):
                called = ast.unparse(function)
                method = isinstance(function, ast.Attribute) and function.attr in FORBIDDEN_METHODS
                if method or called in FORBIDDEN_CALLS:
                    found.append(called)
                for word in keywords:
                    given = f"{word.arg}={ast.unparse(word.value)}"
                    if given in FORBIDDEN_ARGUMENTS:
                        found.append(given)
    return found


@pytest.mark.fault("S3")
@pytest.mark.parametrize(
    "path", sorted((ROOT / "w2v").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_dangerous_is_called(row, path):
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.fault("S3")
@pytest.mark.parametrize(
    "source",
    ["import pickle", "from marshal import loads", "yaml.load(x)", "z.extractall()", "eval(x)",
     "torch.load(x, mmap=True)", "get(x, verify=False)", "run(x, shell=True)"],
)  # fmt: skip
def test_the_search_for_danger_can_fail(row, source):
    assert len(dangers(source)) == 1


@pytest.mark.fault("S3")
def test_ruff_looks_too(row):
    lint = PROJECT["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not [rule for rule in lint["ignore"] if rule.startswith("S")]


@pytest.fixture
def no_network(monkeypatch):
    """Sockets that refuse; gives the list of attempts."""
    attempts = []

    def refuse(*arguments, **_):
        attempts.append(arguments)
        raise OSError("no network here")

    for name in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    return attempts


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder in which everything is there: a corpus, a cached download, a finished run."""
    (tmp_path / "text.txt").write_text(planted_text(lines=100, seed=0))
    (tmp_path / "w2v.yaml").write_text("corpus: {name: ptb}\n")
    (tmp_path / "pairs.tsv").write_text("red\tblue\t1\n")
    monkeypatch.setitem(ptb.fetch.__kwdefaults__, "published", published("http://127.0.0.1:9/"))
    put(tmp_path / "data", COMPLETE)
    (tmp_path / "v.vec").write_text("2 2\nred 1 0\nblue 1 1\n")
    vocab = Vocab(("<unk>", "red", "blue"), np.array([0, 2, 1]))
    table_VD = np.eye(3, dtype=np.float32)
    run = RunDir(tmp_path / "runs" / "tiny")
    report = b'{"event": "epoch", "epoch": 1, "loss": 0.5, "words": 3}\n'
    run.write_finished(
        {"corpus": {"raw_words": 3}},
        vocab=vocab,
        center_VD=table_VD,
        context_VD=table_VD,
        others={run.metrics: report},
    )
    return tmp_path


TINY = [f"--set={setting}" for setting in (*TINY_SETTINGS, "train.threads=1")]
SMALL = [setting for setting in TINY if "corpus." not in setting]


@pytest.mark.fault("S4")
@pytest.mark.parametrize(
    "arguments",
    [
        ["train", *SMALL, "--set=train.epochs=1", "--run", "treebank"],
        ["train", *TINY, "--set=train.epochs=1", "--set=corpus.path=text.txt", "--run", "text"],
        ["similar", "red"],
        ["eval", "pairs.tsv"],
        ["export", "v.txt"],
        ["embed", "text.txt", "--vectors", "v.vec"],
        ["config", "show"],
        ["config", "check"],
        ["config", "schema"],
        ["corpus", "fetch"],
        ["plot", "loss", "runs/tiny"],
        ["plot", "lengths", *TINY, "--set=corpus.path=text.txt"],
        ["plot", "map", "red", "-o", "map.svg"],
        ["plot", "map", "-o", "map.html"],
        ["corpus", "stats", "--no-time"],
        ["info"],
        ["--version"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_no_command_needs_a_socket(row, cli, world, no_network, arguments):
    expect(row, cli(*arguments), 0)
    assert no_network == []


@pytest.mark.fault("S4")
def test_sockets_that_refuse_are_noticed(row, no_network):
    with pytest.raises(OSError, match="no network here"):
        socket.create_connection(("127.0.0.1", 9))
    assert len(no_network) == 1


def unpinned(workflow):
    """The actions of a workflow that are not named by a digest."""
    return re.findall(r"uses:\s*(?!\./)(\S+@(?![0-9a-f]{40}\b)\S+)", workflow)


@pytest.mark.fault("S5")
def test_actions_are_pinned(row):
    workflows = [path for path in tracked_files() if path.startswith(".github/workflows/")]
    for path in workflows:
        assert unpinned((ROOT / path).read_text()) == [], path


@pytest.mark.fault("S5")
def test_the_search_for_actions_can_fail(row):
    assert unpinned("  - uses: actions/checkout@v4\n") == ["actions/checkout@v4"]
    assert unpinned(f"  - uses: actions/checkout@{'0a' * 20}  # v4\n  - uses: ./here\n") == []


SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY|\bghp_[A-Za-z0-9]{36}|\bAKIA[0-9A-Z]{16}\b|\bpypi-AgE[\w-]{20}"
)
MOST_BYTES = 200_000


@pytest.mark.fault("S6")
def test_a_release_holds_neither_data_nor_secrets_nor_bombs(row):
    targets = PROJECT["tool"]["hatch"]["build"]["targets"]
    folders = tuple(f"{name.lstrip('/')}/" for name in targets["sdist"]["include"])
    packed = [path for path in tracked_files() if path.startswith(folders) or "/" not in path]
    assert targets["wheel"]["packages"] == ["w2v"]
    assert targets["wheel"]["force-include"] == {"configs": "w2v/configs"}
    assert not [path for path in packed if path.startswith(("data/", "runs/"))]
    for path in packed:
        content = (ROOT / path).read_bytes()
        assert len(content) < MOST_BYTES, path
        assert not SECRET.search(content), path
        assert Path(path).suffix not in (".zip", ".gz", ".bin", ".npy", ".pt", ".pkl"), path


@pytest.mark.fault("S6")
def test_the_search_for_secrets_can_fail(row):
    assert SECRET.search(b"key = 'AKIA" + b"A" * 16 + b"'")
