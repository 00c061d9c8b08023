r"""safetensors, `.safetensors`: the table for whoever maps it, the words in `OUT.vocab`.

    N                                                   uint64, little-endian
    {"__metadata__":{"table_sha256":"...","vocab_sha256":"..."},
     "embeddings":{"dtype":"F32","shape":[V,D],"data_offsets":[0,4 V D]}}
                                                        N bytes of JSON, one line, spaces at its end
    v11 ... vVD                                         little-endian float32, row after row

or "F16" and float16, half the size and three digits. Words: see `w2v.formats.word_list`. They are
not in the tensor file, where consumers expect tensors only; `vocab_sha256` is the digest of the
list, so a table does not go with another's words, and `table_sha256` that of the bytes of the
table, since the format notices no flipped bit. Files without them are read too.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
from numpy.typing import NDArray

from w2v.errors import DataError
from w2v.files import unreadable
from w2v.formats import word_list
from w2v.formats.rows import assemble, halved
from w2v.vectors import WordVectors

NAME = "safetensors"
SUFFIXES = (".safetensors",)
TENSOR = "embeddings"
TABLE_DIGEST = "table_sha256"
WORDS_DIGEST = "vocab_sha256"

_DTYPES = {"F32": "<f4", "F16": "<f2"}


def is_start(head: bytes) -> bool:
    """Whether a file begins as safetensors do: a length below 4 GB, then JSON."""
    return head[4:9] == b"\0\0\0\0{"


def write(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes the table and the digest of its words."""
    write_table(vectors.matrix, file, metadata=_words_digest(vectors))


def write_half(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes the table in float16. Raises `DataError` where a number is too great."""
    write_table(halved(vectors), file, metadata=_words_digest(vectors))


def write_table(
    matrix_VD: NDArray[np.float32] | NDArray[np.float16],
    file: BinaryIO,
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes one tensor, its own digest and `metadata`.

    By hand, because the package orders metadata by chance: equal vectors give equal bytes.
    """
    name = "F16" if matrix_VD.dtype == np.float16 else "F32"
    data_VD = np.ascontiguousarray(matrix_VD, _DTYPES[name])
    digest = hashlib.sha256(data_VD.data).hexdigest()
    header = {
        "__metadata__": {TABLE_DIGEST: digest, **(metadata or {})},
        TENSOR: {"dtype": name, "shape": data_VD.shape, "data_offsets": (0, data_VD.nbytes)},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the table is aligned
    file.write(len(text).to_bytes(8, "little") + text)
    file.write(data_VD.data)


def read(path: Path, *, only: Collection[str] | None = None) -> WordVectors:
    """Reads a table and the word list beside it.

    Raises:
        DataError: it is not in this format, damaged, or differs from the word list.
    """
    with _opened(path) as file:
        matrix_VD: NDArray[np.floating] = file.get_tensor(TENSOR)
        metadata = file.metadata() or {}
    found = hashlib.sha256(np.ascontiguousarray(matrix_VD).data).hexdigest()
    if metadata.get(TABLE_DIGEST) not in (None, found):
        raise DataError(
            f"checksum mismatch: the table in {path} is not the one that was written",
            hint="the file was changed or damaged; export it again",
        )
    listed = word_list.read(path)
    if metadata.get(WORDS_DIGEST) not in (None, listed.sha256):
        raise DataError(f"checksum mismatch: {word_list.beside(path)} is not the list of {path}")
    return assemble(path, listed.words, matrix_VD, counts=listed.counts, only=only)


def dim(path: Path) -> int:
    """How many numbers a row has. Raises `DataError` as `read` does."""
    with _opened(path) as file:
        return int(file.get_slice(TENSOR).get_shape()[1])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, once it is known to hold a table."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if TENSOR not in names:
                raise DataError(
                    f"{path}: no tensor {TENSOR!r} among {names}",
                    hint="is it a file of a run? then give the run folder",
                )
            tensor = file.get_slice(TENSOR)
            if tensor.get_dtype() not in _DTYPES or len(tensor.get_shape()) != 2:
                raise DataError(f"{path}: expected float32 in two dimensions")
            yield file
    except safetensors.SafetensorError as error:
        raise DataError(f"{path}: not a whole safetensors file: {error}") from error
    except OSError as error:
        raise unreadable(path, error) from error


def _words_digest(vectors: WordVectors) -> dict[str, str]:
    return {WORDS_DIGEST: hashlib.sha256(word_list.encode(vectors)).hexdigest()}
