"""Write bundles, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgecv.bundle import SUFFIX
from edgecv.errors import BundleError, IntegrityError, UsageError
from edgecv.manifest import MANIFEST, FileEntry, Manifest, parse
from edgecv.members import LOCAL_HEADER

_ALIGNMENT = 64
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PADDING_ID = 0xEDCE


def file_entry(member: str, content: Path | bytes) -> FileEntry:
    """Describe a file that is to go into a bundle under the name `member`."""
    if isinstance(content, bytes):
        return FileEntry(
            path=member, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)
        )
    with content.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(path=member, sha256=digest, bytes=file.tell())


def write_bundle(
    path: str | os.PathLike[str],
    manifest: Manifest,
    contents: Mapping[str, Path | bytes],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a bundle, whole or not at all.

    The archive's bytes depend on the manifest and the contents alone, not on the time.

    Args:
        path: ``NAME.edgecv`` for an archive; any other name makes a folder.
        manifest: lists every member; validated again before anything is written.
        contents: member name -> file to copy, or bytes.
        overwrite: replace an existing archive; an existing folder is never replaced.

    Returns:
        The path written.

    Raises:
        ManifestError: the manifest does not pass its own schema.
        BundleError: the contents are not what the manifest lists, or the path cannot be written.
    """
    target = Path(path)
    encoded = manifest.to_json()
    listed = {entry.path: entry for entry in parse(encoded).files()}
    if set(listed) != set(contents):
        raise BundleError(
            "contents differ from the manifest",
            where=str(target),
            expected=", ".join(sorted(listed)),
            got=", ".join(sorted(contents)),
        )
    for member, content in contents.items():
        if file_entry(member, content) != listed[member]:
            raise IntegrityError("changed while it was packed", where=f"{target}: {member}")
    archive = target.suffix == SUFFIX
    if target.exists() and not (overwrite and archive and target.is_file()):
        raise UsageError(
            "exists already",
            where=str(target),
            remedy="--force replaces an archive; a folder must be removed by hand",
        )
    members: dict[str, Path | bytes] = {MANIFEST: encoded, **contents}
    with all_or_nothing(target, folder=not archive) as draft:
        if archive:
            write_archive(draft, members)
        else:
            _write_folder(draft, members)
    return target


@contextmanager
def all_or_nothing(target: Path, *, folder: bool) -> Iterator[Path]:
    """Yield a draft beside the target, and rename it into place when all went well."""
    parent = target.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=parent))
    except OSError as error:
        raise BundleError(f"cannot write here: {error.strerror}", where=str(target)) from None
    draft = room / "draft"
    try:
        if folder:
            draft.mkdir()
        yield draft
        draft.replace(target)
    except zipfile.LargeZipFile:
        raise BundleError(
            "too large for one file",
            where=str(target),
            expected="less than 2 GiB",
            remedy="write a folder: leave the suffix out",
        ) from None
    except OSError as error:
        raise BundleError(f"cannot be written: {error.strerror}", where=str(target)) from None
    finally:
        shutil.rmtree(room, ignore_errors=True)


def write_archive(draft: Path, members: Mapping[str, Path | bytes]) -> None:
    """Write a new zip of stored members, aligned and without times, as `edgecv.members` reads it.

    Args:
        draft: does not exist yet.
        members: member name -> file to copy, or bytes.
    """
    with draft.open("xb") as file:
        with zipfile.ZipFile(file, "w", allowZip64=False) as archive:
            for member, content in members.items():
                info = zipfile.ZipInfo(member, _EPOCH)
                info.create_system = 3
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                data = content if isinstance(content, bytes) else content.read_bytes()
                # Weights start on an aligned offset, for whoever maps the file: an extra field of
                # zeros fills the gap behind the name.
                start = file.tell() + LOCAL_HEADER.size + len(member.encode()) + 4
                gap = -start % _ALIGNMENT
                info.extra = struct.pack("<HH", _PADDING_ID, gap) + bytes(gap)
                archive.writestr(info, data)
        file.flush()
        os.fsync(file.fileno())


def _write_folder(draft: Path, members: Mapping[str, Path | bytes]) -> None:
    for member, content in members.items():
        place = draft / member
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            shutil.copyfile(content, place)
