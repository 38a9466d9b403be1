"""Zones and lines as somebody drew them: a JSON file that is read strictly.

``{"version": 1, "zones": [{"name": "door", "points": [[0, 0], [100, 0], [100, 80]]}], "lines":
[{"name": "gate", "start": [0, 50], "end": [200, 50]}]}``
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from edgecv.errors import UsageError
from edgecv.record import Record
from edgecv.results.detections import Detections
from edgecv.schema import Rule, parse_object, validate
from edgecv.types import Array

Anchor = Literal[
    "bottom_center", "center", "top_center", "center_left", "center_right",
    "bottom_left", "bottom_right", "top_left", "top_right",
]  # fmt: skip
"""Which point of a box stands for the object. Where its feet are is where it stands."""

Units = Literal["pixels", "fractions"]
"""Of points: source pixels, or parts of the image's width and height."""

Point = tuple[float, float]
_SHARES = {"left": 0.0, "top": 0.0, "center": 0.5, "right": 1.0, "bottom": 1.0}
_LIMIT_BYTES = 4_000_000


class ZoneSpec(Record, kw_only=True):
    """A polygon.

    Attributes:
        name: unique among zones.
        points: at least three corners x, y in order; the last is joined with the first. Where the
            sides cross each other, what they enclose an odd number of times is inside.
        units: of the points.
        anchor: the point of a box that must be inside.
        class_ids: only objects of these classes; empty means all.
        grace_s: an object has left when it has been outside, or out of sight, for longer; it may
            tremble at the border, or be hidden for a moment, and comes back as the same visit.
    """

    name: Annotated[str, Rule(min_length=1, max_length=100)]
    points: Annotated[tuple[Point, ...], Rule(min_length=3)]
    units: Units = "pixels"
    anchor: Anchor = "bottom_center"
    class_ids: tuple[Annotated[int, Rule(ge=0)], ...] = ()
    grace_s: Annotated[float, Rule(ge=0)] = 1.0


class LineSpec(Record, kw_only=True):
    """A line that objects cross.

    Seen by somebody who walks on the image from `start` to `end`, a crossing from the left hand to
    the right hand is ``in``, the other way is ``out``: over a line drawn from left to right, down
    is in.

    Attributes:
        name: unique among lines.
        start: x, y.
        end: x, y; another point.
        units: of the points.
        anchor: the point of a box that must cross.
        class_ids: only objects of these classes; empty means all.
        margin: an object has crossed when it is farther behind the line than this many times
            sqrt(width * height) of its box, and was as far before it. Nearer it may tremble.
    """

    name: Annotated[str, Rule(min_length=1, max_length=100)]
    start: Point
    end: Point
    units: Units = "pixels"
    anchor: Anchor = "bottom_center"
    class_ids: tuple[Annotated[int, Rule(ge=0)], ...] = ()
    margin: Annotated[float, Rule(ge=0)] = 0.1


class ZoneConfig(Record, kw_only=True):
    """Zones and lines of one camera."""

    version: Literal[1] = 1
    zones: tuple[ZoneSpec, ...] = ()
    lines: tuple[LineSpec, ...] = ()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ZoneConfig:
        """Read a JSON file.

        Raises:
            UsageError: it cannot be read, or a field is unknown, missing or wrong.
        """
        where = os.fspath(path)
        try:
            with Path(path).open("rb") as file:
                data = file.read(_LIMIT_BYTES + 1)
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", where=where) from None
        if len(data) > _LIMIT_BYTES:
            raise UsageError("too large", where=where, expected=f"at most {_LIMIT_BYTES:,} bytes")
        return cls.parse(parse_object(data, where, UsageError), where)

    @classmethod
    def parse(cls, raw: dict[str, Any], where: str = "zones") -> ZoneConfig:
        """Read a JSON object; errors name the field.

        Raises:
            UsageError: a field is unknown, missing or wrong.
        """
        config = validate(cls, raw, where, UsageError)
        check_names([zone.name for zone in config.zones], f"{where}: zones")
        check_names([line.name for line in config.lines], f"{where}: lines")
        for i, zone in enumerate(config.zones):
            check_points(zone.points, zone.units, f"{where}: zones[{i}].points")
            x, y = np.array(zone.points).T
            if not np.ptp(x) or not np.ptp(y):
                raise UsageError("a polygon without area", where=f"{where}: zones[{i}].points")
        for i, line in enumerate(config.lines):
            check_points((line.start, line.end), line.units, f"{where}: lines[{i}]")
            if line.start == line.end:
                raise UsageError("start and end are the same point", where=f"{where}: lines[{i}]")
        return config


def check_names(names: list[str], where: str) -> None:
    """Raise UsageError where a name occurs twice."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UsageError("a name occurs twice", where=where, got=repr(name))


def check_points(points: tuple[Point, ...], units: Units, where: str) -> None:
    """Raise UsageError where fractions are not within the image."""
    if units == "fractions" and not all(0 <= v <= 1 for point in points for v in point):
        raise UsageError(
            "a point outside of the image", where=where, expected="fractions from 0 to 1"
        )


def to_pixels(
    points: tuple[Point, ...], units: Units, size_hw: tuple[int, int] | None, where: str
) -> Array:
    """Return points (K, 2) float64 x, y in source pixels.

    Raises:
        UsageError: fractions, and nobody says how large the image is.
    """
    array = np.array(points, np.float64)
    if units == "pixels":
        return array
    if size_hw is None:
        raise UsageError(
            "points are fractions of an image of unknown size",
            where=where,
            remedy="pass size_hw=(height, width)",
        )
    return array * (size_hw[1], size_hw[0])


def anchors(detections: Detections, anchor: Anchor) -> Array:
    """Return the points (N, 2) float64 x, y that stand for N objects."""
    first, _, second = anchor.partition("_")
    down, across = ("center", "center") if not second else (first, second)
    box = detections.xyxy.astype(np.float64)
    x = box[:, 0] + _SHARES[across] * (box[:, 2] - box[:, 0])
    y = box[:, 1] + _SHARES[down] * (box[:, 3] - box[:, 1])
    return np.stack([x, y], axis=1)


def of_classes(detections: Detections, class_ids: tuple[int, ...]) -> Array:
    """Tell (N,) which detections are of some classes; of all, where none is named."""
    if not class_ids:
        return np.ones(len(detections), bool)
    return np.isin(detections.class_id, class_ids)
