r"""safetensors, `.safetensors`: the table for whoever maps it, the words in `OUT.vocab`.

    N                                                   uint64, little-endian
    {"__metadata__":{"vocab_sha256":"..."},
     "embeddings":{"dtype":"F32","shape":[V,D],"data_offsets":[0,4 V D]}}
                                                        N bytes of JSON, one line, spaces at its end
    v11 ... vVD                                         little-endian float32, row after row

Words: see `w2v.formats.word_list`. They are not in the tensor file, where consumers expect tensors
only; `vocab_sha256` is the digest of the list, so a table does not go with another's words.
Files without it are read too.
"""

import hashlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from w2v.errors import DataError
from w2v.files import unreadable
from w2v.formats import word_list
from w2v.formats.rows import assemble
from w2v.vectors import WordVectors

NAME = "safetensors"
SUFFIXES = (".safetensors",)
TENSOR = "embeddings"
DIGEST = "vocab_sha256"


def is_start(head: bytes) -> bool:
    """Whether a file begins as safetensors do: a length below 4 GB, then JSON."""
    return head[4:9] == b"\0\0\0\0{"


def write(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes the table and the digest of its words."""
    digest = hashlib.sha256(word_list.encode(vectors)).hexdigest()
    table = {TENSOR: vectors.matrix.astype("<f4", copy=False)}
    file.write(safetensors.numpy.save(table, metadata={DIGEST: digest}))


def read(path: Path) -> WordVectors:
    """Reads a table and the word list beside it.

    Raises:
        DataError: it is not in this format, damaged, or differs from the word list.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if TENSOR not in names:
                raise DataError(
                    f"{path}: no tensor {TENSOR!r} among {names}",
                    hint="is it a file of a run? then give the run folder",
                )
            tensor = file.get_slice(TENSOR)
            if tensor.get_dtype() != "F32" or len(tensor.get_shape()) != 2:
                raise DataError(f"{path}: expected float32 in two dimensions")
            matrix_VD: NDArray[np.float32] = file.get_tensor(TENSOR)
            digest = (file.metadata() or {}).get(DIGEST)
    except safetensors.SafetensorError as error:
        raise DataError(f"{path}: not a whole safetensors file: {error}") from error
    except OSError as error:
        raise unreadable(path, error) from error
    listed = word_list.read(path)
    if digest not in (None, listed.sha256):
        raise DataError(f"checksum mismatch: {word_list.beside(path)} is not the list of {path}")
    return assemble(path, listed.words, matrix_VD, counts=listed.counts)
