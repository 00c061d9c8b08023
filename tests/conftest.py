"""What several test files need: optional data, tiny corpora, a small trained run, the CLI."""

import logging
import os
import threading
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

# Without a GPU, Triton's programs run in its interpreter; it asks when they are defined.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

from w2v.cli.main import main
from w2v.config import dump_yaml
from w2v.configfile import load_config


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def pytest_addoption(parser):
    parser.addoption("--write-golden", action="store_true", help="rewrite tests/golden")


@pytest.fixture(scope="session")
def test_data():
    """The folder of optional data; tests that need it skip without it."""
    folder = os.environ.get("W2V_TEST_DATA")
    if not folder:
        pytest.skip("W2V_TEST_DATA names no folder with ptb.zip")
    return Path(folder)


@pytest.fixture(scope="session")
def ptb_data(test_data, tmp_path_factory):
    """A data folder with the PTB texts in it, as a user would put them there."""
    folder = tmp_path_factory.mktemp("ptb-data")
    with zipfile.ZipFile(test_data / "ptb.zip") as archive:
        for part in ("train", "valid", "test"):
            text = folder / "ptb" / f"ptb.{part}.txt"
            text.parent.mkdir(exist_ok=True)
            text.write_bytes(archive.read(f"ptb/ptb.{part}.txt"))
    return folder


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch):
    """Runs `w2v` in this process, in an empty folder; logging is as before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("W2V_DATA", raising=False)
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(exit_.value.code, out, err)

    yield run
    root.setLevel(level)
    root.handlers[:] = handlers


def planted_text(*, lines: int, seed: int) -> str:
    """A corpus of three topics; words of a topic share their contexts, so they are neighbors."""
    rng = np.random.default_rng(seed)
    topics = [[f"{topic}{i}" for i in range(6)] for topic in ("apple", "metal", "river")]
    return "".join(
        " ".join(rng.choice(topics[rng.integers(3)], size=9)) + "\n" for _ in range(lines)
    )


@pytest.fixture
def threads():
    """Sets the number of torch's CPU threads; as before afterwards, and no kernel's is left."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
    assert not kernel_threads()


def kernel_threads():
    """The threads of a kernel that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("w2v-hogwild")]


TINY_SETTINGS = (
    "corpus.name=text",
    "corpus.heldout_every=100",
    "vocab.min_count=1",
    "sampling.subsample=null",
    "model.dim=16",
    "train.batch_size=64",
    "train.lr=0.01",
    "train.epochs=3",
)


@pytest.fixture
def tiny_text(tmp_path):
    """The path of a planted corpus of 300 lines."""
    path = tmp_path / "planted.txt"
    path.write_text(planted_text(lines=300, seed=0))
    return path


@pytest.fixture
def tiny_options(tiny_text):
    """`--set` options that train on the planted corpus in a moment."""
    settings = (*TINY_SETTINGS, f"corpus.path={tiny_text}")
    return [part for setting in settings for part in ("-s", setting)]


SHIPPED = ("quickstart.yaml", "ptb.yaml", "ptb-d2l.yaml", "text.yaml")
EXAMPLE_SETTINGS = (
    "corpus.name=text",
    "corpus.path=text.txt",
    "corpus.heldout_every=50",
    "vocab.min_count=1",
    "sampling.subsample=null",
    "model.dim=8",
    "train.epochs=1",
    "train.kernel=bmm",
    "train.threads=1",
)
EXAMPLE_WORDS = ("king", "queen", "man", "woman", "chip", "computer")  # that examples ask for
# What examples read beside a run, by name.
EXAMPLE_FILES = {
    "text.txt": planted_text(lines=200, seed=0) + " ".join(EXAMPLE_WORDS * 3) + "\n",
    "ws353.tsv": "king\tqueen\t9\nman\twoman\t8\nchip\tking\t1\n",
    "questions-words.txt": ": family\nking queen man woman\n",
    "reviews.txt": "the king and the queen\nno word is known here\n",
}


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory):
    """A folder to type examples in: tiny configs of the shipped names, files, a finished run."""
    folder = tmp_path_factory.mktemp("examples")
    for name, text in EXAMPLE_FILES.items():
        (folder / name).write_text(text)
    for name in SHIPPED:
        (folder / name).write_text(dump_yaml(load_config("text.yaml", EXAMPLE_SETTINGS).config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("W2V_DATA", raising=False)
        with pytest.raises(SystemExit) as ended:
            main(["train", "-c", "quickstart.yaml", "-q"])
    assert ended.value.code == 0
    return folder


@pytest.fixture(scope="session")
def nursery():
    """Forks ranks of `w2v train` in milliseconds; one for all tests, since torch takes seconds."""
    from faults.torchrun import Nursery

    one = Nursery()
    yield one
    one.close()
