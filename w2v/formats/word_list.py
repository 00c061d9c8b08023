r"""The word list `OUT.vocab` beside a format that holds nothing but numbers.

    word<space>count\n          a line for each row of the table, in its order

UTF-8, counts in ASCII digits. It is what the C tool writes with `-save-vocab` and gensim reads as
`fvocab`. Vectors whose counts are not known have lines of the word alone.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from w2v.errors import DataError
from w2v.formats.kinds import Companion
from w2v.formats.rows import decode_word
from w2v.vectors import WordVectors

SUFFIX = ".vocab"


class WordList(NamedTuple):
    """The words of a table, their counts where they are known, the digest of their file."""

    words: list[str]
    counts: list[int] | None
    sha256: str


def beside(path: Path) -> Path:
    """Where the word list of a table lies: its name, `.vocab` added."""
    return path.with_name(path.name + SUFFIX)


def encode(vectors: WordVectors) -> bytes:
    """The content of the word list."""
    if vectors.counts is None:
        lines = [f"{word}\n" for word in vectors.words]
    else:
        pairs = zip(vectors.words, vectors.counts, strict=True)
        lines = [f"{word} {count}\n" for word, count in pairs]
    return "".join(lines).encode()


COMPANION = Companion(beside, encode)


def read(path: Path) -> WordList:
    """Reads the word list of the table at `path`.

    Raises:
        DataError: it is missing, or a line is not as it should be.
    """
    source = beside(path)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {source}: {error.strerror}",
            hint=f"{path.name} holds numbers only; its words are in {source.name} beside it",
        ) from error
    if not data.endswith(b"\n"):
        raise DataError(f"{source}: the last line has no line end", hint="is the file complete?")
    words: list[str] = []
    counts: list[int] = []
    with_counts = b" " in data[: data.index(b"\n")]
    for number, line in enumerate(data[:-1].split(b"\n"), start=1):
        word, _, count = line.rpartition(b" ") if with_counts else (line, b"", b"0")
        if b" " in word or not (count.isdigit() and len(count) < 19):
            raise DataError(f"{source}: line {number}: expected 'WORD COUNT', found {line[:60]!r}")
        words.append(decode_word(word, place=f"{source}: line {number}"))
        counts.append(int(count))
    return WordList(words, counts if with_counts else None, hashlib.sha256(data).hexdigest())
