"""Where a corpus comes from: one module per source, each ends in a `Source`.

In goes the `corpus` section of the config, out come the paths of text files, one sentence a line,
plain or compressed by gzip, bzip2 or xz; `read_texts` reads them, several at a time, in the order
they are named in. What a word is, sources do not know.

    ptb     the Penn Treebank of the textbook chapter, downloaded once and verified
    pydoc   the documentation of the Python installation it runs in; needs no network
    text    your own files, folders or globs
"""

import lzma
import os
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

from w2v.ahead import chain_ahead
from w2v.config import CorpusSection
from w2v.cores import workers
from w2v.errors import ConfigError, DataError
from w2v.files import COMPRESSED_SUFFIXES, open_compressed, unreadable

DATA_FOLDER_VARIABLE = "W2V_DATA"
MAX_LINE_BYTES = 2**30  # a line is held in memory with its tokens, some ten times its size
AHEAD_BYTES = 2**26  # of memory, for text that is read and waits, of all files together


class Source(NamedTuple):
    """The text files of one corpus, one sentence a line, plain, `.gz`, `.bz2` or `.xz`."""

    name: str
    train: tuple[Path, ...]
    heldout: tuple[Path, ...]  # empty: every n-th line of `train` is set aside instead


def data_folder() -> Path:
    """The folder that downloads and caches live in: `$W2V_DATA`, or `data` where one stands."""
    return Path(os.environ.get(DATA_FOLDER_VARIABLE) or "data")


def read_texts(paths: Sequence[Path], *, block_bytes: int) -> Generator[str]:
    r"""Yields the text of files in pieces of whole lines, of `block_bytes` or one long line each.

    Lines end at `\n` and with their file; a byte order mark at its start is left out. Threads read
    several files, or a compressed one, ahead: as many files at a time as there are cores, a dozen
    at the most, of which AHEAD_BYTES wait for their turn and one piece of each may go beyond.
    Closing the generator ends the threads.

    Raises:
        DataError: a file is missing, damaged or not UTF-8, or has a line past MAX_LINE_BYTES.
        StorageError: a file cannot be read.
    """
    texts = (_text_of(path, block_bytes) for path in paths)
    if len(paths) < 2 and not any(path.suffix in COMPRESSED_SUFFIXES for path in paths):
        for text in texts:  # the system itself reads ahead, and a pipe takes its time
            yield from text
        return
    threads = min(len(paths), workers())
    most = AHEAD_BYTES // threads
    yield from chain_ahead(texts, threads=threads, most=most, size_of=sys.getsizeof)


def _text_of(path: Path, block_bytes: int) -> Generator[str]:
    with _explained(path), open_compressed(path) as file:
        yield from _decoded(_whole_lines(file.read, path, block_bytes), path)


def read_stream(file: BufferedIOBase, *, name: str, block_bytes: int) -> Iterator[str]:
    """Yields the text of an open stream as `read_texts` does, lines as soon as they are there.

    `name` stands for it in errors.

    Raises:
        DataError: it is not UTF-8, or has a line past MAX_LINE_BYTES.
        StorageError: it cannot be read.
    """
    path = Path(name)
    with _explained(path):
        yield from _decoded(_whole_lines(file.read1, path, block_bytes), path)


def _decoded(blocks: Iterable[bytes], path: Path) -> Iterator[str]:
    line = 1
    for block in blocks:
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            line += block.count(b"\n", 0, error.start)
            byte = error.start - block.rfind(b"\n", 0, error.start)
            raise DataError(
                f"{path}: line {line}, byte {byte}: not UTF-8",
                hint="convert it, for example: iconv -f latin1 -t utf-8",
            ) from error
        yield text.removeprefix("\ufeff") if line == 1 else text
        line += block.count(b"\n")


def _whole_lines(read: Callable[[int], bytes], path: Path, block_bytes: int) -> Iterator[bytes]:
    """What `read` gives, in pieces that end with a line."""
    pending: list[bytes] = []  # pieces of a line whose end is still to come
    size = 0
    while block := read(block_bytes):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield b"".join([*pending, block[:cut]])
            pending, size = [], 0
        pending.append(block[cut:])
        size += len(block) - cut
        if size > MAX_LINE_BYTES:
            raise DataError(f"{path}: a line of more than {MAX_LINE_BYTES:,} bytes")
    if size:
        yield b"".join(pending)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What can be wrong with a text's bytes on disk, as an error that names it."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise unreadable(path, error) from error
        raise DataError(f"{path}: damaged: {error}") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path}: damaged: {error}") from error


def open_source(
    section: CorpusSection,
    *,
    data_folder: Path,
    progress: Callable[[int, int | None], None] | None = None,
) -> Source:
    """Finds, fetches or makes the text that `section` names.

    Args:
        section: the `corpus` section of the config.
        data_folder: where downloads and made texts are kept.
        progress: told (bytes so far, bytes in all where known) while something is downloaded.

    Raises:
        ConfigError: `corpus.name` is text and `corpus.path` names nothing; or it is encoded.
        DataError: the text is missing or unusable.
        DownloadError: the text cannot be fetched.
        StorageError: the text cannot be read, or the data folder not be written.
    """
    # Imported here because each source brings dependencies that the others do without.
    match section.name:
        case "ptb":
            from w2v.sources import ptb

            return ptb.fetch(
                data_folder=data_folder,
                url=section.url,
                sha256=section.sha256,
                progress=progress,
            )
        case "pydoc":
            from w2v.sources import pydoc

            return pydoc.make(data_folder=data_folder)
        case "text":
            from w2v.sources import text

            if section.path is None:
                raise ConfigError("corpus.name=text needs corpus.path")
            return text.find(section.path)
        case "encoded":
            raise ConfigError(f"corpus.name=encoded: {section.path} is encoded, its text elsewhere")
