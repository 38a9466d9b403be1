"""Lines: who crosses them, and in which direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from edgecv.record import Record
from edgecv.results.detections import Detections
from edgecv.types import Array
from edgecv.zone_config import LineSpec, anchors, check_names, of_classes, to_pixels
from edgecv.zones import check_time, no_ids

_FORGOTTEN_S = 60.0


class LineEvent(Record):
    """An object crossed a line.

    Attributes:
        kind: ``in`` or ``out``, see `LineSpec`.
        line: name.
        track_id: of the object.
        class_id: of the object.
        timestamp_s: of the frame in which it was clearly on the other side.
    """

    kind: Literal["in", "out"]
    line: str
    track_id: int
    class_id: int
    timestamp_s: float


class LineCount(Record):
    """How many crossed a line; ``in`` and ``out`` in JSON."""

    ins: int = 0
    outs: int = 0


class _Side:
    """Where one object is with regard to one line.

    Attributes:
        clear: the side on which it was last clearly, -1 or 1; 0 before.
        side: the side on which it was last, however near; 0 before.
        at: its last place, (2,) float64.
        net: changes from -1 to 1 within the line's ends, less those back, since `clear`.
        seen_s: when it was last seen.
    """

    def __init__(self, at: Array) -> None:
        self.clear, self.side, self.at, self.net, self.seen_s = 0, 0, at, 0, 0.0


class Lines:
    """Watches the lines of one stream; needs track ids.

    An object has crossed when it was clearly on one side (`LineSpec.margin`), is clearly on the
    other, and went through between the line's two ends. However it trembles near the line, that
    counts once; going back counts as the other direction. Who first appears within the margin
    has no side yet.

    Args:
        specs: the lines.
        size_hw: (height, width) of the images, for points in fractions.
    """

    def __init__(self, specs: Sequence[LineSpec], size_hw: tuple[int, int] | None = None) -> None:
        check_names([spec.name for spec in specs], "lines")
        self.specs = tuple(specs)
        self._ends = [
            to_pixels((spec.start, spec.end), spec.units, size_hw, f"line {spec.name}")
            for spec in specs
        ]
        self._counts = [[0, 0] for _ in specs]
        self.reset()

    def reset(self) -> None:
        """Forget where objects are and the time, as for a new epoch of a stream; totals stay."""
        self._sides: list[dict[int, _Side]] = [{} for _ in self.specs]
        self._now_s: float | None = None

    def update(self, detections: Detections, timestamp_s: float) -> tuple[LineEvent, ...]:
        """Take the detections of the next frame.

        Args:
            detections: with track ids, in source pixels.
            timestamp_s: when the frame was taken; not before the last one.

        Returns:
            What happened, line by line.

        Raises:
            UsageError: no track ids, or the time is not finite or goes backwards.
        """
        if detections.track_id is None:
            raise no_ids("counting crossings")
        self._now_s = check_time(self._now_s, timestamp_s)
        events: list[LineEvent] = []
        for k, spec in enumerate(self.specs):
            known = (detections.track_id > 0) & of_classes(detections, spec.class_ids)
            if known.any():
                self._cross(k, detections[known], timestamp_s, events)
            sides = self._sides[k]
            # Ids are never used again, so who is long gone is only a burden.
            gone = [t for t, side in sides.items() if timestamp_s - side.seen_s > _FORGOTTEN_S]
            for track in gone:
                del sides[track]
        return tuple(events)

    def _cross(self, k: int, detections: Detections, now_s: float, events: list[LineEvent]) -> None:
        assert detections.track_id is not None
        spec, (start, end) = self.specs[k], self._ends[k]
        points = anchors(detections, spec.anchor)
        way = end - start
        way = way / np.hypot(*way)
        off = points - start
        # Positive on the right hand of who walks from start to end, as y points down.
        distance = way[0] * off[:, 1] - way[1] * off[:, 0]
        size = np.maximum(detections.xyxy[:, 2:] - detections.xyxy[:, :2], 0).astype(np.float64)
        margin = spec.margin * np.sqrt(size[:, 0] * size[:, 1])
        sides = self._sides[k]
        for i, track in enumerate(detections.track_id.tolist()):
            state = sides.get(track)
            if state is None:
                state = sides[track] = _Side(points[i])
            state.seen_s = now_s
            side = int(np.sign(distance[i])) or state.side
            if side != state.side and state.side and _between(state.at, points[i], start, end):
                state.net += side
            # A point on the line itself is not moved on from: the step to the next starts before.
            if distance[i]:
                state.at, state.side = points[i], side
            if not abs(distance[i]) > margin[i]:
                continue
            if state.clear and side != state.clear and state.net:
                self._counts[k][side < 0] += 1
                kind: Literal["in", "out"] = "in" if side > 0 else "out"
                class_id = int(detections.class_id[i])
                events.append(LineEvent(kind, spec.name, track, class_id, now_s))
            state.clear, state.net = side, 0

    @property
    def counts(self) -> Mapping[str, LineCount]:
        """How many crossed each line, by name."""
        pairs = zip(self.specs, self._counts, strict=True)
        return {spec.name: LineCount(*numbers) for spec, numbers in pairs}

    @property
    def ends(self) -> dict[str, Array]:
        """Start and end (2, 2) float64 x, y of each line in pixels, by name."""
        return {spec.name: self._ends[k] for k, spec in enumerate(self.specs)}

    def to_json(self) -> dict[str, Any]:
        """Make ``{name: {in, out}}``."""
        return {name: {"in": n.ins, "out": n.outs} for name, n in self.counts.items()}


def _between(a: Array, b: Array, start: Array, end: Array) -> bool:
    """Tell whether the step from a to b, on two sides of a line, goes between its ends."""
    step = b - a
    from_start = step[0] * (start - a)[1] - step[1] * (start - a)[0]
    from_end = step[0] * (end - a)[1] - step[1] * (end - a)[0]
    return bool(from_start * from_end <= 0)
