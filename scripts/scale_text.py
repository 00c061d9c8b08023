"""A text of any size out of a real one: its sentences again and again, with words that it had not.

    python scripts/bench_scale.py make BIG.txt --gb 3 --from reviews.txt

The first repetition is the text itself, its sentences shuffled; each further one is shuffled anew.
Plain repeating would end the growth of the vocabulary, and no word would stay rare. So words that
the text has fewer than RARE times change their names: "tarkovsky" becomes "tarkovsky1". There are
as many names as let the distinct words grow by Heaps' law, by r^d in r repetitions, with the d that
the text itself has between its half and its whole. Where no new name is due, an old one is drawn in
proportion to its uses less d, as Pitman and Yor (1997) seat customers; so some names are taken so
often that they leave the rare words, as words of a growing text do. GROUPS groups of rare words
draw apart.

Memory holds the text once, its words while they are counted, and a block of output. One pass of
joins and replacements makes a block, so a core writes some 100 MB a second.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from math import log2
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from w2v.building import BLOCK_BYTES
from w2v.errors import DataError
from w2v.files import atomic_write
from w2v.sources import read_texts

RARE = 10  # words of the real text with fewer uses are given other names
# Behind each rare word stands the mark of its group, a byte that no UTF-8 text holds.
MARKS = tuple(bytes([byte]) for byte in range(0xF8, 0x100))
GROUPS = len(MARKS)
BLOCK_LINES = 1 << 14  # some 2 MB, which the processor's cache holds while names are put in
LEAST_GROWTH, MOST_GROWTH = 0.05, 0.95  # of Heaps' exponent; a tiny text may have any


class MarkedText(NamedTuple):
    """A real text, ready to be repeated."""

    lines: list[bytes]  # one space between words, each rare word with its mark behind it
    growth: float  # the exponent of Heaps' law
    types: int  # distinct words
    rare_types: int


class Made(NamedTuple):
    """What was written."""

    path: Path
    bytes: int
    lines: int
    words: int
    repetitions: int  # the last one is cut where the size is reached
    growth: float


def make_text(source: Path, target: Path, *, num_bytes: int, seed: int = 0) -> Made:
    """Writes a text of `num_bytes`, and as many more as end its last line, out of a real one.

    Args:
        source: a sentence a line, plain or compressed.
        target: the new file; replaced where it is there.
        num_bytes: its size.
        seed: of the shuffling and the names.

    Raises:
        DataError: the source cannot be read, or has no words.
        StorageError: the target cannot be written.
    """
    marked = mark_rare(source)
    rng = np.random.default_rng(seed)
    size = lines = words = repetitions = 0
    with atomic_write(target) as file:
        for names in drawn_names(marked, rng):
            repetitions += 1
            for block in shuffled_blocks(marked.lines, names, rng):
                kept = block if size + len(block) <= num_bytes else head(block, num_bytes - size)
                file.write(kept)
                size, lines = size + len(kept), lines + kept.count(b"\n")
                words += kept.count(b" ") + kept.count(b"\n")
                if size >= num_bytes:
                    return Made(target, size, lines, words, repetitions, marked.growth)
    raise AssertionError("names never end")


def mark_rare(source: Path) -> MarkedText:
    """Reads a text, counts its words and marks the rare ones.

    Raises:
        DataError: it cannot be read, or has no words.
    """
    lines = [line for line in _lines(source) if line]
    if not lines:
        raise DataError(f"{source} has no words")
    counts: Counter[bytes] = Counter()
    for line in lines[::2]:
        counts.update(line.split(b" "))
    half = len(counts)
    for line in lines[1::2]:
        counts.update(line.split(b" "))
    marked_of = {word: word + mark_of(word) for word, uses in counts.items() if uses < RARE}
    for i, line in enumerate(lines):
        words = line.split(b" ")
        if not marked_of.keys().isdisjoint(words):
            lines[i] = b" ".join([marked_of.get(word, word) for word in words])
    growth = min(max(log2(len(counts) / half), LEAST_GROWTH), MOST_GROWTH)
    return MarkedText(lines, growth, len(counts), len(marked_of))


def mark_of(word: bytes) -> bytes:
    """The mark of a word's group."""
    return MARKS[crc32(word) % GROUPS]


def drawn_names(text: MarkedText, rng: np.random.Generator) -> Iterator[tuple[bytes, ...]]:
    """For each repetition what is put behind the rare words of each group; the first: nothing."""
    uses: list[list[int]] = [[] for _ in MARKS]  # how often each name was taken
    phases = rng.random(GROUPS)  # so that groups do not all have a new name in one repetition
    for repetition in count(1):
        due = names_due(text, repetition)
        chosen = []
        for taken, phase in zip(uses, phases, strict=True):
            if not taken or len(taken) < int(due + phase):
                taken.append(0)
                name = len(taken) - 1
            else:
                name = draw_name(taken, text.growth, rng)
            taken[name] += 1
            chosen.append(b"%d" % name if name else b"")
        yield tuple(chosen)


def names_due(text: MarkedText, repetition: int) -> float:
    """How many names a rare word has by then, if all distinct words grow by Heaps' law."""
    frequent_types = text.types - text.rare_types
    return (text.types * repetition**text.growth - frequent_types) / max(text.rare_types, 1)


def draw_name(taken: Sequence[int], growth: float, rng: np.random.Generator) -> int:
    """One of the names, by its number, in proportion to its uses less `growth`."""
    weights = np.array(taken) - growth
    return int(rng.choice(len(taken), p=weights / weights.sum()))


def shuffled_blocks(
    lines: Sequence[bytes], names: Sequence[bytes], rng: np.random.Generator
) -> Iterator[bytes]:
    """All lines in random order, names in the place of marks, in blocks of whole lines."""
    order = rng.permutation(len(lines)).tolist()
    for start in range(0, len(order), BLOCK_LINES):
        chosen = [lines[i] for i in order[start : start + BLOCK_LINES]]
        block = b"\n".join([*chosen, b""])
        for mark, name in zip(MARKS, names, strict=True):
            block = block.replace(mark, name)
        yield block


def head(block: bytes, num_bytes: int) -> bytes:
    """The first lines of a block, up to the one that reaches the size."""
    return block[: block.index(b"\n", num_bytes - 1) + 1]


def _lines(source: Path) -> Iterator[bytes]:
    """The lines of a text, one space between words."""
    for text in read_texts([source], block_bytes=BLOCK_BYTES):
        for line in text.split("\n"):
            yield " ".join(line.split()).encode()
