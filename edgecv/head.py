"""What a head is, and how it is recognised.

A head is a module in ``heads/``. It turns one image's output tensors into a result in model-input
pixels, knows no engine and touches no file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

from edgecv import plugins
from edgecv.errors import HeadError
from edgecv.record import Record
from edgecv.types import Array, TensorSpec

if TYPE_CHECKING:
    from edgecv.geometry import Geometry
    from edgecv.results import Difference


class Fit(IntEnum):
    """How well a model's tensors fit a head, judged by shapes alone."""

    NO = 0
    POSSIBLE = 1
    """The shapes fit, but they would fit other meanings as well."""
    CERTAIN = 2
    """No other known head puts out these shapes for this input size."""


class Pixels(Record):
    """How a family of models wants its pixels; the default where neither file nor user says.

    Attributes:
        resize: ``stretch``, ``letterbox`` (centred), ``letterbox-topleft`` or ``crop``.
        rounding: of the letterboxed size, ``round`` or ``floor``.
        pad_value: grey level of the letterbox border, 0-255.
        crop_ratio: of ``crop``: short side becomes input size / crop_ratio, then the centre is cut.
        interpolation: of the resize; see `edgecv.manifest.Input`.
        color: channel order that the model wants, ``rgb`` or ``bgr``.
        mean: per channel in the model's order, in 0-255 units.
        std: per channel; the tensor's value is (pixel - mean) / std.
    """

    resize: str
    color: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rounding: str = "round"
    pad_value: int = 114
    crop_ratio: float = 1.0
    interpolation: str = "linear"


class DetectionOptions(Record, kw_only=True):
    """Options that every detection head has; a head's own ``Options`` extends it.

    Attributes:
        input_hw: (height, width) of the model input in pixels; the model sets it, no manifest.
        num_classes: classes the model scores; 0 means as many as its tensors hold.
        confidence: candidates scoring below it are not detections.
        iou: boxes of one class overlapping more than this are one object.
        max_candidates: at most so many candidates enter NMS, best first.
        max_detections: at most so many leave it, best first.
        class_aware: NMS within each class (True) or across all (False).
        multi_label: every class of a candidate that reaches ``confidence`` is a detection, not the
            best alone, as COCO evaluations of these families count; raises mAP by up to 0.01 and
            costs time. No effect where the model itself has chosen one class.
    """

    input_hw: tuple[int, int] = (0, 0)
    num_classes: int = 0
    confidence: float = 0.25
    iou: float = 0.45
    max_candidates: int = 30000
    max_detections: int = 300
    class_aware: bool = True
    multi_label: bool = False


class HeadResult(Protocol):
    """What every result type in ``results/`` can do."""

    def __len__(self) -> int: ...

    def to_source(self, geometry: Geometry) -> HeadResult:
        """Map from model-input pixels to source pixels."""

    def to_json(self, labels: Sequence[str]) -> dict[str, Any]:
        """Make what the commands print."""

    def difference(self, expected: Any) -> Difference:
        """Compare with a recorded result of the same type."""


class Decoded(Protocol):
    """What a head makes of one image: a result in model-input pixels, or one not yet decided."""

    def to_source(self, geometry: Geometry) -> HeadResult:
        """Map from model-input pixels to a result in source pixels."""


class Head(Protocol):
    """What a module in ``heads/`` offers.

    Where its models need it, a head also has ``CONSTANTS``, for inputs beside the image (see
    `edgecv.model_inputs`), ``rows_of_all_images`` (see `keeps_batch`) and ``pixels_for`` (see
    `family_pixels`).
    """

    TASK: str
    """Task of its result, such as ``detect``; one of those in ``results/``."""
    PIXELS: Pixels
    """How the family that this head belongs to prepares its pixels."""
    Options: type[Any]
    """Frozen dataclass of its options, all with defaults."""

    def recognise(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
        """Judge by shapes whether a model's outputs are of this head."""

    def decode(self, outputs: Mapping[str, Array], options: Any) -> Decoded:
        """Decode one image's outputs.

        Args:
            outputs: tensor name -> array with a batch axis of 1, floats dequantized, in the
                model's order.
            options: this module's `Options`.

        Returns:
            What leads to a result in source pixels.

        Raises:
            HeadError: names, shapes or values do not fit.
        """


def only_output(outputs: Mapping[str, Array], head: str) -> Array:
    """Return the one tensor that a single-output head decodes.

    Raises:
        HeadError: there is not exactly one.
    """
    if len(outputs) != 1:
        raise HeadError(
            "wrong number of outputs",
            where=f"head {head}",
            expected="1",
            got=f"{len(outputs)} ({', '.join(outputs)})",
        )
    return next(iter(outputs.values()))


def wrong_shape(head: str, expected: str, outputs: Mapping[str, Array]) -> HeadError:
    """Make the error for outputs whose shapes are not those of the head."""
    got = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
    return HeadError("wrong output shape", where=f"head {head}", expected=expected, got=got)


def image_size(inputs: Sequence[TensorSpec]) -> tuple[int, int] | None:
    """Return (height, width) of the image input, NCHW or NHWC; None where it is not fixed."""
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        return None
    _, a, b, c = inputs[0].shape
    height, width = (b, c) if a in (1, 3) else (a, b)
    return None if height is None or width is None else (height, width)


def output_shapes(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[tuple[int | None, ...], ...] | None:
    """List the shapes of a model's outputs without the batch axis, for `recognise`.

    Returns:
        None where the model does not take one image, or an output's batch is not 1 or free.
    """
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] not in (1, None):
        return None
    if any(not spec.shape or spec.shape[0] not in (1, None) for spec in outputs):
        return None
    return tuple(spec.shape[1:] for spec in outputs)


def grid_cells(input_hw: tuple[int, int], strides: Sequence[int]) -> int:
    """Count the cells of a pyramid of feature maps, sizes rounded up as strided convolutions do."""
    return sum(-(-input_hw[0] // s) * -(-input_hw[1] // s) for s in strides)


def family_pixels(head: Head, outputs: Sequence[TensorSpec]) -> Pixels:
    """Return how a head's family prepares pixels: ``pixels_for(outputs)`` if branches differ."""
    choose: Callable[[Sequence[TensorSpec]], Pixels] | None = getattr(head, "pixels_for", None)
    return head.PIXELS if choose is None else choose(outputs)


def keeps_batch(head: Head, outputs: Sequence[TensorSpec]) -> bool:
    """Tell whether a batch's outputs can be cut into those of its images along the first axis.

    They can unless the head has a ``rows_of_all_images`` that says otherwise of these outputs.
    """
    mixed = getattr(head, "rows_of_all_images", None)
    return mixed is None or not mixed(outputs)


def load_head(name: str) -> Head:
    """Import a head plug-in."""
    return plugins.load("heads", name)
