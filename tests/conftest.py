"""What several test files need: optional data, tiny corpora, a small trained run, the CLI."""

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
    """Runs `w2v` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("W2V_DATA", raising=False)

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(exit_.value.code, out, err)

    return run


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
