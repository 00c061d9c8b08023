r"""Tables for the embedding projector, `.tsv`: numbers in `OUT.tsv`, words in `OUT.metadata.tsv`.

    v1<TAB>...<TAB>vD\n                                 V times, in the order of ids

    word<TAB>count<TAB>log10 count<TAB>norm\n           the header, since there are more columns
    chip<TAB>412<TAB>2.6149<TAB>3.1037\n                V times, in the same order

UTF-8, no quoting. The numbers are `%.9g`, which gives every float32 back bit by bit; the logarithm
and the norm, by which points can be colored, have four decimals. Vectors whose counts are not
known have the columns word and norm. It is a picture's input and not read back.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from w2v.formats.kinds import Companion
from w2v.formats.text_rows import row_chunks
from w2v.vectors import WordVectors, norms

NAME = "projector"
SUFFIXES = (".tsv",)
POINTS = 10_000  # the page draws no more in its t-SNE, and grows slow

_METADATA = ".metadata.tsv"


def write(vectors: WordVectors, file: BinaryIO) -> None:
    """Writes the numbers."""
    for _, rows in row_chunks(vectors):
        file.write(encode(rows, dim=vectors.matrix.shape[1]))


def encode(rows: Sequence[Sequence[float]], *, dim: int) -> bytes:
    """Rows of `dim` numbers as the lines of such a table."""
    row_format = "\t".join(["%.9g"] * dim) + "\n"
    return "".join([row_format % tuple(numbers) for numbers in rows]).encode()


def metadata_beside(path: Path) -> Path:
    """Where the words of a table lie."""
    return path.with_suffix(_METADATA)


def metadata(vectors: WordVectors) -> bytes:
    """The words and what is known of each."""
    norms_V = norms(vectors.matrix).tolist()
    if vectors.counts is None:
        lines = ["word\tnorm\n"]
        pairs = zip(vectors.words, norms_V, strict=True)
        lines += [f"{word}\t{norm:.4f}\n" for word, norm in pairs]
    else:
        lines = ["word\tcount\tlog10 count\tnorm\n"]
        rows = zip(vectors.words, vectors.counts, norms_V, strict=True)
        lines += [
            f"{word}\t{count}\t{math.log10(max(count, 1)):.4f}\t{norm:.4f}\n"
            for word, count, norm in rows
        ]
    return "".join(lines).encode()


COMPANION = Companion(metadata_beside, metadata)


def is_row(line: bytes) -> bool:
    """Whether a line is numbers between tabs."""
    fields = line.rstrip(b"\r\n").split(b"\t")
    try:
        return len(fields) > 1 and all(math.isfinite(float(field)) for field in fields)
    except ValueError:
        return False


def advice(path: Path, num_words: int) -> Sequence[str]:
    """How the tables are opened."""
    load = f"open it: Load at https://projector.tensorflow.org, {path} and {metadata_beside(path)}"
    return [load, *too_many(num_words)]


def too_many(num_words: int) -> Sequence[str]:
    """What to say of more points than the projector is quick with."""
    if num_words <= POINTS:
        return ()
    return [f"{num_words:,} points make the projector slow: --top {POINTS} takes the commonest"]
