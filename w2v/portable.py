"""An encoded corpus that travels: a folder opened without its text, checked, and copied elsewhere.

A folder that somebody was given enters (`corpus.name: encoded`), a `Corpus` leaves; or the folder
of a corpus and a place enter, and it lies there too (`w2v corpus encode`).

Settings that decided how the text came out are compared with the config, and those that differ are
refused, defaults too. A folder that silently overruled its config would make the run's config.yaml
untrue, and the same config would mean other things in other places. The message has what to type.

Legend: N = words of a text; S = its sentences.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from w2v.config import CorpusSection
from w2v.counting import PARTS
from w2v.digests import digest_of
from w2v.encoded import (
    FORMAT,
    MANIFEST,
    SEALS,
    SHOWN_CHARS,
    VOCAB,
    Corpus,
    Settings,
    file_names,
    ids_of,
    offsets_of,
    opened,
    words_in,
)
from w2v.errors import ConfigError, DataError, StorageError
from w2v.file_arrays import FileArray
from w2v.files import unreadable, unwritable
from w2v.folders import swapped_folder, sweep_stale
from w2v.sentences import Sentences
from w2v.vocab import UNK_ID, Vocab

Number = TypeVar("Number", bound=np.integer)

CHECKED_AT_ONCE = 2**20  # numbers
MOST_MANIFEST_BYTES = 2**20
MOST_WORDS = 2**62  # of a text: their sum is an int64
SHA256 = re.compile(r"[0-9a-f]{64}")


class _Manifest(NamedTuple):
    """What `corpus.json` says."""

    digest: str
    settings: Mapping[str, object]
    sums: Mapping[str, object]


def given_folder(section: CorpusSection) -> Path | None:
    """The folder that `corpus.name: encoded` names; None where the corpus comes from a text."""
    if section.name != "encoded" or not isinstance(section.path, str):
        return None
    return Path(section.path).expanduser()


def open_encoded(folder: Path, settings: Settings, *, data_folder: Path) -> Corpus:
    """Opens a folder that was encoded elsewhere, once all of it is checked.

    Args:
        folder: the corpus.
        settings: what the config says; the folder must agree.
        data_folder: remembers digests of big files, see `digests`.

    Raises:
        ConfigError: it was encoded with other settings.
        DataError: there is no such corpus, it is damaged, or contradicts itself.
        StorageError: it cannot be read.
    """
    manifest = _read_manifest(folder)
    _require_same(folder, manifest.settings, settings)
    try:
        for name in file_names():
            _require_regular(folder / name)
            found = digest_of(folder / name, seals=data_folder / SEALS)
            if found != manifest.sums.get(name):
                told = json.dumps(manifest.sums.get(name))[:SHOWN_CHARS]  # whatever it may be
                raise DataError(
                    f"checksum mismatch: {folder / name} has SHA-256 {found}, {MANIFEST} says "
                    f"{told}",
                    hint="the file was changed or damaged; copy the folder again",
                )
        vocab, dropped = words_in(folder)
    except OSError as error:
        raise unreadable(Path(error.filename or folder), error) from error
    corpus = opened(folder, vocab, dropped, digest=manifest.digest)
    _require_sound(corpus, folder)
    return corpus


def digest_in(folder: Path) -> str:
    """The digest of the corpus in a folder, as it says itself. Raises as `open_encoded`."""
    return _read_manifest(folder).digest


def require_place(out: Path, *, force: bool) -> None:
    """Refuses a place where no corpus must be written.

    Raises:
        StorageError: there is something else, or a corpus and not `force`.
    """
    try:
        if not os.path.lexists(out):
            return
        if not out.is_dir():
            raise StorageError(f"{out} is a file", hint="an encoded corpus is a folder")
        found = sorted(path.name for path in out.iterdir())
    except OSError as error:
        raise unwritable(out, error) from error
    foreign = [name for name in found if name not in (*file_names(), MANIFEST)]
    if foreign:
        hint = "name a folder that is not there yet"
        raise StorageError(f"{out} holds {foreign[0]}, no part of an encoded corpus", hint=hint)
    if found and not force:
        raise StorageError(f"{out} exists already", hint="--force replaces it")


def copy(folder: Path, out: Path) -> None:
    """Puts the corpus of a folder at another place, whole or not at all; see `require_place`.

    Files are hard links where they can be: they are never written in place, so neither folder needs
    the other.

    Raises:
        StorageError: it cannot be written, or the place is `folder` itself.
    """
    if out.exists() and out.samefile(folder):
        raise StorageError(f"{out} is the corpus itself", hint="name another folder")
    place = out.resolve()  # what a link names is replaced, not the link
    sweep_stale(place.parent)
    with swapped_folder(place) as build:
        for name in (*file_names(), MANIFEST):
            _put(folder / name, build / name)


def _put(source: Path, target: Path) -> None:
    if os.access(source, os.W_OK):  # else what is to be fsynced could not be opened
        try:
            target.hardlink_to(source)
        except OSError:  # another disk, or one without links
            target.unlink(missing_ok=True)
        else:
            return
    shutil.copyfile(source, target)


def _read_manifest(folder: Path) -> _Manifest:
    path = folder / MANIFEST
    hint = "w2v corpus encode FOLDER makes one"
    try:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "is not there"
            raise DataError(f"corpus.path: {folder} {what}; expected an encoded corpus", hint=hint)
        _require_regular(path)
        with path.open("rb") as file:
            text = file.read(MOST_MANIFEST_BYTES)
    except FileNotFoundError as error:
        what = f"corpus.path: {folder} is no encoded corpus: it has no {MANIFEST}"
        raise DataError(what, hint=hint) from error
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: no JSON: {error}") from error
    return _checked(found, path)


def _require_regular(path: Path) -> None:
    """Refuses what is there and no file: to open a pipe would be to wait."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is no regular file")


def _checked(found: Any, path: Path) -> _Manifest:
    if not isinstance(found, dict) or "format" not in found:
        raise DataError(f"{path} is damaged: it tells no format")
    if found["format"] != FORMAT:
        raise DataError(
            f"{path}: format {json.dumps(found['format'])[:40]}; this version reads {FORMAT}",
            hint="encode the text again with this version of w2v, or take the one that wrote it",
        )
    digest, settings, sums = (found.get(name) for name in ("digest", "settings", "sha256"))
    if not isinstance(digest, str) or not SHA256.fullmatch(digest):
        raise DataError(f"{path} is damaged: digest is not 64 hex digits")
    if not isinstance(settings, dict) or not isinstance(sums, dict):
        raise DataError(f"{path} is damaged: settings and sha256 must be objects")
    return _Manifest(digest, settings, sums)


def _require_same(folder: Path, there: Mapping[str, object], settings: Settings) -> None:
    """Refuses a config that says otherwise, with all that differs."""
    here = settings.named()
    missing = sorted(here.keys() - there.keys())
    if missing:
        raise DataError(f"{folder / MANIFEST} is damaged: settings lack {missing[0]}")
    told, typed = [], []
    for name, value in here.items():
        mine, theirs = json.dumps(value), json.dumps(there[name])
        if mine != theirs:
            told.append(f"{name} is {mine} here, {theirs} there")
            typed.append(f"-s {shlex.quote(f'{name}={theirs}')}")
    if told:
        raise ConfigError(f"{folder} has other settings: {'; '.join(told)}", hint=" ".join(typed))


def _require_sound(corpus: Corpus, folder: Path) -> None:
    """Checks that numbers point at what is there: kernels do not ask again.

    Raises:
        DataError: they do not.
    """
    _require_counts(corpus.vocab, folder / VOCAB)
    for name, part in zip(PARTS, (corpus.train, corpus.heldout), strict=True):
        _require_ids(part, folder / ids_of(name), num_words=len(corpus.vocab))
        _require_offsets(part, folder / offsets_of(name))
    known, num_ids = int(corpus.vocab.counts_V[UNK_ID + 1 :].sum()), len(corpus.train.ids_N)
    if known != num_ids:
        raise DataError(f"{folder / VOCAB}: counts of {known:,}, but {num_ids:,} ids in training")


def _require_counts(vocab: Vocab, path: Path) -> None:
    counts_V = vocab.counts_V[UNK_ID + 1 :]
    if not len(counts_V) or not counts_V.all():
        raise DataError(f"{path}: expected words, each of which occurs")
    if vocab.counts_V.sum(dtype=np.float64) > MOST_WORDS:
        raise DataError(f"{path}: its counts add up to more than {MOST_WORDS:,}")
    if (counts_V[1:] > counts_V[:-1]).any():
        raise DataError(f"{path}: expected counts that never rise, the commonest word first")


def _require_ids(part: Sentences, path: Path, *, num_words: int) -> None:
    for block_N in _blocks(part.ids_N):
        if block_N.min() <= UNK_ID or block_N.max() >= num_words:
            raise DataError(f"{path}: expected ids from 1 to {num_words - 1:,}")


def _require_offsets(part: Sentences, path: Path) -> None:
    num_ids = len(part.ids_N)
    last = 0
    for block_S in _blocks(part.offsets_S):
        # Compared, not subtracted: differences of numbers as far apart as these can be wrap around.
        if block_S[0] < last or (block_S[1:] < block_S[:-1]).any():
            raise DataError(f"{path}: expected offsets that never fall")
        last = int(block_S[-1])
    if not len(part.offsets_S) or part.offsets_S[0] != 0 or last != num_ids:
        raise DataError(f"{path}: expected offsets from 0 to {num_ids:,}, the number of ids")


def _blocks(
    column: npt.NDArray[Number] | FileArray[Number],
) -> Iterator[npt.NDArray[Number]]:
    """The numbers of a column, some at a time."""
    for start in range(0, len(column), CHECKED_AT_ONCE):
        yield column[start : start + CHECKED_AT_ONCE]
