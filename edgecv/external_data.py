"""Files beside an ONNX file that hold its weights: found, checked, and unpacked where need be."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgecv import onnx_file
from edgecv.errors import ModelLoadError
from edgecv.onnx_file import OnnxFile
from edgecv.types import ModelSource

if TYPE_CHECKING:
    import tempfile

_MAX_NAME_BYTES = 255
_KEY = b"location"


def find(path: Path) -> tuple[Path, ...]:
    """List the files with external data that an ONNX file names.

    Raises:
        ModelLoadError: one is missing, or lies outside the model's folder.
    """
    files = []
    for location in onnx_file.read(path).external:
        file = path.parent / _plain(location, str(path))
        if not file.is_file():
            raise ModelLoadError("the model's external data are missing", where=str(file))
        files.append(file)
    return tuple(files)


def mentioned(main: Path | memoryview) -> bool:
    """Tell whether a file may name external data at all: the key of every such name is in it.

    Takes a tenth of the time of reading the file, which is left to the few that do.
    """
    if isinstance(main, memoryview):
        return re.search(_KEY, main) is not None
    try:
        with main.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(_KEY) >= 0
    except (OSError, ValueError) as error:  # an empty file cannot be mapped: ValueError
        raise ModelLoadError(f"cannot be read: {error}", where=str(main)) from None


def check(says: OnnxFile, source: ModelSource) -> None:
    """Check that all external data come with the model.

    Engines look for them in the model's folder, or without a folder in the current one: a file
    which is not part of the model must not be taken up by chance.

    Raises:
        ModelLoadError: one is not among the source's parts, or lies outside the model's folder.
    """
    for location in says.external:
        if _plain(location, str(source)) not in source.parts:
            raise ModelLoadError(
                "the model's external data are missing",
                where=str(source),
                expected=location,
                remedy="put it beside the model file",
            )


def lies_together(source: ModelSource) -> bool:
    """Tell whether all parts are files of one folder, under the names the model knows."""
    return len({part.parent for part in source.parts.values() if isinstance(part, Path)}) == 1 and (
        all(isinstance(part, Path) and part.name == name for name, part in source.parts.items())
    )


def unpack(source: ModelSource) -> tempfile.TemporaryDirectory[str]:
    """Copy all parts of a model into a private temporary folder, which the caller cleans up.

    Raises:
        ModelLoadError: a part's name is not a plain file name.
        OSError: the folder cannot be written.
    """
    # Hardly ever needed, and slow to import.
    import shutil
    import tempfile

    folder = tempfile.TemporaryDirectory(prefix="edgecv-")
    try:
        for name, part in source.parts.items():
            target = Path(folder.name) / _plain(name, str(source))
            if isinstance(part, Path):
                shutil.copyfile(part, target)
            else:
                target.write_bytes(part)
    except BaseException:
        folder.cleanup()
        raise
    return folder


def _plain(location: str, where: str) -> str:
    """Return a location if it is a plain file name; a hostile one could lead anywhere."""
    unsafe = location in ("", ".", "..") or any(c in location for c in "/\\\0")
    if unsafe or len(location.encode()) > _MAX_NAME_BYTES:
        raise ModelLoadError(
            "its external data are not beside it",
            where=where,
            expected="a plain file name",
            got=repr(location[:100]),
            remedy="save the model again with its external data in the same folder",
        )
    return location
