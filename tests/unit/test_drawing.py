"""Pictures of results: on the image, inside of it, and of every kind."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from edgecv.drawing import color_of, draw, draw_keypoints, plate_of, write
from edgecv.masks import Masks
from edgecv.result import Result, Timings
from edgecv.results.classes import Classes
from edgecv.results.detections import Detections
from tests import models

TIMINGS = Timings(0, 0, 0, 0, 0)


def detections(boxes: Any, labels: tuple[str, ...] = models.LABELS, hw: Any = (120, 160)) -> Result:
    n = len(boxes)
    value = Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.linspace(0.9, 0.5, n, dtype=np.float32),
        np.arange(n, dtype=np.int32),
    )
    return Result(value, "", hw, labels, TIMINGS)


def classes(*ids: int, labels: tuple[str, ...] = models.LABELS) -> Result:
    scores = np.linspace(0.9, 0.1, len(ids), dtype=np.float32)
    return Result(Classes(np.array(ids, np.int32), scores), "", (9, 9), labels, TIMINGS)


def test_nothing_found_leaves_the_image_as_it_was() -> None:
    image = models.image(hw=(30, 40))
    for result in (detections([]), classes()):
        drawn = draw(image, result)
        assert drawn is not image
        assert (drawn == image).all()


def test_the_image_itself_is_not_touched() -> None:
    image = models.image(hw=(120, 160), color=100)
    before = image.copy()
    drawn = draw(image, detections([[20, 40, 100, 90]]))
    assert (image == before).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8


def test_edges_are_drawn_where_the_box_is() -> None:
    image = models.image(hw=(120, 160), color=100)
    drawn = draw(image, detections([[20, 60, 100, 110]]))
    color = color_of(0)
    for y, x in ((60, 90), (110, 60), (85, 20), (85, 100)):
        assert drawn[y, x].tolist() == pytest.approx(color, abs=20)
    changed = (drawn != 100).any(axis=2)
    assert not changed[85, 25:95].any()
    assert not changed[115:].any()
    assert not changed[:, 104:].any()
    # The plate with the label stands on the upper left corner.
    assert changed[52:59, 22:40].all()


def test_the_best_lie_on_top() -> None:
    image = models.image(hw=(120, 160), color=100)
    box = [20, 60, 100, 110]
    drawn = draw(image, detections([box, box]))
    assert drawn[110, 60].tolist() == pytest.approx(color_of(0), abs=40)
    assert np.abs(drawn[110, 60].astype(int) - color_of(1)).max() > 60


@pytest.mark.parametrize(
    "box",
    [
        [-50, -50, 500, 500],
        [150, 110, 400, 300],
        [-80, -80, -10, -10],
        [0, 0, 160, 120],
        [0, 0, 0, 0],
        [159.6, 119.7, 160, 120],
        [1e6, 1e6, 2e6, 2e6],
    ],
)
@pytest.mark.parametrize("hw", [(120, 160), (1, 1), (1, 200), (200, 1), (8, 8)])
def test_boxes_partly_or_wholly_outside(box: list[float], hw: tuple[int, int]) -> None:
    # A margin around the image shows whether something is written beyond it.
    big = np.full((hw[0] + 40, hw[1] + 40, 3), 7, np.uint8)
    window = big[20:-20, 20:-20]
    drawn = draw(window, detections([box]))
    assert drawn.shape == (*hw, 3)
    assert (big == 7).all()


@pytest.mark.parametrize(
    "label",
    ["", "Ärger", "猫", "a\nb", "tab\there", "x" * 500, "\0", "\udcff", "🐱 cat", "[bold]"],
)
def test_labels_of_every_kind(label: str) -> None:
    image = models.image(hw=(60, 80), color=100)
    assert (draw(image, detections([[10, 30, 60, 50]], (label,))) != 100).any()
    assert (draw(image, classes(0, labels=(label,))) != 100).any()


def test_accents_are_taken_off() -> None:
    image = models.image(hw=(60, 160), color=100)
    box = [[10, 30, 60, 50]]
    with_accent = draw(image, detections(box, ("Äpfel é",)))
    assert (with_accent == draw(image, detections(box, ("Apfel e",)))).all()


def test_a_class_without_a_label_is_its_number() -> None:
    image = models.image(hw=(60, 160), color=100)
    box = [[10, 30, 60, 50]]
    assert (draw(image, detections(box, ())) == draw(image, detections(box, ("0",)))).all()


def test_classes_are_listed_from_the_top() -> None:
    image = models.image(hw=(200, 200), color=100)
    one, three = (draw(image, classes(*range(n))) for n in (1, 3))
    rows_of_one = np.flatnonzero((one != 100).any(axis=(1, 2)))
    rows_of_three = np.flatnonzero((three != 100).any(axis=(1, 2)))
    assert rows_of_one.max() < rows_of_three.max()
    assert (draw(models.image(hw=(1, 1)), classes(0, 1, 2))).shape == (1, 1, 3)


def test_neighbouring_colours_differ() -> None:
    colors = [np.array(color_of(i), int) for i in range(80)]
    for a, b in itertools.pairwise(colors):
        assert np.abs(a - b).max() > 60
    assert color_of(3) == color_of(3)
    assert all(0 <= v <= 255 for v in color_of(10**6))


def test_masks_tint_what_they_cover_and_nothing_else() -> None:
    image = models.image(hw=(120, 160), color=100)
    full = np.zeros((1, 120, 160), bool)
    full[0, 60:100, 40:90] = True
    full[0, 70:80, 50:60] = False
    value = detections([[40, 60, 90, 100]]).detections.replace(masks=Masks.from_full(full))
    drawn = draw(image, Result(value, "", (120, 160), models.LABELS, TIMINGS))
    tint = 0.45 * np.array(color_of(0)) + 0.55 * 100
    np.testing.assert_allclose(drawn[90, 65], tint, atol=1)
    assert drawn[75, 55].tolist() == [100] * 3
    assert drawn[60, 70].tolist() == pytest.approx(color_of(0), abs=40)
    assert not (drawn[104:] != 100).any()
    nothing = value.replace(masks=Masks.from_full(full & False))
    plain = draw(image, detections([[40, 60, 90, 100]]))
    assert (draw(image, Result(nothing, "", (120, 160), models.LABELS, TIMINGS)) == plain).all()


@pytest.mark.parametrize("center", [(80, 70), (0, 0), (1e9, -1e9)])
def test_oriented_boxes_are_drawn_turned(center: tuple[float, float]) -> None:
    image = models.image(hw=(120, 160), color=100)
    xywhr = np.array([[*center, 80, 30, np.pi / 4]], np.float32)
    value = detections([[45, 40, 120, 110]]).detections.replace(xywhr=xywhr)
    drawn = draw(image, Result(value, "", (120, 160), models.LABELS, TIMINGS))
    # Of the upright hull nothing is drawn.
    assert drawn[110, 100].tolist() == drawn[100, 45].tolist() == [100] * 3
    if center == (80, 70):
        # The middle of a long side, 15 pixels across from the centre.
        assert np.abs(drawn[78:84, 66:72].astype(int) - 100).max() > 50


def test_a_track_s_number_is_in_the_label() -> None:
    image = models.image(hw=(120, 160), color=100)
    value = detections([[20, 60, 100, 110]]).detections
    pictures = [
        draw(image, Result(value.replace(track_id=ids), "", (120, 160), models.LABELS, TIMINGS))
        for ids in (None, np.zeros(1, np.int32), np.array([7], np.int32))
    ]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] != pictures[2]).any()


def skeleton(count: int, score: float = 0.9) -> np.ndarray:
    """Keypoints on a diagonal, 10 pixels apart."""
    places = 10 + 10 * np.arange(count, dtype=np.float32)
    return np.stack([places, places, np.full(count, score)], axis=1)[None].astype(np.float32)


def test_coco_keypoints_are_joined_by_limbs_and_others_are_points() -> None:
    canvas = np.zeros((200, 200, 3), np.uint8)
    draw_keypoints(canvas, skeleton(17))
    assert canvas[10:180:10, 10:180:10].diagonal().any(axis=0).all()
    assert canvas[15, 15].any(), "nose to left eye"
    others = np.zeros((200, 200, 3), np.uint8)
    draw_keypoints(others, skeleton(5))
    assert others[10:60:10, 10:60:10].diagonal().any(axis=0).all()
    assert not others[15, 15].any()
    assert not others[60:].any()


def test_keypoints_that_are_not_seen_are_not_drawn() -> None:
    canvas = np.zeros((200, 200, 3), np.uint8)
    draw_keypoints(canvas, skeleton(17, 0.2))
    assert not canvas.any()
    draw_keypoints(canvas, skeleton(17, 0.2), least=0.1)
    assert canvas.any()
    points = skeleton(17)
    points[0, 0, 2] = 0
    canvas[:] = 0
    draw_keypoints(canvas, points)
    assert not canvas[:16, :16].any(), "neither the nose nor what leads to it"


def test_keypoints_far_outside_are_no_trouble() -> None:
    canvas = np.zeros((50, 50, 3), np.uint8)
    points = skeleton(17)
    points[0, :, 0] = 1e9
    points[0, ::2, 1] = -1e9
    draw_keypoints(canvas, points)
    draw_keypoints(canvas, np.zeros((0, 17, 3), np.float32))
    draw_keypoints(canvas, np.zeros((1, 0, 3), np.float32))


def test_labels_do_not_cover_each_other_where_there_is_room() -> None:
    image = models.image(hw=(200, 200), color=100)
    same = [[40, 60, 160, 140]] * 3
    drawn = draw(image, detections(same, ("one", "two", "three"), (200, 200)))
    covered = [int((drawn == color_of(i)).all(axis=2).sum()) for i in range(3)]
    alone = draw(image, detections(same[:1], ("one",), (200, 200)))
    plate = int((alone[:60] == color_of(0)).all(axis=2).sum())
    # Of the worse two the frames are hidden, and the plates are not.
    assert min(covered[1:]) > 0.6 * plate


def test_labels_lie_on_the_lines_of_other_objects() -> None:
    image = models.image(hw=(200, 200), color=100)
    worse, better = [40, 60, 160, 180], [50, 20, 55, 190]
    alone = draw(image, detections([[300, 300, 310, 310], worse], models.LABELS, (200, 200)))
    both = draw(image, detections([better, worse], models.LABELS, (200, 200)))
    plate = np.s_[50:58, 42:80]
    assert (both[plate] == alone[plate]).all()


def test_the_label_of_an_oriented_box_is_at_its_highest_corner() -> None:
    image = models.image(hw=(200, 300), color=100)
    xywhr = np.array([[150, 110, 200, 20, -np.pi / 5]], np.float32)
    value = detections([[60, 43, 240, 177]]).detections.replace(xywhr=xywhr)
    drawn = draw(image, Result(value, "", (200, 300), models.LABELS, TIMINGS))
    plate = (drawn == color_of(0)).all(axis=2)
    assert plate[28:44, 220:270].mean() > 0.4
    assert not (drawn[:60, :150] != 100).any(), "nothing is written at the corner of the hull"


def test_classes_whose_hues_are_close_differ_in_lightness() -> None:
    colors = [np.array(color_of(i), int) for i in range(21)]
    for i, color in enumerate(colors):
        assert min(np.abs(color - other).max() for other in colors[:i] + colors[i + 1 :]) > 50


def test_plates_stay_inside_and_say_where_they_are() -> None:
    for at in ((-50, -50), (500, 500), (20, 60)):
        canvas = models.image(hw=(100, 160), color=100)
        x1, y1, x2, y2 = plate_of(canvas, "a label", at, 0.4, 1)
        assert 0 <= x1 < x2 <= 160
        assert 0 <= y1 < y2 <= 100
        write(canvas, "a label", at, (200, 0, 0), 0.4, 1)
        rows, columns = np.nonzero((canvas != 100).any(axis=2))
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x1, y1, x2, y2)
