"""What other tools write into or beside model files, and expect to find there.

Each module offers

- ``ORIGIN``, its name for people;
- ``read(path, metadata) -> Hints | None``: the file's path, and the key-value pairs that the engine
  found inside it; None where the file is not from that tool;
- ``write(export, folder) -> Path``: write the model with the metadata that the tool reads, and
  return the file or archive to be handed on; ``SUFFIXES`` names the model files that it can do so
  for;
- where the tool ships models in an archive, ``unpack(path, folder) -> Path``: write what is in it
  and return the model file; ``ARCHIVES`` names the archives' suffixes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from edgecv.errors import UsageError
from edgecv.manifest import HeadSpec, Input
from edgecv.record import Record
from edgecv.types import TensorSpec


class Export(Record, kw_only=True):
    """One variant of a bundle, as it is told to another tool.

    Attributes:
        name: of the model.
        version: of the model.
        description: one paragraph; may be empty.
        license: SPDX identifier or name; may be empty.
        task: such as ``detect``.
        labels: class names by class id.
        input: how pixels are prepared for this file: what its graph does itself is left out.
        head: which head decodes the outputs, with all of its options.
        layout: of the image input, ``NCHW`` or ``NHWC``.
        precision: of the file's arithmetic.
        inputs: of the model.
        outputs: of the model.
        files: file name -> bytes, main file first.
    """

    name: str
    version: str
    description: str
    license: str
    task: str
    labels: tuple[str, ...]
    input: Input
    head: HeadSpec
    layout: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: Mapping[str, bytes]

    @property
    def main(self) -> str:
        """Name of the main file."""
        return next(iter(self.files))


def cannot_say(export: Export, what: str, expected: str, got: str) -> UsageError:
    """Make the error for a model that a format has no words for."""
    return UsageError(what, where=export.name, expected=expected, got=got)


def without_zip(data: bytes) -> bytes:
    """Return a TFLite file without what is zipped behind it."""
    import zipfile

    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        starts = [info.header_offset for info in archive.infolist()]
        return data[: min([*starts, archive.start_dir])]


def with_zip(data: bytes, name: str, text: str) -> bytes:
    """Zip one text behind a TFLite file, in the place of what was there."""
    import zipfile

    behind = io.BytesIO(without_zip(data))
    behind.seek(0, io.SEEK_END)
    with zipfile.ZipFile(behind, "a", zipfile.ZIP_STORED) as archive:
        # A fixed date: the same bundle gives the same bytes.
        archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return behind.getvalue()


def write_files(export: Export, folder: Path, changed: Mapping[str, bytes]) -> Path:
    """Write a model's files, some of them changed; return the main one."""
    for name, data in {**export.files, **changed}.items():
        (folder / name).write_bytes(data)
    return folder / export.main
