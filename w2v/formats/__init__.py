"""Vector files: which format a name means, writing one, and reading any.

`WordVectors` enter and a file or folder leaves, or a file enters and they leave. A format is a
module with a name, suffixes, `write(vectors, file)` and, where it is read, `read(path)`, and a line
of FORMATS; its docstring is its specification. A name decides how a file is written; its content
decides how it is read.
"""

import difflib
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from w2v.errors import ConfigError, DataError
from w2v.files import unreadable
from w2v.folders import sweep_stale
from w2v.formats import (
    glove,
    model2vec,
    npy,
    parquet,
    projector,
    safetensors_file,
    text_rows,
    tsv,
    word2vec_binary,
    word2vec_text,
    word_list,
)
from w2v.formats.kinds import Dtype, FolderFormat, Format, TextRule
from w2v.formats.places import check_free
from w2v.formats.rows import check_words, header_expected, parse_header
from w2v.formats.text_rows import (
    FIRST_LINE_BYTES,
    count_trailing_numbers,
    looks_like_row,
    open_text,
)
from w2v.formats.writing import GZIP, write_file, write_folder
from w2v.vectors import WordVectors

__all__ = [
    "FORMATS",
    "NAMES",
    "SUFFIXES",
    "check_free",
    "dim_of",
    "files_of",
    "read",
    "resolve",
    "write",
    "write_stream",
]

FORMATS: tuple[Format | FolderFormat, ...] = (
    Format(word2vec_text.NAME, word2vec_text.SUFFIXES, word2vec_text.write, kind="text"),
    Format(word2vec_binary.NAME, word2vec_binary.SUFFIXES, word2vec_binary.write),
    Format(
        npy.NAME,
        npy.SUFFIXES,
        npy.write,
        write_half=npy.write_half,
        companion=word_list.COMPANION,
    ),
    Format(
        safetensors_file.NAME,
        safetensors_file.SUFFIXES,
        safetensors_file.write,
        write_half=safetensors_file.write_half,
        companion=word_list.COMPANION,
    ),
    Format(parquet.NAME, parquet.SUFFIXES, parquet.write, is_read=False),
    Format(glove.NAME, glove.SUFFIXES, glove.write, kind="text"),
    FolderFormat(
        projector.NAME,
        projector.contents,
        projector.FILES,
        projector.MARK,
        advice=projector.advice,
    ),
    Format(  # the same tables, named like the folder
        tsv.NAME,
        tsv.SUFFIXES,
        tsv.write,
        kind="two files",
        companion=tsv.COMPANION,
        is_read=False,
        advice=tsv.advice,
    ),
    FolderFormat(
        model2vec.NAME,
        model2vec.contents,
        model2vec.FILES,
        model2vec.MARK,
        advice=model2vec.advice,
        has_tokenizer=True,
    ),
)
NAMES = tuple(dict.fromkeys(known.name for known in FORMATS))
SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)
_TEXT_SUFFIXES = (*word2vec_text.SUFFIXES, GZIP)
_HEAD_BYTES = 16
# The formats of numbers only; in the others the first line tells how many a row has.
_DIM_OF_TABLE: Mapping[Callable[..., WordVectors], Callable[[Path], int]] = {
    npy.read: npy.dim,
    safetensors_file.read: safetensors_file.dim,
}

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
    parquet.MAGIC: "a parquet file, which is for other programs",
    b"\xba\x16\x4f\x2f": "a fastText model",
}


def resolve(
    path: str | Path, format: str | None = None, *, dtype: Dtype = "f32"
) -> Format | FolderFormat:
    """The format that a name asks for: `format` where it is given, else the suffix.

    Raises:
        ConfigError: neither is known, or they do not go together with each other or `dtype`.
    """
    path = Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    zipped = suffixes[-1:] == [GZIP]
    suffix = "".join(suffixes[-2:-1] if zipped else suffixes[-1:])
    named = next((known for known in FORMATS if suffix in known.suffixes), None)
    found = named
    if format is not None and (named is None or named.name != format):
        found = next((known for known in FORMATS if known.name == format), None)
    if found is None and format is not None:
        raise ConfigError(f"unknown format {format!r}{_meant(format, NAMES)}")
    if found is None:
        raise ConfigError(
            f"the suffix of {str(path)!r} names no format{_meant(suffix, SUFFIXES)}",
            hint=f"--format names one: {', '.join(NAMES)}",
        )
    if named is not None and named.kind != found.kind:
        but = f"but format {found.name} is {found.kind}"
        raise ConfigError(f"{path}: {suffix} names {named.name}, {but}")
    if zipped and found.kind != "text":
        raise ConfigError(f"{path}: only text is compressed; format {found.name} is {found.kind}")
    _check_dtype(found, dtype)
    return found


def resolve_stream(format: str | None = None, *, dtype: Dtype = "f32") -> Format:
    """The format for a stream: text, word2vec's by default.

    Raises:
        ConfigError: `format` is not known, or not text, or not of that `dtype`.
    """
    found = resolve("", format or word2vec_text.NAME, dtype=dtype)
    if isinstance(found, FolderFormat) or found.kind != "text":
        raise ConfigError(f"format {found.name} is {found.kind}: it needs a file, not '-'")
    return found


def _check_dtype(found: Format | FolderFormat, dtype: Dtype) -> None:
    if dtype == "f16" and found.write_half is None:
        able = " and ".join(known.name for known in FORMATS if known.write_half)
        raise ConfigError(f"format {found.name} has no f16; {able} have")


def write(
    vectors: WordVectors,
    path: Path,
    *,
    format: str | None = None,
    force: bool = False,
    dtype: Dtype = "f32",
    rule: TextRule | None = None,
) -> None:
    """Writes a vector file or folder, whole or not at all; a symbolic link is followed.

    Temporary files that a killed process left beside it are removed.

    Args:
        vectors: what to write.
        path: where; the suffix decides the format, `.gz` after it compresses text.
        format: a name of NAMES, stronger than the suffix.
        force: replace what is there; a folder only where it is an earlier export.
        dtype: how numbers are kept; f16 by some formats only.
        rule: for a folder with a tokenizer: how it cuts a text; None: at white space.

    Raises:
        ConfigError: the format is not known, or not of that dtype.
        DataError: the format cannot hold a word, or the dtype a number.
        StorageError: there is something already, or it cannot be written.
    """
    chosen = resolve(path, format, dtype=dtype)
    check_words(vectors, format=chosen.name)
    check_free(path, chosen, force=force)
    sweep_stale(path.resolve().parent)
    if isinstance(chosen, FolderFormat):
        write_folder(vectors, path, chosen, rule=rule or TextRule())
    else:
        write_file(vectors, path, chosen, dtype=dtype)


def write_stream(vectors: WordVectors, stream: BinaryIO, *, format: str | None = None) -> None:
    """Writes text to a stream that is open already, such as standard output.

    Raises:
        ConfigError: the format is not known, or not text.
        DataError: the format cannot hold a word.
    """
    chosen = resolve_stream(format)
    check_words(vectors, format=chosen.name)
    chosen.write(vectors, stream)


def read(path: Path, *, only: Collection[str] | None = None) -> WordVectors:
    """Reads a vector file of any known format, told by its content.

    Args:
        path: the file.
        only: the words of a vocabulary: other rows are passed over, and text is not parsed there.

    Raises:
        DataError: it cannot be read, is of no known format, damaged, or has none of those words.
    """
    return _reader(path)(path, only=only)


def dim_of(path: Path) -> int:
    """How many numbers the vectors of a file have; only its beginning is read.

    Raises:
        DataError: it cannot be read, or is of no known format.
    """
    return _DIM_OF_TABLE.get(_reader(path), text_rows.dim)(path)


def files_of(path: Path) -> list[Path]:
    """The vector file, and the word list beside it where it holds numbers only."""
    return [path, word_list.beside(path)] if _reader(path) in _DIM_OF_TABLE else [path]


def _reader(path: Path) -> Callable[..., WordVectors]:
    """The reader for what is in a regular file, `read` of its format."""
    refused = REFUSED_SUFFIXES.get(path.suffix.lower())
    if refused:
        raise _refusal(path, refused)
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise unreadable(path, error) from error
    if not is_regular:
        hint = (
            "--run takes a run folder; exported folders are for others" if path.is_dir() else None
        )
        raise DataError(f"cannot read {path}: it is no regular file", hint=hint)
    return _reader_of_content(path)


def _reader_of_content(path: Path) -> Callable[..., WordVectors]:
    """The suffix counts where the content could be two things."""
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
            if tsv.is_row(first_line):
                raise _refusal(path, "numbers without words, as the embedding projector has them")
            raise header_expected(path)
        if looks_like_row(file.readline(FIRST_LINE_BYTES), named_text=suffix in _TEXT_SUFFIXES):
            return word2vec_text.read
        return word2vec_binary.read


def _refusal(path: Path, what: str) -> DataError:
    read = [kind for kind in FORMATS if isinstance(kind, Format) and kind.is_read]
    suffixes = ", ".join(suffix for kind in read for suffix in kind.suffixes)
    return DataError(
        f"{path} is {what}: that is not read",
        hint=f"save it as word2vec text, or as one of {suffixes}",
    )


def _meant(typed: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(typed, known, n=1)
    return f"{f': did you mean {close[0]}?' if close else ''}; known: {', '.join(known)}"
