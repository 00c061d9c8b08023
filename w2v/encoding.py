"""Encoding: the numbers of tokens become the ids of words, in the files of a corpus.

Counted segments and a vocabulary enter; the files leave, written front to back, not through a
memory map: a full disk is then an error, not a signal. Their sizes are known before, so their
headers are the first that is written, and one SHA-256 goes along with each file.

After each segment that is encoded a `Progress` is written, which says how far the files are whole
and with which SHA-256. So whoever is killed meanwhile goes on from there: what comes behind is cut
off, and what is not what the digest says is done again.

Legend: N = tokens or words of a text; S = its sentences; W = distinct tokens.
"""

import hashlib
import os
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from w2v.counting import PARTS, Count
from w2v.digests import read_signed, write_signed
from w2v.encoded import ids_of, offsets_of
from w2v.errors import StorageError
from w2v.files import atomic_write, growing, sha256
from w2v.segments import Segment, header
from w2v.tokens import END, Ints, Numbers, map_ahead
from w2v.vocab import UNK_ID, Vocab

Ids = npt.NDArray[np.int32]

PROGRESS = "progress.json"
END_ID = -1  # stands at the end of a line until the offsets are told
HASHED_BYTES = 2**20  # at once


class Mark(NamedTuple):
    """How far a file is written."""

    end: int  # in bytes
    num_numbers: int
    sha256: str  # of the bytes up to there


class Output:
    """A file that is written from front to back, over what it held, and the SHA-256 of that."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.end = 0
        self.num_numbers = 0  # after the header

    def begin(self, dtype: str, size: int) -> None:
        """Writes the header of so many numbers."""
        self._write(header(dtype, size))

    def add(self, numbers: npt.NDArray[np.generic]) -> None:
        """Writes numbers, which fit the header."""
        self._write(numbers.data)
        self.num_numbers += len(numbers)

    def _write(self, data: bytes | memoryview) -> None:
        self._file.seek(self.end)
        self._file.write(data)
        self.end = self._file.tell()
        self._digest.update(data)

    def mark(self) -> Mark:
        """Puts on disk what was written, and tells how far that is."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return Mark(self.end, self.num_numbers, self._digest.hexdigest())

    def go_on(self, mark: Mark) -> bool:
        """Takes for written what stands there up to a mark, if it is what the mark says."""
        self._file.seek(self.end)
        digest, left = self._digest.copy(), mark.end - self.end
        while left > 0 and (data := self._file.read(min(left, HASHED_BYTES))):
            digest.update(data)
            left -= len(data)
        if digest.hexdigest() != mark.sha256:
            return False
        self._digest, self.end, self.num_numbers = digest, mark.end, mark.num_numbers
        return True

    def finish(self) -> str:
        """Cuts off what stands behind; returns the SHA-256 of all."""
        self._file.truncate(self.end)
        return self._digest.hexdigest()


class Progress(NamedTuple):
    """How far the files of a corpus are written: enough to go on with them."""

    digest: str  # of the corpus
    sums: dict[str, str]  # SHA-256 of the files beside those of ids and offsets
    sizes: dict[str, int]  # how many numbers each file will have
    num_segments: int  # that are encoded
    marks: dict[str, Mark]  # of each file, once there are encoded segments

    @property
    def is_complete(self) -> bool:
        """Whether all is written: each segment adds a line at least, and so an offset."""
        written = {name: mark.num_numbers for name, mark in self.marks.items()}
        return written == self.sizes

    def write(self, folder: Path) -> None:
        """Notes it in the folder. Raises `StorageError`."""
        write_signed(folder / PROGRESS, self._asdict())

    @classmethod
    def found(cls, folder: Path, *, digest: str) -> "Progress | None":
        """What a process before left in the folder; None if a byte of that is not what it was."""
        content = read_signed(folder / PROGRESS)
        if content is None or content["digest"] != digest:
            return None
        marks = {name: Mark(*mark) for name, mark in content.pop("marks").items()}
        try:
            if any(sha256(folder / name) != sum_ for name, sum_ in content["sums"].items()):
                return None
            for name, mark in marks.items():
                with (folder / name).open("rb") as file:
                    if not Output(file).go_on(mark):
                        return None
        except OSError:
            return None
        return cls(**content, marks=marks)


def sizes(num_ids: dict[str, int], num_lines: dict[str, int]) -> dict[str, int]:
    """How many numbers each file has, given those of ids and lines of each part."""
    return {ids_of(part): num_ids[part] for part in PARTS} | {
        offsets_of(part): num_lines[part] + 1 for part in PARTS
    }


def encode_segments(
    segments: list[Segment], vocab: Vocab, progress: Progress, *, folder: Path
) -> dict[str, str]:
    """Writes the ids of the segments that `progress` lacks, and removes what they were made of.

    One segment's words are in memory at a time. Returns the SHA-256 of each file.

    Raises:
        StorageError: the files cannot be written.
    """
    with ExitStack() as stack:
        outputs = {
            name: Output(stack.enter_context(growing(folder / name))) for name in progress.sizes
        }
        for name, output in outputs.items():
            if not progress.marks:
                _begin(output, name, progress.sizes[name])
            elif not output.go_on(progress.marks[name]):
                raise StorageError(f"{folder / name} was changed by another process: start again")
        for segment in segments[progress.num_segments :]:
            ids_W = ids_by_number(segment.rows(), vocab)
            for part in PARTS:
                _encode(segment.numbers(part), ids_W, outputs, part=part)
            progress = progress._replace(
                num_segments=progress.num_segments + 1,
                marks={name: output.mark() for name, output in outputs.items()},
            )
            progress.write(folder)
            segment.remove_contents()
        return {name: output.finish() for name, output in outputs.items()}


def encode_whole(
    count: Count, rows: pl.DataFrame, vocab: Vocab, sizes: dict[str, int], *, folder: Path
) -> dict[str, str]:
    """Writes the ids of a text of one segment where its numbers stand, and its offsets.

    The ids overwrite the numbers, but never what is still to be read: a token gives one id at the
    most. Returns the SHA-256 of each file; those of ids have the names of the numbers' files yet.

    Raises:
        StorageError: the files cannot be written.
    """
    ids_W = ids_by_number(rows, vocab)
    with ExitStack() as stack:
        files = {ids_of(part): log.file for part, log in count.logs.items()}
        for name in map(offsets_of, PARTS):
            files[name] = stack.enter_context(atomic_write(folder / name))
        outputs = {name: Output(file) for name, file in files.items()}
        for name, output in outputs.items():
            _begin(output, name, sizes[name])
        for part, log in count.logs.items():
            _encode(log, ids_W, outputs, part=part)
        return {name: output.finish() for name, output in outputs.items()}


def ids_by_number(rows: pl.DataFrame, vocab: Vocab) -> Ids:
    """The id of each token of a pool, at its number; END_ID for the line end."""
    ids_W = np.full(rows.height + END + 1, UNK_ID, np.int32)
    ids_W[rows["number"].to_numpy()] = vocab.encode(rows["word"])
    ids_W[END] = END_ID
    return ids_W


def _begin(output: Output, name: str, size: int) -> None:
    """Writes a header, and the first offset, which no line's end gives."""
    if name in map(ids_of, PARTS):
        output.begin("<i4", size)
    else:
        output.begin("<i8", size)
        output.add(np.zeros(1, np.int64))


def _encode(
    numbers: Iterable[Numbers], ids_W: Ids, outputs: dict[str, Output], *, part: str
) -> None:
    """Writes the ids of tokens, `<unk>` left out, and where the line of each END ends."""
    ids, offsets = outputs[ids_of(part)], outputs[offsets_of(part)]
    for ids_N, ends_S in map_ahead(partial(_sentences, ids_W=ids_W), numbers):
        offsets.add(ids.num_numbers + ends_S)
        ids.add(ids_N)


def _sentences(numbers_N: Numbers, *, ids_W: Ids) -> tuple[Ids, Ints]:
    """The ids of the words in vocabulary, and where among them each line ends."""
    ids_N = ids_W.take(numbers_N)  # twice as fast as ids_W[numbers_N]
    ids_N = ids_N[ids_N != UNK_ID]
    ends_S = np.flatnonzero(ids_N == END_ID)
    return ids_N[ids_N != END_ID], ends_S - np.arange(len(ends_S))
