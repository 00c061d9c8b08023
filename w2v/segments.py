"""Segments: what is kept of a text that is counted in pieces, and gone on with after an early end.

A `Count` enters; its files leave, in the folder that the corpus is built in. A text of one segment,
as most are, is never written down like this: `building` goes on with what is in memory.

    NNNNNN.train, .heldout   a header, then the tokens of its lines by their numbers, uint32
    NNNNNN.words             its distinct words, a line each, a partition after the other
    NNNNNN.counts            int64 (3, W) as .npy: how often each of these words occurs in training
                             text, in held-out text, and its number
    NNNNNN.json              written last: what the others are, and their SHA-256

A word is in the partition that its hash says, in every segment. So words are summed partition by
partition, and memory holds one of PARTITIONS: 10^8 distinct words are summed 400,000 at a time.

Legend: N = tokens of a text, line ends included; W = distinct words; P = partitions.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from w2v.counting import PARTS, Count
from w2v.digests import read_signed, write_signed
from w2v.files import atomic_write, sha256
from w2v.ranking import folded
from w2v.tokens import Numbers, TokenRule, read_numbers

PARTITIONS = 256
KINDS = (*PARTS, "words", "counts")  # the files of a segment
RECORD = "json"  # the one that vouches for them
# polars keeps its hash within one version, on one kind of machine; these are hashed in three ways.
PROBES = ["a", "probe of words", "a probe that is longer than two of the processor's words"]


def header(dtype: str, size: int) -> bytes:
    """The header of a `.npy` file of `size` numbers; all sizes give it the same length."""
    found = BytesIO()
    content = {"descr": dtype, "fortran_order": False, "shape": (size,)}
    np.lib.format.write_array_header_1_0(found, content)
    return found.getvalue()


HEADER_BYTES = len(header("<i4", 0))


class Segment(NamedTuple):
    """A stretch of the text that was counted and lies on disk."""

    stem: Path  # of its files
    lines: dict[str, int]  # of either part
    is_last: bool
    ends_P2: list[tuple[int, int]]  # the words before the end of each partition, and their bytes

    @property
    def num_lines(self) -> int:
        """The lines of text that it was made of."""
        return sum(self.lines.values())

    def numbers(self, part: str) -> Iterator[Numbers]:
        """Its tokens in one part of the text, by their numbers, bit by bit."""
        path = file_of(self.stem, part)
        with path.open("rb") as file:
            yield from read_numbers(file, HEADER_BYTES, path.stat().st_size)

    def rows(self) -> pl.DataFrame:
        """Its distinct words, as `Count.rows` has them, in another order."""
        return pl.concat([self.partition(place) for place in range(len(self.ends_P2))])

    def partition(self, place: int) -> pl.DataFrame:
        """The words of one partition."""
        (first, start), (last, end) = [(0, 0), *self.ends_P2][place : place + 2]
        counts_3W = np.load(file_of(self.stem, "counts"), mmap_mode="r")[:, first:last]
        with file_of(self.stem, "words").open("rb") as file:
            file.seek(start)
            text = file.read(end - start).decode().removesuffix("\n")
        words = pl.Series([text] if text else [], dtype=pl.String).str.split("\n").list.explode()
        train_W, heldout_W, numbers_W = np.array(counts_3W)
        columns = {"word": words, "train": train_W, "heldout": heldout_W, "number": numbers_W}
        return pl.DataFrame(columns)

    def files(self) -> list[Path]:
        """All that is there of it."""
        return [file_of(self.stem, kind) for kind in (*KINDS, RECORD)]

    def remove_contents(self) -> None:
        """Removes all but what tells of it."""
        for kind in KINDS:
            file_of(self.stem, kind).unlink(missing_ok=True)


def summed(segments: list[Segment]) -> Iterator[pl.DataFrame]:
    """The distinct words of all segments, partition by partition, with the sums of their counts."""
    for place in range(PARTITIONS):
        parts = (segment.partition(place).drop("number") for segment in segments)
        yield folded(parts, _sums)


def _sums(words: pl.DataFrame) -> pl.DataFrame:
    return words.group_by("word").agg(pl.col("train").sum(), pl.col("heldout").sum())


# --- on disk --------------------------------------------------------------------------------


@contextmanager
def opened(folder: Path, index: int, rule: TokenRule) -> Iterator[Count]:
    """Yields a segment to be counted, whose numbers are kept if the block ends well.

    They stand where the ids will be in the files of a corpus, which these may become: a file that
    is new to the system costs more than its reading.
    """
    with ExitStack() as stack:
        paths = [file_of(stem_of(folder, index), part) for part in PARTS]
        files = [stack.enter_context(atomic_write(path)) for path in paths]
        for file in files:
            file.write(header("<i4", 0))
        yield Count(rule, files)


def record(folder: Path, index: int, count: Count, *, key: str, is_last: bool) -> Segment:
    """Writes down a segment whose numbers are kept: its words, then what vouches for all of it."""
    stem = stem_of(folder, index)
    ends_P2 = _write_rows(stem, count.rows())
    lines = {part: log.num_lines for part, log in count.logs.items()}
    content = {
        "key": key,
        "lines": lines,
        "is_last": is_last,
        "ends": ends_P2,
        "sha256": {kind: sha256(file_of(stem, kind)) for kind in KINDS},
    }
    write_signed(file_of(stem, RECORD), content)
    return Segment(stem, lines, is_last, ends_P2)


def _write_rows(stem: Path, rows: pl.DataFrame) -> list[tuple[int, int]]:
    """Writes words and counts, sorted by partition; returns where each partition ends."""
    rows = rows.with_columns(place=pl.col("word").hash() % PARTITIONS).sort("place")
    ends_P = np.searchsorted(rows["place"].to_numpy(), np.arange(PARTITIONS), side="right")
    ends_P2: list[tuple[int, int]] = []
    with atomic_write(file_of(stem, "words")) as file:
        start = 0
        for end in ends_P.tolist():
            if end > start:
                file.write((rows["word"][start:end].str.join("\n").item() + "\n").encode())
            ends_P2.append((end, file.tell()))
            start = end
    with atomic_write(file_of(stem, "counts")) as file:
        np.save(file, rows.select("train", "heldout", "number").to_numpy().T.astype(np.int64))
    return ends_P2


def whole_segments(folder: Path, key: str, *, done: int) -> list[Segment]:
    """The segments from the first on that are whole; of the first `done` the record is enough."""
    segments: list[Segment] = []
    while (segment := _whole(folder, len(segments), key, done=done)) is not None:
        segments.append(segment)
        if segment.is_last:
            break
    return segments


def _whole(folder: Path, index: int, key: str, *, done: int) -> Segment | None:
    stem = stem_of(folder, index)
    content = read_signed(file_of(stem, RECORD))
    if content is None or content["key"] != key:
        return None
    try:
        if index >= done and content["sha256"] != {
            kind: sha256(file_of(stem, kind)) for kind in KINDS
        }:
            return None
    except OSError:
        return None
    ends_P2 = [(rows, size) for rows, size in content["ends"]]
    return Segment(stem, content["lines"], content["is_last"], ends_P2)


def record_of(folder: Path, index: int) -> Path:
    """What vouches for a segment."""
    return file_of(stem_of(folder, index), RECORD)


def segment_key(*content: object) -> str:
    """SHA-256 over what the segments of a text depend on."""
    hashes = pl.Series(PROBES).hash().to_list()
    record = [*content, hashes, PARTITIONS]
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def stem_of(folder: Path, index: int) -> Path:
    """Where the files of a segment are, but for their suffix."""
    return folder / f"{index:06}"


def file_of(stem: Path, kind: str) -> Path:
    """A file of a segment."""
    return stem.with_suffix(f".{kind}")
