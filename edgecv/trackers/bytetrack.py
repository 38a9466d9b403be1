"""ByteTrack: boxes of low score do not begin tracks, but they keep those that would be lost.

Source: Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection Box, ECCV
2022, section 3 and algorithm 1. Frames are replaced by seconds, see `edgecv.motion`.

The second round is what makes it ByteTrack, so the model must let low scores through: set its
confidence to `min_score`, 0.1 by default. With ``low_score`` not below ``high_score`` there is no
second round, which leaves SORT (Bewley et al. 2016) with tracks that are found again.
"""

from __future__ import annotations

import numpy as np

from edgecv.association import NOBODY, Pairing, solver
from edgecv.results.detections import Detections
from edgecv.tracker import TrackerOptions, check_range
from edgecv.tracks import Tracks
from edgecv.types import Array, Float32


class Options(TrackerOptions, kw_only=True):
    """Options of ByteTrack.

    Attributes:
        low_score: detections between it and `high_score` may only continue tracks.
        low_min_iou: the IoU that they need for it; more than `min_iou`, since they are unsure.
    """

    low_score: float = 0.1
    low_min_iou: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "low_score", 0, 1)
        check_range(self, "low_min_iou", 0, 1)


class ByteTrack:
    """Follows objects; see `edgecv.tracker.Tracker`."""

    def __init__(self, options: Options) -> None:
        solver()
        self.options = options
        self._tracks = Tracks(options)

    @property
    def min_score(self) -> float:
        """The lowest score that it makes use of."""
        return min(self.options.low_score, self.options.high_score)

    def update(
        self, detections: Detections, timestamp_s: float, embeddings: Float32 | None = None
    ) -> Detections:
        """Give the detections of the next frame their ids; see `edgecv.tracker.Tracker`."""
        tracks, options = self._tracks, self.options
        looks = tracks.check_looks(detections, embeddings)
        tracks.advance(timestamp_s)
        high = np.flatnonzero(detections.score >= options.high_score)
        low = np.flatnonzero(
            (detections.score >= options.low_score) & (detections.score < options.high_score)
        )
        pairing = Pairing(len(tracks), len(detections))
        expected = tracks.motion.xyxy()
        confirmed = np.flatnonzero(tracks.id > 0)

        def match(rows: Array, columns: Array, min_iou: float, use: Float32 | None) -> None:
            rows, columns = pairing.tracks(rows), pairing.detections(columns)
            cost = tracks.cost(
                rows, expected[rows], detections, columns, min_iou=min_iou, looks=use
            )
            pairing.round(rows, columns, cost, 1.0)

        match(confirmed, high, options.min_iou, looks)
        # Low boxes are often half hidden objects, whose looks say little: algorithm 1 takes IoU
        # alone for them. A track that is lost already is not found again by an unsure box.
        match(confirmed[~tracks.lost[confirmed]], low, options.low_min_iou, None)
        if looks is not None:
            rows, columns = pairing.tracks(confirmed), pairing.detections(high)
            cost = tracks.appearance_cost(rows, detections, columns, looks)
            pairing.round(rows, columns, cost, options.appearance_distance)
        match(np.flatnonzero(tracks.id == 0), high, options.min_iou, looks)

        columns = np.flatnonzero(pairing.track_of != NOBODY)
        rows = pairing.track_of[columns]
        tracks.motion.correct(rows, detections.xyxy[columns])
        tracks.see(rows, detections, columns)
        sure = detections.score[columns] >= options.high_score
        tracks.look(rows[sure], looks, columns[sure])
        return tracks.finish(pairing, detections, looks)[0]

    def lost(self) -> Detections:
        """Return the objects that are followed but out of sight."""
        return self._tracks.lost_detections()

    def reset(self) -> None:
        """Forget all tracks and the time; ids go on counting."""
        self._tracks.clear()


def create(options: Options) -> ByteTrack:
    """Make a tracker that has seen nothing."""
    return ByteTrack(options)
