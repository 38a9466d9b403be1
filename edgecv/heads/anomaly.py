"""An anomaly score for every place, ``[1, 1, h, w]``, and one for the image, ``[1]`` or ``[1, 1]``.

Sources: the outputs of anomalib's exports. From version 2 they are ``pred_score``, ``pred_label``,
``anomaly_map`` and ``pred_mask``, with scores in 0-1 that are normalised so that 0.5 is the
threshold; before that, the map alone, or the map and the score, on a scale of the model's own
(PatchCore: distances). Where the model scores no image, the highest place of the map is the score,
as in PaDiM and EfficientAD (Batzner et al., 2024). A map may also be ``[1, h, w]`` or
``[1, h, w, 1]``.

Recognised by shape and name, at a stride of 1, 2, 4, 8 or 16 pixels:

================================  ========  =====================================================
output                            fit       why
================================  ========  =====================================================
a map and one number              CERTAIN   no other known head scores both
a map called ``anomaly_map``      CERTAIN
a map                             POSSIBLE  a foreground or depth looks alike
================================  ========  =====================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecv.head import Fit, Pixels, image_size, output_shapes, wrong_shape
from edgecv.map_outputs import as_plane, finite, holds_classes, plane, stride
from edgecv.record import Record
from edgecv.results.anomaly import AnomalyMap
from edgecv.types import Array, TensorSpec

TASK = "anomaly"
# anomalib's exports from version 2 hold the normalisation, and take RGB in 0-1.
PIXELS = Pixels("stretch", "rgb", (0, 0, 0), (255, 255, 255))

_MAP = "anomaly_map"
_DECIDED = ("pred_label", "pred_mask")
_NORMALISED = 0.5


class Options(Record, kw_only=True):
    """How to read the tensors.

    Attributes:
        input_hw: (height, width) of the model input in pixels; not used.
        threshold: scores from this one on are anomalies. None: 0.5 where the model decides itself
            (``pred_label``, ``pred_mask``), for its scores are then normalised; else there is none.
    """

    input_hw: tuple[int, int] = (0, 0)
    threshold: float | None = None


def recognise(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Fit:
    """Judge by the table above."""
    shapes = output_shapes(inputs, outputs)
    if shapes is None or len(shapes) > 4:
        return Fit.NO
    size = image_size(inputs)
    maps, numbers = [], []
    for spec, shape in zip(outputs, shapes, strict=True):
        flat = plane(shape)
        if spec.name in _DECIDED:
            continue
        if shape in ((), (1,)):
            numbers.append(spec)
        elif flat is not None and stride(size, flat) and not holds_classes(spec):
            maps.append(spec)
        else:
            return Fit.NO
    if len(maps) != 1 or len(numbers) > 1:
        return Fit.NO
    return Fit.CERTAIN if numbers or maps[0].name == _MAP else Fit.POSSIBLE


def decode(outputs: Mapping[str, Array], options: Options) -> AnomalyMap:
    """Find map and score among the outputs.

    Args:
        outputs: as in this module's docstring, in any order.
        options: how to read them.

    Raises:
        HeadError: there is not one map and at most one score, or a value is not finite.
    """
    expected = "one map [1, 1, h, w], and at most one score [1]"
    own = {name: array for name, array in outputs.items() if name not in _DECIDED}
    scores = [array for array in own.values() if array.size == 1 and array.ndim in (1, 2)]
    maps = [as_plane(array) for array in own.values() if array.size != 1 or array.ndim > 2]
    if len(maps) != 1 or maps[0] is None or len(scores) > 1:
        raise wrong_shape("anomaly", expected, outputs)
    heat = finite(maps[0], "anomaly")
    score = float(finite(scores[0], "anomaly").ravel()[0]) if scores else float(heat.max())
    threshold = options.threshold
    if threshold is None and any(name in outputs for name in _DECIDED):
        threshold = _NORMALISED
    return AnomalyMap(score, heat, threshold)
