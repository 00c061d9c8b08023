"""A power cut, modelled: operations on files are recorded, and replayed up to any of them.

What survives a cut: of a file, the bytes of its last fsync, and of later ones nothing, half or all;
of a folder, the names at its last fsync, and of later changes any, in whatever order.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

LOSSES = ("nothing", "half", "all")  # of what was not fsynced


class Operation(NamedTuple):
    """One call: what is done, to which file (its inode), under which names."""

    kind: str  # write, sync, name, rename, unlink, sync-folder
    inode: int = 0
    data: bytes = b""
    name: str = ""
    target: str = ""


class Recorder:
    """The operations in one folder, in their order."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.operations = folder, []

    def add(self, kind, **details) -> None:
        self.operations.append(Operation(kind, **details))

    def written(self, path: Path) -> None:
        """Notes a file's bytes as they are now, where they are others than before.

        Libraries that are not Python open and replace files unseen.
        """
        inode = path.stat().st_ino
        if all((op.name, op.inode) != (path.name, inode) for op in self.operations):
            self.add("name", inode=inode, name=path.name)
        found = Operation("write", path.stat().st_ino, path.read_bytes())
        before = [op for op in self.operations if op.kind == "write" and op.inode == found.inode]
        if not before or before[-1] != found:
            self.operations.append(found)

    def holds(self, path) -> bool:
        return Path(path).parent == self.folder

    def name_of(self, inode: int) -> Path | None:
        return next((p for p in self.folder.iterdir() if p.stat().st_ino == inode), None)


@contextmanager
def recording(folder: Path, monkeypatch) -> Iterator[list[Operation]]:
    """Records what this process does in a folder that is there."""
    recorder = Recorder(folder)
    open_, fsync, replace, unlink = os.open, os.fsync, os.replace, os.unlink

    def opened(path, flags, *rest, **options):
        is_new = flags & os.O_CREAT and recorder.holds(path) and not Path(path).exists()
        handle = open_(path, flags, *rest, **options)
        if is_new:
            recorder.add("name", inode=os.fstat(handle).st_ino, name=Path(path).name)
        return handle

    def fsynced(handle):
        inode = os.fstat(handle).st_ino
        if inode == folder.stat().st_ino:
            recorder.add("sync-folder")
        elif path := recorder.name_of(inode):
            recorder.written(path)
            recorder.add("sync", inode=inode)
        fsync(handle)

    def replaced(source, target, **options):
        if recorder.holds(source):
            recorder.written(Path(source))
            recorder.add("rename", name=Path(source).name, target=Path(target).name)
        replace(source, target, **options)

    def unlinked(path, **options):
        if recorder.holds(path) and Path(path).exists():
            recorder.add("unlink", name=Path(path).name)
        unlink(path, **options)

    with monkeypatch.context() as patch:
        for name, call in (
            ("open", opened), ("fsync", fsynced), ("replace", replaced), ("unlink", unlinked)
        ):  # fmt: skip
            patch.setattr(os, name, call)
        yield recorder.operations


def states(start: dict[str, bytes], operations: list[Operation]) -> Iterator[dict[str, bytes]]:
    """Every folder, as names and bytes, that a cut after any operation can leave."""
    for end in range(len(operations) + 1):
        done = operations[:end]
        unsynced = _unsynced_names(done)
        for chosen in range(1 << len(unsynced)):
            lost = [op for bit, op in enumerate(unsynced) if not chosen >> bit & 1]
            for loss in LOSSES:
                yield _left(start, done, lost, loss)


NAMING = ("name", "rename", "unlink")


def _unsynced_names(done: list[Operation]) -> list[Operation]:
    last = max((i for i, op in enumerate(done) if op.kind == "sync-folder"), default=-1)
    return [op for op in done[last + 1 :] if op.kind in NAMING]


def _left(
    start: dict[str, bytes], done: list[Operation], lost: list[Operation], loss: str
) -> dict[str, bytes]:
    """One folder: some changes of names that no fsync covers are lost."""
    names: dict[str, int | bytes] = dict(start)  # an inode, or bytes from before
    made: dict[str, int] = {}  # a lost name may still be renamed
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
    }


def _bytes(done: list[Operation], inode: int, loss: str) -> bytes:
    mine = [op for op in done if op.inode == inode and op.kind in ("write", "sync")]
    synced = max((i for i, op in enumerate(mine) if op.kind == "sync"), default=-1)
    safe = next((op.data for op in reversed(mine[: synced + 1]) if op.kind == "write"), b"")
    later = [op.data for op in mine[synced + 1 :] if op.kind == "write"]
    if not later or loss == "all":
        return safe
    return later[-1] if loss == "nothing" else later[-1][: len(later[-1]) // 2]
