r"""A folder for model2vec and sentence-transformers: `--format model2vec`.

    model.safetensors  tensor "embeddings", float32 (V + 1, D): the words, then a row of zeros
    tokenizer.json     Hugging Face tokenizers: WhitespaceSplit and WordLevel, word i is id i,
                       the last id is that of all unknown words
    config.json        {"normalize": false, "max_length": null, "made_by": "w2v ...", ...}
    modules.json       one module, sentence-transformers' StaticEmbedding
    README.md          what it is, and the two lines that open it

Both take the mean of a text's words. model2vec leaves out unknown ones; sentence-transformers
counts them as the zeros, so its vectors are shorter there and their directions the same. A run that
turned its text into lower case, or cut it by a pattern, gets a tokenizer that does so too. Counts
are lost.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from w2v import __version__
from w2v.formats.kinds import TextRule
from w2v.formats.safetensors_file import write_table
from w2v.vectors import WordVectors

NAME = "model2vec"
MODEL = "model.safetensors"
TOKENIZER = "tokenizer.json"
CONFIG = "config.json"
MODULES = "modules.json"
README = "README.md"
FILES = frozenset({MODEL, TOKENIZER, CONFIG, MODULES, README})
MARK = (CONFIG, b'"made_by": "w2v ')

_MODULE = "sentence_transformers.models.StaticEmbedding"
_README = """---
library_name: model2vec
tags: [embeddings, static-embeddings, sentence-transformers, word2vec]
---
{num_words:,} words, vectors of {dim} dimensions, trained by skip-gram with negative sampling
(w2v {version}). A text's vector is the mean of its words'.

```python
from model2vec import StaticModel
StaticModel.from_pretrained("this folder").encode(["some words"])

from sentence_transformers import SentenceTransformer
SentenceTransformer("this folder").encode(["some words"])
```
"""


def contents(vectors: WordVectors, rule: TextRule) -> Mapping[str, Callable[[BinaryIO], object]]:
    """The files of the folder.

    Args:
        vectors: the words and their rows.
        rule: what the tokenizer does to a text.
    """
    num_words, dim = vectors.matrix.shape
    tokenizer = _tokenizer(vectors, rule)
    config = {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "hidden_dim": dim,
        "normalize": False,
        "max_length": None,  # no text is cut short
        "made_by": f"w2v {__version__}",
    }
    modules = [{"idx": 0, "name": "0", "path": ".", "type": _MODULE}]
    readme = _README.format(num_words=num_words, dim=dim, version=__version__)
    return {
        MODEL: lambda file: _write_model(vectors, file),
        TOKENIZER: lambda file: file.write(_as_json(tokenizer, indent=None)),
        CONFIG: lambda file: file.write(_as_json(config)),
        MODULES: lambda file: file.write(_as_json(modules)),
        README: lambda file: file.write(readme.encode()),
    }


def advice(path: Path, _num_words: int) -> Sequence[str]:
    """How the folder is opened."""
    return [
        f"open it: model2vec.StaticModel.from_pretrained({str(path)!r}), "
        f"or sentence_transformers.SentenceTransformer({str(path)!r})"
    ]


def _write_model(vectors: WordVectors, file: BinaryIO) -> None:
    unknown_1D = np.zeros((1, vectors.matrix.shape[1]), np.float32)
    write_table(np.concatenate([vectors.matrix, unknown_1D]), file)


def _tokenizer(vectors: WordVectors, rule: TextRule) -> dict[str, Any]:
    unknown = "[UNK]"
    while unknown in vectors:
        unknown = f"[{unknown}]"
    ids = {word: i for i, word in enumerate((*vectors.words, unknown))}
    pre_tokenizer: dict[str, Any] = {"type": "WhitespaceSplit"}
    if rule.token_pattern is not None:  # what the pattern does not match is removed
        pattern = {"Regex": rule.token_pattern}
        pre_tokenizer = {"type": "Split", "pattern": pattern, "behavior": "Removed", "invert": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"} if rule.lowercase else None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": unknown},
    }


def _as_json(value: object, *, indent: int | None = 2) -> bytes:
    return (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode()
