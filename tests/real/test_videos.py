"""Real videos: as many frames as they have, at times that grow, the same by both readers."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edgecv.planes import as_planes
from edgecv.source import open_source

pytestmark = pytest.mark.real

VIDEOS = [
    ("bottle-detection.mp4", 1189, (360, 640)),
    ("one-by-one-person-detection.mp4", 1394, (432, 768)),
]


def frames(path: Path, **options):
    return open_source(path, **options).frames(threading.Event())


@pytest.mark.parametrize("reader", ["pyav", "opencv"])
@pytest.mark.parametrize(("name", "count", "size"), VIDEOS)
def test_every_frame_is_there(real_dir: Path, name: str, count: int, size, reader: str) -> None:
    path = real_dir / "data/videos" / name
    times, last = [], None
    for number, frame in enumerate(frames(path, reader=reader)):
        assert frame.index == number
        assert frame.raw.shape[:2] == size
        times.append(frame.timestamp_s)
        last = frame
    assert len(times) == count
    assert all(a < b for a, b in pairwise(times))
    assert times[0] == 0
    assert last.image.shape == (*size, 3)


@pytest.mark.parametrize(("name", "count", "size"), VIDEOS)
def test_the_readers_agree(real_dir: Path, name: str, count: int, size) -> None:
    path = real_dir / "data/videos" / name
    start = {"start_s": 20.0, "stop_s": 22.0, "stride": 5}
    ours, other = (list(frames(path, reader=reader, **start)) for reader in ("pyav", "opencv"))
    assert len(ours) == len(other) > 3
    for a, b in zip(ours, other, strict=True):
        assert a.timestamp_s == pytest.approx(b.timestamp_s, abs=1e-3)
        assert 20 <= a.timestamp_s < 22
        # one rounds and the other cuts in the colour conversion
        assert np.abs(a.image.astype(int) - b.image).mean() < 2


def test_a_seek_lands_on_the_frame_that_reading_on_would_reach(real_dir: Path) -> None:
    path = real_dir / "data/videos" / VIDEOS[0][0]
    whole = [frame for frame in frames(path) if 30 <= frame.timestamp_s < 31]
    part = list(frames(path, start_s=30.0, stop_s=31.0))
    assert [f.timestamp_s for f in part] == [f.timestamp_s for f in whole]
    for a, b in zip(part, whole, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_a_model_sees_the_same_through_planes(real_dir: Path) -> None:
    """Planes that are resized before they are converted give the detections of the image."""
    import cv2

    import edgecv

    path = real_dir / "data/videos" / VIDEOS[1][0]
    model = edgecv.load(real_dir / "models/yolox-nano/yolox_nano.onnx", head="yolox", threads=2)
    seen = 0
    with model:
        for frame in frames(path, start_s=20.0, stop_s=60.0, stride=20):
            packed = cv2.cvtColor(frame.image, cv2.COLOR_BGR2YUV_I420)
            planes = as_planes(packed, "i420")
            assert planes.resized((234, 416), cv2.INTER_LINEAR) is not None
            early, late = model(planes).detections, model(planes.to_bgr()).detections
            sure = late.score > 0.5
            seen += int(sure.sum())
            for box in late.xyxy[sure]:
                assert np.abs(early.xyxy - box).max(axis=1).min() < 4
    assert seen >= 5
