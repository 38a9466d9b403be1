"""TFLite with weights stored as float16, which halves the file; the arithmetic stays in float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgecv.converters.artifact import Artifact
from edgecv.converters.tflite_quantize import apply_recipe, recipe_manager
from edgecv.types import Precision

TOOLS = ("ai-edge-quantizer",)


def to_fp16(artifact: Artifact, folder: Path) -> Artifact:
    """Store the weights of a float TFLite file as float16.

    Raises:
        DependencyMissingError: ai-edge-quantizer is not installed.
        StepError: it failed.
    """
    manager = recipe_manager()
    manager.add_weight_only_config(".*", "*", num_bits=16, algorithm_key="float_casting")
    made = folder / "model.tflite"
    apply_recipe(artifact.path, manager, made).write(made)
    precision: Precision = "fp16"
    return replace(artifact, files=(made,), precision=precision)
