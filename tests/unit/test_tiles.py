"""Tiles cover the image, and what several of them show counts once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgecv
from edgecv import boxes, codecs
from edgecv.errors import ImageError, UsageError
from edgecv.masks import Masks
from edgecv.result import Result, Timings
from edgecv.results.classes import Classes
from edgecv.results.detections import Detections
from edgecv.tiles import cut, tiled
from tests import models
from tests.conftest import ROOT

DIGITS = ROOT / "examples/digits"


class Oracle:
    """Finds every bright blob exactly, as far as the image shows it; the class is its blue."""

    labels = ("a", "b")

    def __init__(self, kind="boxes", input_hw=(32, 32)):
        self.kind = kind
        self.options = _options(input_hw)
        self.seen = []

    def __call__(self, image):
        self.seen.append(image.shape[:2])
        rows = []
        for value in np.unique(image[..., 0]):
            mask = image[..., 0] == value
            if value and mask.any():
                rows.append((value, mask))
        full = np.stack([m for _, m in rows]) if rows else np.zeros((0, *image.shape[:2]), bool)
        masks = Masks.from_full(full)
        xyxy = masks.xyxy()
        found = Detections(
            xyxy,
            np.full(len(rows), 0.5, np.float32),
            np.array([v // 100 for v, _ in rows], np.int32),
        )
        if self.kind == "masks":
            found = found.replace(masks=masks)
        elif self.kind == "keypoints":
            points = np.concatenate([xyxy, np.ones_like(xyxy)], axis=1)[:, [0, 1, 4, 2, 3, 5]]
            found = found.replace(keypoints=points.reshape(-1, 2, 3))
        elif self.kind == "rotated":
            turned = np.zeros((len(rows), 1), np.float32)
            xywhr = np.concatenate([boxes.to_cxcywh(xyxy), turned], axis=1)
            found = found.replace(xywhr=xywhr)
        return Result(found, "", image.shape[:2], self.labels, Timings(0, 1, 2, 3, 6))

    def batch(self, images):
        return [self(image) for image in images]


def _options(input_hw):
    from edgecv.head import DetectionOptions

    return DetectionOptions(input_hw=input_hw)


def picture(hw, *rows):
    """Paint (x1, y1, x2, y2, value) rectangles on black."""
    image = np.zeros((*hw, 3), np.uint8)
    for x1, y1, x2, y2, value in rows:
        image[y1:y2, x1:x2] = value
    return image


sides = st.integers(1, 90)


@settings(max_examples=300)
@given(size=st.tuples(sides, sides), tile=st.tuples(sides, sides), overlap=st.floats(0, 0.9))
def test_tiles_cover_the_image_and_lie_inside(size, tile, overlap):
    tiles = cut(size, tile, overlap)
    covered = np.zeros(size, bool)
    for one in tiles:
        assert (one.height, one.width) == (min(tile[0], size[0]), min(tile[1], size[1]))
        view = one.of(covered)
        assert view.shape == (one.height, one.width)
        view[:] = True
    assert covered.all()
    assert len({(t.x, t.y) for t in tiles}) == len(tiles)
    for starts, length, least in (
        (sorted({t.x for t in tiles}), tile[1], overlap * tile[1]),
        (sorted({t.y for t in tiles}), tile[0], overlap * tile[0]),
    ):
        # A step of one pixel is the least, whatever overlap is asked for.
        allowed = max(1, length - int(np.ceil(least - 1e-9)))
        assert max(np.diff(starts), default=0) <= allowed


def test_tiles_by_hand():
    assert [(t.x, t.y, t.width, t.height) for t in cut((10, 25), (10, 10), 0.2)] == [
        (0, 0, 10, 10),
        (7, 0, 10, 10),
        (15, 0, 10, 10),
    ]
    assert [(t.x, t.y, t.width, t.height) for t in cut((1, 1), (640, 640), 0.2)] == [(0, 0, 1, 1)]


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["boxes", "masks", "keypoints", "rotated"]),
    hw=st.tuples(st.integers(20, 120), st.integers(20, 120)),
    overlap=st.floats(0.25, 0.6),
    whole=st.booleans(),
    data=st.data(),
)
def test_an_object_smaller_than_the_overlap_is_found_once_wherever_it_is(
    kind, hw, overlap, whole, data
):
    least = int(32 * overlap)
    width = data.draw(st.integers(1, min(least, hw[1])))
    height = data.draw(st.integers(1, min(least, hw[0])))
    x, y = data.draw(st.integers(0, hw[1] - width)), data.draw(st.integers(0, hw[0] - height))
    model = Oracle(kind)
    image = picture(hw, (x, y, x + width, y + height, 150))
    result = tiled(model, image, overlap=overlap, whole=whole)
    found = result.detections
    assert found.xyxy.tolist() == [[x, y, x + width, y + height]]
    assert found.class_id.tolist() == [1]
    if kind == "masks":
        assert found.instance_masks.size_hw == hw
        assert found.instance_masks.xyxy().tolist() == found.xyxy.tolist()
        assert found.instance_masks.area().tolist() == [width * height]
    if kind == "keypoints":
        assert found.keypoints.tolist() == [[[x, y, 1], [x + width, y + height, 1]]]
    if kind == "rotated":
        expected = [x + width / 2, y + height / 2, width, height, 0]
        assert found.xywhr.tolist() == [expected]


def test_neighbours_are_not_taken_for_one():
    places = [(20 + 9 * i, 20 + 9 * j, 101 + 8 * i + j) for i in range(6) for j in range(6)]
    rows = [(x, y, x + 6, y + 6, value) for x, y, value in places]
    found = tiled(Oracle(), picture((90, 90), *rows), overlap=0.3).detections
    assert sorted(found.xyxy.tolist()) == sorted([float(v) for v in row[:4]] for row in rows)


def test_a_large_object_is_seen_on_the_whole_image():
    image = picture((100, 100), (5, 10, 95, 80, 150))
    parts = tiled(Oracle(), image, overlap=0.25).detections
    assert len(parts) > 1
    found = tiled(Oracle(), image, overlap=0.25, whole=True).detections
    assert found.xyxy.tolist() == [[5, 10, 95, 80]]


class Scripted(Oracle):
    """Says what it is told, tile by tile."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)

    def __call__(self, image):
        rows = np.array(self.answers.pop(0), np.float32).reshape(-1, 6)
        found = Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), 2)
        return Result(found, "", image.shape[:2], self.labels, Timings(0, 1, 2, 3, 6))


def two_tiles(*answers):
    """Two tiles of 32 x 32 side by side that overlap by 12: the second one starts at x = 20."""
    return tiled(Scripted(*answers), np.zeros((32, 52, 3), np.uint8), overlap=0.375).detections


def test_a_part_goes_whatever_it_is_taken_for_and_however_sure():
    part, whole = (26, 5, 32, 15, 0.9, 1), (6, 5, 16, 15, 0.4, 0)
    found = two_tiles([part], [whole])
    assert found.xyxy.tolist() == [[26, 5, 36, 15]]
    assert found.class_id.tolist() == [0]
    assert found.dropped == 4


def test_a_part_with_nothing_whole_beside_it_stays():
    assert len(two_tiles([(26, 5, 32, 15, 0.9, 1)], [])) == 1
    # What merely lies inside of it is no whole of it.
    assert len(two_tiles([(12, 0, 32, 20, 0.9, 1)], [(6, 5, 9, 9, 0.9, 1)])) == 2


def test_a_part_of_another_class_is_what_its_tile_shows_of_the_whole():
    """The second tile shows the 20 pixels wide thing from x = 24 to 44 whole, the first a part."""
    whole = (4, 5, 24, 15, 0.4, 0)
    assert len(two_tiles([(23, 4, 32, 15, 0.9, 1)], [whole])) == 1
    # A driver in a car is no part of it, though the border cuts him, too.
    assert len(two_tiles([(28, 6, 32, 11, 0.9, 1)], [whole])) == 2
    # One of the same class is.
    assert len(two_tiles([(28, 6, 32, 11, 0.9, 0)], [whole])) == 1


def test_of_two_parts_the_larger_stays():
    found = two_tiles([(22, 5, 32, 15, 0.5, 1)], [(0, 5, 13, 15, 0.4, 1)])
    assert found.xyxy.tolist() == [[20, 5, 33, 15]]
    found = two_tiles([(22, 5, 32, 15, 0.5, 1)], [(0, 5, 11, 14, 0.9, 1)])
    assert found.xyxy.tolist() == [[22, 5, 32, 15]]


def test_two_whole_ones_are_compared_by_union_and_class():
    # The same places in both tiles: x from 22 to 29 in the image.
    one, same, inside = (22, 5, 29, 25, 0.6, 1), (3, 5, 9, 25, 0.7, 1), (3, 6, 6, 9, 0.8, 1)
    found = two_tiles([one], [same])
    np.testing.assert_allclose(found.score, [0.7])
    assert len(two_tiles([one], [(3, 5, 9, 25, 0.7, 0)])) == 2
    assert len(two_tiles([one], [inside])) == 2


def test_detections_of_one_tile_are_left_to_the_model():
    twice = [(5, 5, 15, 15, 0.9, 1), (5, 5, 15, 14, 0.8, 1)]
    assert len(two_tiles(twice, [])) == 2


def test_small_images_and_nothing_found():
    for hw in ((1, 1), (1, 200), (31, 32)):
        model = Oracle()
        result = tiled(model, picture(hw), whole=True)
        assert (len(result.detections), result.source_hw) == (0, hw)
        assert result.detections.xyxy.shape == (0, 4)
    assert len(model.seen) == 1, "the whole image is one tile, and not run twice"
    found = tiled(Oracle("masks"), picture((200, 200))).detections
    assert found.instance_masks.size_hw == (200, 200)


def test_timings_are_those_of_all_tiles():
    result = tiled(Oracle(), picture((32, 52)), overlap=0.375)
    times = result.timings_ms
    assert (times.decode, times.preprocess, times.infer) == (0, 2, 4)
    assert times.postprocess >= 6
    assert times.total > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile_hw": (0, 5)}, "tile_hw"),
        ({"overlap": 0.95}, "overlap"),
        ({"overlap": -0.1}, "overlap"),
        ({"overlap": float("nan")}, "overlap"),
        ({"threshold": 2}, "threshold"),
    ],
)
def test_what_cannot_be_meant(options, message):
    with pytest.raises(UsageError, match=message):
        tiled(Oracle(), picture((50, 50)), **options)


def test_classes_cannot_be_merged():
    class Classifier(Oracle):
        def __call__(self, image):
            return Result(Classes(), "", image.shape[:2], (), Timings(0, 1, 2, 3, 6))

    with pytest.raises(UsageError, match="only results that are detections"):
        tiled(Classifier(), picture((50, 50)))
    with pytest.raises(ImageError):
        tiled(Oracle(), b"no image")


def test_a_free_batch_axis_changes_nothing(tmp_path):
    image = models.image(3, (200, 260))
    found = []
    for batch in (1, "N"):
        path = models.onnx_detector(tmp_path / f"{batch}.onnx", batch=batch)
        with edgecv.load(path, head="yolo", trusted=True, threads=1) as model:
            found.append(tiled(model, image, overlap=0.1).detections)
    assert len(found[0]) > 10
    np.testing.assert_allclose(found[0].xyxy, found[1].xyxy, atol=1e-3)
    np.testing.assert_allclose(found[0].score, found[1].score, atol=1e-5)


@pytest.fixture(scope="module")
def digits():
    labels = (DIGITS / "labels.txt").read_text().split()
    with edgecv.load(
        DIGITS / "digits.onnx", head="yolo", labels=labels, trusted=True, threads=1
    ) as model:
        yield model


def mosaic(count=20, columns=5):
    """Lay validation images side by side; return the image and (x1, y1, x2, y2, class) rows."""
    images = [codecs.read(DIGITS / f"val/images/val_{i:03d}.jpg") for i in range(count)]
    cell_h, cell_w = (max(image.shape[axis] for image in images) for axis in (0, 1))
    canvas = np.full((cell_h * count // columns, cell_w * columns, 3), 114, np.uint8)
    truth = []
    for i, image in enumerate(images):
        (height, width), y, x = image.shape[:2], i // columns * cell_h, i % columns * cell_w
        canvas[y : y + height, x : x + width] = image
        for line in (DIGITS / f"val/labels/val_{i:03d}.txt").read_text().splitlines():
            class_id, *box = map(float, line.split())
            xyxy = boxes.from_cxcywh(np.array([box], np.float32))[0]
            placed = xyxy * np.tile([width, height], 2) + np.tile([x, y], 2)
            truth.append([*placed, class_id])
    return canvas, np.array(truth, np.float32)


def read(found, truth):
    """Count digits that are found with IoU above .5 and their own class, and all that is wrong."""
    overlap = boxes.iou(found.xyxy, truth[:, :4])
    overlap[found.class_id[:, None] != truth[None, :, 4]] = 0
    right = len(set(overlap.argmax(axis=1)[overlap.max(axis=1) > 0.5]))
    return right, len(found) - right


def test_a_mosaic_of_digits_is_read_in_tiles_and_not_without(digits):
    image, truth = mosaic()
    assert image.shape[0] > 1000
    right, wrong = read(tiled(digits, image, overlap=0.3).detections, truth)
    assert right >= 0.85 * len(truth)
    assert wrong <= 0.2 * len(truth)
    without, _ = read(digits(image).detections, truth)
    assert without < 0.1 * len(truth)
    # Tiles without merging would count much twice.
    alone = sum(len(digits(t.of(image)).detections) for t in cut(image.shape[:2], (192, 192), 0.3))
    assert alone > 1.3 * (right + wrong)


def test_drawing_takes_the_result(digits):
    from edgecv.drawing import draw

    image, _ = mosaic(10)
    drawn = draw(image, tiled(digits, image))
    assert (drawn != image).any()
    assert cv2.imencode(".png", drawn)[0]
