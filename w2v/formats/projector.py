r"""A folder for TensorBoard's embedding projector: `--format projector`.

    vectors.tsv             the numbers
    metadata.tsv            the words, their counts and norms
    projector_config.pbtxt  embeddings { tensor_name: "w2v" ... }, a ProjectorConfig as text

Both tables are those of `w2v.formats.tsv`. The config names them by paths relative to itself, so
the folder can be moved; it is a log folder of its own, without event files.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from w2v.formats import tsv
from w2v.formats.kinds import TextRule
from w2v.vectors import WordVectors

NAME = tsv.NAME
VECTORS = "vectors.tsv"
METADATA = "metadata.tsv"
CONFIG = "projector_config.pbtxt"
FILES = frozenset({VECTORS, METADATA, CONFIG})

_CONFIG = (
    f'embeddings {{ tensor_name: "w2v"  tensor_path: "{VECTORS}"  metadata_path: "{METADATA}" }}\n'
).encode()
MARK = (CONFIG, _CONFIG)


def contents(vectors: WordVectors, _rule: TextRule) -> Mapping[str, Callable[[BinaryIO], object]]:
    """The files of the folder."""
    return {
        VECTORS: lambda file: tsv.write(vectors, file),
        METADATA: lambda file: file.write(tsv.metadata(vectors)),
        CONFIG: lambda file: file.write(_CONFIG),
    }


def advice(path: Path, num_words: int) -> Sequence[str]:
    """How the folder is opened."""
    command = f"open it: tensorboard --logdir {shlex.quote(str(path))}"
    return [command, *tsv.too_many(num_words)]
