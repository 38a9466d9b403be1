"""Zones, lines and still frames of several streams at once: a watcher for each stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edgecv.errors import UsageError
from edgecv.lines import Lines
from edgecv.motion_gate import MotionGate, MotionGateOptions
from edgecv.result import Places
from edgecv.results.detections import Detections
from edgecv.types import Frame
from edgecv.zone_config import ZoneConfig
from edgecv.zones import Zones

if TYPE_CHECKING:
    from edgecv.result import Result

T = TypeVar("T", MotionGate, "_Counters")


class _Places(Generic[T]):
    """Stream -> what watches it, made to forget at a new epoch and where the clock goes back."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[T, int, float]] = {}

    def of(self, frame: Frame, make: Callable[[], T]) -> T:
        if frame.stream not in self._known:
            made = make()
        else:
            made, epoch, before_s = self._known[frame.stream]
            if frame.epoch != epoch or frame.timestamp_s < before_s:
                made.reset()
        self._known[frame.stream] = made, frame.epoch, frame.timestamp_s
        return made

    def items(self) -> list[tuple[str, T]]:
        return [(stream, made) for stream, (made, _, _) in self._known.items()]


class MotionGates:
    """A gate for a pipeline: holds back frames in which nothing moved."""

    def __init__(self, options: MotionGateOptions | None = None) -> None:
        self._options = options
        self._places: _Places[MotionGate] = _Places()

    def __call__(self, frame: Frame) -> bool:
        """Tell whether a frame is worth running."""
        gate = self._places.of(frame, lambda: MotionGate(self._options))
        return gate.update(frame.image, frame.timestamp_s)


class ZoneWatch:
    """A hook for a pipeline: counts in the zones and over the lines of each stream.

    The result gets `edgecv.result.Result.counts` and `places`. Every stream has the same zones, and
    numbers of its own.
    """

    def __init__(self, config: ZoneConfig) -> None:
        self.config = config
        self._places: _Places[_Counters] = _Places()

    def __call__(self, frame: Frame, result: Result) -> Result:
        """Count one frame.

        Raises:
            UsageError: the results are no detections, or lines are to be watched without tracks.
        """
        if not isinstance(result.value, Detections):
            raise UsageError(
                "only objects can be counted",
                where="zones",
                expected="a model that finds boxes",
                got=type(result.value).__name__,
            )
        counters = self._places.of(frame, lambda: _Counters(self.config))
        said = counters.update(result.value, frame.timestamp_s, result.source_hw)
        return result.replace(counts=said, places=counters.places)

    def totals(self) -> dict[str, dict[str, Any]]:
        """Return stream -> ``{"zones": {...}, "lines": {...}}``, as of the last frame of each."""
        return {stream: counters.totals() for stream, counters in self._places.items()}


class _Counters:
    """Zones and lines of one stream; where the size of its images changes, they change with it."""

    def __init__(self, config: ZoneConfig) -> None:
        self._config = config
        self._size_hw: tuple[int, int] | None = None
        self._before: dict[str, dict[str, Any]] = {}

    def reset(self) -> None:
        """Forget who is where; totals stay."""
        if self._size_hw is not None:
            self._zones.reset()
            self._lines.reset()

    def update(
        self, detections: Detections, timestamp_s: float, size_hw: tuple[int, int]
    ) -> dict[str, Any]:
        if size_hw != self._size_hw:
            if self._size_hw is not None:
                self._before = self.totals()
            self._size_hw = size_hw
            self._zones = Zones(self._config.zones, size_hw)
            self._lines = Lines(self._config.lines, size_hw)
            self.places = Places(self._zones.polygons, self._lines.ends)
        events: list[Any] = list(self._zones.update(detections, timestamp_s))
        if self._config.lines:
            events += self._lines.update(detections, timestamp_s)
        return {**self.totals(), "events": [_said(event) for event in events]}

    def totals(self) -> dict[str, Any]:
        now = {"zones": self._zones.to_json(), "lines": self._lines.to_json()}
        for kind, places in self._before.items():
            for name, numbers in places.items():
                for key, value in numbers.items():
                    if key != "occupancy":
                        now[kind][name][key] += value
        return now


def _said(event: Any) -> dict[str, Any]:
    """Make a JSON object of an event, its times with six decimals as those of frames."""
    facts: dict[str, Any] = event.to_dict()
    return {key: round(v, 6) if isinstance(v, float) else v for key, v in facts.items()}
