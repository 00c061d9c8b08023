"""Files with which vectors are judged: pairs of words with a human score, or analogies.

A path enters, `Pairs` or `Analogies` leave; which one it is, the content decides. Public files are
read as they are published:

    pairs       word, word and, somewhere behind, a score: between tabs (WordSim-353, SimLex-999,
                SimVerb-3500, RareWords), commas or semicolons (MTurk-771), else blanks (MEN). The
                score is the column of the first number behind the words. A first line that names
                its columns (`Word 1`, `word1`) is passed over.
    analogies   four words a line, `: section` lines between them (questions-words.txt)

Both are UTF-8; empty lines and lines that begin with `#` are passed over. Words are kept as they
are written; `w2v.evaluate` folds their case where the vocabulary asks for it.
"""

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from w2v.errors import DataError
from w2v.files import unreadable

MAX_LINE_BYTES = 1 << 16  # a longer line is no line of such a file
MAX_SHOWN = 60  # characters of a bad line that its error repeats
DELIMITERS = ("\t", ",", ";")

Line = tuple[int, str]  # its number from 1, its text


class Pair(NamedTuple):
    """Two words and how alike people find them."""

    first: str
    second: str
    score: float


class Question(NamedTuple):
    """The analogy `a` is to `b` as `c` is to `expected`."""

    a: str
    b: str
    c: str
    expected: str


class Section(NamedTuple):
    """Questions of one kind; the name is empty where a file has no sections."""

    name: str
    questions: list[Question]


class Pairs(NamedTuple):
    """A word-similarity file."""

    path: Path
    pairs: list[Pair]

    def words(self) -> Iterator[tuple[str, ...]]:
        """The words of each pair."""
        return ((pair.first, pair.second) for pair in self.pairs)


class Analogies(NamedTuple):
    """An analogy file."""

    path: Path
    sections: list[Section]

    def words(self) -> Iterator[tuple[str, ...]]:
        """The words of each question."""
        return (question for section in self.sections for question in section.questions)


def read(path: Path) -> Pairs | Analogies:
    """Reads a file of either kind; its first line tells which.

    Raises:
        DataError: the file cannot be read, is empty, or a line is not of its kind.
    """
    lines = _lines(path)
    first = next(lines, (0, ""))
    found: Pairs | Analogies
    if _is_analogy(first[1]):
        found = Analogies(path, _sections(path, chain([first], lines)))
        has_items = any(section.questions for section in found.sections)
    else:
        found = Pairs(path, _pairs(path, chain([first], lines) if first[0] else lines))
        has_items = bool(found.pairs)
    if not has_items:
        raise DataError(f"{path} holds neither pairs of words with a score nor analogies")
    return found


def read_pairs(path: Path) -> list[Pair]:
    """Reads a word-similarity file.

    Raises:
        DataError: the file cannot be read, or a line lacks a word or the score.
    """
    return _pairs(path, _lines(path))


def read_questions(path: Path) -> list[Question]:
    """Reads an analogy file, its sections joined.

    Raises:
        DataError: the file cannot be read, or a line has another number of words.
    """
    return [question for section in _sections(path, _lines(path)) for question in section.questions]


def _is_analogy(line: str) -> bool:
    words = line.split()
    four_words = len(words) == 4 and not any(map(_is_number, words[2:]))
    return line.startswith(":") or (four_words and _delimiter(line) is None)


def _pairs(path: Path, lines: Iterator[Line]) -> list[Pair]:
    first = next(lines, None)
    if first is None:
        return []
    delimiter = _delimiter(first[1])
    if not _names_columns(first[1].split(delimiter)):
        lines = chain([first], lines)
    pairs: list[Pair] = []
    column = 0  # of the score, once it is known
    for number, line in lines:
        columns = [part.strip() for part in line.split(delimiter)]
        if len(columns) < 3 or not all(columns[:2]):
            raise _bad_line(path, number, line, expected="word, word and score between tabs")
        column = column or next((at for at in range(2, len(columns)) if _is_number(columns[at])), 2)
        if column >= len(columns) or not _is_number(columns[column]):
            where = "the third column" if column == 2 else f"column {column + 1}"
            raise _bad_line(path, number, line, expected=f"a number in {where}")
        pairs.append(Pair(columns[0], columns[1], float(columns[column])))
    return pairs


def _delimiter(line: str) -> str | None:
    """What parts the columns; None for blanks, as `str.split` has it."""
    return next((mark for mark in DELIMITERS if line.count(mark) >= 2), None)


def _names_columns(columns: list[str]) -> bool:
    return "word" in columns[0].lower() and not any(map(_is_number, columns[2:3]))


def _sections(path: Path, lines: Iterator[Line]) -> list[Section]:
    sections: list[Section] = []
    for number, line in lines:
        if line.startswith(":"):
            sections.append(Section(line[1:].strip(), []))
            continue
        words = line.split()
        if len(words) != 4:
            raise _bad_line(path, number, line, expected="four words")
        if not sections:
            sections.append(Section("", []))
        sections[-1].questions.append(Question(*words))
    return sections


def _lines(path: Path) -> Iterator[Line]:
    """The lines that are neither empty nor a comment, read one by one."""
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                line = _decoded(path, number, raw)
                if line.strip() and not line.startswith("#"):
                    yield number, line
    except OSError as error:
        raise unreadable(path, error) from error


def _decoded(path: Path, number: int, raw: bytes) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise DataError(f"{path}, line {number}: longer than {MAX_LINE_BYTES:,} bytes")
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        place = f"{path}, line {number}"
        raise DataError(f"{place}: byte {error.start + 1} is not UTF-8 text") from error


def _is_number(text: str) -> bool:
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False


def _bad_line(path: Path, number: int, line: str, *, expected: str) -> DataError:
    shown = line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}..."
    return DataError(f"{path}, line {number}: expected {expected}, found {shown!r}")
