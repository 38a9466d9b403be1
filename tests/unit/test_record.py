"""Records: frozen, compared as a whole, and strict about their fields."""

from __future__ import annotations

import numpy as np
import pytest

from edgecv.record import Record, field
from edgecv.results.detections import Detections


class Point(Record):
    x: int
    y: int = 2
    tags: dict[str, int] = field(default_factory=dict)


def test_fields_and_defaults() -> None:
    assert Point(1) == Point(x=1, y=2) != Point(1, 3)
    assert Point(1).replace(y=5).to_dict() == {"x": 1, "y": 5, "tags": {}}
    assert Point(1).tags is not Point(1).tags
    assert repr(Point(1)) == "Point(x=1, y=2, tags={})"
    with pytest.raises(AttributeError, match="cannot be changed"):
        Point(1).x = 3


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, {}, 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})]
)
def test_wrong_fields(args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(*args, **kwargs)


def test_arrays_are_compared_as_a_whole() -> None:
    box = np.array([[1, 2, 3, 4]], np.float32)
    one = Detections(box, np.array([0.5], np.float32), np.array([0], np.int32))
    assert one == one.replace(xyxy=box.copy())
    assert one != one.replace(xyxy=box + 1)
    assert one != Detections()
    assert Detections() == Detections()
