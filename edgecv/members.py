"""List the members of an untrusted bundle, folder or archive, and read those of an archive."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from edgecv.errors import ArchiveError

MAX_MEMBERS = 10_000
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""Of a zip member: signature, 5 short fields, crc and two sizes, lengths of name and extra."""
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_CHUNK = 2**20
"""Bytes that are hashed at a time: a member need not fit into memory."""

# Plain sets: compiling regular expressions would cost every start a millisecond.
_DIGITS = "0123456789"
_RESERVED = {"con", "prn", "aux", "nul", *(f"{p}{d}" for p in ("com", "lpt") for d in _DIGITS)}
_FORBIDDEN = {*map(chr, range(32)), "\x7f", *'<>:"|?*\\'}


def check_member_name(name: str) -> str:
    """Return `name` if it is a relative path that is safe on every file system.

    Raises:
        ValueError: it is absolute, climbs with ``..``, is not normalised, or holds characters or
            names that some system treats specially.
    """
    if not 1 <= len(name) <= 255:
        raise ValueError("expected a path of 1 to 255 characters")
    if not _FORBIDDEN.isdisjoint(name):
        raise ValueError('the path holds a control character or one of < > : " | ? * \\')
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise ValueError("expected a normalised path inside the bundle, without '..'")
        if part.partition(".")[0].lower() in _RESERVED or part.endswith((" ", ".")):
            raise ValueError(f"{part!r} is a name that some file systems reserve")
    return name


def scan_folder(root: Path) -> dict[str, int]:
    """List a folder's files with their sizes, refusing what could lead out of it."""
    sizes: dict[str, int] = {}
    folded: dict[str, str] = {}
    pending = [root]
    while pending:
        folder = pending.pop()
        for item in _items(folder):
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


def _items(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return list(items)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", where=str(folder)) from None


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


class Archive:
    """An open archive whose members were located, trusting no offset and no name.

    Reads the one kind of zip that a bundle is: stored members, one disk, below 4 GiB, and nothing
    before or behind. Source of the layout: PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12, 4.3.16.
    The file is read and not mapped: a medium that fails, or somebody who cuts the file short, is an
    error then, and not the end of the process.

    Args:
        path: of the file.

    Attributes:
        sizes: member name -> bytes.

    Raises:
        ArchiveError: anything else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise _unreadable(path, str(error)) from None
        try:
            self._spans = self._locate()
        except BaseException:
            self.close()
            raise
        self.sizes = {name: end - start for name, (start, end) in self._spans.items()}

    def read(self, name: str) -> bytes:
        """Read a member's bytes.

        Raises:
            ArchiveError: they cannot be read any more.
            ValueError: the archive is closed.
        """
        return b"".join(self.chunks(name, self.sizes[name]))

    def chunks(self, name: str, most: int = _CHUNK) -> Iterator[bytes]:
        """Read a member's bytes piece by piece, at most so many at a time; errors as `read`."""
        at, end = self._spans[name]
        while at < end:
            chunk = self._pread(at, min(most, end - at), f"{self._path}: {name}")
            yield chunk
            at += len(chunk)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _pread(self, at: int, size: int, where: str) -> bytes:
        """Read from a place; the system may give less, but not nothing."""
        try:
            found = os.pread(self._file.fileno(), size, at)
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", where=where) from None
        if not found:
            raise ArchiveError("the archive was cut short while it was open", where=where)
        return found

    def _header(self, at: int, size: int) -> bytes:
        """Read so many bytes of structure."""
        found = self._pread(at, size, str(self._path)) if size else b""
        if len(found) != size:
            raise _unreadable(self._path, "it is cut short")
        return found

    def _locate(self) -> dict[str, tuple[int, int]]:
        """Find where each member's bytes begin and end."""
        path = self._path
        folded: dict[str, str] = {}
        spans: list[tuple[int, int, int, str]] = []
        entries, directory = self._directory()
        for entry in entries:
            name = _name(path, entry)
            where = f"{path}: {name}"
            _check_name(name, where, folded)
            kind = stat.S_IFMT(entry.attributes >> 16)
            if kind not in (0, stat.S_IFREG):
                raise ArchiveError("a member that is a link or no plain file", where=where)
            if entry.flags & 0x1:
                raise ArchiveError("an encrypted member", where=where)
            if entry.method != 0 or entry.stored_size != entry.size:
                raise ArchiveError(
                    "a compressed member",
                    where=where,
                    expected="stored members",
                    remedy="write the archive with `edgecv pack`, or `zip -0 -r -D`",
                )
            spans.append((entry.offset, *self._span(where, entry, directory), name))
        spans.sort()
        # Members lie one behind the other from the first byte to the directory: all is hashed.
        ends = [0, *(end for _, _, end, _ in spans)]
        starts = [*(offset for offset, _, _, _ in spans), directory]
        for end, start in zip(ends, starts, strict=True):
            if start != end:
                raise ArchiveError(
                    "members overlap, or there are bytes between them that no member holds",
                    where=str(path),
                    remedy="write the archive with `edgecv pack`",
                )
        return {name: (start, end) for _, start, end, name in spans}

    def _directory(self) -> tuple[list[_Entry], int]:
        """Read the central directory, which must end where the archive's last record begins.

        Returns:
            Its entries, and where it begins.
        """
        path = self._path
        tail = os.fstat(self._file.fileno()).st_size - _END.size
        if tail < 0:
            raise _unreadable(path, "too short")
        end = _END.unpack(self._header(tail, _END.size))
        magic, disk, first, here, count, size, offset, comment = end
        if magic != b"PK\x05\x06" or comment or disk or first or here != count:
            raise _unreadable(path, "it does not end as one does")
        if count > MAX_MEMBERS:
            raise ArchiveError(f"more than {MAX_MEMBERS} members", where=str(path))
        if offset + size != tail:
            raise _unreadable(path, "its directory is not where it should be")
        entries = []
        at = offset
        for _ in range(count):
            if at + _CENTRAL.size > tail:
                raise _unreadable(path, "its directory is cut short")
            fields = _CENTRAL.unpack(self._header(at, _CENTRAL.size))
            if fields[0] != b"PK\x01\x02":
                raise _unreadable(path, "its directory is broken")
            name_size, extra_size, comment_size = fields[10:13]
            at += _CENTRAL.size
            entries.append(_Entry(fields, self._header(at, min(name_size, tail - at))))
            at += name_size + extra_size + comment_size
        if at != tail:
            raise _unreadable(path, "its directory is broken")
        return entries, offset

    def _span(self, where: str, entry: _Entry, directory: int) -> tuple[int, int]:
        """Find where a member's bytes lie; its local header must agree with the directory."""
        start = entry.offset
        if start + LOCAL_HEADER.size > directory:
            raise ArchiveError("its header lies outside the archive", where=where)
        magic, *fields = LOCAL_HEADER.unpack(self._header(start, LOCAL_HEADER.size))
        _, flags, method, _, _, crc, stored_size, size, name_size, extra_size = fields
        data = start + LOCAL_HEADER.size + name_size + extra_size
        if data + entry.size > directory:
            raise ArchiveError("it reaches beyond the end of the archive", where=where)
        name = self._header(start + LOCAL_HEADER.size, name_size)
        if magic != b"PK\x03\x04" or name != entry.name:
            raise ArchiveError("its local header names another file", where=where)
        said = (entry.flags, entry.method, entry.crc, entry.stored_size, entry.size)
        if (flags, method, crc, stored_size, size) != said:
            raise ArchiveError("its local header and the directory disagree", where=where)
        return data, data + entry.size


def _unreadable(path: Path, reason: str) -> ArchiveError:
    return ArchiveError(f"not a readable archive: {reason}", where=str(path))


class _Entry:
    """A line of the central directory."""

    def __init__(self, fields: tuple[int, ...], name: bytes) -> None:
        self.flags, self.method = fields[3:5]
        self.crc = fields[7]
        self.stored_size, self.size = fields[8:10]
        self.attributes, self.offset = fields[15:17]
        self.name = name


def _name(path: Path, entry: _Entry) -> str:
    """Decode a member's name: UTF-8 where the flag says so, otherwise ASCII only."""
    try:
        return entry.name.decode("utf-8" if entry.flags & 0x800 else "ascii")
    except UnicodeDecodeError:
        raise ArchiveError(
            "a member's name is not text", where=str(path), got=repr(entry.name)
        ) from None
