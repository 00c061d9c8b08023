"""The documentation of the Python installation it runs in, as a corpus that is always at hand.

Nothing enters but the installation: the standard library, `pydoc_data.topics`, and numpy and torch
where they are found. Their sources are parsed, not imported. One text file leaves, a sentence a
line, kept in the data folder under a name that tells the versions it was made from.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from w2v.cores import usable_cores
from w2v.errors import DataError, W2VError
from w2v.files import has_temporaries, write_text
from w2v.folders import turn
from w2v.leaving import undoing
from w2v.sources import Source, docstrings

logger = logging.getLogger(__name__)

RULE = 1  # version of what `docstrings` keeps; a new number makes the text be made anew
PACKAGES = ("numpy", "torch")  # beside the standard library
SUFFIXES = (".py", ".pyi")
LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "_internal"}


def make(*, data_folder: Path) -> Source:
    """The corpus of this installation, made on first use.

    Raises:
        DataError: the installation has no sources to read.
        StorageError: the data folder cannot be written.
    """
    folders = {name: folder for name in PACKAGES if (folder := package_folder(name))}
    versions = {
        "rule": str(RULE),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: importlib.metadata.version(name) for name in folders},
    }
    fingerprint = hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()[:16]
    path = data_folder / f"pydoc-{fingerprint}.txt"
    # The text may be there beside what a killed process left: that is cleared, with the lock.
    if not path.exists() or has_temporaries(data_folder):
        with turn(data_folder):
            if not path.exists():
                found = (f"{name} {versions[name]}" for name in folders)
                named = ", ".join([versions["python"], *found])
                logger.info("corpus pydoc: reading the documentation of %s, once", named)
                _write(path, folders.values())
    return Source("pydoc", train=(path,), heldout=())


def _write(path: Path, packages: Iterable[Path]) -> None:
    """Reads the standard library and packages, and writes their sentences."""
    library = Path(sysconfig.get_path("stdlib"))
    files = [file for folder in (library, *packages) for file in sources(folder)]
    lines = distinct_sentences(files)
    if not lines:
        raise DataError(f"no docstrings in {library}")
    write_text(path, "".join(f"{line}\n" for line in lines))
    logger.info("corpus pydoc: %s sentences in %s", f"{len(lines):,}", path)


def package_folder(name: str) -> Path | None:
    """Where an installed package lies; it is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def sources(folder: Path) -> list[Path]:
    """The Python sources in `folder`, tests left out, in the order of their paths."""
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        files += [Path(parent, name) for name in names if name.endswith(SUFFIXES)]
    return sorted(files)


def distinct_sentences(files: Sequence[Path]) -> list[str]:
    """The sentences of `files` in their order, each once: copies and inheritance repeat many."""
    num_workers = max(1, min(usable_cores(), len(files)))
    shares = [files[worker::num_workers] for worker in range(num_workers)]
    with ThreadPoolExecutor(num_workers) as workers:
        read = list(workers.map(_read, shares))
    by_file = (read[i % num_workers][i // num_workers] for i in range(len(files)))
    return list(dict.fromkeys(sentence for found in by_file for sentence in found))


def _read(files: Iterable[Path]) -> list[list[str]]:
    """The sentences of each file, found by a process of its own."""
    with (
        subprocess.Popen(  # noqa: S603 this interpreter, our own file
            [sys.executable, "-I", docstrings.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child,
        undoing(child.kill),
    ):
        out, errors = child.communicate(json.dumps([str(file) for file in files]).encode())
    if child.returncode:
        reason = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise W2VError(f"{docstrings.__file__} ended with {child.returncode}: {reason}")
    result: list[list[str]] = json.loads(out)
    return result
