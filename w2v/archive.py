"""Wanted members of a zip archive that nobody vouches for.

In go the bytes of an archive and the names, sizes and digests of the members wanted, out come
their contents, or an error. Each is found by its exact name and read up to its published size, in
memory, so that nothing else the archive holds can reach the disk.
"""

import hashlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from w2v.errors import DataError

# One changed byte in an archive can make zipfile raise any of these.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


class DamagedArchiveError(DataError):
    """The archive, or a member of it, is not the bytes that somebody once packed."""


class Member(NamedTuple):
    """One file of an archive, as it was published."""

    name: str
    size: int
    sha256: str


def read_members(
    data: bytes, members: Sequence[Member], *, where: str, pinned: bool = True
) -> tuple[bytes, ...]:
    """Reads the wanted members of a zip archive, each up to its published size.

    Args:
        data: the archive.
        members: what to read, in this order.
        where: what to call the archive in a message.
        pinned: the members must have their published digests.

    Raises:
        DamagedArchiveError: the bytes are no intact archive, or not the published members.
        DataError: the archive is intact, yet a member is missing, doubled, too large or unreadable.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return tuple(
                _read_member(archive, member, where=where, pinned=pinned) for member in members
            )
    except ZIP_ERRORS as error:
        raise DamagedArchiveError(f"not a zip archive, or damaged: {where}") from error


def _read_member(archive: zipfile.ZipFile, member: Member, *, where: str, pinned: bool) -> bytes:
    info = _find_member(archive, member, where=where)
    short_name = Path(member.name).name
    if info.flag_bits & 1:
        raise DataError(f"{short_name} is encrypted in {where}")
    # The other methods unpack without a bound on what one read may yield.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{short_name} is packed in {where} by a method other than deflate")
    with archive.open(info) as file:
        content = file.read(member.size + 1)
    if len(content) > member.size:
        raise DataError(f"{short_name} expands past {member.size:,} bytes in {where}")
    digest = hashlib.sha256(content).hexdigest()
    if pinned and digest != member.sha256:
        raise DamagedArchiveError(
            f"SHA-256 mismatch of {short_name} in {where}: got {digest}, want {member.sha256}"
        )
    return content


def _find_member(archive: zipfile.ZipFile, member: Member, *, where: str) -> zipfile.ZipInfo:
    """The one entry of that name, or an error where another could be meant or pass for it."""
    folded = member.name.casefold()
    namesakes = [
        info
        for info in archive.infolist()
        if f"{info.filename.casefold()}/".startswith(f"{folded}/")
    ]
    short_name = Path(member.name).name
    if len(namesakes) > 1:
        raise DataError(f"{short_name} is {len(namesakes)} times in {where}, expected once")
    if not namesakes or namesakes[0].filename != member.name:
        names = [ascii(name)[1:-1][:40] for name in archive.namelist()[:5]]
        raise DataError(
            f"{short_name} not in archive {where} (has: {', '.join(names) or 'nothing'})"
        )
    if stat.S_IFMT(namesakes[0].external_attr >> 16) not in (0, stat.S_IFREG):
        raise DataError(f"{short_name} is not a regular file in {where}")
    return namesakes[0]
