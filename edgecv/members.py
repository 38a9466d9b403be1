"""List the members of an untrusted bundle, folder or archive, without opening one of them."""

from __future__ import annotations

import itertools
import mmap
import os
import re
import stat
import struct
import zipfile
from pathlib import Path

from edgecv.errors import ArchiveError

MAX_MEMBERS = 10_000
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""Of a zip member: signature, 5 short fields, crc and two sizes, lengths of name and extra."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')


def check_member_name(name: str) -> str:
    """Return `name` if it is a relative path that is safe on every file system.

    Raises:
        ValueError: it is absolute, climbs with ``..``, is not normalised, or holds characters or
            names that some system treats specially.
    """
    if not 1 <= len(name) <= 255:
        raise ValueError("expected a path of 1 to 255 characters")
    if _FORBIDDEN.search(name):
        raise ValueError('the path holds a control character or one of < > : " | ? * \\')
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise ValueError("expected a normalised path inside the bundle, without '..'")
        if _RESERVED.fullmatch(part) or part.endswith((" ", ".")):
            raise ValueError(f"{part!r} is a name that some file systems reserve")
    return name


def scan_folder(root: Path) -> dict[str, int]:
    """List a folder's files with their sizes, refusing what could lead out of it."""
    sizes: dict[str, int] = {}
    folded: dict[str, str] = {}
    pending = [root]
    while pending:
        folder = pending.pop()
        for item in os.scandir(folder):
            name = Path(item.path).relative_to(root).as_posix()
            where = f"{root}: {name}"
            info = item.stat(follow_symlinks=False)
            if stat.S_ISLNK(info.st_mode):
                raise ArchiveError("a symbolic link has no place in a bundle", where=where)
            _check_name(name, where, folded)
            if stat.S_ISDIR(info.st_mode):
                pending.append(Path(item.path))
            elif not stat.S_ISREG(info.st_mode):
                raise ArchiveError("neither a file nor a folder", where=where)
            elif info.st_nlink > 1:
                raise ArchiveError(
                    "a hard link: its bytes can be changed from elsewhere",
                    where=where,
                    remedy="copy the folder with `cp -r --no-preserve=links`",
                )
            else:
                sizes[name] = info.st_size
            if len(folded) > MAX_MEMBERS:
                raise ArchiveError(f"more than {MAX_MEMBERS} files", where=str(root))
    return sizes


def _check_name(name: str, where: str, folded: dict[str, str]) -> None:
    """Refuse an unsafe name, a second one, and one that differs from another in case only."""
    try:
        check_member_name(name)
    except ValueError as error:
        raise ArchiveError(str(error), where=where, got=repr(name)) from None
    other = folded.get(name.casefold())
    if other is not None:
        raise ArchiveError(
            "occurs twice" if other == name else f"differs from {other!r} only in case",
            where=where,
        )
    folded[name.casefold()] = name


def map_archive(path: Path) -> tuple[mmap.mmap, dict[str, memoryview]]:
    """Map an archive and locate its members, trusting no offset and no name."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OSError) as error:
        # mmap refuses an empty file with ValueError
        raise ArchiveError(f"not a readable archive: {error}", where=str(path)) from None
    try:
        return mapped, _locate(path, mapped, infos)
    except BaseException:
        mapped.close()
        raise


def _locate(path: Path, mapped: mmap.mmap, infos: list[zipfile.ZipInfo]) -> dict[str, memoryview]:
    if len(infos) > MAX_MEMBERS:
        raise ArchiveError(f"more than {MAX_MEMBERS} members", where=str(path))
    folded: dict[str, str] = {}
    spans: list[tuple[int, int, str]] = []
    for info in infos:
        where = f"{path}: {info.filename}"
        # orig_filename is what the archive says; zipfile cuts it at a NUL and turns separators.
        _check_name(info.orig_filename, where, folded)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise ArchiveError("a member that is a link or no plain file", where=where)
        if info.flag_bits & 0x1:
            raise ArchiveError("an encrypted member", where=where)
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ArchiveError(
                "a compressed member",
                where=where,
                expected="stored members",
                remedy="write the archive with `edgecv pack`, or `zip -0 -r`",
            )
        spans.append((*_span(path, mapped, info), info.filename))
    spans.sort()
    for (_, end, name), (start, _, other) in itertools.pairwise(spans):
        if start < end:
            raise ArchiveError(f"members {name!r} and {other!r} overlap", where=str(path))
    whole = memoryview(mapped)
    return {name: whole[start:end] for start, end, name in spans}


def _span(path: Path, mapped: mmap.mmap, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Find where a member's bytes lie; its local header must agree with the directory."""
    where = f"{path}: {info.filename}"
    start = info.header_offset
    if not 0 <= start <= len(mapped) - LOCAL_HEADER.size:
        raise ArchiveError("its header lies outside the archive", where=where)
    magic, *fields = LOCAL_HEADER.unpack_from(mapped, start)
    name_size, extra_size = fields[-2:]
    data = start + LOCAL_HEADER.size + name_size + extra_size
    name = mapped[start + LOCAL_HEADER.size : start + LOCAL_HEADER.size + name_size]
    if magic != b"PK\x03\x04" or name != info.orig_filename.encode():
        raise ArchiveError("its local header names another file", where=where)
    if data + info.file_size > len(mapped):
        raise ArchiveError("it reaches beyond the end of the archive", where=where)
    return data, data + info.file_size
