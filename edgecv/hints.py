"""What somebody says about a model that has no manifest: a user's options, or a file's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecv.record import Record


class Hints(Record, kw_only=True):
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
        foreign: a plug-in in ``foreign/`` that is to read the file's own metadata; None asks all.
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
    foreign: str | None = None
    description: str | None = None
    license: str | None = None

    def over(self, other: Hints | None) -> Hints:
        """Return these statements, completed by another's where these are silent.

        Head options are merged one by one, but only if both mean the same head.
        """
        if other is None:
            return self
        said = {
            name: getattr(other, name) for name in self.record_fields if getattr(self, name) is None
        }
        if not self.head_options:
            said["head_options"] = other.head_options
        if self.head_options and other.head_options and self.head in (None, other.head):
            said["head_options"] = {**other.head_options, **self.head_options}
        elif self.head is not None and other.head not in (None, self.head):
            # Another head's options mean nothing to this one.
            said["head_options"] = self.head_options
        return self.replace(**said)

    def given(self) -> dict[str, Any]:
        """Return what is said, without the origin."""
        return {
            name: value
            for name, value in self.to_fields().items()
            if name != "origin" and value is not None
        }
