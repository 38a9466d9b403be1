"""What a model says about one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from edgecv.errors import UsageError
from edgecv.head import HeadResult
from edgecv.record import Record
from edgecv.types import Array

if TYPE_CHECKING:
    from edgecv.results.anomaly import AnomalyMap
    from edgecv.results.classes import Classes
    from edgecv.results.depth import DepthMap
    from edgecv.results.detections import Detections
    from edgecv.results.embedding import Embedding
    from edgecv.results.semantic import SemanticMap

T = TypeVar("T")


class Timings(Record):
    """Wall time of each stage of one image, milliseconds.

    Attributes:
        decode: bytes to pixels; 0 where pixels were handed in.
        preprocess: pixels to tensor.
        infer: the engine's run. In a batch, the batch's time divided by its images.
        postprocess: tensors to a result in source pixels.
        total: from call to result.
    """

    decode: float
    preprocess: float
    infer: float
    postprocess: float
    total: float


class Places(Record):
    """Where the zones and lines lie that a stream watches, in source pixels.

    Attributes:
        zones: name -> corners (K, 2) float64 x, y.
        lines: name -> start and end (2, 2) float64 x, y.
    """

    zones: Mapping[str, Array]
    lines: Mapping[str, Array]


class Result(Record):
    """A result in source pixels.

    Attributes:
        value: what the head found, of the type that the task names.
        source: path of the image, ``bytes``, or a `Frame`'s own word; empty where nobody says.
        source_hw: (height, width) of the image, after its EXIF orientation was applied.
        labels: class names by class id.
        timings_ms: where the time went.
        counts: of zones and lines in a stream that watches any: ``{"zones": {name: {occupancy,
            entries, exits}}, "lines": {name: {in, out}}, "events": [...]}``; else None. Stream,
            index and time of a frame are the `Frame`'s, and sinks write both.
        places: where these zones and lines lie, for whoever draws the result; not written as JSON.
    """

    value: HeadResult
    source: str
    source_hw: tuple[int, int]
    labels: Sequence[str]
    timings_ms: Timings
    counts: Mapping[str, Any] | None = None
    places: Places | None = None

    @property
    def detections(self) -> Detections:
        """Boxes, scores and classes, with masks, keypoints or rotations if the model tells them.

        Raises:
            UsageError: the model does something else.
        """
        from edgecv.results.detections import Detections  # late, as below: loaded if it is one

        return self._as(Detections, "detections", "this model does not detect")

    @property
    def classes(self) -> Classes:
        """The most likely classes of a classification model.

        Raises:
            UsageError: the model does something else.
        """
        from edgecv.results.classes import Classes

        return self._as(Classes, "classes", "this model does not classify")

    @property
    def semantic(self) -> SemanticMap:
        """The class of each pixel, of a semantic segmentation model.

        Raises:
            UsageError: the model does something else.
        """
        from edgecv.results.semantic import SemanticMap

        return self._as(SemanticMap, "semantic", "this model does not tell the class of each pixel")

    @property
    def depth(self) -> DepthMap:
        """The depth of each pixel, of a depth model.

        Raises:
            UsageError: the model does something else.
        """
        from edgecv.results.depth import DepthMap

        return self._as(DepthMap, "depth", "this model does not tell depth")

    @property
    def anomaly(self) -> AnomalyMap:
        """The anomaly map and score of an anomaly model.

        Raises:
            UsageError: the model does something else.
        """
        from edgecv.results.anomaly import AnomalyMap

        return self._as(AnomalyMap, "anomaly", "this model does not look for anomalies")

    @property
    def embedding(self) -> Embedding:
        """The vector of an embedding model.

        Raises:
            UsageError: the model does something else.
        """
        from edgecv.results.embedding import Embedding

        return self._as(Embedding, "embedding", "this model does not embed")

    def _as(self, kind: type[T], name: str, otherwise: str) -> T:
        if not isinstance(self.value, kind):
            raise UsageError(
                otherwise,
                where=f"result.{name}",
                got=type(self.value).__name__,
                remedy="use result.value, or the property of the model's own task",
            )
        return self.value

    def to_json(self) -> dict[str, Any]:
        """Make the object that ``edgecv predict --json`` prints."""
        return {
            "source": self.source,
            "size_hw": list(self.source_hw),
            **self.value.to_json(self.labels),
            **(self.counts or {}),
            "timings_ms": {name: round(ms, 3) for name, ms in self.timings_ms.to_fields().items()},
        }
