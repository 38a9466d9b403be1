"""How a float graph is to be lowered: one rung of the ladder."""

from __future__ import annotations

from edgecv.record import Record
from edgecv.types import Precision


class Recipe(Record, kw_only=True):
    """What a quantizer is asked for.

    Attributes:
        precision: ``int8`` (weights and activations), ``int8-weights``, ``fp16`` or ``bf16``.
        calibrator: a plug-in in ``calibrators/`` that chooses the activations' ranges; int8 only.
        bias_correction: shift biases by the mean error that rounding the weights makes.
        smooth: move outliers of activations into the weights (SmoothQuant), for matrix products.
        float_tail: leave what follows the last layers with weights in float: it joins boxes and
            scores, whose ranges have nothing in common.
        float_layers: names of layers of the ONNX graph that stay in float.
        rest: precision that the engine computes what stayed in float in: ``fp32`` or ``bf16``. The
            file is the same.
    """

    precision: Precision
    calibrator: str = "minmax"
    bias_correction: bool = False
    smooth: bool = False
    float_tail: bool = False
    float_layers: tuple[str, ...] = ()
    rest: Precision = "fp32"

    def __str__(self) -> str:
        if self.precision != "int8":
            return self.precision
        parts = [f"int8 {self.calibrator}"]
        parts += ["bias correction"] * self.bias_correction
        parts += ["smoothing"] * self.smooth
        parts += ["float tail"] * self.float_tail
        if self.float_layers:
            parts.append(f"{len(self.float_layers)} float layers")
        if self.rest != "fp32":
            parts.append(f"the rest in {self.rest}")
        return " + ".join(parts)
