"""One rung of the ladder: a file that was made, and what was found out about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgecv.bench.interleaved import Ratio, Timing
from edgecv.converters.artifact import Artifact
from edgecv.converters.candidate import Candidate
from edgecv.converters.flavour import Flavour
from edgecv.converters.gate import Drop
from edgecv.converters.recipe import Recipe
from edgecv.evaluation import Evaluation
from edgecv.output_check import Flag

_SHORT = {"equalize": "eq", "bias correction": "bc"}


@dataclass(eq=False)
class Trial:
    """What is known about one recipe for one float graph; filled in step by step.

    Attributes:
        id: of the variant, should it be shipped.
        flavour: the float graph.
        recipe: how it was lowered.
        artifact: the file; None where it could not be made.
        candidate: the file as a bundle; None likewise.
        agreement: with the float source on calibration images, 0-1.
        evaluation: on the validation images.
        drop: of the metric against the float source.
        timing: one thread, pixels to result.
        speedup: against the float source in its first engine, in the same turns.
        flags: what is suspicious about its outputs.
        shipped: whether the bundle holds it.
        reason: why, or why not.
    """

    id: str
    flavour: Flavour
    recipe: Recipe
    artifact: Artifact | None = None
    candidate: Candidate | None = None
    agreement: float | None = None
    evaluation: Evaluation | None = None
    drop: Drop | None = None
    timing: Timing | None = None
    speedup: Ratio | None = None
    flags: tuple[Flag, ...] = ()
    shipped: bool = False
    reason: str = ""

    @property
    def backend(self) -> str:
        """The backend that runs it."""
        return {"onnx": "onnxruntime", "openvino": "openvino", "tflite": "litert"}[
            self.flavour.format
        ]

    @property
    def refused(self) -> str | None:
        """Why it must not be shipped whatever its numbers say; None where nothing is wrong."""
        return next((flag.message for flag in self.flags if flag.severity == "refuse"), None)

    def describe(self) -> str:
        """Word the recipe with the graph's rewritings."""
        return " + ".join([str(self.recipe), *self.flavour.fixes])


def trial_id(flavour: Flavour, recipe: Recipe) -> str:
    """Make a variant's id out of what it is, such as ``tflite-int8-percentile-tail-fused``."""
    parts = [flavour.format, recipe.precision.replace("int8-weights", "int8weights")]
    if recipe.precision == "int8":
        parts.append(recipe.calibrator)
        parts += [_SHORT[fix] for fix in flavour.fixes]
        parts += ["bc"] * recipe.bias_correction + ["smooth"] * recipe.smooth
        parts += ["tail"] * recipe.float_tail
        if recipe.float_layers:
            parts.append(f"float{len(recipe.float_layers)}")
        parts += [recipe.rest] * (recipe.rest != "fp32")
    if flavour.graph == "fused":
        parts.append("fused")
    return re.sub(r"[^A-Za-z0-9._-]", "-", "-".join(parts))[:64]
