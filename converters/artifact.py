"""A model file in the making: what a step takes and what it gives."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from edgecv.types import ModelSource, Precision

Format = Literal["onnx", "openvino", "tflite"]
Layout = Literal["NCHW", "NHWC"]
Fused = Literal["color", "normalize"]

FORMATS: tuple[Format, ...] = ("onnx", "openvino", "tflite")
BACKENDS: dict[Format, str] = {"onnx": "onnxruntime", "openvino": "openvino", "tflite": "litert"}
"""The backend that runs each format."""


@dataclass(frozen=True)
class Artifact:
    """One model file with its companions, and what is known about it.

    Attributes:
        format: of the file.
        files: main file first, then companions (``.bin``).
        precision: that the file is meant to run in.
        layout: of the image input.
        in_graph: preprocessing steps that the graph does itself; see `edgecv.manifest.Variant`.
        notes: facts that a reader of the report should see.
    """

    format: Format
    files: tuple[Path, ...]
    precision: Precision = "fp32"
    layout: Layout = "NCHW"
    in_graph: tuple[Fused, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The main file."""
        return self.files[0]

    @property
    def backend(self) -> str:
        """The backend that runs it."""
        return BACKENDS[self.format]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(path.stat().st_size for path in self.files)

    @cached_property
    def digest(self) -> str:
        """Sha256 over the names and bytes of all files, and what is known about them."""
        digest = hashlib.sha256(repr((self.format, self.precision, self.layout)).encode())
        digest.update(repr(self.in_graph).encode())
        for path in self.files:
            digest.update(path.suffix.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def source(self) -> ModelSource:
        """Return the files as an engine opens them."""
        return ModelSource.from_paths(*self.files)

    def noting(self, *notes: str) -> Artifact:
        """Return the same artifact with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def to_json(self) -> dict[str, Any]:
        """Make the object that `from_json` reads; files by name, without their folder."""
        return {
            "format": self.format,
            "files": [path.name for path in self.files],
            "precision": self.precision,
            "layout": self.layout,
            "in_graph": list(self.in_graph),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], folder: Path) -> Artifact:
        """Read what `to_json` made, for files that lie in `folder`."""
        return cls(
            format=cast(Format, data["format"]),
            files=tuple(folder / name for name in data["files"]),
            precision=cast(Precision, data["precision"]),
            layout=cast(Layout, data["layout"]),
            in_graph=tuple(cast(Fused, step) for step in data["in_graph"]),
            notes=tuple(data["notes"]),
        )
