"""What a model says about one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgecv.errors import UsageError
from edgecv.head import HeadResult
from edgecv.record import Record
from edgecv.results.classes import Classes
from edgecv.results.detections import Detections

if TYPE_CHECKING:
    from edgecv.results.embedding import Embedding


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


class Result(Record):
    """A result in source pixels.

    Attributes:
        value: what the head found, of the type that the task names.
        source: path of the image, ``bytes``, or a `Frame`'s own word; empty where nobody says.
        source_hw: (height, width) of the image, after its EXIF orientation was applied.
        labels: class names by class id.
        timings_ms: where the time went.
    """

    value: HeadResult
    source: str
    source_hw: tuple[int, int]
    labels: Sequence[str]
    timings_ms: Timings

    @property
    def detections(self) -> Detections:
        """Boxes, scores and classes of a detection model.

        Raises:
            UsageError: the model does something else.
        """
        if not isinstance(self.value, Detections):
            raise UsageError(
                "this model does not detect",
                where="result.detections",
                got=type(self.value).__name__,
                remedy="use result.value, or the property of the model's own task",
            )
        return self.value

    @property
    def classes(self) -> Classes:
        """The most likely classes of a classification model.

        Raises:
            UsageError: the model does something else.
        """
        if not isinstance(self.value, Classes):
            raise UsageError(
                "this model does not classify",
                where="result.classes",
                got=type(self.value).__name__,
                remedy="use result.value, or the property of the model's own task",
            )
        return self.value

    @property
    def embedding(self) -> Embedding:
        """The vector of an embedding model.

        Raises:
            UsageError: the model does something else.
        """
        from edgecv.results.embedding import Embedding  # late: loaded already if it is one

        if not isinstance(self.value, Embedding):
            raise UsageError(
                "this model does not embed",
                where="result.embedding",
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
            "timings_ms": {name: round(ms, 3) for name, ms in self.timings_ms.to_fields().items()},
        }
