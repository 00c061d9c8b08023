import importlib.machinery
import json
import subprocess
import sys

import pytest

from w2v.config import CorpusSection
from w2v.errors import DataError, W2VError
from w2v.files import TEMP_PREFIX
from w2v.sources import docstrings, open_source, pydoc

MODULE = r'''"""A module about small things. It holds a function, and more.

    >>> f(1)
    the output of this line is not prose
"""
raise RuntimeError("sources are never imported")

def f(x):
    """f(x, *, y=None) -> int

    Return the double of ``x``; see :func:`~pkg.mod.g` or `the guide <https://example.org/a>`_.

    Parameters
    ----------
    x : int, optional
        The number to be doubled,
        as a whole.

    .. math:: 2 \times x
        + with a second line

    .. note::
        This note is kept as text.

    .. code-block:: python

        this = is_not(kept, at, all)

    Example of a literal block::

        some code that goes away

    - first item of a list
    - second item of a list
    """
    def inner():
        """Inner functions have docstrings too."""

class C:
    if True:
        async def method(self):
            """Methods don't hide: torch.float32 becomes bfloat16, e.g. in __init__ of 3 or 4."""

C.__doc__ = """Texts that are assigned count as well."""
add_newdoc("numpy", "thing", """Added later by a call. Its {dtype} is filled in.""" )
g = _add_docstr(g, r"""
g(input) -> Tensor

Adds one to every element of the input.

+---+---+
| a table of words | another cell |
""".format(**common))
print("strings of other calls are code and not prose")
topics = {"if": """The if statement is used for conditional execution."""}
"\d"  # warns where warnings are not kept quiet
'''

SENTENCES = """
a module about small things
it holds a function and more
return the double of
see pkg mod or the guide
int optional the number to be doubled as a whole
this note is kept as text
example of a literal block
first item of a list
second item of a list
inner functions have docstrings too
methods don't hide
torch float32 becomes bfloat16 in __init__ of or
texts that are assigned count as well
added later by a call
its is filled in
adds one to every element of the input
the if statement is used for conditional execution
""".strip().splitlines()


@pytest.fixture
def installation(tmp_path, monkeypatch):
    """A standard library of one module and a package `numpy`; there is no torch."""
    library = tmp_path / "lib"
    numpy = library / "site-packages" / "numpy"
    for folder in (numpy / "tests", library / "test"):
        folder.mkdir(parents=True)
    (library / "mod.py").write_text(MODULE)
    (library / "test" / "test_mod.py").write_text('"""Tests are left out of the text."""')
    (numpy / "__init__.py").write_text('"""Arrays of numbers for Python."""\n')
    (numpy / "copy.pyi").write_text('"""Arrays of numbers for Python. A stub of them."""\n')
    (numpy / "tests" / "test_it.py").write_text('"""Tests are left out here as well."""')
    (numpy / "notes.txt").write_text('"""Only sources are read by this."""')
    monkeypatch.setattr(pydoc.sysconfig, "get_path", lambda name: str(library))
    spec = importlib.machinery.ModuleSpec("numpy", None, is_package=True)
    spec.submodule_search_locations.append(str(numpy))
    monkeypatch.setattr(pydoc.importlib.util, "find_spec", {"numpy": spec}.get)
    return library


def read(tmp_path, source):
    path = tmp_path / "module.py"
    path.write_text(source)
    return docstrings.sentences(path)


def test_sentences_of_a_module(tmp_path):
    assert read(tmp_path, MODULE) == SENTENCES


@pytest.mark.parametrize(
    ("doc", "sentences"),
    [
        ("One two three", ["one two three"]),
        ("Only two.", []),
        ("Use a+b=c*(d-e)[0] here", []),
        (
            "Ends here! And does it? It does: yes it does; so be it.",
            ["and does it", "yes it does", "so be it"],
        ),
        ("See https://docs.example.org/x.y for the manual", ["see for the manual"]),
        ("The value :math:`x^2 + y^2` is squared", ["the value is squared"]),
        ("Don't call os.path.join now", ["don't call os path join now"]),
        ("A line\nwrapped over two", ["a line wrapped over two"]),
        (
            "Title of it\n===========\n\nText below the title.",
            ["title of it", "text below the title"],
        ),
        ("name (str): the name of it\nsize: the size of it", ["the name of it", "the size of it"]),
        ("::\n\n    code in a block here\n\nText that follows after.", ["text that follows after"]),
        ("[1] 2 3 x y z", []),
    ],
)
def test_what_prose_is(tmp_path, doc, sentences):
    assert read(tmp_path, f"r'''{doc}'''") == sentences


@pytest.mark.parametrize("source", ["def f(:", '"""cut', "\0", "(" * 5000, "x = '\\ud800'\n", ""])
def test_sources_that_cannot_be_parsed_are_skipped(tmp_path, source):
    assert read(tmp_path, source) == []


def test_sources_that_cannot_be_read_are_skipped(tmp_path):
    assert docstrings.sentences(tmp_path / "missing.py") == []
    (tmp_path / "latin.py").write_bytes(b'"""Caf\xe9 is not UTF-8 here."""')
    assert docstrings.sentences(tmp_path / "latin.py") == []
    (tmp_path / "declared.py").write_bytes(b'# coding: latin-1\n"""Caf\xe9 is Latin here."""')
    assert docstrings.sentences(tmp_path / "declared.py") == ["café is latin here"]


def test_the_reader_runs_as_a_quiet_program_of_its_own(tmp_path):
    (tmp_path / "module.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", docstrings.__file__],
        input=json.dumps([str(tmp_path / "module.py"), str(tmp_path / "none.py")]),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [SENTENCES, []]


def test_the_corpus_of_an_installation(tmp_path, installation):
    source = open_source(CorpusSection(name="pydoc"), data_folder=tmp_path / "data")
    (path,) = source.train
    assert (source.name, source.heldout) == ("pydoc", ())
    assert path.parent == tmp_path / "data"
    assert path.name.startswith("pydoc-")
    wanted = [*SENTENCES, "arrays of numbers for python", "a stub of them"]
    assert path.read_text() == "".join(f"{line}\n" for line in wanted)


def test_it_is_made_once_for_the_same_versions(tmp_path, installation, monkeypatch):
    (path,) = pydoc.make(data_folder=tmp_path).train
    monkeypatch.setattr(pydoc, "distinct_sentences", None)
    assert pydoc.make(data_folder=tmp_path).train == (path,)


@pytest.mark.parametrize("target", ["platform.python_version", "importlib.metadata.version"])
def test_other_versions_are_another_text(tmp_path, installation, monkeypatch, target):
    (path,) = pydoc.make(data_folder=tmp_path).train
    monkeypatch.setattr(target, lambda *name: "99")
    assert pydoc.make(data_folder=tmp_path).train != (path,)


def test_another_rule_is_another_text(tmp_path, installation, monkeypatch):
    (path,) = pydoc.make(data_folder=tmp_path).train
    monkeypatch.setattr(pydoc, "RULE", 0)
    assert pydoc.make(data_folder=tmp_path).train != (path,)


@pytest.mark.parametrize("cores", [1, 2, 3, 64])
def test_the_text_is_the_same_on_any_number_of_cores(installation, monkeypatch, cores):
    monkeypatch.setattr(pydoc, "usable_cores", lambda: cores)
    files = pydoc.sources(installation)
    assert [file.name for file in files] == ["mod.py"]
    assert pydoc.distinct_sentences(files * 5) == SENTENCES


def test_what_a_killed_process_left_is_cleared(tmp_path, installation):
    stray = tmp_path / f"{TEMP_PREFIX}abc"
    for _ in range(2):  # the text is made; the text is there
        stray.write_text("half")
        (path,) = pydoc.make(data_folder=tmp_path).train
        assert path.exists()
        assert not stray.exists()


def test_an_installation_without_sources(tmp_path, installation):
    for file in pydoc.sources(installation):
        file.unlink()
    for file in (installation / "site-packages" / "numpy").glob("*.py*"):
        file.unlink()
    with pytest.raises(DataError, match=r"no docstrings in .*lib"):
        pydoc.make(data_folder=tmp_path)


def test_a_reader_that_fails_is_reported_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("raise SystemError('no good')")
    monkeypatch.setattr(pydoc.docstrings, "__file__", str(tmp_path / "broken.py"))
    with pytest.raises(W2VError, match=r"broken\.py ended with 1: SystemError: no good$"):
        pydoc.distinct_sentences([tmp_path / "a.py"])


@pytest.mark.slow
def test_this_installation(tmp_path):
    program = (
        "import sys, pathlib; from w2v.sources import pydoc\n"
        "print(pydoc.make(data_folder=pathlib.Path(sys.argv[1])).train[0])\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    done = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program, str(tmp_path / seed)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        for seed in ("0", "1")
    ]
    assert [run.stderr for run in done] == ["", ""]
    first, second = ((tmp_path / seed).glob("pydoc-*.txt") for seed in ("0", "1"))
    text = next(first).read_text()
    assert text == next(second).read_text()
    words = text.split()
    assert len(words) > 900_000
    assert text == text.lower()
    for word in ("float32", "bfloat16", "lowercase", "uppercase", "thread", "acquire", "tensor"):
        assert words.count(word) >= 10, word
