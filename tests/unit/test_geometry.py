import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgecv.geometry import Geometry, plan

KINDS = ("stretch", "letterbox", "letterbox-topleft", "crop")

side = st.integers(1, 5000)
source = st.tuples(side, side)
input_side = st.sampled_from([32, 128, 224, 240, 320, 416, 640])
target = st.tuples(input_side, input_side)
kinds = st.sampled_from(KINDS)
roundings = st.sampled_from(["round", "floor"])
crop_ratios = st.sampled_from([1.0, 0.875, 0.5])


def prepare(image, geometry, pad=114):
    """Resize, then paste or cut, one step after the other as the definition says."""
    rows, columns = geometry.resized_hw
    resized = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    height, width = geometry.input_hw
    x, y = geometry.offset_xy
    if x < 0 or y < 0:
        return resized[-y : -y + height, -x : -x + width]
    canvas = np.full((height, width, *image.shape[2:]), pad, image.dtype)
    canvas[y : y + rows, x : x + columns] = resized
    return canvas


@pytest.mark.parametrize(
    ("source_hw", "input_hw", "kind", "rounding", "ratio", "resized_hw", "offset_xy"),
    [
        ((480, 640), (320, 320), "stretch", "round", 1.0, (320, 320), (0, 0)),
        ((480, 640), (640, 640), "letterbox", "round", 1.0, (480, 640), (0, 80)),
        ((1080, 810), (640, 640), "letterbox", "round", 1.0, (640, 480), (80, 0)),
        # An odd border: the smaller half comes first.
        ((375, 500), (640, 640), "letterbox", "round", 1.0, (480, 640), (0, 80)),
        ((427, 640), (640, 640), "letterbox", "round", 1.0, (427, 640), (0, 106)),
        ((300, 400), (416, 416), "letterbox-topleft", "floor", 1.0, (312, 416), (0, 0)),
        ((427, 640), (416, 416), "letterbox-topleft", "floor", 1.0, (277, 416), (0, 0)),
        ((427, 640), (416, 416), "letterbox-topleft", "round", 1.0, (278, 416), (0, 0)),
        # 23 * (416 / 23) must not be cut to 415 by its last bit.
        ((23, 23), (416, 416), "letterbox-topleft", "floor", 1.0, (416, 416), (0, 0)),
        ((1, 1), (416, 416), "letterbox-topleft", "floor", 1.0, (416, 416), (0, 0)),
        ((1, 5000), (640, 640), "letterbox", "round", 1.0, (1, 640), (0, 319)),
        ((480, 640), (224, 224), "crop", "round", 0.875, (256, 341), (-58, -16)),
        ((500, 375), (224, 224), "crop", "round", 0.875, (341, 256), (-16, -58)),
        ((224, 224), (224, 224), "crop", "round", 1.0, (224, 224), (0, 0)),
        ((128, 128), (128, 128), "crop", "round", 0.875, (146, 146), (-9, -9)),
    ],
)
def test_known_plans(source_hw, input_hw, kind, rounding, ratio, resized_hw, offset_xy):
    geometry = plan(source_hw, input_hw, kind, rounding=rounding, crop_ratio=ratio)
    assert geometry == Geometry(source_hw, input_hw, resized_hw, offset_xy)


@given(source, target, kinds, roundings, crop_ratios)
@example((1, 5000), (32, 640), "crop", "round", 0.875)
@example((5000, 1), (640, 640), "letterbox", "floor", 1.0)
def test_every_plan_fits(source_hw, input_hw, kind, rounding, ratio):
    geometry = plan(source_hw, input_hw, kind, rounding=rounding, crop_ratio=ratio)
    assert min(geometry.resized_hw) >= 1
    for size, offset, limit in zip(
        geometry.resized_hw, geometry.offset_xy[::-1], input_hw, strict=True
    ):
        if kind == "crop":
            assert offset <= 0
            assert offset + size >= limit
        else:
            assert offset >= 0
            assert offset + size <= limit


@given(source, target, kinds, roundings, crop_ratios, st.floats(0, 1), st.floats(0, 1))
@example((1, 5000), (640, 640), "crop", "round", 0.875, 1.0, 1.0)
def test_there_and_back_within_half_a_pixel(source_hw, input_hw, kind, rounding, ratio, u, v):
    geometry = plan(source_hw, input_hw, kind, rounding=rounding, crop_ratio=ratio)
    point = np.array([u * source_hw[1], v * source_hw[0]], np.float32)
    back = geometry.points_to_source(geometry.points_to_input(point))
    assert np.abs(back - point).max() < 0.5
    corner = np.array([[0, 0, *point]], np.float32)
    boxes_back = geometry.boxes_to_source(geometry.boxes_to_input(corner))
    assert np.abs(boxes_back - corner).max() < 0.5


@given(source, target, kinds)
def test_boxes_are_clipped_to_the_source(source_hw, input_hw, kind):
    geometry = plan(source_hw, input_hw, kind)
    wild = np.array([[-1e6, -1e6, 1e6, 1e6]], np.float32)
    assert geometry.boxes_to_source(wild).tolist() == [[0, 0, source_hw[1], source_hw[0]]]
    assert geometry.boxes_to_source(np.zeros((0, 4), np.float32)).shape == (0, 4)
    assert geometry.points_to_source(np.zeros((0, 2), np.float32)).shape == (0, 2)


def test_keypoints_keep_their_leading_axes():
    geometry = plan((100, 200), (64, 64), "letterbox")
    assert geometry.points_to_source(np.zeros((5, 17, 2), np.float32)).shape == (5, 17, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source_hw", [(480, 640), (333, 500), (1000, 700), (97, 61)])
def test_a_box_drawn_on_the_source_is_found_again(source_hw, kind):
    height, width = source_hw
    # Well inside, so that no crop touches it.
    x1, y1, x2, y2 = width * 3 // 8, height * 3 // 8, width * 5 // 8, height * 5 // 8
    image = np.zeros((height, width), np.uint8)
    image[y1:y2, x1:x2] = 255
    geometry = plan(source_hw, (416, 416), kind, crop_ratio=0.875)
    ys, xs = np.nonzero(prepare(image, geometry, pad=0) >= 128)
    found = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
    tolerance = 1 + 0.5 / min(geometry.scale_xy)
    expected = [[x1, y1, x2, y2]]
    np.testing.assert_allclose(geometry.boxes_to_source(found), expected, atol=tolerance)
    if min(geometry.scale_xy) >= 1:
        np.testing.assert_allclose(geometry.boxes_to_source(found), expected, atol=1)


@pytest.mark.parametrize("shape", ["disc", "rectangle"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [32, 60, 150])
@pytest.mark.parametrize("source_hw", [(240, 320), (480, 300), (720, 1280)])
def test_a_mask_comes_back_to_its_place(source_hw, size, kind, shape):
    height, width = source_hw
    image = np.zeros((height, width), np.uint8)
    centre = (width // 2 + 7, height // 2 - 5)
    geometry = plan(source_hw, (416, 416), kind)
    # The size is what arrives in the input: detail that a model cannot see cannot come back.
    size = int(np.ceil(size / min(1, *geometry.scale_xy)))
    if shape == "disc":
        cv2.circle(image, centre, size // 2, 255, -1)
    else:
        x, y = centre
        image[y - size // 2 : y + size // 2, x - size // 2 : x + size // 2] = 255
    prepared = prepare(image, geometry, pad=0).astype(np.float32)
    back = geometry.mask_to_source(prepared)
    assert back.shape == source_hw
    assert back.dtype == np.float32
    one, other = back >= 128, image > 0
    assert (one & other).sum() / (one | other).sum() > 0.95
    classes = geometry.mask_to_source((prepared >= 128).astype(np.uint8), nearest=True)
    assert classes.shape == source_hw
    assert classes.dtype == np.uint8
    assert set(np.unique(classes)) <= {0, 1}
    if min(geometry.scale_xy) >= 1:
        assert ((classes > 0) & other).sum() / ((classes > 0) | other).sum() > 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("divisor", [1, 4, 8])
@pytest.mark.parametrize("source_hw", [(300, 400), (400, 300), (1, 1), (1, 50)])
def test_a_mask_at_lower_resolution_lies_where_the_input_lies(source_hw, divisor, kind):
    geometry = plan(source_hw, (256, 256), kind)
    n = 256 // divisor
    # Each value is the input x of its cell's centre, so the way back can be computed.
    x = np.broadcast_to((np.arange(n, dtype=np.float32) + 0.5) * divisor, (n, n)).copy()
    back = geometry.mask_to_source(x)
    assert back.shape == source_hw
    centres = np.stack(
        [np.arange(source_hw[1]) + 0.5, np.full(source_hw[1], source_hw[0] / 2)], axis=1
    ).astype(np.float32)
    expected = geometry.points_to_input(centres)[:, 0]
    row = back[source_hw[0] // 2]
    inside = (expected > divisor / 2) & (expected < 256 - divisor / 2)
    # warpAffine knows positions to a 32nd of a cell.
    np.testing.assert_allclose(row[inside], expected[inside], atol=divisor / 16)


def test_what_a_crop_cuts_away_is_zero_in_the_mask():
    geometry = plan((100, 300), (100, 100), "crop")
    mask = geometry.mask_to_source(np.full((100, 100), 7, np.uint8), nearest=True)
    assert mask.shape == (100, 300)
    assert (mask[:, 100:200] == 7).all()
    assert not mask[:, :100].any()
    assert not mask[:, 200:].any()


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "letterbox-topleft", "crop"])
@pytest.mark.parametrize("hw", [(37, 90), (90, 37)])
def test_rows_of_a_map_are_those_of_the_whole_map(resize, hw):
    geometry = plan(hw, (32, 48), resize, crop_ratio=0.9)
    mask = np.random.default_rng(0).normal(0, 1, (8, 12)).astype(np.float32)
    whole = geometry.mask_to_source(mask)
    rows, columns = geometry.visible()
    for start in range(0, hw[0], 10):
        strip = slice(start, min(start + 10, hw[0]))
        part = np.zeros((strip.stop - start, hw[1]), np.float32)
        found = geometry.rows_to_source(mask, strip)
        seen = slice(max(rows.start - start, 0), max(rows.stop - start, 0))
        part[seen, columns] = found[seen, columns]
        np.testing.assert_allclose(part, whole[strip], atol=0.05)
        if resize == "stretch":
            np.testing.assert_allclose(part, whole[strip], atol=1e-5)
