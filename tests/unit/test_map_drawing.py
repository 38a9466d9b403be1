"""Pictures of maps: colours where the classes are, warm where it is near, and a legend."""

from __future__ import annotations

import numpy as np
import pytest

from edgecv.drawing import color_of, draw
from edgecv.result import Result, Timings
from edgecv.results.anomaly import AnomalyMap
from edgecv.results.depth import DepthMap
from edgecv.results.semantic import UNSEEN, SemanticMap
from edgecv.types import Image

HW = (120, 200)
IMAGE = np.full((*HW, 3), 100, np.uint8)


def picture(value: object, labels: tuple[str, ...] = (), image: Image = IMAGE) -> Image:
    before = image.copy()
    drawn = draw(image, Result(value, "", HW, labels, Timings(0, 0, 0, 0, 0)))
    assert (image == before).all()
    assert drawn.shape == image.shape
    return drawn


def halves(left: int, right: int) -> SemanticMap:
    ids = np.full(HW, left, np.int16)
    ids[:, 100:] = right
    return SemanticMap(ids)


def test_classes_are_tinted_and_the_background_is_not():
    drawn = picture(halves(0, 2), ("background", "cat", "dog"))
    assert (drawn[40:, :100] == 100).all()
    tint = 100 * 0.45 + np.array(color_of(2)) * 0.55
    np.testing.assert_allclose(drawn[60, 150], tint, atol=1)
    assert (drawn[:30, :60] != 100).any(), "the legend"


def test_class_0_with_a_name_of_its_own_is_tinted():
    drawn = picture(halves(0, 1), ("road", "sky"))
    assert (drawn[60, 50] != 100).any()


def test_unseen_pixels_are_left_alone():
    drawn = picture(halves(1, UNSEEN), ("background", "cat"))
    assert (drawn[:, 100:] == 100).all()
    nothing = picture(SemanticMap(np.full(HW, UNSEEN, np.int16)))
    assert (nothing == 100).all()


def test_more_classes_than_lines_fit():
    ids = np.arange(120, dtype=np.int16)[:, None] + np.zeros((1, 200), np.int16)
    picture(SemanticMap(ids), tuple(f"class {i}" for i in range(120)))


@pytest.mark.parametrize("kind", ["inverse", "metric", "relative"])
def test_near_is_bright(kind):
    near_is_large = np.tile(np.linspace(0, 5, 200, dtype=np.float32), (120, 1))
    values = near_is_large if kind == "inverse" else 5 - near_is_large
    drawn = picture(DepthMap(values, kind)).astype(int).sum(axis=2)
    assert drawn[100, 190] > drawn[100, 100] > drawn[100, 5]


def test_an_anomaly_is_outlined():
    heat = np.zeros(HW, np.float32)
    heat[50:90, 80:140] = 0.9
    drawn = picture(AnomalyMap(0.9, heat, 0.5))
    assert drawn[50, 100].tolist() == [255, 255, 255], "unlike any colour of the heat"
    assert (np.abs(drawn[110, 10].astype(int) - 100) < 20).all(), "elsewhere the image is seen"
    assert drawn[70, 110, 2] > drawn[110, 10, 2], "warm where it is strange"
    assert picture(AnomalyMap(0.9, heat)).shape == (*HW, 3)


@pytest.mark.parametrize(
    "value",
    [
        halves(0, 1),
        DepthMap(np.tile(np.arange(200, dtype=np.float32), (120, 1))),
        AnomalyMap(0.9, np.tile(np.arange(200, dtype=np.float32), (120, 1)), 100.0),
    ],
)
def test_results_read_back_and_pictures_that_were_scaled(value):
    back = type(value).from_json(value.to_json(()))
    small = np.full((60, 100, 3), 100, np.uint8)
    for image in (IMAGE, small):
        drawn = picture(back, image=image)
        assert (drawn != 100).any()
    if isinstance(value, SemanticMap):
        assert (picture(back) == picture(value)).all()


@pytest.mark.parametrize("value", [SemanticMap(), DepthMap(), AnomalyMap()])
def test_nothing_leaves_the_image_as_it_was(value):
    assert (picture(value) == 100).all()


def test_metres_are_coloured_by_ratios_and_unknown_ones_are_dark():
    values = np.full(HW, 64, np.float32)
    values[:, :50], values[:, 50:100], values[:, 100:150] = 1, 8, 0
    drawn = picture(DepthMap(values, "metric")).astype(int)
    one, eight, unknown, far = (drawn[100, x].sum() for x in (25, 75, 125, 175))
    assert one > eight > far
    assert unknown == far
    # 8 m is half way between 1 m and 64 m, in ratios.
    ramp = picture(DepthMap(np.tile(np.linspace(0, 1, 200, dtype=np.float32), (120, 1)), "inverse"))
    np.testing.assert_allclose(drawn[100, 75], ramp[100, 100], atol=4)


def test_depth_brings_a_scale_from_near_to_far():
    image = np.full((400, 600, 3), 100, np.uint8)
    drawn = picture(DepthMap(np.full((400, 600), 3, np.float32), "metric"), image=image)
    changed = drawn[:12] != drawn[300, 300]
    assert changed.any(axis=(0, 2))[:200].all()
    light = drawn[5, 100:300].astype(int).sum(axis=1)
    assert light.max() > 600, "near"
    assert light.min() < 60, "far"


def test_a_small_image_has_both_ends_of_the_scale_below_each_other():
    dark = {}
    for width in (120, 600):
        image = np.full((120, width, 3), 100, np.uint8)
        value = DepthMap(np.full((120, width), 3, np.float32), "metric")
        drawn = picture(value, image=image)
        dark[width] = (drawn == 40).all(axis=2)[16:28, :40].any()
    assert dark == {120: True, 600: False}


def test_the_plates_of_a_legend_are_equally_wide():
    drawn = picture(halves(0, 1), ("x", "a long name"))
    ends = [
        np.flatnonzero((drawn[y, :110] == color_of(c)).all(axis=1)).max()
        for y, c in ((1, 0), (17, 1))
    ]
    assert ends[0] == ends[1]
