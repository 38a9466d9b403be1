"""Observation-centric SORT: what was seen counts more than what a filter made of it.

Source: Cao et al., Observation-Centric SORT: Rethinking SORT for Robust Multi-Object Tracking,
CVPR 2023, section 4:

- re-update (4.1): when an object is found again, its filter goes back to where it was last seen
  and is led along the straight way from there, since what it made up meanwhile was noise;
- momentum (4.2): a pair also costs the turn that it would make of the object's direction;
- recovery (4.2): who is left over is looked for where it was last seen, not where it is expected.

Only detections from ``high_score`` on are used. Directions are taken over seconds, not frames, and
the filter is that of `edgecv.motion`.
"""

from __future__ import annotations

import numpy as np

from edgecv import boxes
from edgecv.association import NOBODY, Pairing, solver
from edgecv.motion import Motion
from edgecv.results.detections import Detections
from edgecv.tracker import TrackerOptions, check_range
from edgecv.tracks import Tracks
from edgecv.types import Array, Float32

_KEPT = 8
_LED = 30  # at most so many virtual steps; the way is straight, more say nothing new


class Options(TrackerOptions, kw_only=True):
    """Options of the observation-centric tracker.

    Attributes:
        momentum_weight: cost of a turn by 180 degrees; lambda of the paper.
        momentum_s: the direction of an object is taken over this time (three frames of video).
        recovery_iou: the IoU with the last box seen that finds an object again; more than
            `min_iou`, since others pass where one has left.
    """

    momentum_weight: float = 0.2
    momentum_s: float = 0.1
    recovery_iou: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "momentum_weight", 0, 1)
        check_range(self, "momentum_s", 0, 10)
        check_range(self, "recovery_iou", 0, 1)


class OcSort:
    """Follows objects; see `edgecv.tracker.Tracker`."""

    def __init__(self, options: Options) -> None:
        solver()
        self.options = options
        self._tracks = Tracks(options)
        self._begin()

    def _begin(self) -> None:
        self._at_last = Motion.of(np.zeros((0, 4), np.float32))  # as it was when last seen
        self._missed = np.zeros(0, np.int64)  # frames since
        # The last observations, newest first: centre x, centre y, time; NaN where there are fewer.
        self._past = np.zeros((0, _KEPT, 3))

    @property
    def min_score(self) -> float:
        """The lowest score that it makes use of."""
        return self.options.high_score

    def update(
        self, detections: Detections, timestamp_s: float, embeddings: Float32 | None = None
    ) -> Detections:
        """Give the detections of the next frame their ids; see `edgecv.tracker.Tracker`."""
        tracks, options = self._tracks, self.options
        looks = tracks.check_looks(detections, embeddings)
        self._keep(tracks.advance(timestamp_s))
        high = np.flatnonzero(detections.score >= options.high_score)
        pairing = Pairing(len(tracks), len(detections))
        expected = tracks.motion.xyxy()
        confirmed = np.flatnonzero(tracks.id > 0)
        self._match(pairing, confirmed, expected, detections, high, looks)
        if looks is not None:
            rows, columns = pairing.tracks(confirmed), pairing.detections(high)
            cost = tracks.appearance_cost(rows, detections, columns, looks)
            pairing.round(rows, columns, cost, options.appearance_distance)
        begun = np.flatnonzero(tracks.id == 0)
        self._match(pairing, begun, expected, detections, high, looks)

        columns = np.flatnonzero(pairing.track_of != NOBODY)
        rows = pairing.track_of[columns]
        self._lead(rows, detections.xyxy[columns], timestamp_s)
        tracks.motion.correct(rows, detections.xyxy[columns])
        tracks.see(rows, detections, columns)
        tracks.look(rows, looks, columns)
        self._note(rows, timestamp_s)
        result, kept, new = tracks.finish(pairing, detections, looks)
        self._keep(kept)
        self._extend(new, timestamp_s)
        return result

    def _match(
        self,
        pairing: Pairing,
        rows: Array,
        expected: Float32,
        detections: Detections,
        columns: Array,
        looks: Float32 | None,
    ) -> None:
        """Pair (R,) tracks with the free ones of (C,) detections: momentum, then recovery."""
        tracks, options = self._tracks, self.options
        columns = pairing.detections(columns)
        cost = tracks.cost(
            rows, expected[rows], detections, columns, min_iou=options.min_iou, looks=looks
        )
        turn = options.momentum_weight * self._turns(rows, detections.xyxy[columns])
        pairing.round(rows, columns, cost + turn, 1 + options.momentum_weight)
        rows, columns = pairing.tracks(rows), pairing.detections(columns)
        last = boxes.from_cxcywh(tracks.motion.seen[rows].astype(np.float32))
        cost = tracks.cost(
            rows, last, detections, columns, min_iou=options.recovery_iou, looks=looks
        )
        pairing.round(rows, columns, cost, 1.0)

    def _turns(self, rows: Array, xyxy: Float32) -> Array:
        """Compute the turn (R, C) that pairs make of their track, 0-1 for 0-180 degrees.

        The direction before is that between an observation `momentum_s` before the last and the
        last, the direction after goes from there to the detection (section 4.2).
        """
        past = self._past[rows]
        age = past[:, :1, 2] - past[:, :, 2]
        # The newest that is old enough, else the oldest there is; 1 ns for rounded times.
        enough = age >= self.options.momentum_s - 1e-9
        oldest = np.isfinite(age).sum(axis=1) - 1
        k = np.where(enough.any(axis=1), enough.argmax(axis=1), oldest)
        start = past[np.arange(len(rows)), k, :2]
        before = past[:, 0, :2] - start
        centre = boxes.to_cxcywh(xyxy)[None, :, :2]
        after = centre - start[:, None]
        angle = np.abs(
            np.arctan2(after[..., 1], after[..., 0])
            - np.arctan2(before[:, 1], before[:, 0])[:, None]
        )
        angle = np.minimum(angle, 2 * np.pi - angle) / np.pi
        angle[k == 0] = 0  # seen once: no direction
        return np.asarray(angle)

    def _lead(self, rows: Array, xyxy: Float32, now_s: float) -> None:
        """Lead the filters of tracks that were out of sight along the straight way to (K, 4) boxes.

        Each frame in which a track was missed gives one virtual observation (section
        4.1), at equal distances in time. The last step is left to the real observation.
        """
        again = np.flatnonzero(self._missed[rows] > 0)
        if not len(again):
            return
        found = rows[again]
        motion = self._at_last[found]
        steps = np.minimum(self._missed[found], _LED) + 1
        pause = (now_s - self._tracks.seen_s[found]) / steps
        start = motion.seen.copy()
        end = boxes.to_cxcywh(xyxy[again].astype(np.float64))
        for step in range(1, int(steps.max()) + 1):
            active = np.flatnonzero(step <= steps)
            motion_now = motion[active]
            motion_now.predict(pause[active])
            virtual = np.flatnonzero(step < steps[active])
            share = (step / steps[active][virtual])[:, None]
            between = start[active][virtual] * (1 - share) + end[active][virtual] * share
            motion_now.correct(virtual, boxes.from_cxcywh(between.astype(np.float32)))
            motion.put(active, motion_now)
        self._tracks.motion.put(found, motion)

    def _note(self, rows: Array, now_s: float) -> None:
        """Remember what was seen in this frame of (K,) tracks, and that the others were missed."""
        motion = self._tracks.motion
        self._missed += 1
        self._missed[rows] = 0
        self._at_last.put(rows, motion[rows])
        self._past[rows, 1:] = self._past[rows, :-1]
        self._past[rows, 0, :2] = motion.seen[rows, :2]
        self._past[rows, 0, 2] = now_s

    def _keep(self, rows: Array) -> None:
        if len(rows) < len(self._missed):
            self._at_last = self._at_last[rows]
            self._missed, self._past = self._missed[rows], self._past[rows]

    def _extend(self, count: int, now_s: float) -> None:
        if not count:
            return
        fresh = self._tracks.motion[np.arange(len(self._tracks) - count, len(self._tracks))]
        past = np.full((count, _KEPT, 3), np.nan)
        past[:, 0, :2], past[:, 0, 2] = fresh.seen[:, :2], now_s
        self._at_last = self._at_last.extended(fresh)
        self._missed = np.concatenate([self._missed, np.zeros(count, np.int64)])
        self._past = np.concatenate([self._past, past])

    def lost(self) -> Detections:
        """Return the objects that are followed but out of sight."""
        return self._tracks.lost_detections()

    def reset(self) -> None:
        """Forget all tracks and the time; ids go on counting."""
        self._tracks.clear()
        self._begin()


def create(options: Options) -> OcSort:
    """Make a tracker that has seen nothing."""
    return OcSort(options)
