"""Which files are images, and which images a command line means."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgecv.errors import UsageError

_SUFFIXES = ".bmp .jfif .jpe .jpeg .jpg .png .webp"
_OTHER_SUFFIXES = ".avif .gif .heic .jp2 .tif .tiff"
IMAGE_SUFFIXES = frozenset(f"{_SUFFIXES} {_OTHER_SUFFIXES}".split())
"""What counts as an image file. Those that cannot be decoded are listed too, and then reported."""


def is_image(name: str) -> bool:
    """Tell by its name whether a file is an image; hidden files are not."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def walk_images(folder: Path) -> Iterator[Path]:
    """Yield the image files below a folder, sorted within each, links to folders not followed."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if is_image(name):
                yield Path(parent) / name


def expand(sources: Sequence[str], *, recursive: bool = False) -> list[Path]:
    """List the images that sources mean, in their order, each once.

    Args:
        sources: files (taken whatever their name), folders, or globs (``**`` crosses folders).
        recursive: look into folders below a folder, too.

    Raises:
        UsageError: a source does not exist, cannot be listed, or names no image.
    """
    found: dict[Path, None] = {}
    for source in sources:
        if not source:
            raise UsageError("", where="source", expected="a file, folder or glob", got="''")
        path = Path(source)
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except OSError as error:  # such as a name that is too long
            raise UsageError(f"cannot be read: {error.strerror}", where=source[:200]) from None
        if is_folder:
            images = list(walk_images(path)) if recursive else _images_in(path)
        elif exists or not glob.has_magic(source):
            images = [path]
        else:
            hits = sorted(glob.glob(source, recursive=True))  # noqa: PTH207  # takes absolute ones
            images = [path for path in map(Path, hits) if is_image(path.name) and path.is_file()]
        if not images:
            raise UsageError(
                "no images here",
                where=source,
                expected=f"files ending in {', '.join(sorted(IMAGE_SUFFIXES))}",
                remedy="--recursive looks into the folders below"
                if is_folder and not recursive and any(item.is_dir() for item in path.iterdir())
                else None,
            )
        if not exists and images == [path]:
            raise UsageError("no such file or folder", where=source)
        found |= dict.fromkeys(images)
    return list(found)


def _images_in(folder: Path) -> list[Path]:
    try:
        items = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"cannot be listed: {error.strerror}", where=str(folder)) from None
    return [item for item in items if is_image(item.name) and item.is_file()]
