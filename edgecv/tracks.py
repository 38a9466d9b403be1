"""The tracks that a tracker holds: their birth, life and end, as parallel arrays."""

from __future__ import annotations

import math

import numpy as np

from edgecv import boxes
from edgecv.association import NOBODY, Pairing, cosine_distance
from edgecv.errors import UsageError
from edgecv.motion import Motion
from edgecv.results.detections import Detections
from edgecv.tracker import TrackerOptions, unit_embeddings
from edgecv.types import Array, Float32

_EMBEDDING_KEPT = 0.9  # of a track's embedding at each new one: JDE (Wang et al. 2020)
_CHI2_2D_95 = 5.991  # 95 % quantile of the chi-square distribution with 2 degrees of freedom


class Tracks:
    """T tracks; T may be 0. Rows move when tracks end.

    Attributes:
        id: (T,) int64 from 1; 0 as long as a track is not confirmed.
        class_id: (T,) int64.
        hits: (T,) int64 detections so far.
        seen_s: (T,) float64 time of the last one.
        score: (T,) float32 of the last one.
        lost: (T,) bool whether the last frame had none.
        motion: of the T boxes, at the time of the last frame.
        embedding: (T, D) float32 of length 1, or 0 where a track has none; None before the first.
        now_s: time of the last frame; None before the first.
    """

    def __init__(self, options: TrackerOptions) -> None:
        self._options = options
        self._next_id = 1
        self.clear()

    def clear(self) -> None:
        """Forget all tracks and the time; ids go on counting."""
        self.id = np.zeros(0, np.int64)
        self.class_id = np.zeros(0, np.int64)
        self.hits = np.zeros(0, np.int64)
        self.seen_s = np.zeros(0)
        self.score = np.zeros(0, np.float32)
        self.lost = np.zeros(0, bool)
        self.motion = Motion.of(np.zeros((0, 4), np.float32))
        self.embedding: Float32 | None = None
        self.now_s: float | None = None
        self._first = True

    def __len__(self) -> int:
        return len(self.id)

    def check_time(self, timestamp_s: float) -> float:
        """Return the seconds since the last frame; 0 for the first.

        Raises:
            UsageError: the time is not finite, or goes backwards.
        """
        if not math.isfinite(timestamp_s):
            raise UsageError(
                "", where="timestamp_s", expected="a finite number", got=repr(timestamp_s)
            )
        if self.now_s is None:
            return 0.0
        if timestamp_s < self.now_s:
            raise UsageError(
                "the time goes backwards",
                where="timestamp_s",
                expected=f"{self.now_s:g} or later",
                got=f"{timestamp_s:g}",
                remedy="call reset() where a stream begins anew",
            )
        return timestamp_s - self.now_s

    def check_looks(self, detections: Detections, embeddings: Float32 | None) -> Float32 | None:
        """Return the embeddings of a frame at length 1, or None.

        Raises:
            UsageError: they do not fit the detections, or those of the frames before.
        """
        looks = unit_embeddings(detections, embeddings)
        if looks is None or not len(looks) or self.embedding is None:
            return looks
        if looks.shape[1] != self.embedding.shape[1]:
            raise UsageError(
                "of another network than before",
                where="embeddings",
                expected=f"{self.embedding.shape[1]} numbers each",
                got=str(looks.shape[1]),
                remedy="call reset() where the network changes",
            )
        return looks

    def advance(self, timestamp_s: float) -> Array:
        """Move all tracks on to the time of a frame, and end those that are overdue.

        Returns:
            (T,) int64 the row of each track before.
        """
        passed = self.check_time(timestamp_s)
        self._first = self.now_s is None
        self.now_s = timestamp_s
        options = self._options
        overdue = self.lost & (timestamp_s - self.seen_s > options.max_lost_s)
        if passed > max(options.max_gap_s, options.max_lost_s):
            overdue[:] = True
        kept = self.keep(~overdue)
        if passed:
            self.motion.predict(passed)
        return kept

    def keep(self, mask: Array) -> Array:
        """End the tracks that a (T,) mask leaves out; return the rows (K,) of the others."""
        rows = np.flatnonzero(mask)
        if len(rows) < len(self):
            for name in ("id", "class_id", "hits", "seen_s", "score", "lost"):
                setattr(self, name, getattr(self, name)[rows])
            self.motion = self.motion[rows]
            if self.embedding is not None:
                self.embedding = self.embedding[rows]
        return rows

    def cost(
        self,
        rows: Array,
        xyxy: Float32,
        detections: Detections,
        columns: Array,
        *,
        min_iou: float,
        looks: Float32 | None = None,
    ) -> Array:
        """Compute the cost (R, C) of pairs: 1 - IoU, with embeddings blended in.

        Args:
            rows: (R,) rows of tracks.
            xyxy: (R, 4) where they are expected.
            detections: of the frame.
            columns: (C,) indices of detections.
            min_iou: pairs below it are forbidden.
            looks: (N, D) unit embeddings of all detections of the frame, or None.

        Returns:
            float64, infinite where a pair is forbidden; never above 1 elsewhere.
        """
        overlap = boxes.iou(xyxy, detections.xyxy[columns])
        cost = 1 - overlap.astype(np.float64)
        if looks is not None and self.embedding is not None and cost.size:
            share = self._options.appearance_weight
            known = self.embedding[rows].any(axis=1)
            unlike = np.clip(cosine_distance(self.embedding[rows], looks[columns]), 0, 1)
            cost[known] = (1 - share) * cost[known] + share * unlike[known]
            # Where it is expected, another may have come meanwhile.
            gone = known & self.lost[rows]
            cost[gone[:, None] & (unlike > self._options.appearance_distance)] = np.inf
        cost[(overlap < min_iou) | (overlap <= 0)] = np.inf
        cost[self.other_class(rows, detections, columns)] = np.inf
        return cost

    def appearance_cost(
        self, rows: Array, detections: Detections, columns: Array, looks: Float32
    ) -> Array:
        """Compute the cosine distance (R, C) of pairs that motion makes possible.

        The gate is that of DeepSORT, section 2.2: the centre within the 95 % region of the filter.
        It widens with the time that an object has been out of sight.
        """
        if self.embedding is None:
            return np.full((len(rows), len(columns)), np.inf)
        cost = cosine_distance(self.embedding[rows], looks[columns]).astype(np.float64)
        cost[~self.embedding[rows].any(axis=1)] = np.inf
        cost[self.motion.distance(rows, detections.xyxy[columns]) > _CHI2_2D_95] = np.inf
        cost[self.other_class(rows, detections, columns)] = np.inf
        return cost

    def other_class(self, rows: Array, detections: Detections, columns: Array) -> Array:
        """Tell (R, C) which pairs the classes forbid."""
        if self._options.across_classes:
            return np.zeros((len(rows), len(columns)), bool)
        differs: Array = self.class_id[rows][:, None] != detections.class_id[columns][None]
        return differs

    def see(self, rows: Array, detections: Detections, columns: Array) -> None:
        """Take (K,) detections into (K,) tracks, but not into their motion or embedding."""
        self.hits[rows] += 1
        self.seen_s[rows] = self.now_s
        self.score[rows] = detections.score[columns]

    def look(self, rows: Array, looks: Float32 | None, columns: Array) -> None:
        """Take (K,) embeddings into (K,) tracks."""
        if looks is None or not len(rows):
            return
        if self.embedding is None:
            self.embedding = np.zeros((len(self), looks.shape[1]), np.float32)
        mixed = _EMBEDDING_KEPT * self.embedding[rows] + (1 - _EMBEDDING_KEPT) * looks[columns]
        length = np.linalg.norm(mixed, axis=1, keepdims=True)
        self.embedding[rows] = np.where(length > 1e-6, mixed / np.maximum(length, 1e-6), 0)

    def finish(
        self, pairing: Pairing, detections: Detections, looks: Float32 | None
    ) -> tuple[Detections, Array, int]:
        """End a frame: mark who is lost, begin new tracks, give ids.

        Unconfirmed tracks without a detection end (ByteTrack, section 3: a track begins with
        detections in a row). Detections that found no track begin one if they score enough.

        Args:
            pairing: the frame's pairs, already taken into the tracks.
            detections: of the frame.
            looks: their unit embeddings, or None.

        Returns:
            The detections with ids; the rows (K,) that live on, as they were; and how many new
            tracks were put behind them.
        """
        options = self._options
        self.lost = ~pairing.taken
        overdue = self.lost & (float(self.now_s or 0) - self.seen_s > options.max_lost_s)
        alive = ~overdue & ((self.id > 0) | pairing.taken)
        new = np.flatnonzero((pairing.track_of == NOBODY) & (detections.score >= options.new_score))
        # In an order of their own, so that ids do not depend on the order of the detections.
        keys = (*detections.xyxy[new].T, -detections.score[new])
        new = new[np.lexsort(keys)]
        spare = int(alive.sum()) + len(new) - options.max_tracks
        if spare > 0:
            # Those unseen for longest first; of a frame's new ones the last.
            old = np.flatnonzero(alive)
            given_up = old[np.argsort(self.seen_s[old], kind="stable")][:spare]
            given_up = given_up[self.lost[given_up]]
            alive[given_up] = False
            new = new[: max(0, options.max_tracks - int(alive.sum()))]
        kept = self.keep(alive)
        self._append(detections, new, looks)
        due = (self.id == 0) & ((self.hits >= options.confirm_hits) | self._first)
        count = int(due.sum())
        self.id[due] = np.arange(self._next_id, self._next_id + count)
        self._next_id += count
        row = np.full(len(pairing.taken) + 1, NOBODY)
        row[kept] = np.arange(len(kept))
        now = row[pairing.track_of]  # NOBODY is the last entry, which is NOBODY
        now[new] = np.arange(len(kept), len(self))
        ids = np.where(now >= 0, self.id[now] if len(self) else 0, 0)
        return detections.replace(track_id=ids.astype(np.int32)), kept, len(new)

    def _append(self, detections: Detections, new: Array, looks: Float32 | None) -> None:
        n = len(new)
        if not n:
            return
        self.id = np.concatenate([self.id, np.zeros(n, np.int64)])
        self.class_id = np.concatenate([self.class_id, detections.class_id[new]])
        self.hits = np.concatenate([self.hits, np.ones(n, np.int64)])
        self.seen_s = np.concatenate([self.seen_s, np.full(n, self.now_s)])
        self.score = np.concatenate([self.score, detections.score[new]])
        self.lost = np.concatenate([self.lost, np.zeros(n, bool)])
        self.motion = self.motion.extended(Motion.of(detections.xyxy[new]))
        if self.embedding is not None:
            fresh = np.zeros((n, self.embedding.shape[1]), np.float32)
            self.embedding = np.concatenate([self.embedding, fresh])
        self.look(np.arange(len(self) - n, len(self)), looks, new)

    def lost_detections(self) -> Detections:
        """Return the confirmed tracks that the last frame did not show, where they may be now."""
        rows = np.flatnonzero(self.lost & (self.id > 0))
        return Detections(
            self.motion.xyxy()[rows],
            self.score[rows],
            self.class_id[rows].astype(np.int32),
            track_id=self.id[rows].astype(np.int32),
        )
