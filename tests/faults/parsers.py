"""Every reader of foreign bytes as a function of bytes, with good inputs to start from.

`scripts/fuzz.py` and the property tests feed them damaged inputs: only a documented error, that is
a `W2VError`, may come out. Readers that want a path get a `MemoryFile`, or, where a library opens
the file itself, a file in memory-backed storage.
"""

import atexit
import hashlib
import io
import json
import stat
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np
import safetensors.numpy
import torch

from faults.kill_checkpoints import REPORT
from w2v import checkpoints, formats, resume, states
from w2v.archive import Member, read_members
from w2v.configfile import load_config
from w2v.formats import (
    glove,
    safetensors_file,
    word2vec_binary,
    word2vec_text,
    word_list,
)
from w2v.formats.kinds import Format
from w2v.reporting import _lines_until
from w2v.rundir import RunDir
from w2v.runs import _finished_at
from w2v.testsets import read_pairs, read_questions
from w2v.vectors import WordVectors
from w2v.vocab import Vocab

SEEDS_FOLDER = Path(__file__).parent / "seeds"


class Parser(NamedTuple):
    """One reader: what it is called, what it does with bytes, inputs that it accepts, its tokens.

    Tokens are pieces of its language; damaged inputs are mixed from them and from the seeds.
    """

    name: str
    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    tokens: tuple[bytes, ...]


class MemoryFile:
    """What the readers ask of a path, answered from memory."""

    def __init__(self, data: bytes, name: str = "input") -> None:
        self.data = data
        self.name = name
        self.suffix = Path(name).suffix

    def __str__(self) -> str:
        return self.name

    def exists(self) -> bool:
        """It does."""
        return True

    def open(self, mode: str) -> io.BytesIO:
        """Opens the bytes for reading."""
        assert mode == "rb"
        return io.BytesIO(self.data)

    def stat(self) -> SimpleNamespace:
        """A regular file of their size."""
        return SimpleNamespace(st_size=len(self.data), st_mode=stat.S_IFREG | 0o644)

    def read_bytes(self) -> bytes:
        """All bytes."""
        return self.data

    def read_text(self, encoding: str) -> str:
        """All bytes as text, line ends as `Path.read_text` gives them."""
        return io.TextIOWrapper(io.BytesIO(self.data), encoding=encoding).read()


class MemoryFolder:
    """A folder in which every file has the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __str__(self) -> str:
        return "folder"

    def __truediv__(self, name: str) -> MemoryFile:
        return MemoryFile(self.data, name)


@cache
def scratch() -> Path:
    """A folder for files that a library opens itself; in memory where the system has such."""
    shared = Path("/dev/shm")
    folder = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)
    atexit.register(folder.cleanup)
    return Path(folder.name)


WORDS = ("the", "é", "caf\u00e9s", "<unk>x", "1.5", "a-b")
ROWS = np.random.default_rng(7).normal(size=(len(WORDS), 4)).astype(np.float32)
VECTORS = WordVectors(WORDS, ROWS, counts=range(len(WORDS) + 3, 3, -1))
TEXTS = {"ptb.train.txt": b"the cat sat on the mat\n" * 9, "ptb.valid.txt": b"a dog ran\n" * 4}


def _written(write: Callable[[WordVectors, Any], None]) -> bytes:
    buffer = io.BytesIO()
    write(VECTORS, buffer)
    return buffer.getvalue()


def _tensors() -> bytes:
    return safetensors.numpy.save({"center": ROWS, "context": ROWS + 1})


def _zip(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in TEXTS.items():
            info = zipfile.ZipInfo(f"ptb/{name}")
            info.compress_type = method
            archive.writestr(info, text)
    return buffer.getvalue()


def _members() -> tuple[Member, ...]:
    digests = ("0" * 64,) * len(TEXTS)
    pairs = zip(TEXTS.items(), digests, strict=True)
    return tuple(Member(f"ptb/{name}", len(text), digest) for (name, text), digest in pairs)


MEMBERS = _members()


def _as_path(data: bytes, name: str = "input") -> Path:
    return cast(Path, MemoryFile(data, name))


def _on_disk(data: bytes, name: str) -> Path:
    path = scratch() / name
    path.write_bytes(data)
    return path


def _text(data: bytes) -> object:
    return word2vec_text.read(_as_path(data))


def _glove(data: bytes) -> object:
    return glove.read(_as_path(data))


def _binary(data: bytes) -> object:
    return word2vec_binary.read(_as_path(data))


def _any_vectors(data: bytes) -> object:
    path = _on_disk(data, "vectors")
    if not word_list.beside(path).exists():
        word_list.beside(path).write_bytes(word_list.encode(VECTORS))
    return formats.read(path)


def _word_list(data: bytes) -> object:
    _on_disk(data, "table.vocab")
    return word_list.read(scratch() / "table")


def _vocab(data: bytes) -> object:
    try:
        text = data.decode()
    except UnicodeDecodeError:  # told by the reader of the run folder
        text = data.decode("latin-1")
    return Vocab.from_tsv(text, path="vocab.tsv")


def _yaml(data: bytes) -> object:
    return load_config(str(_on_disk(data, "config.yaml")))


def _override(data: bytes) -> object:
    return load_config(str(_empty_config()), [data.decode(errors="surrogateescape")])


@cache
def _empty_config() -> Path:
    return _on_disk(b"train: {seed: 1}\n", "empty.yaml")


def _run_json(data: bytes) -> object:
    run = RunDir(cast(Path, MemoryFolder(data)))
    info = run.read_info()
    return _finished_at(info)


def _run_tables(data: bytes) -> object:
    return _run_folder(data).load_vectors()


def _run_folder(data: bytes) -> RunDir:
    """A finished run whose tables are `data`, with the digest that belongs to them."""
    run, info = _finished_run()
    info["sha256"]["vectors.safetensors"] = hashlib.sha256(data).hexdigest()
    run.vectors.write_bytes(data)
    run.info.write_text(json.dumps(info))
    return run


@cache
def _finished_run() -> tuple[RunDir, dict[str, Any]]:
    run = RunDir(scratch() / "run")
    vocab = Vocab(("<unk>", *WORDS[1:]), np.arange(len(WORDS)) + 1)
    run.write_finished({}, vocab=vocab, center_VD=ROWS, context_VD=ROWS)
    return run, run.read_info()


def _checkpoint(data: bytes) -> object:
    """The JSON of a checkpoint."""
    return states.read(_on_disk(data, "step-3.json"))


def _resealed(data: bytes) -> object:
    """The same with a digest that is right, so that what is inside is read."""
    found = states.DIGEST.search(data)
    if found is not None:
        blank = data[: found.start(1)] + states.NO_DIGEST + data[found.end(1) :]
        digest = hashlib.sha256(blank).hexdigest().encode()
        data = data[: found.start(1)] + digest + data[found.end(1) :]
    path = _on_disk(data, "step-3.json")
    state = states.read(path)
    resume.require_same(resume.Saved(path, state, ""), IDENTITY)
    return state


def _checkpoint_tensors(data: bytes) -> object:
    """The tensors of a checkpoint, their digest right."""
    path = scratch() / "step-4.json"
    _on_disk(data, "step-4.safetensors")
    tables = {name: torch.zeros(ROWS.shape) for name in ("center", "context")}
    checkpoints.restore(path, tables)
    return tables


IDENTITY = {"kernel": "bmm", "settings": {"model.dim": 4, "train.epochs": 5}}


@cache
def _state() -> bytes:
    tensors = {"center": torch.ones(2)}
    path = checkpoints.save(scratch(), tensors=tensors, run=IDENTITY, report=REPORT)
    return path.read_bytes()


def _metrics(data: bytes) -> object:
    """The log of a run that goes on: what is kept is the log up to some line."""
    kept = b"".join(_lines_until(_as_path(data), REPORT._replace(step=20)))
    assert data.startswith(kept)
    return kept


def _zip_members(data: bytes) -> object:
    return read_members(data, MEMBERS, where="ptb.zip", pinned=False)


def _pairs(data: bytes) -> object:
    return read_pairs(_as_path(data))


def _questions(data: bytes) -> object:
    return read_questions(_as_path(data))


NUMBERS = (b"0", b"1", b"-1", b"4", b"1e39", b"nan", b"-inf", b"1_0", b"9" * 18, b"9" * 400)
ENDS = (b"\n", b"\r\n", b" ", b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8")
YAML = b"""# a file with every section
corpus: {name: text, path: [a.txt, 'b.txt'], lowercase: true, token_pattern: "[a-z]+"}
vocab:
  min_count: 10
  max_size: null
sampling: {window: 5, negatives: 5, subsample: 1.0e-4, subsample_formula: paper}
train:
  lr: 1e-3
  seed: 7
  optimizer: adam
output: {run: 'here', checkpoint_every_s: 60}
"""
# Short files: more of them in a night, and a mutation more often falls on what matters.
YAML_PIECES = (
    b"corpus: {name: text, path: [a, 'b'], lowercase: true}\n",
    b'corpus: {token_pattern: "[a-z]+"}\n',
    b"vocab:\n  min_count: 10\n",
    b"sampling: {subsample: 1.0e-4}\n",
    b"train:\n  lr: 1e-3\n  optimizer: adam\n",
    b"output: {run: 'here'}\n",
)
YAML_TOKENS = (
    *(b"train", b"vocab", b"lr", b"seed", b"path", b"min_count", b"token_pattern", b"(", b"\\"),
    *(
        b": ",
        b":\n",
        b"- ",
        b"[",
        b"]",
        b"{",
        b"}",
        b", ",
        b"? ",
        b"'",
        b'"',
        b"|\n",
        b">-\n",
        b"#",
    ),
    *(b"&a", b"*a", b"<<: ", b"!!int ", b"!x", b"--- ", b"...\n", b"%YAML 1.1\n", b"~", b"null"),
    *(
        b"true",
        b"no",
        b"1e-3",
        b"0x10",
        b"\n  ",
        b"\n    ",
        b"\xc2\x85",
        b"\\ud800",
        b"\\U00110000",
    ),
)
RUN_JSON = json.dumps(
    {
        "schema": 1,
        "finished": True,
        "finished_at": "2026-11-21T12:30:00+00:00",
        "min_count": 10,
        "sha256": {"vocab.tsv": "0" * 64, "vectors.safetensors": "f" * 64},
    }
).encode()
METRICS = (
    b'{"event": "progress", "epoch": 1, "step": 10, "loss": 0.5, "centers": 500, "words": 2000}\n'
    b'{"event": "epoch", "epoch": 1, "step": 20, "loss": 0.5, "heldout_loss": null}\n'
    b'{"event": "epoch", "epoch": 2, "step": 40, "loss": 0.4, "heldout_loss": 0.3}\n',
    b'{"event": "epoch", "step": 7}\n',
    b"",
)
JSON_TOKENS = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"true", b"false", b"null", b"NaN", b"-Infinity"),
    *(b'"schema"', b'"finished"', b'"finished_at"', b"\\ud800", b"\\u0000", b"1e999", b"-0"),
)
TENSOR_TOKENS = (
    *(b'"dtype"', b'"shape"', b'"data_offsets"', b'"__metadata__"', b'"center"', b'"embeddings"'),
    *(b'"F32"', b'"F64"', b'"BF16"', b'"F16"', b'"I8"', b'"BOOL"', b'"F8_E4M3"', b"[6,4]", b"[24]"),
    *(b"[0,96]", b"[]", b"\0" * 8, b"\xff" * 8),
)
ZIP_TOKENS = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"\x01\0")
PAIRS = "# word pairs\nCat\tdog\t7.5\r\nbook\tpaper\t5\textra\n\nsun\tcaf\u00e9\t-1e-3\n".encode()
QUESTIONS = b": capitals\nAthens Greece Oslo Norway\nParis France  Rome Italy\n\n: other\na b c d\n"

READ = [kind for kind in formats.FORMATS if isinstance(kind, Format) and kind.is_read]

PARSERS = {
    parser.name: parser
    for parser in (
        Parser("text", _text, (_written(word2vec_text.write),), (*NUMBERS, *ENDS)),
        Parser("glove", _glove, (_written(glove.write),), (*NUMBERS, *ENDS)),
        Parser(
            "binary",
            _binary,
            (_written(word2vec_binary.write),),
            (*NUMBERS, *ENDS, b"\0\0\xc0\x7f", b"\0\0\x80\xff"),
        ),
        Parser(
            "vectors",
            _any_vectors,
            tuple(_written(kind.write) for kind in READ),
            (
                *NUMBERS,
                *ENDS,
                b"\x1f\x8b\x08",
                b"\x93NUMPY\x01\0",
                b"\x80\x04",
                b"fortran_order",
                b"<f2",
                b"F16",
            ),
        ),
        Parser("word-list", _word_list, (word_list.encode(VECTORS),), (*NUMBERS, *ENDS)),
        Parser("vocab", _vocab, (b"<unk>\t9\nchip\t7\nchips\t5\n",), (*NUMBERS, *ENDS, b"<unk>")),
        Parser("yaml", _yaml, (YAML, *YAML_PIECES), (*YAML_TOKENS, *NUMBERS, *ENDS)),
        Parser(
            "override",
            _override,
            (b"train.epochs=3", b"corpus={name: text, path: [a, 'b']}", b"train.lr=1e-3"),
            (*YAML_TOKENS, *NUMBERS, b".", b"="),
        ),
        Parser(
            "checkpoint",
            _checkpoint,
            (_state(),),
            (*JSON_TOKENS, *NUMBERS, *ENDS, b'"place"', b'"digest"', b'"sha256"', b'"report"'),
        ),
        Parser(
            "checkpoint-resealed",
            _resealed,
            (_state(),),
            (*JSON_TOKENS, *NUMBERS, *ENDS, b'"place"', b'"run"', b'"settings"', b'"step"'),
        ),
        Parser(
            "checkpoint-tensors",
            _checkpoint_tensors,
            (_tensors(),),
            (*JSON_TOKENS, *TENSOR_TOKENS, *NUMBERS),
        ),
        Parser("run-json", _run_json, (RUN_JSON,), (*JSON_TOKENS, *NUMBERS, *ENDS)),
        Parser(
            "metrics",
            _metrics,
            METRICS,
            (*JSON_TOKENS, *NUMBERS, *ENDS, b'"step"', b'"event"', b'"epoch"', b"[" * 5000),
        ),
        Parser("run-tables", _run_tables, (_tensors(),), (*JSON_TOKENS, *TENSOR_TOKENS, *NUMBERS)),
        Parser(
            "safetensors",
            lambda data: safetensors_file.read(_beside_words(data)),
            (_written(safetensors_file.write),),
            (*JSON_TOKENS, *TENSOR_TOKENS, *NUMBERS),
        ),
        Parser(
            "zip",
            _zip_members,
            (_zip(zipfile.ZIP_STORED), _zip(zipfile.ZIP_DEFLATED)),
            (*ZIP_TOKENS, *ENDS, b"\0\0\0\0", b"\xff\xff\xff\xff", b"ptb/ptb.train.txt"),
        ),
        Parser("pairs", _pairs, (PAIRS,), (*NUMBERS, *ENDS, b"#")),
        Parser("questions", _questions, (QUESTIONS,), (*NUMBERS, *ENDS, b":")),
    )
}


def _beside_words(data: bytes) -> Path:
    path = _on_disk(data, "v.safetensors")
    if not word_list.beside(path).exists():
        word_list.beside(path).write_bytes(word_list.encode(VECTORS))
    return path


def damaged(parser: Parser, rng: Random) -> bytes:
    """A seed after one to eight mutations: bits, bytes, tokens, ranges, cuts, splices."""
    rand = rng.random
    seeds, tokens = parser.seeds, parser.tokens
    data = bytearray(seeds[int(rand() * len(seeds))])
    for _ in range(1 << int(rand() * 3.4)):
        size = len(data)
        at = int(rand() * (size + 1))
        length = 1 << int(rand() * 6)
        match int(rand() * 9):
            case 0 if at < size:
                data[at] ^= 1 << int(rand() * 8)
            case 1 if at < size:
                data[at] = int(rand() * 256)
            case 2:
                data[at:at] = tokens[int(rand() * len(tokens))]
            case 3:
                token = tokens[int(rand() * len(tokens))]
                data[at : at + length] = token
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = data[at : at + length] * (1 << int(rand() * 4))
            case 6:
                del data[at:]
            case 7:
                other = seeds[int(rand() * len(seeds))]
                data[at:] = other[int(rand() * len(other)) :]
            case _:
                data[at:at] = rng.randbytes(length & 7)
        if len(data) > 1 << 16:
            del data[1 << 16 :]
    return bytes(data)
