"""Open bundles: a folder, or the same files in one ``.edgecv`` archive.

An archive is a zip whose members are stored, never compressed, so there is nothing to inflate.
Every byte is hashed against the manifest before any engine sees one of them. Nothing is ever
extracted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from edgecv.errors import ArchiveError, BundleError, IntegrityError
from edgecv.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    Variant,
    parse,
)
from edgecv.members import Archive, scan_folder
from edgecv.types import ModelSource

SUFFIX = ".edgecv"


class Bundle:
    """An open bundle. Close it, or use it as a context manager.

    Attributes:
        path: the folder or archive.
        manifest: validated.
        is_archive: one file, or a folder.
    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        """Open a bundle and check that it holds exactly the files its manifest lists.

        Args:
            path: a folder with ``manifest.json``, or an ``.edgecv`` archive.
            verify: hash every file now; False leaves each to the moment it is used.

        Raises:
            BundleError: missing, unsafe, broken or altered; the error names the member or field.
        """
        self.path = path
        self.is_archive = path.is_file()
        self._archive: Archive | None = None
        self._hashed: set[str] = set()
        try:
            if not self.is_archive and not path.is_dir():
                raise ArchiveError("neither a file nor a folder", where=str(path))
            if self.is_archive:
                self._archive = Archive(path)
                sizes: Mapping[str, int] = self._archive.sizes
            else:
                sizes = scan_folder(path)
            if MANIFEST not in sizes:
                raise ArchiveError(f"no {MANIFEST} in it: not a bundle", where=str(path))
            self._said = self._manifest_bytes(sizes)
            self.manifest: Manifest = parse(self._said, f"{path}: {MANIFEST}")
            self._compare(sizes)
            if verify:
                self.verify()
        except BaseException:
            self.close()
            raise

    def _manifest_bytes(self, sizes: Mapping[str, int]) -> bytes:
        if sizes[MANIFEST] > MAX_MANIFEST_BYTES:
            raise ArchiveError(
                "too large",
                where=f"{self.path}: {MANIFEST}",
                expected=f"at most {MAX_MANIFEST_BYTES} bytes",
                got=str(sizes[MANIFEST]),
            )
        return self._bytes(MANIFEST)

    def _compare(self, sizes: Mapping[str, int]) -> None:
        """Check that listed and present files are the same, with the same sizes."""
        listed = {entry.path: entry for entry in self.manifest.files()}
        for name, entry in listed.items():
            if name not in sizes:
                raise IntegrityError("missing file", where=f"{self.path}: {name}")
            if sizes[name] != entry.bytes:
                raise IntegrityError(
                    "wrong size",
                    where=f"{self.path}: {name}",
                    expected=f"{entry.bytes} bytes",
                    got=str(sizes[name]),
                    remedy="the file was altered or cut short; get the bundle again",
                )
        for name in sizes:
            if name not in listed and name != MANIFEST:
                raise IntegrityError(
                    "the manifest does not list this file",
                    where=f"{self.path}: {name}",
                    remedy="remove it; nothing in a bundle goes unchecked",
                )

    @property
    def digest(self) -> str:
        """The sha256 of the manifest, which holds that of every other file: of all these bytes."""
        return hashlib.sha256(self._said).hexdigest()

    def verify(self) -> None:
        """Hash every file that was not hashed yet.

        Raises:
            IntegrityError: the first file whose sha256 differs.
        """
        for entry in self.manifest.files():
            self._check_hash(entry)

    def _check_hash(self, entry: FileEntry) -> None:
        if entry.path in self._hashed:
            return
        if self._archive is not None:
            digest = hashlib.sha256()
            for chunk in self._archive.chunks(entry.path):
                digest.update(chunk)
        else:
            try:
                with (self.path / entry.path).open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256")
            except OSError as error:
                raise ArchiveError(
                    f"cannot be read: {error.strerror}", where=f"{self.path}: {entry.path}"
                ) from None
        self._compare_hash(entry, digest.hexdigest())

    def _compare_hash(self, entry: FileEntry, digest: str) -> None:
        if digest != entry.sha256:
            raise IntegrityError(
                "wrong sha256",
                where=f"{self.path}: {entry.path}",
                expected=entry.sha256,
                got=digest,
                remedy="the file was altered or damaged; get the bundle again",
            )
        self._hashed.add(entry.path)

    def read(self, entry: FileEntry) -> bytes:
        """Return a file's bytes, hashed.

        Raises:
            BundleError: they cannot be read, or their sha256 differs.
            ValueError: the archive is closed.
        """
        data = self._bytes(entry.path)
        self._compare_hash(entry, hashlib.sha256(data).hexdigest())
        return data

    def _bytes(self, name: str) -> bytes:
        return _read(self.path / name) if self._archive is None else self._archive.read(name)

    def source(self, variant: Variant) -> ModelSource:
        """Return a variant's files for an engine, hashed: paths, or bytes read from the archive.

        What engines run of an archive is what was hashed, whatever becomes of the file.

        Raises:
            BundleError: a file cannot be read, or its sha256 differs.
            ValueError: the archive is closed.
        """
        parts: dict[str, Path | memoryview] = {}
        for entry in variant.files:
            name = entry.path.rsplit("/", 1)[-1]
            if self._archive is None:
                self._check_hash(entry)
                parts[name] = self.path / entry.path
            else:
                parts[name] = memoryview(self.read(entry))
        return ModelSource(parts)

    def attachment(self, name: str) -> bytes | None:
        """Return an attached document's bytes as `read` does; None where there is none."""
        entry = self.manifest.attachments.get(name)
        return None if entry is None else self.read(entry)

    def close(self) -> None:
        """Let go of the archive."""
        if self._archive is not None:
            self._archive.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def is_bundle(path: Path) -> bool:
    """Tell whether a path looks like a bundle, without checking it."""
    return (path / MANIFEST).is_file() if path.is_dir() else path.suffix == SUFFIX


def open_bundle(path: str | os.PathLike[str], *, verify: bool = True) -> Bundle:
    """Open a bundle; see `Bundle`."""
    where = Path(path)
    if not where.exists():
        raise BundleError("no such file or folder", where=str(where))
    return Bundle(where, verify=verify)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror}", where=str(path)) from None
