"""MoveNet on a real picture: a man in a squat, seen from his right, facing right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgecv
from edgecv import codecs
from edgecv.drawing import draw
from edgecv.model import Model
from edgecv.results.detections import Detections
from edgecv.top_down import estimate

NOSE, EYES, EARS, SHOULDERS, ELBOWS = 0, [1, 2], [3, 4], [5, 6], [7, 8]
WRISTS, HIPS, KNEES, ANKLES = [9, 10], [11, 12], [13, 14], [15, 16]
PERSON = np.array([[104, 135, 368, 603]], np.float32)
"""Around the man, by eye."""


PARTS = {
    "eyes": EYES, "ears": EARS, "shoulders": SHOULDERS, "elbows": ELBOWS, "wrists": WRISTS,
    "hips": HIPS, "knees": KNEES, "ankles": ANKLES,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(real_dir: Path) -> Iterator[Model]:
    path = real_dir / "models/coral/movenet_single_pose_lightning_ptq.tflite"
    with edgecv.load(path, trusted=True, threads=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def image(real_dir: Path) -> np.ndarray:
    return codecs.read(real_dir / "data/images/squat.bmp")


def check_skeleton(points: np.ndarray, image: np.ndarray) -> None:
    assert points.shape == (17, 3)
    xy, score = points[:, :2], points[:, 2]
    assert score.min() > 0.3
    x1, y1, x2, y2 = PERSON[0]
    assert (xy >= (x1, y1)).all()
    assert (xy <= (x2, y2)).all()
    # On the man, and not on the bright grey wall beside him: skin or something dark is there.
    for x, y in xy.astype(int):
        patch = image[y - 4 : y + 5, x - 4 : x + 5].astype(int).mean(axis=(0, 1))
        assert patch[2] - patch[0] > 20 or patch.max() < 120, (x, y)
    height = {name: xy[part, 1] for name, part in PARTS.items()}
    assert height["eyes"].max() < height["shoulders"].min()
    assert height["ears"].max() < height["shoulders"].min()
    assert height["shoulders"].max() < height["elbows"].min()
    assert height["elbows"].max() < height["hips"].min()
    assert height["hips"].max() < height["knees"].min()
    assert height["knees"].max() < height["ankles"].min()
    # His hands are before his face, his left is the far side, and further right.
    assert height["wrists"].max() < height["elbows"].min()
    for left, right in (SHOULDERS, ELBOWS, HIPS, KNEES, ANKLES):
        assert xy[left, 0] > xy[right, 0] + 20
    assert xy[NOSE, 0] > xy[EARS, 0].max()


def test_a_plausible_skeleton(model: Model, image: np.ndarray) -> None:
    assert (model.task, model.info.head, model.info.told_by) == ("pose", "movenet", "shapes")
    result = model(image)
    found = result.detections
    assert len(found) == 1
    assert found.score[0] > 0.6
    check_skeleton(found.keypoints[0], image)
    x1, _, _, y2 = found.xyxy[0]
    assert found.keypoints[0, :, 0].min() == pytest.approx(x1)
    assert found.keypoints[0, :, 1].max() == pytest.approx(y2)
    drawn = draw(image, result)
    for x, y, _ in found.keypoints[0]:
        assert (drawn[int(y), int(x)] != image[int(y), int(x)]).any()


def test_the_crop_around_him_gives_the_same(model: Model, image: np.ndarray) -> None:
    people = Detections(PERSON, np.ones(1, np.float32), np.zeros(1, np.int32))
    found = estimate(model, image, people)
    check_skeleton(found.keypoints[0], image)
    whole = model(image).detections.keypoints[0]
    apart = np.hypot(*(found.keypoints[0, :, :2] - whole[:, :2]).T)
    assert np.median(apart) < 12
