"""Synthetic scenes for trackers: objects that move as told, seen as told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from edgecv.results.detections import Detections
from edgecv.tracker import Tracker
from edgecv.types import Array

FPS = 25.0


def detections(xyxy: Array, score: Array | float = 0.9, class_id: Array | int = 0) -> Detections:
    """Make detections of (N, 4) boxes."""
    boxes = np.asarray(xyxy, np.float32).reshape(-1, 4)
    n = len(boxes)
    return Detections(
        boxes,
        np.broadcast_to(np.asarray(score, np.float32), n).copy(),
        np.broadcast_to(np.asarray(class_id, np.int32), n).copy(),
    )


def boxes_at(centre: Array, wh: Array) -> Array:
    """Make (N, 4) boxes of (N, 2) centres and sizes."""
    return np.concatenate([centre - np.asarray(wh) / 2, centre + np.asarray(wh) / 2], axis=-1)


class Straight:
    """N objects on straight ways.

    Args:
        start: (N, 2) centres in pixels at time 0.
        velocity: (N, 2) pixels a second.
        wh: (N, 2) or (2,) sizes.
        jitter: standard deviation of each edge, pixels.
    """

    def __init__(
        self, start: object, velocity: object, wh: object, jitter: float = 0, seed: int = 0
    ) -> None:
        self.start, self.velocity = np.array(start, float), np.array(velocity, float)
        self.wh = np.broadcast_to(np.array(wh, float), self.start.shape)
        self.jitter, self.random = jitter, np.random.default_rng(seed)

    def __call__(self, t: float) -> Array:
        """Return boxes (N, 4) at a time."""
        boxes = boxes_at(self.start + self.velocity * t, self.wh)
        return boxes + self.random.normal(0, 1, boxes.shape) * self.jitter


def follow(
    tracker: Tracker,
    scene: Callable[[float], Array],
    times: Iterable[float],
    visible: Callable[[float], Sequence[bool] | Array] | None = None,
) -> Iterator[tuple[float, Array]]:
    """Yield time and the id (N,) of every object of a scene, -1 where it is not visible."""
    for t in times:
        boxes = scene(t)
        seen = np.ones(len(boxes), bool) if visible is None else np.array(visible(t), bool)
        found = tracker.update(detections(boxes[seen]), t)
        assert found.track_id is not None
        ids = np.full(len(boxes), -1)
        ids[seen] = found.track_id
        yield t, ids


def ids_of_each(rows: Iterable[tuple[float, Array]]) -> list[set[int]]:
    """Collect the ids above 0 that each object had."""
    table = np.array([ids for _, ids in rows])
    return [set(column[column > 0].tolist()) for column in table.T]


def frames(seconds: float, drop: float = 0, seed: int = 0, fps: float = FPS) -> list[float]:
    """List the times of frames, a share of them dropped at random."""
    random = np.random.default_rng(seed)
    return [k / fps for k in range(round(seconds * fps)) if random.random() >= drop]
