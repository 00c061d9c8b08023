"""What a format is: a file, a file with another one beside it, or a folder of files.

A format is data: its name, the suffixes that mean it, and the functions that write it. The list of
them all is in `w2v.formats`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from w2v.vectors import WordVectors

Dtype = Literal["f32", "f16"]
Writer = Callable[[WordVectors, BinaryIO], None]


class TextRule(NamedTuple):
    """How a text becomes words, for readers that are given texts. The default is `str.split`."""

    lowercase: bool = False  # before `token_pattern` is applied
    token_pattern: str | None = None  # a regex whose matches are the words


def no_advice(_path: Path, _num_words: int) -> Sequence[str]:
    """Most files need no word about how they are opened."""
    return ()


class Companion(NamedTuple):
    """A second file of a format, without which the first one is half of it."""

    beside: Callable[[Path], Path]  # where it lies
    encode: Callable[[WordVectors], bytes]


class Format(NamedTuple):
    """One way to write vectors to a file. Only text may be compressed, or go to a stream."""

    name: str
    suffixes: tuple[str, ...]
    write: Writer
    kind: Literal["text", "binary", "two files"] = "binary"
    write_half: Writer | None = None  # its numbers as float16
    companion: Companion | None = None
    is_read: bool = True  # here too, and not by others only
    advice: Callable[[Path, int], Sequence[str]] = no_advice  # what to say of so many words there

    def paths(self, path: Path) -> list[Path]:
        """Every file that is written."""
        return [path, self.companion.beside(path)] if self.companion else [path]


Contents = Callable[[WordVectors, TextRule], Mapping[str, Callable[[BinaryIO], object]]]


class FolderFormat(NamedTuple):
    """One way to write vectors to a folder, which is replaced only if it is known as one such."""

    name: str
    contents: Contents  # its files by name, and what writes each
    files: frozenset[str]  # the names of all that is in it
    mark: tuple[str, bytes]  # one of them, and what it holds when it was written here
    advice: Callable[[Path, int], Sequence[str]] = no_advice
    has_tokenizer: bool = False  # is told how text becomes words

    kind: Literal["a folder"] = "a folder"
    suffixes: tuple[str, ...] = ()
    write_half: None = None
