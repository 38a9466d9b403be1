"""What somebody says about a model that has no manifest: a user's options, or a file's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """Statements about a model; None where nothing is said.

    Attributes:
        origin: who says it, for messages, such as ``option`` or ``Ultralytics metadata``.
        name: of the model.
        task: such as ``detect``.
        head: a plug-in in ``heads/``.
        head_options: fields of that head's ``Options``.
        labels: class names by class id.
        size_hw: (height, width) of the input, for models whose shape leaves it free.
        resize: how the image is fitted in, as are the six below: see `edgecv.manifest.Input`.
        rounding: of the letterboxed size.
        crop_ratio: of ``crop``.
        pad_value: grey level of the border.
        interpolation: of the resize.
        color: ``rgb``, ``bgr`` or ``grey``.
        mean: per channel, 0-255 units.
        std: per channel, 0-255 units.
        description: one paragraph.
        license: SPDX identifier or name.
    """

    origin: str = ""
    name: str | None = None
    task: str | None = None
    head: str | None = None
    head_options: Mapping[str, Any] | None = None
    labels: tuple[str, ...] | None = None
    size_hw: tuple[int, int] | None = None
    resize: str | None = None
    rounding: str | None = None
    crop_ratio: float | None = None
    pad_value: int | None = None
    interpolation: str | None = None
    color: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    description: str | None = None
    license: str | None = None

    def over(self, other: Hints | None) -> Hints:
        """Return these statements, completed by another's where these are silent.

        Head options are merged one by one, but only if both mean the same head.
        """
        if other is None:
            return self
        said = {
            f.name: getattr(other, f.name) for f in fields(self) if getattr(self, f.name) is None
        }
        if self.head_options and other.head_options and self.head in (None, other.head):
            said["head_options"] = {**other.head_options, **self.head_options}
        elif self.head is not None and other.head not in (None, self.head):
            # Another head's options mean nothing to this one.
            said["head_options"] = self.head_options
        return replace(self, **said)

    def given(self) -> dict[str, Any]:
        """Return what is said, without the origin."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name != "origin" and getattr(self, f.name) is not None
        }
