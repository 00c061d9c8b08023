"""The run folder: what its files are called, how they are written, checked and found again.

A trained vocabulary and tables enter, a folder that explains itself leaves; later the folder
enters and `WordVectors` leave. `run.json` says `finished` last of all and makes it so; it holds
the digests of the other files, because no format notices a flipped bit. Nothing here needs torch,
so that asking a run is quick; paths are made when they are needed, so a moved run still works.

    config.yaml          the resolved config
    vocab.tsv            word<TAB>count, row i = id i, row 0 = <unk>
    vectors.safetensors  tensors "center" and "context", float32 (V, D), row i = id i, row 0 zero
    dropped.tsv          word<TAB>count of the commonest words that got no vector
    metrics.jsonl        one object a line
    run.json             schema, finished, finished_at, sha256 of the files, settings, timings
    checkpoints/         the newest states of training

Legend: V = words, <unk> included; D = dimensions.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from w2v.digests import Bytes, read_verified, seal_of
from w2v.errors import DataError, StorageError
from w2v.files import sweep_temporaries, unreadable, write_bytes, write_together
from w2v.vectors import WordVectors
from w2v.vocab import UNK_ID, Vocab, WordCounts, from_tsv, to_tsv

log = logging.getLogger(__name__)

CONFIG = "config.yaml"
VOCAB = "vocab.tsv"
VECTORS = "vectors.safetensors"
DROPPED = "dropped.tsv"
METRICS = "metrics.jsonl"
INFO = "run.json"
CHECKPOINTS = "checkpoints"
FILES = (INFO, CONFIG, VOCAB, VECTORS, DROPPED, METRICS)

SCHEMA = 1  # of run.json and all that it names

Table = Literal["center", "context", "sum"]  # sum: of the two


@dataclass(frozen=True, slots=True)
class RunDir:
    """A run folder, there or yet to be made."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / CONFIG

    @property
    def vocab(self) -> Path:
        """Words and counts."""
        return self.path / VOCAB

    @property
    def vectors(self) -> Path:
        """Both tables."""
        return self.path / VECTORS

    @property
    def dropped(self) -> Path:
        """Words that got no vector."""
        return self.path / DROPPED

    @property
    def metrics(self) -> Path:
        """What training reported."""
        return self.path / METRICS

    @property
    def info(self) -> Path:
        """The run in numbers; written last."""
        return self.path / INFO

    @property
    def checkpoints(self) -> Path:
        """The newest states of training."""
        return self.path / CHECKPOINTS

    def is_finished(self) -> bool:
        """Whether training came to its end here. Raises `DataError` where run.json is damaged."""
        return self.info.exists() and bool(self.read_info()["finished"])

    def require_free(self, *, force: bool) -> None:
        """Refuses to train into a finished run, or over somebody's files, unless `force`.

        Raises:
            DataError: run.json is damaged.
            StorageError: the run is finished, or its place is taken by other files.
        """
        if self.path.exists() and not self.path.is_dir():
            raise StorageError(f"{self.path} is a file; a run needs a folder")
        if force:
            return
        hint = "--force replaces it, --run DIR spares it"
        taken = [name for name in FILES if (self.path / name).exists()]
        if taken and INFO not in taken:
            raise StorageError(f"{self.path} is no run folder, yet it holds {taken[0]}", hint=hint)
        try:
            finished = self.is_finished()
        except DataError as error:
            raise DataError(str(error), hint=hint) from error
        if finished:
            raise StorageError(f"{self.path} holds a finished run", hint=hint)

    def holds_finished(self) -> bool:
        """Whether there is a finished run that a new one must spare until it ends."""
        try:
            return self.is_finished()
        except DataError as error:
            log.warning("replacing a damaged run: %s", error)
            return False

    def clear(self) -> None:
        """Removes the files of a run that never finished; run.json, which tells so, goes last.

        Raises:
            StorageError: a file cannot be removed.
        """
        try:
            for name in (*(name for name in FILES if name != INFO), INFO):
                (self.path / name).unlink(missing_ok=True)
            seal_of(self.vectors).unlink(missing_ok=True)
            with suppress(OSError):  # not there, or with somebody's files in it
                self.checkpoints.rmdir()
            sweep_temporaries(self.path)
        except OSError as error:
            raise StorageError(f"cannot clear {self.path}: {error.strerror}") from error

    def write_started(self, info: Mapping[str, Any]) -> None:
        """Writes the run.json of a run that is under way. Raises `StorageError`."""
        write_bytes(self.info, _as_info(info, finished=False, digests={}))

    def write_finished(
        self,
        info: Mapping[str, Any],
        *,
        vocab: Vocab,
        center_VD: NDArray[np.float32],
        context_VD: NDArray[np.float32],
        dropped: WordCounts | None = None,
        others: Mapping[Path, bytes] | None = None,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        """Writes all that a finished run holds, together; equal values give equal bytes.

        Args:
            info: what run.json tells, values that JSON can hold. "min_count" is told to users who
                ask for a word that is rarer.
            vocab: the words, `<unk>` first.
            center_VD: its vectors, row i for id i.
            context_VD: the other table.
            dropped: words that got no vector.
            others: further files of the run, such as its config, by path.
            first: is called before anything is written, and again before files are renamed.

        Raises:
            StorageError: a file cannot be written.
        """
        if not len(vocab) == len(center_VD) == len(context_VD):
            raise ValueError(f"{len(vocab)} words, {len(center_VD)} and {len(context_VD)} rows")
        tables = {"center": center_VD, "context": context_VD}
        as_float32 = {name: np.ascontiguousarray(table, "<f4") for name, table in tables.items()}
        contents = {
            **(others or {}),
            self.vocab: vocab.to_tsv().encode(),
            self.vectors: safetensors.numpy.save(as_float32),
        }
        if dropped is not None:
            contents[self.dropped] = to_tsv(dropped).encode()
        digests = {path.name: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
        contents[self.info] = _as_info(info, finished=True, digests=digests)
        first()
        write_together(contents, first=first)

    def read_info(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
            DataError: this is no run folder, or run.json is damaged or of another version.
        """
        try:
            info = json.loads(self.info.read_bytes())
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise unreadable(self.info, error) from error
            raise DataError(
                f"{self.path} is no run folder: {INFO}: {error.strerror}",
                hint="a run folder is what w2v train writes when it ends",
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.info} is damaged: {error}") from error
        if not isinstance(info, dict) or not isinstance(info.get("finished"), bool):
            raise DataError(f"{self.info} is damaged: it does not say whether the run is finished")
        if info.get("schema") != SCHEMA:
            raise DataError(f"{self.info} has schema {info.get('schema')!r}, expected {SCHEMA}")
        if not isinstance(info.get("min_count"), int | None):
            raise DataError(f"{self.info} is damaged: min_count is {info['min_count']!r}")
        return info

    def verify(self, info: Mapping[str, Any]) -> None:
        """Checks the files of a finished run by the digests in its run.json, `info`.

        Raises:
            DataError: a file is missing or damaged.
        """
        for path in (self.vocab, self.vectors):
            _read(path, info)
        for name in info["sha256"].keys() & {CONFIG, DROPPED, METRICS}:  # a dict, as it had those
            _read(self.path / name, info)

    def load_vectors(self, *, table: Table = "center") -> WordVectors:
        """The words and one of the two tables, or their sum, <unk> left out; big ones are mapped.

        Raises:
            DataError: the run is not finished, or a file is missing or damaged.
        """
        info = self.read_info()
        if not info["finished"]:
            raise DataError(f"the run in {self.path} is not finished", hint="let w2v train end")
        vocab = Vocab.from_tsv(_read_text(self.vocab, info), path=self.vocab)
        matrix_VD = _read_table(self.vectors, info, table)
        if len(matrix_VD) != len(vocab):
            raise DataError(f"{self.path}: {len(vocab)} words, but {len(matrix_VD)} vectors")

        def dropped() -> dict[str, int]:
            if self.dropped.name not in info["sha256"]:
                return {}
            words, counts_W = from_tsv(_read_text(self.dropped, info), path=self.dropped)
            return dict(zip(words, counts_W.tolist(), strict=True))

        kept = slice(UNK_ID + 1, None)
        return WordVectors(
            vocab.words[kept],
            matrix_VD[kept],
            counts=vocab.counts_V[kept],
            dropped=dropped,
            min_count=info.get("min_count"),
        )


def is_run_file(path: Path) -> bool:
    """Whether `path` is a file that belongs to a run folder."""
    path = path.resolve()
    return path.name in FILES and (path.parent / INFO).exists()


def _as_info(info: Mapping[str, Any], *, finished: bool, digests: Mapping[str, str]) -> bytes:
    head: dict[str, Any] = {"schema": SCHEMA, "finished": finished}
    if finished:
        head["finished_at"] = datetime.now(UTC).isoformat()
    whole = {**head, **info, "sha256": dict(digests)}
    return (json.dumps(whole, indent=2, allow_nan=False) + "\n").encode()


def _read(path: Path, info: Mapping[str, Any]) -> Bytes:
    """The bytes of a file of the run, whose digest is the one in run.json."""
    digests = info.get("sha256")
    expected = digests.get(path.name) if isinstance(digests, dict) else None
    if not isinstance(expected, str):
        raise DataError(f"{path.parent / INFO} is damaged: it has no SHA-256 of {path.name}")
    try:
        return read_verified(path, expected, said_by=INFO)
    except DataError as error:
        error.hint = _remedy(path.parent, info) or error.hint
        raise


def _remedy(run: Path, info: Mapping[str, Any]) -> str | None:
    """What mends files that are not those run.json tells of, where that is known.

    Checkpoints of another run than it tells of are those of a run that was ended while its files
    took the place of the old ones.
    """
    for path in (run / CHECKPOINTS).glob("step-*.json"):
        with suppress(OSError, ValueError, RecursionError, LookupError, TypeError):
            if json.loads(path.read_bytes())["run"]["started_at"] != info.get("started_at"):
                return "a newer run was cut short while it replaced this one: w2v train --resume"
    return None


def _read_text(path: Path, info: Mapping[str, Any]) -> str:
    try:
        return str(_read(path, info), "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8") from error


def _read_table(path: Path, info: Mapping[str, Any], table: Table) -> NDArray[np.float32]:
    """One tensor of vectors.safetensors, or the sum of both, shape (V, D)."""
    data = _read(path, info)
    if table == "sum":
        return _tensor(data, "center", path=path) + _tensor(data, "context", path=path)
    return _tensor(data, table, path=path)


def _tensor(data: Bytes, name: str, *, path: Path) -> NDArray[np.float32]:
    """A tensor of a safetensors file as a view of the file's bytes, shape (V, D).

    As github.com/huggingface/safetensors has it: the header's length as a uint64, the header in
    JSON, the tensors; offsets count from the header's end. Its own library copies.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8:start])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    match header.get(name) if isinstance(header, dict) else None:
        case {
            "dtype": "F32",
            "shape": [int(rows), int(dim)],
            "data_offsets": [int(begin), int(end)],
        } if rows > 0 and dim > 0 and 0 <= begin <= end <= len(data) - start:
            if end - begin == 4 * rows * dim:
                return np.frombuffer(data, "<f4", rows * dim, start + begin).reshape(rows, dim)
    raise DataError(f"{path} is damaged: no tensor {name!r} of float32 in two dimensions")
