"""Building: a text becomes the files of a corpus, in a folder that may hold a part of the work.

A source and settings enter; files and their digests leave. Text is cut once: counted segment by
segment (`counting`), then ranked, then turned into ids. Most texts are one segment: its words stay
in memory and its ids overwrite its numbers. Those of a longer one go to disk (`segments`), so that
memory holds, whatever the size of the text,

    a segment: SEGMENT_TOKENS distinct tokens, 250 MB; a block of text a thread, some 60 MB each
    text that is read ahead, of several or compressed files: AHEAD_BYTES and a piece of each
    the words that are kept, 200 bytes each: `vocab.max_size`, or those of `vocab.min_count`
    a partition of all distinct words: one of PARTITIONS

Every segment that is counted, and every one that is encoded, is a step that a later process does
not take again. Nothing is taken for done that has not the SHA-256 of its record.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from w2v.counting import PARTS, Blocks, Count
from w2v.encoded import DROPPED, MANIFEST, SPECTRUM, VOCAB, Settings, ids_of, words_in
from w2v.encoding import PROGRESS, Progress, encode_segments, encode_whole, sizes
from w2v.errors import DataError, StorageError
from w2v.files import atomic_write, sha256, write_text
from w2v.folders import UNFINISHED
from w2v.ranking import Choice, choose
from w2v.segments import (
    Segment,
    file_of,
    opened,
    record,
    record_of,
    stem_of,
    summed,
    whole_segments,
)
from w2v.sources import Source, read_texts
from w2v.vocab import Vocab, WordCounts, to_tsv

BLOCK_BYTES = 2**21  # fits the processor's cache: half as fast again as blocks of 16 MiB

logger = logging.getLogger(__name__)


class Job(NamedTuple):
    """A corpus that is to be built."""

    source: Source
    settings: Settings
    digest: str  # of the corpus
    segment_key: str  # what its segments depend on: the text and how it is cut, not what is kept
    require_unchanged: Callable[[], None]  # raises where the text is not what it was


class Built(NamedTuple):
    """What was built."""

    vocab: Vocab
    dropped: WordCounts
    sums: dict[str, str]  # SHA-256 of each file


def build(job: Job, folder: Path) -> Built:
    """Writes every file of a corpus, beginning with what is whole of them in the folder.

    Raises:
        DataError: the text is damaged, not UTF-8, without words, or changed meanwhile; or no word
            occurs `min_count` times.
        StorageError: the text cannot be read, the folder not be written, or the vocabulary will
            not fit into memory. Segments that are whole stay.
    """
    progress, segments = _there(job, folder)
    _remove_others(folder, segments, progress)
    if segments:
        logger.info("going on with the corpus in %s: %s of it are there", folder, _told(segments))
    try:
        with _refusing_text(folder):
            built = _count(job, folder, segments) if _lack(segments, progress) else None
        built = built or _encode(job, folder, segments, progress)
        with _refusing_text(folder):
            job.require_unchanged()
        return built
    except StorageError as error:
        if folder.suffix != UNFINISHED or not can_go_on(folder):
            raise
        parts = f"{_told(segments)} of the text" if segments else "its parts"
        kept = f"{parts} are kept in {folder}: start again to go on with them"
        hint = f"{error.hint}; {kept}" if error.hint else kept
        raise StorageError(str(error), hint=hint) from error


def _there(job: Job, folder: Path) -> tuple[Progress | None, list[Segment]]:
    """What is whole of a corpus: how far it is encoded, and its segments from the first on."""
    progress = Progress.found(folder, digest=job.digest)
    if progress is not None and progress.is_complete:
        return progress, []
    done = 0 if progress is None else progress.num_segments
    segments = whole_segments(folder, job.segment_key, done=done)
    return (progress, segments) if len(segments) >= done else (None, [])


def _lack(segments: list[Segment], progress: Progress | None) -> bool:
    """Whether there is text that is not counted."""
    is_complete = progress is not None and progress.is_complete
    return not (is_complete or (segments and segments[-1].is_last))


@contextmanager
def _refusing_text(folder: Path) -> Iterator[None]:
    """What is kept of a text that turns out to be no good is forgotten."""
    try:
        yield
    except DataError:
        for path in (record_of(folder, 0), folder / PROGRESS):
            path.unlink(missing_ok=True)
        raise


def can_go_on(folder: Path) -> bool:
    """Whether something in the folder can be gone on with."""
    left = (record_of(folder, 0), folder / PROGRESS, folder / MANIFEST)
    return any(path.exists() for path in left)


def all_done(folder: Path) -> None:
    """Removes what only served to go on with."""
    (folder / PROGRESS).unlink(missing_ok=True)


def _remove_others(folder: Path, segments: list[Segment], progress: Progress | None) -> None:
    kept = {path for segment in segments for path in segment.files()}
    if progress is not None:
        kept |= {folder / name for name in (PROGRESS, *progress.sums, *progress.sizes)}
    for path in folder.iterdir():
        if path not in kept and path.is_file():
            path.unlink()


def _told(segments: list[Segment]) -> str:
    num_lines = sum(segment.num_lines for segment in segments)
    return f"{len(segments):,} segment{'s' * (len(segments) > 1)} ({num_lines:,} lines)"


def _count(job: Job, folder: Path, segments: list[Segment]) -> Built | None:
    """Counts what the segments lack, and adds it to them; a text of one segment is built."""
    skip_lines = sum(segment.num_lines for segment in segments)
    with closing(_blocks(job.source)) as stream:  # threads read ahead: an error must end them
        blocks = Blocks(stream, skip_lines=skip_lines)
        while blocks.part is not None or not segments:
            place = len(segments)
            lines_before = sum(segment.num_lines for segment in segments)
            with opened(folder, place, job.settings.rule) as count:
                count.read(blocks, every=job.settings.heldout_every, lines_before=lines_before)
                is_whole = blocks.part is None and not segments
                built = _build_whole(job, folder, count) if is_whole else None
            if built is not None:
                for part in PARTS:
                    file_of(stem_of(folder, 0), part).replace(folder / ids_of(part))
                return built
            job.require_unchanged()
            is_last = blocks.part is None
            segments.append(record(folder, place, count, key=job.segment_key, is_last=is_last))
    return None


def _blocks(source: Source) -> Generator[tuple[str, str]]:
    for part, paths in zip(PARTS, (source.train, source.heldout), strict=True):
        with closing(read_texts(paths, block_bytes=BLOCK_BYTES)) as texts:
            for text in texts:
                yield part, text


def _build_whole(job: Job, folder: Path, count: Count) -> Built:
    """Builds a corpus of a text whose words are all in memory."""
    rows = count.rows()
    choice, sums = _choose(job, folder, [rows])
    lines = {part: log.num_lines for part, log in count.logs.items()}
    wanted = sizes(choice.num_ids, lines)
    sums |= encode_whole(count, rows, choice.vocab, wanted, folder=folder)
    return Built(choice.vocab, choice.dropped, sums)


def _encode(job: Job, folder: Path, segments: list[Segment], progress: Progress | None) -> Built:
    """Builds a corpus of segments, from where it was left; nothing stays of these."""
    if progress is None:
        choice, sums = _choose(job, folder, summed(segments))
        lines = {part: sum(segment.lines[part] for segment in segments) for part in PARTS}
        progress = Progress(job.digest, sums, sizes(choice.num_ids, lines), 0, {})
        progress.write(folder)
        vocab, dropped = choice.vocab, choice.dropped
    else:
        vocab, dropped = words_in(folder)
    sums = progress.sums | encode_segments(segments, vocab, progress, folder=folder)
    _remove_others(folder, [], progress)
    return Built(vocab, dropped, sums)


def _choose(job: Job, folder: Path, parts: Iterable[pl.DataFrame]) -> tuple[Choice, dict[str, str]]:
    """Ranks the words of a text, and writes what is to be known of them, with its SHA-256."""
    choice = choose(parts, min_count=job.settings.min_count, max_size=job.settings.max_size)
    if len(choice.vocab) == 1:
        raise DataError(f"no words in {described(job.source)}")
    logger.info(
        "corpus %s: counted %s words, %s distinct; %s are in the vocabulary",
        *(job.source.name, f"{choice.vocab.counts_V.sum():,}", f"{choice.num_types:,}"),
        f"{len(choice.vocab) - 1:,}",
    )
    for name, text in ((VOCAB, choice.vocab.to_tsv()), (DROPPED, to_tsv(choice.dropped))):
        write_text(folder / name, text)
    with atomic_write(folder / SPECTRUM) as file:
        np.save(file, choice.spectrum_X2)
    return choice, {name: sha256(folder / name) for name in (VOCAB, DROPPED, SPECTRUM)}


def described(source: Source) -> str:
    """The files of a text, for an error."""
    first, *others = source.train
    return f"{first} and {len(others):,} more" if others else f"{first}"
