"""Zones: who is inside now, who came and went, and how long they stayed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from edgecv.errors import UsageError
from edgecv.record import Record
from edgecv.results.detections import Detections
from edgecv.types import Array
from edgecv.zone_config import ZoneSpec, anchors, check_names, of_classes, to_pixels


class ZoneEvent(Record):
    """An object came into a zone, or left it.

    Attributes:
        kind: ``entry`` or ``exit``.
        zone: name.
        track_id: of the object.
        class_id: of the object when it was last seen inside.
        timestamp_s: when it was first seen inside; of an exit, when it was last seen inside, which
            is `ZoneSpec.grace_s` or more before the exit is told.
        dwell_s: of an exit, the time between the two; 0 of an entry.
    """

    kind: Literal["entry", "exit"]
    zone: str
    track_id: int
    class_id: int
    timestamp_s: float
    dwell_s: float = 0.0


class ZoneCount(Record):
    """The numbers of a zone.

    Attributes:
        occupancy: objects inside in the last frame; detections without an id count, too.
        entries: visits that began.
        exits: visits that ended.
    """

    occupancy: int = 0
    entries: int = 0
    exits: int = 0


class _Visit:
    def __init__(self, class_id: int, now_s: float) -> None:
        self.class_id, self.since_s, self.seen_s = class_id, now_s, now_s
        self.missed = False


class Zones:
    """Watches the zones of one stream.

    Without track ids only the occupancy is counted. What a tracker does not follow yet
    (`track_id` 0) counts as present, but does not enter.

    Args:
        specs: the zones.
        size_hw: (height, width) of the images, for points in fractions.
    """

    def __init__(self, specs: Sequence[ZoneSpec], size_hw: tuple[int, int] | None = None) -> None:
        check_names([spec.name for spec in specs], "zones")
        self.specs = tuple(specs)
        self._polygons = [
            to_pixels(spec.points, spec.units, size_hw, f"zone {spec.name}") for spec in specs
        ]
        self._entries = [0] * len(specs)
        self._exits = [0] * len(specs)
        self._tracked = False
        self.reset()

    def reset(self) -> None:
        """Forget who is inside and the time, as for a new epoch of a stream; totals stay."""
        self._visits: list[dict[int, _Visit]] = [{} for _ in self.specs]
        self._occupancy = [0] * len(self.specs)
        self._now_s: float | None = None

    def update(self, detections: Detections, timestamp_s: float) -> tuple[ZoneEvent, ...]:
        """Take the detections of the next frame, with or without track ids.

        Args:
            detections: in source pixels.
            timestamp_s: when the frame was taken; not before the last one.

        Returns:
            What happened, zone by zone.

        Raises:
            UsageError: the time is not finite or goes backwards.
        """
        self._now_s = check_time(self._now_s, timestamp_s)
        events: list[ZoneEvent] = []
        for z, spec in enumerate(self.specs):
            inside = contains(self._polygons[z], anchors(detections, spec.anchor))
            inside &= of_classes(detections, spec.class_ids)
            self._occupancy[z] = int(inside.sum())
            if detections.track_id is not None:
                self._tracked = True
                self._visit(z, detections, np.flatnonzero(inside), timestamp_s, events)
            self._leave(z, timestamp_s, events)
        return tuple(events)

    def _visit(
        self, z: int, detections: Detections, rows: Array, now_s: float, events: list[ZoneEvent]
    ) -> None:
        assert detections.track_id is not None
        visits, name = self._visits[z], self.specs[z].name
        for i in rows.tolist():
            track, class_id = int(detections.track_id[i]), int(detections.class_id[i])
            if track <= 0:
                continue
            visit = visits.get(track)
            # Between two frames far apart nobody saw it leave.
            if visit is not None and visit.missed and now_s - visit.seen_s > self.specs[z].grace_s:
                self._exit(z, track, events)
                visit = None
            if visit is None:
                visits[track] = visit = _Visit(class_id, now_s)
                self._entries[z] += 1
                events.append(ZoneEvent("entry", name, track, class_id, now_s))
            visit.class_id, visit.seen_s, visit.missed = class_id, now_s, False

    def _leave(self, z: int, now_s: float, events: list[ZoneEvent]) -> None:
        visits = self._visits[z]
        for track in [track for track, visit in visits.items() if visit.seen_s < now_s]:
            visits[track].missed = True
            if now_s - visits[track].seen_s > self.specs[z].grace_s:
                self._exit(z, track, events)

    def _exit(self, z: int, track: int, events: list[ZoneEvent]) -> None:
        visit = self._visits[z].pop(track)
        self._exits[z] += 1
        dwell = visit.seen_s - visit.since_s
        name = self.specs[z].name
        events.append(ZoneEvent("exit", name, track, visit.class_id, visit.seen_s, dwell))

    @property
    def counts(self) -> Mapping[str, ZoneCount]:
        """The numbers of each zone, by name; entries and exits are 0 where nothing is tracked."""
        return {
            spec.name: ZoneCount(self._occupancy[z], self._entries[z], self._exits[z])
            for z, spec in enumerate(self.specs)
        }

    def dwell_s(self, zone: str) -> dict[int, float]:
        """Return track id -> seconds of the visits that have not ended.

        Raises:
            UsageError: there is no such zone, or detections came without track ids.
        """
        names = [spec.name for spec in self.specs]
        if zone not in names:
            raise UsageError(
                "", where="zone", expected=f"one of {', '.join(names)}", got=repr(zone)
            )
        if not self._tracked and self._now_s is not None:
            raise no_ids("dwell time")
        visits = self._visits[names.index(zone)]
        return {track: visit.seen_s - visit.since_s for track, visit in visits.items()}

    @property
    def polygons(self) -> dict[str, Array]:
        """The corners (K, 2) float64 x, y of each zone in pixels, by name."""
        return {spec.name: self._polygons[z] for z, spec in enumerate(self.specs)}

    def to_json(self) -> dict[str, Any]:
        """Make ``{name: {occupancy, entries, exits}}``."""
        return {name: count.to_dict() for name, count in self.counts.items()}


def contains(polygon: Array, points: Array) -> Array:
    """Tell (N,) which points lie inside a polygon, by the even-odd rule.

    Source: Shimrat, Algorithm 112: Position of point relative to polygon (1962): count the sides
    that a ray to the right crosses. A side holds its upper end and not its lower one, so that
    polygons which share a side share no point and leave none out.

    Args:
        polygon: (K, 2) float64 x, y.
        points: (N, 2) float64 x, y.
    """
    x1, y1 = polygon[:, 0], polygon[:, 1]
    x2, y2 = np.roll(polygon, -1, axis=0).T
    x, y = points[:, :1], points[:, 1:]
    spans = (y1 <= y) != (y2 <= y)
    slope = np.divide(x2 - x1, y2 - y1, out=np.zeros_like(x1), where=y2 != y1)
    crosses = spans & (x < x1 + (y - y1) * slope)
    odd: Array = crosses.sum(axis=1) % 2 == 1
    return odd


def check_time(before_s: float | None, timestamp_s: float) -> float:
    """Return a frame's time.

    Raises:
        UsageError: it is not finite, or lies before the last one.
    """
    if not math.isfinite(timestamp_s):
        raise UsageError("", where="timestamp_s", expected="a finite number", got=repr(timestamp_s))
    if before_s is not None and timestamp_s < before_s:
        raise UsageError(
            "the time goes backwards",
            where="timestamp_s",
            expected=f"{before_s:g} or later",
            got=f"{timestamp_s:g}",
            remedy="call reset() where a stream begins anew",
        )
    return timestamp_s


def no_ids(what: str) -> UsageError:
    """Make the error for detections without track ids."""
    return UsageError(
        f"{what} needs to know who is who",
        where="detections.track_id",
        expected="ids of a tracker",
        got="None",
        remedy="pass what a tracker's update() returned",
    )
