"""Tiles on real pictures: small kites and people on a beach, and a cat larger than a tile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgecv
from edgecv import boxes, codecs
from edgecv.model import Model
from edgecv.tiles import tiled

PERSON, CAT, KITE = 0, 15, 33
KITES = [(279, 242), (467, 345), (577, 346), (594, 80), (1084, 396), (303, 376)]
"""A point in or beside each kite, by eye."""


@pytest.fixture(scope="module")
def model(real_dir: Path) -> Iterator[Model]:
    path = real_dir / "models/yolox-nano/yolox_nano.onnx"
    with edgecv.load(path, head="yolox", trusted=True, threads=2) as opened:
        yield opened


def test_small_objects_are_found_in_tiles(model: Model, real_dir: Path) -> None:
    image = codecs.read(real_dir / "data/images/kite_and_cold.jpg")
    alone, found = model(image).detections, tiled(model, image, overlap=0.25).detections
    for class_id, least in ((KITE, 7), (PERSON, 10)):
        mine, without = (d[d.class_id == class_id] for d in (found, alone))
        assert len(mine) >= least > len(without)
        overlap = boxes.iou(mine.xyxy, mine.xyxy)
        assert (overlap - np.eye(len(mine))).max() < 0.5
    kites = found.xyxy[found.class_id == KITE] + np.array([-10, -10, 10, 10], np.float32)
    for x, y in KITES:
        inside = (kites[:, 0] < x) & (x < kites[:, 2]) & (kites[:, 1] < y) & (y < kites[:, 3])
        assert inside.any(), (x, y)


def test_what_no_tile_holds_is_found_on_the_whole_image(model: Model, real_dir: Path) -> None:
    image = codecs.read(real_dir / "data/images/cat_720p.jpg")
    alone = model(image).detections
    found = tiled(model, image, overlap=0.25, whole=True).detections
    cats = [d[d.class_id == CAT] for d in (alone, found)]
    assert len(cats[0]) == len(cats[1]) == 1
    np.testing.assert_array_equal(cats[0].xyxy, cats[1].xyxy)
    parts = tiled(model, image, overlap=0.25).detections
    assert (parts.class_id == CAT).sum() > 1
