"""Vector files: which format a name means, writing one, and reading any.

`WordVectors` enter and a file leaves, or the other way round. A format is a module with a name,
suffixes, `write(vectors, file)` and `read(path)`, and a line of FORMATS; its docstring is its
specification. A name decides how a file is written; its content decides how it is read.
"""

import difflib
import gzip
import io
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from w2v.errors import ConfigError, DataError
from w2v.files import atomic_write, require_free, unreadable, write_together
from w2v.formats import (
    glove,
    npy,
    safetensors_file,
    word2vec_binary,
    word2vec_text,
    word_list,
)
from w2v.formats.rows import check_words, header_expected, parse_header
from w2v.formats.text_rows import (
    FIRST_LINE_BYTES,
    count_trailing_numbers,
    looks_like_row,
    open_text,
)
from w2v.vectors import WordVectors

GZIP = ".gz"
GZIP_LEVEL = 4  # digits of random numbers: 6 takes three times as long for 4 % less


class Format(NamedTuple):
    """One way to write vectors."""

    name: str
    suffixes: tuple[str, ...]
    write: Callable[[WordVectors, BinaryIO], None]
    read: Callable[[Path], WordVectors]
    is_text: bool = False  # may be compressed, may go to a terminal
    has_word_list: bool = False  # numbers only: the words lie in OUT.vocab


FORMATS = (
    Format(
        word2vec_text.NAME,
        word2vec_text.SUFFIXES,
        word2vec_text.write,
        word2vec_text.read,
        is_text=True,
    ),
    Format(
        word2vec_binary.NAME,
        word2vec_binary.SUFFIXES,
        word2vec_binary.write,
        word2vec_binary.read,
    ),
    Format(
        npy.NAME,
        npy.SUFFIXES,
        npy.write,
        npy.read,
        has_word_list=True,
    ),
    Format(
        safetensors_file.NAME,
        safetensors_file.SUFFIXES,
        safetensors_file.write,
        safetensors_file.read,
        has_word_list=True,
    ),
    Format(
        glove.NAME,
        glove.SUFFIXES,
        glove.write,
        glove.read,
        is_text=True,
    ),
)
NAMES = tuple(known.name for known in FORMATS)
SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)
_TEXT_SUFFIXES = (*word2vec_text.SUFFIXES, GZIP)
_HEAD_BYTES = 16

# What these hold may run code when it is loaded, or is a whole model: told by name, not opened.
REFUSED_SUFFIXES = {
    ".pkl": "a pickle",
    ".pickle": "a pickle",
    ".joblib": "a pickle",
    ".pt": "a torch file, which is a pickle",
    ".pth": "a torch file, which is a pickle",
    ".kv": "gensim's own format, which is a pickle",
    ".model": "gensim's own format, which is a pickle",
    ".npz": "a zip archive",
    ".zip": "a zip archive",
}
REFUSED_MAGIC = {
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"PK\x03\x04": "a zip archive, or a torch file",
    b"\xba\x16\x4f\x2f": "a fastText model",
}


def resolve(path: str | Path, format: str | None = None) -> Format:
    """The format that a name asks for: `format` where it is given, else the suffix.

    Raises:
        ConfigError: neither is known, or a binary format is to be compressed.
    """
    path = Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    zipped = suffixes[-1:] == [GZIP]
    suffix = "".join(suffixes[-2:-1] if zipped else suffixes[-1:])
    if format is None:
        found = next((known for known in FORMATS if suffix in known.suffixes), None)
    else:
        found = next((known for known in FORMATS if known.name == format), None)
    if found is None and format is not None:
        raise ConfigError(f"unknown format {format!r}{_meant(format, NAMES)}")
    if found is None:
        raise ConfigError(
            f"the suffix of {str(path)!r} names no format{_meant(suffix, SUFFIXES)}",
            hint=f"--format names one: {', '.join(NAMES)}",
        )
    named = next((known for known in FORMATS if suffix in known.suffixes), found)
    if named.is_text != found.is_text:
        kind = "text" if found.is_text else "no text"
        raise ConfigError(f"{path}: {suffix} names {named.name}, but format {found.name} is {kind}")
    if zipped and not found.is_text:
        raise ConfigError(f"{path}: only text is compressed, and format {found.name} is binary")
    return found


def resolve_stream(format: str | None = None) -> Format:
    """The format for a stream: text, word2vec's by default.

    Raises:
        ConfigError: `format` is not known, or not text.
    """
    found = resolve("", format or word2vec_text.NAME)
    if not found.is_text:
        raise ConfigError(f"format {found.name} is binary: it needs a file, not '-'")
    return found


def check_free(path: Path, format: Format, *, force: bool) -> None:
    """Refuses a place where a file of that format must not be written.

    Raises:
        StorageError: something other than a file is there, or a file is and not `force`.
    """
    for target in [path, word_list.beside(path)] if format.has_word_list else [path]:
        require_free(target, force=force, otherwise="OUT - writes text to stdout")


def write(
    vectors: WordVectors, path: Path, *, format: str | None = None, force: bool = False
) -> None:
    """Writes a vector file, whole or not at all; a symbolic link is followed.

    Args:
        vectors: what to write.
        path: where; the suffix decides the format, `.gz` after it compresses text.
        format: a name of NAMES, stronger than the suffix.
        force: replace what is there.

    Raises:
        ConfigError: the format is not known.
        DataError: the format cannot hold a word.
        StorageError: the file is there already, or cannot be written.
    """
    chosen = resolve(path, format)
    check_words(vectors, format=chosen.name)
    check_free(path, chosen, force=force)
    if chosen.has_word_list:
        buffer = io.BytesIO()
        chosen.write(vectors, buffer)
        words = word_list.encode(vectors)
        list_path = word_list.beside(path).resolve()
        write_together({list_path: words, path.resolve(): buffer.getbuffer()})
        return
    with atomic_write(path.resolve()) as file:
        if path.suffix.lower() != GZIP:
            chosen.write(vectors, file)
            return
        # No name and no time inside, so that equal vectors give equal bytes.
        with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as zipped:
            chosen.write(vectors, cast(BinaryIO, zipped))


def write_stream(vectors: WordVectors, stream: BinaryIO, *, format: str | None = None) -> None:
    """Writes text to a stream that is open already, such as standard output.

    Raises:
        ConfigError: the format is not known, or not text.
        DataError: the format cannot hold a word.
    """
    chosen = resolve_stream(format)
    check_words(vectors, format=chosen.name)
    chosen.write(vectors, stream)


def read(path: Path) -> WordVectors:
    """Reads a vector file of any known format, told by its content.

    Raises:
        DataError: it cannot be read, is of no known format, or damaged.
    """
    refused = REFUSED_SUFFIXES.get(path.suffix.lower())
    if refused:
        raise _refusal(path, refused)
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise unreadable(path, error) from error
    if not is_regular:
        raise DataError(f"cannot read {path}: it is no regular file")
    return _reader(path)(path)


def _reader(path: Path) -> Callable[[Path], WordVectors]:
    """The reader for what is in a file; the suffix counts where the content could be two things."""
    suffix = path.suffix.lower()
    with open_text(path) as file:
        head = file.read(_HEAD_BYTES)
        if suffix in safetensors_file.SUFFIXES or safetensors_file.is_start(head):
            return safetensors_file.read
        for magic, what in REFUSED_MAGIC.items():
            if head.startswith(magic):
                raise _refusal(path, what)
        if suffix in npy.SUFFIXES or head.startswith(npy.MAGIC):
            return npy.read
        file.seek(0)
        first_line = file.readline(FIRST_LINE_BYTES)
        if parse_header(first_line) is None:
            if count_trailing_numbers(first_line):
                return glove.read
            raise header_expected(path)
        if looks_like_row(file.readline(FIRST_LINE_BYTES), named_text=suffix in _TEXT_SUFFIXES):
            return word2vec_text.read
        return word2vec_binary.read


def _refusal(path: Path, what: str) -> DataError:
    return DataError(
        f"{path} is {what}: that is not read",
        hint=f"save it as word2vec text, or as one of {', '.join(SUFFIXES)}",
    )


def _meant(typed: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(typed, known, n=1)
    return f"{f': did you mean {close[0]}?' if close else ''}; known: {', '.join(known)}"
