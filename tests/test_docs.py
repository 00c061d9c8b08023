"""docs/python.md does what it shows: every `python` block is run, every `$ w2v` command typed.

The blocks of a page share one namespace, as in one session, and an empty folder. There the config
that a page names is a small one: its text is drawn from the words of WORDS.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from test_readme import console_blocks

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("python.md",)
WORDS = ("chip", "intel", "computer", "software", "king", "woman", "the", "a", "bank", "new", "cut")
CONFIG = """\
corpus: {name: text, path: text.txt, heldout_every: 50}
vocab: {min_count: 1}
sampling: {subsample: null}
model: {dim: 8}
train: {epochs: 1, device: cpu}
"""


@pytest.fixture
def small_world(tmp_path, monkeypatch):
    """A folder with a small config under the name that pages use, and a text to embed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("W2V_DATA", raising=False)
    rng = np.random.default_rng(0)
    text = "".join(" ".join(rng.choice(WORDS, 8)) + "\n" for _ in range(100))
    Path("text.txt").write_text(text)
    Path("ptb.yaml").write_text(CONFIG)
    Path("reviews.txt").write_text("a new chip\n\nno word known\n")


def blocks(page):
    """The blocks of a page in their order: their language and what they hold."""
    return re.findall(r"^```(python|console)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_shows(name, small_world, cli):
    namespace = {}
    for language, code in blocks((DOCS / name).read_text()):
        if language == "python":
            exec(compile(code, name, "exec"), namespace)
            continue
        for command in (c for block in console_blocks(f"```console\n{code}```\n") for c in block):
            outcome = cli(*command.typed.split()[1:])
            assert outcome.code == 0, outcome.err
            assert len(outcome.out.splitlines()) == len(command.shown)


def test_the_page_shows_what_the_package_offers():
    page = (DOCS / "python.md").read_text()
    for name in ("train", "load", "similar", "ids", "embed", "to_embedding", "to_embedding_bag"):
        assert f"{name}(" in "".join(code for language, code in blocks(page) if language != "text")


def test_a_block_that_fails_is_noticed(small_world):
    with pytest.raises(AttributeError):
        exec(blocks("```python\nimport w2v\nw2v.lode\n```\n")[0][1], {})
