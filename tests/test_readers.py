"""The programs that open what `w2v export` writes, each with its own code, and docs/formats.md.

They are heavy and none of them is needed: a test of one that is not installed skips. gensim, numpy
and safetensors are in test_formats.py.
"""

import ast
import json
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from w2v import formats
from w2v.formats.kinds import TextRule
from w2v.rundir import RunDir
from w2v.vectors import WordVectors
from w2v.vocab import Vocab

PAGE = Path(__file__).parent.parent / "docs" / "formats.md"
NOT_HERE = "the extra [readers] is not installed"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
SLOW_READERS = {"sentence_transformers", "spacy"}  # seconds to import

WORDS = ("chip", "chips", "intel", "é", "#", '"', "'s", "[UNK]", "<s>", "\\t", "1.5", "-")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No reader asks a hub for what it does not find, nor anybody for anything."""
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)

    def refuse(*address):
        raise AssertionError(f"a reader wants {address[-1]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def vectors():
    """Words that readers may stumble over, with numbers of every size."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(len(WORDS), 6)) * 10.0 ** rng.integers(-6, 4, size=(len(WORDS), 1))
    return WordVectors(WORDS, rows.astype(np.float32), counts=range(99, 99 - len(WORDS), -1))


def means(vectors, texts):
    """The mean of the known words of each text; zeros where none is known."""
    rows = [[vectors.vector(w) for w in text.split() if w in vectors] for text in texts]
    zero = np.zeros(vectors.matrix.shape[1])
    return np.array([np.mean(r, axis=0, dtype=np.float64) if r else zero for r in rows])


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


# spaCy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "format"), [("v.txt", None), ("v.vec.gz", None), ("v.txt", "glove")]
)
def test_spacy_takes_text_bit_by_bit(vectors, tmp_path, name, format):
    pytest.importorskip("spacy", reason=NOT_HERE)
    formats.write(vectors, tmp_path / name, format=format)
    out = tmp_path / "pipeline"
    command = [sys.executable, "-m", "spacy", "init", "vectors", "en", tmp_path / name, out]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    import spacy

    vocab = spacy.load(out).vocab
    assert len(vocab.vectors.keys()) == len(vectors)
    for word in vectors.words:
        assert vocab[word].vector.tobytes() == vectors.vector(word).tobytes(), word


# model2vec and sentence-transformers

TEXTS = [
    "chip intel",
    "the chip and the chips",  # unknown words
    "  é\t# \n \" 's\u00a0chip ",
    "<s> [UNK] \\t 1.5 - chip",
    "chip " * 700 + "intel " * 600,  # longer than model2vec's own limit
    "chip,intel",
    "",
]


@pytest.fixture
def model_folder(vectors, tmp_path):
    formats.write(vectors, tmp_path / "model", format="model2vec")
    return tmp_path / "model"


def test_model2vec_takes_the_mean_of_the_words(vectors, model_folder):
    model2vec = pytest.importorskip("model2vec", reason=NOT_HERE)
    model = model2vec.StaticModel.from_pretrained(model_folder)
    assert model.embedding[:-1].tobytes() == vectors.matrix.tobytes()
    assert model.tokens[:-1] == vectors.words
    found, expected = model.encode(TEXTS), means(vectors, TEXTS)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert found[-2:].tolist() == [[0] * 6] * 2  # not a known word, no word
    assert model.unk_token_id == len(vectors)


def test_model2vec_cuts_text_by_the_rule_of_the_run(vectors, tmp_path):
    model2vec = pytest.importorskip("model2vec", reason=NOT_HERE)
    for number, (rule, text, known) in enumerate(
        [
            (TextRule(), "Chip, chip É", "chip"),
            (TextRule(lowercase=True), "CHIP intel, É", "chip é"),
            (TextRule(token_pattern=r"\w+|#"), "chip,intel Chip (é#chips)", "chip intel é # chips"),
            (TextRule(True, r"\p{L}+"), "Chip's 1.5 INTEL-é", "chip intel é"),
        ]
    ):
        folder = tmp_path / str(number)
        formats.write(vectors, folder, format="model2vec", rule=rule)
        model = model2vec.StaticModel.from_pretrained(folder)
        [found], [expected] = model.encode([text]), means(vectors, [known])
        assert found == pytest.approx(expected, rel=1e-5), rule


@pytest.mark.slow
def test_sentence_transformers_points_where_the_mean_does(vectors, model_folder):
    package = pytest.importorskip("sentence_transformers", reason=NOT_HERE)
    model = package.SentenceTransformer(str(model_folder), device="cpu")
    found, expected = model.encode(TEXTS), means(vectors, TEXTS)
    known = np.linalg.norm(expected, axis=1) > 0
    assert known.tolist() == [True] * 5 + [False] * 2
    assert cosines(found[known], expected[known]) == pytest.approx(np.ones(5), abs=1e-6)
    assert found[~known].tolist() == [[0] * 6] * 2
    assert found[0] == pytest.approx(expected[0], rel=1e-5)  # all words known: the same vector
    assert found[1] == pytest.approx(expected[1] * 2 / 5, rel=1e-5)  # two of five


# TensorBoard


def projector_of(folder):
    """TensorBoard's own plugin on a log folder: a route and its parameters to the answer."""
    pytest.importorskip("tensorboard", reason=NOT_HERE)
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.projector import projector_plugin
    from werkzeug.test import Client

    events = plugin_event_multiplexer.EventMultiplexer()
    provider = data_provider.MultiplexerDataProvider(events, str(folder))
    context = base_plugin.TBContext(logdir=str(folder), data_provider=provider)
    routes = projector_plugin.ProjectorPlugin(context).get_plugin_apps()

    def ask(route, **parameters):
        answer = Client(routes[route]).get(route, query_string=parameters)
        assert answer.status == "200 OK", answer.data
        return answer.data

    return ask


@pytest.mark.parametrize("counted", [True, False])
def test_tensorboard_serves_the_vectors_and_their_words(vectors, tmp_path, counted):
    if not counted:
        vectors = WordVectors(vectors.words, vectors.matrix)
    formats.write(vectors, tmp_path / "logs", format="projector")
    ask = projector_of(tmp_path / "logs")
    assert json.loads(ask("/runs")) == ["."]
    [embedding] = json.loads(ask("/info", run="."))["embeddings"]
    assert embedding == {
        "tensorName": "w2v",
        "tensorPath": "vectors.tsv",
        "metadataPath": "metadata.tsv",
        "tensorShape": [len(vectors), 6],
    }
    assert ask("/tensor", run=".", name="w2v") == vectors.matrix.tobytes()
    header, *rows = ask("/metadata", run=".", name="w2v").decode().splitlines()
    columns = ["word", "count", "log10 count", "norm"] if counted else ["word", "norm"]
    assert header.split("\t") == columns
    assert tuple(row.split("\t")[0] for row in rows) == vectors.words
    norms = np.linalg.norm(vectors.matrix.astype(np.float64), axis=1)
    assert [float(row.split("\t")[-1]) for row in rows] == pytest.approx(norms, abs=5e-5)
    if counted:
        assert tuple(int(row.split("\t")[1]) for row in rows) == vectors.counts
        # With few rows asked for the plugin drops no word for the header.
        first = ask("/metadata", run=".", name="w2v", num_rows=2).decode().splitlines()
        assert [row.split("\t")[0] for row in first] == ["word", *vectors.words[:2]]


def test_tensorboard_parses_the_config():
    pytest.importorskip("tensorboard", reason=NOT_HERE)
    from google.protobuf import text_format
    from tensorboard.plugins.projector import metadata
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    from w2v.formats import projector

    assert metadata.PROJECTOR_FILENAME == projector.CONFIG
    config = text_format.Parse(projector.MARK[1].decode(), ProjectorConfig())
    [embedding] = config.embeddings
    assert (embedding.tensor_path, embedding.metadata_path) == ("vectors.tsv", "metadata.tsv")


# Parquet


@pytest.mark.parametrize("counted", [True, False])
def test_polars_reads_parquet_bit_by_bit(vectors, tmp_path, counted):
    import polars as pl

    if not counted:
        vectors = WordVectors(vectors.words, vectors.matrix)
    formats.write(vectors, tmp_path / "v.parquet")
    table = pl.read_parquet(tmp_path / "v.parquet")
    schema = {"word": pl.String, "count": pl.Int64, "vector": pl.Array(pl.Float32, 6)}
    assert table.schema == schema
    assert tuple(table["word"]) == vectors.words
    assert tuple(table["count"]) == (vectors.counts or (None,) * len(vectors))
    assert table["vector"].to_numpy().tobytes() == vectors.matrix.tobytes()


@pytest.mark.parametrize("dim", [1, 6])
def test_pyarrow_reads_parquet_bit_by_bit(vectors, tmp_path, dim):
    pyarrow = pytest.importorskip("pyarrow", reason=NOT_HERE)
    from pyarrow import parquet

    vectors = WordVectors(vectors.words, vectors.matrix[:, :dim], counts=vectors.counts)
    formats.write(vectors, tmp_path / "v.parquet")
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["word", "count", "vector"]
    assert table.schema.field("count").type == pyarrow.int64()
    vector = table.schema.field("vector").type
    assert pyarrow.types.is_fixed_size_list(vector)
    assert (vector.value_type, vector.list_size) == (pyarrow.float32(), dim)
    assert tuple(table["word"].to_pylist()) == vectors.words
    assert tuple(table["count"].to_pylist()) == vectors.counts
    rows = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, dim)
    assert rows.tobytes() == vectors.matrix.tobytes()
    columns = parquet.ParquetFile(tmp_path / "v.parquet").metadata.row_group(0)
    assert {columns.column(i).compression for i in range(3)} == {"SNAPPY"}


# The page


class Section(NamedTuple):
    title: str
    commands: list[str]
    snippets: list[str]

    @property
    def packages(self):
        """What its snippets import, and its commands run."""
        nodes = [node for code in self.snippets for node in ast.walk(ast.parse(code))]
        names = {
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        return {name.split(".")[0] for name in names}


def sections():
    text = PAGE.read_text()
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        consoles = re.findall(r"^```console\n(.*?)^```", part, re.DOTALL | re.MULTILINE)
        lines = "".join(consoles).splitlines()
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        snippets = re.findall(r"^```python\n(.*?)^```", part, re.DOTALL | re.MULTILINE)
        yield Section(part.splitlines()[0], commands, snippets)


SECTIONS = list(sections())


def marked(section):
    slow = [pytest.mark.slow] if section.packages & SLOW_READERS else []
    return pytest.param(section, id=section.title, marks=slow)


@pytest.mark.parametrize("section", [marked(section) for section in SECTIONS])
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # gensim's, and short snippets'
def test_the_page_does_what_it_says(section, cli, tmp_path):
    for package in section.packages:
        pytest.importorskip(package, reason=NOT_HERE)
    table_VD = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    vocab = Vocab(("<unk>", "chip", "chips", "intel", "makes"), np.array([9, 4, 3, 2, 1]))
    run = RunDir(tmp_path / "runs" / "tiny")
    others = {run.config: b"corpus: {name: ptb}\n"}
    run.write_finished({}, vocab=vocab, center_VD=table_VD, context_VD=table_VD, others=others)
    for command in section.commands:
        program, *arguments = shlex.split(command)
        if program == "w2v":
            outcome = cli(*arguments)
            assert (outcome.code, outcome.out) == (0, ""), outcome.err
        else:
            assert program == "python"
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    for snippet in section.snippets:
        exec(compile(snippet, f"{PAGE.name}, {section.title}", "exec"), {})


def test_every_format_has_its_section_and_example():
    commands = [command for section in SECTIONS for command in section.commands]
    for known in formats.FORMATS:
        endings = [suffix for suffix in known.suffixes if suffix != ".vec"]
        for ending in endings or [f"--format {known.name}"]:
            assert any(ending in command for command in commands), ending
    assert all(section.commands and section.snippets for section in SECTIONS)
