"""How good tracks are: CLEAR MOT, identity and HOTA metrics of one or more sequences.

A sequence is not a set of images: what is right in a frame depends on the frames before. So this is
no `edgecv.metric.Metric`; `count` takes a whole sequence, counts of sequences add up, and `Counts`
has the metrics.

Sources:

- Bernardin, Stiefelhagen: Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics
  (2008), section 2: MOTA, MOTP, FP, FN, switches;
- Li, Huang, Nevatia: Learning to Associate (2009), section 4: mostly tracked, mostly lost;
- Ristani et al.: Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking
  (2016), section 3: IDF1, IDP, IDR;
- Luiten et al.: HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking (2021), section
  5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from edgecv import boxes
from edgecv.association import assign
from edgecv.motchallenge import DISTRACTORS, PEDESTRIAN, Boxes
from edgecv.types import Array

MIN_IOU = 0.5
ALPHAS = np.arange(1, 20) * 0.05
"""IoU thresholds that HOTA is averaged over."""
NAMES = (
    *("mota", "motp", "idf1", "idp", "idr", "hota", "deta", "assa", "precision", "recall"),
    *("idsw", "frag", "fp", "fn", "mt", "pt", "ml"),
)
_ROUNDING = 1e-9
# What a pair saves. Two pairs cost at most 1, so no pair is given up for a better one.
_AS_MANY = 2.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted; all of it adds up over sequences.

    Attributes:
        truths: true boxes.
        found: boxes that were found.
        matches: of CLEAR MOT, true boxes with a found one.
        overlap: sum of their IoU.
        switches: how often a true track went on with another id.
        fragments: how often a true track was lost and found again.
        mostly_tracked: true tracks found in at least 80 % of their frames.
        mostly_lost: true tracks found in less than 20 % of their frames.
        tracks: true tracks.
        id_matches: true boxes of the best one-to-one pairing of true and found tracks (IDTP).
        hota_matches: (19,) matches at each of `ALPHAS`.
        association: (19,) sum of the association accuracy of these matches.
    """

    truths: int
    found: int
    matches: int
    overlap: float
    switches: int
    fragments: int
    mostly_tracked: int
    mostly_lost: int
    tracks: int
    id_matches: int
    hota_matches: Array
    association: Array

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            *(getattr(self, item.name) + getattr(other, item.name) for item in fields(self))
        )

    def metrics(self) -> dict[str, float | None]:
        """Compute the metrics by name; None where there was nothing to measure.

        Shares are 0-1, though MOTA can be negative. MOTP is the mean IoU of matches, as the
        MOTChallenge gives it; the 2008 paper takes a distance.
        """
        missed, wrong = self.truths - self.matches, self.found - self.matches
        hota_all = self.truths + self.found - self.hota_matches
        deta = self.hota_matches / np.maximum(1, hota_all)
        assa = self.association / np.maximum(1, self.hota_matches)
        some = self.truths > 0
        both = self.truths + self.found
        return {
            "mota": _share(self.truths - missed - wrong - self.switches, self.truths),
            "motp": _share(self.overlap, self.matches),
            "idf1": _share(2 * self.id_matches, both),
            "idp": _share(self.id_matches, self.found),
            "idr": _share(self.id_matches, self.truths),
            "hota": float(np.sqrt(deta * assa).mean()) if some else None,
            "deta": float(deta.mean()) if some else None,
            "assa": float(assa.mean()) if some else None,
            "precision": _share(self.matches, self.found),
            "recall": _share(self.matches, self.truths),
            "idsw": self.switches,
            "frag": self.fragments,
            "fp": wrong,
            "fn": missed,
            "mt": self.mostly_tracked,
            "pt": self.tracks - self.mostly_tracked - self.mostly_lost,
            "ml": self.mostly_lost,
        }


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


@dataclass(frozen=True, slots=True)
class _Frame:
    """Rows of tracks, (G,) true and (P,) found, numbered from 0, and their IoU (G, P)."""

    truth: Array
    found: Array
    iou: Array


def count(truth: Boxes, found: Boxes, *, min_visibility: float = 0.0) -> Counts:
    """Compare the tracks of one sequence.

    What does not count is left out first: see `scored`.

    Args:
        truth: true tracks.
        found: results of a tracker, in the same pixels.
        min_visibility: true boxes less visible than this do not count.

    Raises:
        DependencyMissingError: lapx is not installed.
    """
    truth, found = scored(truth, found, min_visibility)
    true_ids, true_row = np.unique(truth.id, return_inverse=True)
    found_ids, found_row = np.unique(found.id, return_inverse=True)
    frames = [
        _Frame(true_row[a], found_row[b], boxes.iou(truth.xyxy[a], found.xyxy[b]).astype(float))
        for a, b in _frames(truth, found)
    ]
    sizes = np.bincount(true_row, minlength=len(true_ids))
    found_sizes = np.bincount(found_row, minlength=len(found_ids))
    clear = _clear(frames, sizes)
    hota_matches, association = _hota(frames, sizes, found_sizes)
    return Counts(
        len(truth),
        len(found),
        *clear,
        len(true_ids),
        _identity(frames, len(true_ids), len(found_ids)),
        hota_matches,
        association,
    )


def scored(truth: Boxes, found: Boxes, min_visibility: float = 0.0) -> tuple[Boxes, Boxes]:
    """Leave out what does not count.

    Rows of the truth whose flag is 0, and of classes other than pedestrians, are no targets. In
    files with classes (MOT16 and later), results that match a distractor are left out, too: in
    each frame results are paired with all true boxes, at an IoU of at least 0.5 (MOT16, on
    target-like annotations).

    Returns:
        True boxes and results to compare.
    """
    target = (
        (truth.score != 0) & (truth.class_id == PEDESTRIAN) & (truth.visibility >= min_visibility)
    )
    if truth.has_classes:
        distractor = np.isin(truth.class_id, DISTRACTORS)
        keep = np.ones(len(found), bool)
        for a, b in _frames(truth, found):
            if not distractor[a].any() or not len(b):
                continue
            overlap = boxes.iou(truth.xyxy[a], found.xyxy[b]).astype(float)
            rows, columns = assign(_best_first(overlap, MIN_IOU), _AS_MANY)
            keep[b[columns[distractor[a[rows]]]]] = False
        found = found[keep]
    return truth[target], found


def _frames(truth: Boxes, found: Boxes) -> Iterator[tuple[Array, Array]]:
    """Yield the rows of each frame that has any, in order of time."""
    for frame in np.union1d(truth.frame, found.frame):
        ends = [
            (np.searchsorted(side.frame, frame), np.searchsorted(side.frame, frame, "right"))
            for side in (truth, found)
        ]
        yield np.arange(*ends[0]), np.arange(*ends[1])


def _best_first(overlap: Array, min_iou: float) -> Array:
    """Return 1 - IoU; infinite where the IoU is below `min_iou`."""
    return np.where(overlap >= min_iou - _ROUNDING, 1 - overlap, np.inf)


def _clear(frames: Sequence[_Frame], sizes: Array) -> tuple[int, float, int, int, int, int]:
    """Count matches, sum of IoU, switches, fragments, mostly tracked and mostly lost.

    A true track keeps the result it was last matched with as long as they overlap; the rest are
    paired anew (CLEAR MOT, section 2).
    """
    last = np.full(len(sizes), -1)
    tracked = np.zeros(len(sizes), np.int64)
    gone = np.zeros(len(sizes), bool)  # seen before, but not in its last frame
    matches = switches = fragments = 0
    overlap = 0.0
    for frame in frames:
        near = frame.iou >= MIN_IOU - _ROUNDING
        partner = np.full(len(frame.truth), -1)
        same = near & (last[frame.truth][:, None] == frame.found[None])
        rows, columns = np.nonzero(same)
        # Two true tracks may have had the same result last; the first keeps it.
        _, first = np.unique(columns, return_index=True)
        partner[rows[first]] = columns[first]
        open_rows = np.flatnonzero(partner < 0)
        open_columns = np.setdiff1d(np.arange(len(frame.found)), partner)
        cost = _best_first(frame.iou[np.ix_(open_rows, open_columns)], MIN_IOU)
        rows, columns = assign(cost, _AS_MANY)
        partner[open_rows[rows]] = open_columns[columns]
        hit = np.flatnonzero(partner >= 0)
        tracks, results = frame.truth[hit], frame.found[partner[hit]]
        matches += len(hit)
        overlap += float(frame.iou[hit, partner[hit]].sum())
        switches += int(((last[tracks] >= 0) & (last[tracks] != results)).sum())
        fragments += int(gone[tracks].sum())
        tracked[tracks] += 1
        gone[frame.truth] = tracked[frame.truth] > 0
        gone[tracks] = False
        last[tracks] = results
    share = tracked / np.maximum(sizes, 1)
    tracked_mostly = int((share >= 0.8 - _ROUNDING).sum())
    return (
        *(matches, overlap, switches, fragments, tracked_mostly),
        int((share < 0.2 - _ROUNDING).sum()),
    )


def _identity(frames: Sequence[_Frame], true_tracks: int, found_tracks: int) -> int:
    """Count the boxes that agree in the best one-to-one pairing of tracks (IDTP)."""
    agree = np.zeros((true_tracks, found_tracks))
    for frame in frames:
        rows, columns = np.nonzero(frame.iou >= MIN_IOU - _ROUNDING)
        agree[frame.truth[rows], frame.found[columns]] += 1
    rows, columns = _most(agree)
    return int(agree[rows, columns].sum())


def _most(gain: Array) -> tuple[Array, Array]:
    """Pair rows and columns of the largest total gain; pairs without any are left out."""
    top = gain.max(initial=0)
    if not top:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # A pair costs less than the limit by its gain.
    return assign(np.where(gain > 0, 1 - gain / top, np.inf), 1.0)


def _hota(frames: Sequence[_Frame], sizes: Array, found_sizes: Array) -> tuple[Array, Array]:
    """Count matches and sum the association accuracy at each of `ALPHAS`.

    The paper asks for the matching that makes HOTA largest. It is found as in the authors' figures:
    once a frame, for all thresholds, by the IoU weighted with how much two tracks overlap over the
    whole sequence, where a box that overlaps several counts in parts.
    """
    shared = np.zeros((len(sizes), len(found_sizes)))
    for frame in frames:
        all_of = frame.iou.sum(axis=0)[None] + frame.iou.sum(axis=1)[:, None] - frame.iou
        part = np.divide(frame.iou, all_of, out=np.zeros_like(frame.iou), where=all_of > _ROUNDING)
        shared[frame.truth[:, None], frame.found[None]] += part
    alike = shared / np.maximum(sizes[:, None] + found_sizes[None] - shared, _ROUNDING)
    truth, found, iou = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for frame in frames:
        rows, columns = _most(alike[frame.truth[:, None], frame.found[None]] * frame.iou)
        truth.append(frame.truth[rows])
        found.append(frame.found[columns])
        iou.append(frame.iou[rows, columns])
    pairs, overlap = np.stack([np.concatenate(truth), np.concatenate(found)]), np.concatenate(iou)
    matches, association = np.zeros(len(ALPHAS), np.int64), np.zeros(len(ALPHAS))
    for level, alpha in enumerate(ALPHAS):
        (rows, columns), times = np.unique(
            pairs[:, overlap >= alpha - _ROUNDING], axis=1, return_counts=True
        )
        union = sizes[rows] + found_sizes[columns] - times
        matches[level] = times.sum()
        association[level] = (times * (times / union)).sum()
    return matches, association
