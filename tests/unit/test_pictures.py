"""The pictures of the documentation are what their scripts draw, and its pages show them."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgecv import codecs
from scripts import picture_scenes, picture_tasks, pictures

ROOT = Path(__file__).parents[2]
# They were drawn with OpenCV 5, which sets text in another font than OpenCV 4.
MOST_DIFFERENT = 0.002 if cv2.__version__.startswith("5.") else 0.05
LARGE = {"digits", "tiles", "tracking"}


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_what_is_committed_is_what_is_drawn(name: str) -> None:
    path = pictures.FOLDER / f"{name}.jpg"
    drawn, committed = pictures.PICTURES[name](), codecs.read(path)
    assert drawn.shape == committed.shape
    ok, encoded = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, pictures.QUALITY])
    assert ok
    again = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    apart = np.abs(again.astype(int) - committed).max(axis=2)
    assert (apart > 24).mean() < MOST_DIFFERENT, f"python -m scripts.pictures {name}"
    if name not in LARGE:
        assert path.stat().st_size < 60_000
        assert 600 < drawn.shape[1] < 700


def test_every_picture_is_drawn_and_shown() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    shown = {n for page in pages for n in re.findall(r"pictures/(\w+)\.jpg", page.read_text())}
    assert shown == set(pictures.PICTURES)
    assert shown == {path.stem for path in pictures.FOLDER.iterdir()}
    overview = (ROOT / "docs/tasks.md").read_text()
    assert not {n for n in shown - LARGE if f"pictures/{n}.jpg" not in overview}


@pytest.mark.parametrize("name", ["segment", "pose", "semantic", "depth", "prompt"])
def test_something_is_drawn_on_the_scene(name: str) -> None:
    scene, _ = picture_scenes.busy_street()
    drawn = getattr(picture_tasks, name)()
    changed = (drawn != scene.image).any(axis=2)
    assert changed.mean() > (0.9 if name in ("semantic", "depth") else 0.02)


def test_scenes_say_what_is_in_them() -> None:
    scene, numbers = picture_scenes.busy_street()
    found = scene.detections(numbers[2:], (0.9, 0.8, 0.7))
    assert found.keypoints is not None
    assert found.keypoints.shape == (3, 17, 3)
    for i, mask in enumerate(found.instance_masks.full(k) for k in range(3)):
        x, y = found.keypoints[i, :, :2].round().astype(int).T
        assert mask[y, x].mean() > 0.9, "joints lie on the person"
    assert found.class_id.tolist() == [picture_scenes.PERSON] * 3
    assert (scene.class_map()[scene.owner == numbers[0]] == picture_scenes.CAR).all()
    near, far = scene.depth(picture_scenes.HORIZON)[[399, 300], 5]
    assert 0 < near < far
    _, xywhr, class_id = picture_scenes.belt()
    assert len(xywhr) == len(class_id) == 6


def test_the_search_finds_the_mug() -> None:
    query = picture_tasks.descriptor(picture_scenes.thing("mug", (70, 60, 175), shift=6))
    cosines = {}
    for name, kind, color in picture_tasks.THINGS:
        vector = picture_tasks.descriptor(picture_scenes.thing(kind, color))
        cosines[name] = query @ vector / np.linalg.norm(query) / np.linalg.norm(vector)
    best = sorted(cosines, key=lambda name: -cosines[name])[:2]
    assert best == ["red mug", "blue mug"]
