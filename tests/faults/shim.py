"""A power cut, modelled: operations on files are recorded, and replayed up to any of them.

What survives a cut: of a file, the bytes of its last fsync, and of later ones nothing, half or all;
of a folder, the names at its last fsync, and of later changes any, in whatever order. A folder
whose name is lost is lost with all that is in it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

LOSSES = ("nothing", "half", "all")  # of what was not fsynced


class Operation(NamedTuple):
    """One call: what is done, to which file (its inode), under which names.

    Names are paths below the recorded folder, which itself is ".".
    """

    kind: str  # write, sync, name, folder, rename, unlink, sync-folder
    inode: int = 0
    data: bytes = b""
    name: str = ""
    target: str = ""


class Recorder:
    """The operations below one folder, in their order."""

    def __init__(self, root: Path) -> None:
        self.root, self.operations = root, []

    def add(self, kind, **details) -> None:
        self.operations.append(Operation(kind, **details))

    def written(self, path: Path) -> None:
        """Notes a file's bytes as they are now, where they are others than before.

        Libraries that are not Python open and replace files unseen.
        """
        name, inode = self.name(path), path.stat().st_ino
        if all((op.name, op.inode) != (name, inode) for op in self.operations):
            self.add("name", inode=inode, name=name)
        found = Operation("write", inode, path.read_bytes())
        before = [op for op in self.operations if op.kind == "write" and op.inode == found.inode]
        if not before or before[-1] != found:
            self.operations.append(found)

    def holds(self, path) -> bool:
        return Path(path).absolute().is_relative_to(self.root)

    def name(self, path) -> str:
        return Path(path).absolute().relative_to(self.root).as_posix()

    def with_inode(self, inode: int) -> Path | None:
        paths = (self.root, *self.root.rglob("*"))
        return next((path for path in paths if path.stat().st_ino == inode), None)


@contextmanager
def recording(root: Path, monkeypatch) -> Iterator[list[Operation]]:
    """Records what this process does in a folder that is there, and in those below."""
    recorder = Recorder(root)
    open_, mkdir, fsync, replace, unlink = os.open, os.mkdir, os.fsync, os.replace, os.unlink

    def opened(path, flags, *rest, **options):
        is_new = flags & os.O_CREAT and recorder.holds(path) and not Path(path).exists()
        handle = open_(path, flags, *rest, **options)
        if is_new:
            recorder.add("name", inode=os.fstat(handle).st_ino, name=recorder.name(path))
        return handle

    def made(path, *rest, **options):
        mkdir(path, *rest, **options)
        if recorder.holds(path):
            recorder.add("folder", name=recorder.name(path))

    def fsynced(handle):
        inode = os.fstat(handle).st_ino
        path = recorder.with_inode(inode)
        if path is not None and path.is_dir():
            recorder.add("sync-folder", name=recorder.name(path))
        elif path is not None:
            recorder.written(path)
            recorder.add("sync", inode=inode)
        fsync(handle)

    def replaced(source, target, **options):
        if recorder.holds(source):
            recorder.written(Path(source))
            recorder.add("rename", name=recorder.name(source), target=recorder.name(target))
        replace(source, target, **options)

    def unlinked(path, **options):
        if recorder.holds(path) and Path(path).exists():
            recorder.add("unlink", name=recorder.name(path))
        unlink(path, **options)

    with monkeypatch.context() as patch:
        for name, call in (
            ("open", opened), ("mkdir", made), ("fsync", fsynced), ("replace", replaced),
            ("unlink", unlinked),
        ):  # fmt: skip
            patch.setattr(os, name, call)
        yield recorder.operations


def states(
    start: dict[str, bytes], operations: list[Operation], *, since: int = 0
) -> Iterator[dict[str, bytes]]:
    """Everything, as names and bytes, that a cut after any operation can leave.

    `since` is the number of operations that are done in any case, fsynced or not.
    """
    for end in range(since, len(operations) + 1):
        done = operations[:end]
        unsynced = _unsynced_names(done)
        for chosen in range(1 << len(unsynced)):
            lost = [op for bit, op in enumerate(unsynced) if not chosen >> bit & 1]
            for loss in LOSSES:
                yield _left(start, done, lost, loss)


def put(folder: Path, state: dict[str, bytes]) -> None:
    """Makes a folder that is a state."""
    folder.mkdir()
    for name, data in state.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


NAMING = ("name", "folder", "rename", "unlink")


def _unsynced_names(done: list[Operation]) -> list[Operation]:
    """The changes of names that came after the last fsync of their folder."""
    synced: dict[str, int] = {}
    for at, op in enumerate(done):
        if op.kind == "sync-folder":
            synced[op.name] = at
    return [
        op
        for at, op in enumerate(done)
        if op.kind in NAMING and at > synced.get(Path(op.name).parent.as_posix(), -1)
    ]


def _left(
    start: dict[str, bytes], done: list[Operation], lost: list[Operation], loss: str
) -> dict[str, bytes]:
    """What is left where some changes of names that no fsync covers are lost."""
    names: dict[str, int | bytes] = dict(start)  # an inode, or bytes from before
    made: dict[str, int] = {}  # a lost name may still be renamed
    gone = [op.name for op in lost if op.kind == "folder"]
    for op in done:
        if op.kind == "name":
            made[op.name] = op.inode
        if op.kind not in NAMING or any(op is one for one in lost):
            continue
        if op.kind == "name":
            names[op.name] = op.inode
        elif op.kind == "rename":
            names.pop(op.name, None)
            names[op.target] = made[op.name]
        else:
            names.pop(op.name, None)
    return {
        name: file if isinstance(file, bytes) else _bytes(done, file, loss)
        for name, file in names.items()
        if not any(Path(name).is_relative_to(folder) for folder in gone)
    }


def _bytes(done: list[Operation], inode: int, loss: str) -> bytes:
    mine = [op for op in done if op.inode == inode and op.kind in ("write", "sync")]
    synced = max((i for i, op in enumerate(mine) if op.kind == "sync"), default=-1)
    safe = next((op.data for op in reversed(mine[: synced + 1]) if op.kind == "write"), b"")
    later = [op.data for op in mine[synced + 1 :] if op.kind == "write"]
    if not later or loss == "all":
        return safe
    return later[-1] if loss == "nothing" else later[-1][: len(later[-1]) // 2]
