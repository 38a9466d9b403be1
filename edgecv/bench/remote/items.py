"""What is sent to another machine: archives that are named by the SHA-256 of their bytes."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgecv.errors import UsageError
from edgecv.image_files import is_image

CODE_SUFFIXES = (".py", ".css", ".html", ".toml", ".json")
BESIDE = (
    "metadata.yaml",
    "config.json",
    "model_config.json",
    "inference_config.json",
    "class_names.txt",
)
"""Files beside a bare model that other tools' metadata may be read from."""


@dataclass(frozen=True, slots=True)
class Item:
    """An archive.

    Attributes:
        title: for people.
        path: of the archive, here.
        sha256: of its bytes.
        size: in bytes.
    """

    title: str
    path: Path
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Inside:
    """An argument of a command line: a path inside what was sent.

    Attributes:
        item: where it lies.
        name: its path there, with slashes.
        prefix: put before the path, as in ``KEY=``.
    """

    item: Item
    name: str
    prefix: str = ""

    def at(self, cache: str) -> str:
        """Return the argument for a machine whose archives are unpacked in a folder."""
        return f"{self.prefix}{PurePosixPath(cache, self.item.sha256, self.name)}"


def pack(
    title: str, files: Iterable[tuple[str, Path]], scratch: Path, *, squeeze: bool = False
) -> Item:
    """Put files into an archive; the same files make the same bytes, whenever it is done.

    Args:
        title: for people.
        files: their names there, with slashes, and where they lie here; the first of a name counts.
        scratch: folder for the archive.
        squeeze: compress; models and images are compressed already.

    Raises:
        UsageError: a file cannot be read.
    """
    draft = scratch / "archive.part"
    method = zipfile.ZIP_DEFLATED if squeeze else zipfile.ZIP_STORED
    try:
        with zipfile.ZipFile(draft, "w", method) as archive:
            for name, path in sorted(dict(reversed(list(files))).items()):
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.compress_type = method
                with path.open("rb") as file, archive.open(entry, "w", force_zip64=True) as out:
                    shutil.copyfileobj(file, out, 1 << 20)
        with draft.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        place = error.filename or title
        raise UsageError(f"cannot be sent: {error.strerror}", where=str(place)) from None
    final = draft.replace(scratch / f"{digest}.zip")
    return Item(title, final, digest, final.stat().st_size)


def code(folders: Mapping[str, Path], scratch: Path) -> Item:
    """Pack edgecv's own package.

    Args:
        folders: where parts of it lie, by their paths in the package: ``edgecv``,
            ``edgecv/targets``.
        scratch: folder for the archive.
    """
    files = [
        (f"{place}/{path.relative_to(folder).as_posix()}", path)
        for place, folder in folders.items()
        for path in sorted(folder.rglob("*"))
        if path.suffix in CODE_SUFFIXES and path.is_file()
    ]
    # Nothing of the workstation's side runs there.
    wanted = (file for file in files if not file[0].startswith("edgecv/converters/"))
    return pack("edgecv", wanted, scratch, squeeze=True)


def model(path: Path, scratch: Path) -> Inside:
    """Pack a bundle, or a bare model file with what belongs to it.

    Raises:
        UsageError: no backend opens such a file.
        ModelLoadError: a file that it needs is missing.
    """
    from edgecv.bundle import is_bundle
    from edgecv.engines import backends_for, find_model_file, load_backend

    # Its name is told in the report; that of its folder may be told by metadata.
    name = _name(path.resolve())
    if is_bundle(path):
        files = [(name, path)]
        if path.is_dir():
            inner = sorted(item for item in path.rglob("*") if item.is_file())
            files = [(f"{name}/{item.relative_to(path).as_posix()}", item) for item in inner]
        return Inside(pack(name, files, scratch), name)
    main = find_model_file(path)
    home = _name(main.resolve().parent) or "model"
    parts = [part for b in backends_for(main) for part in load_backend(b).companions(main)]
    found = [main, *parts, *(main.parent / beside for beside in BESIDE)]
    files = [
        (f"{home}/{item.relative_to(main.parent).as_posix()}", item)
        for item in found
        if item.is_file()
    ]
    return Inside(pack(main.name, files, scratch), f"{home}/{main.name}")


def images(paths: Sequence[Path], scratch: Path) -> Inside:
    """Pack images into one folder, in their order."""
    files = []
    for number, path in enumerate(paths):
        # What was named is an image, whatever its name; a folder's listing goes by names.
        name = f"{number:06d}-{_name(path)}"
        files.append((f"images/{name if is_image(name) else f'{name}.png'}", path))
    return Inside(pack(f"{len(files)} images", files, scratch), "images")


def file(path: Path, scratch: Path, prefix: str = "") -> Inside:
    """Pack one file that an option names."""
    return Inside(pack(_name(path), [(_name(path), path)], scratch), _name(path), prefix)


def _name(path: Path) -> str:
    """Return a file's name as text; one that is no UTF-8 cannot be written into an archive."""
    return path.name.encode(errors="replace").decode()
