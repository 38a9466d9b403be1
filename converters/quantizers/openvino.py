"""OpenVINO on CPUs: full int8 by NNCF, int8 weights alone, fp16 and bf16.

NNCF decides which activations are rounded and rounds the weights. The activations' ranges are then
chosen by the calibrators of this package, from the distribution over all calibration images, so
that one calibrator means the same in every engine.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.backends.openvino import shared_core
from edgecv.converters import layers as layer_search
from edgecv.converters import openvino_graph, openvino_ranges, saturation
from edgecv.converters.artifact import Artifact
from edgecv.converters.calibrator import load_calibrator
from edgecv.converters.feeds import Feeds
from edgecv.converters.layers import Layer
from edgecv.converters.quiet import quiet
from edgecv.converters.recipe import Recipe
from edgecv.converters.telemetry import no_telemetry
from edgecv.errors import DependencyMissingError, StepError

TOOLS: tuple[str, ...] = ("openvino", "nncf", "numpy")

_SMOOTH_ALPHA = 0.95
"""Share of the range that moves into the weights of a matrix product: NNCF's own default."""
_RESTORING = ("Convert", "Subtract", "Multiply", "Reshape", "Transpose")
_INTEGERS = ("i8", "u8")
_BIASLESS = "/WithoutBiases"
"""What OpenVINO adds to the name of a layer whose bias becomes an operation of its own."""


def refuses(artifact: Artifact, recipe: Recipe) -> str | None:
    """Say why OpenVINO cannot be given this; see `Quantizer`."""
    if artifact.format != "openvino":
        return f"this makes IR files of IR files, not of {artifact.format}"
    if artifact.precision != "fp32":
        return f"the model is {artifact.precision} already"
    if recipe.precision == "fp32":
        return "fp32 is what the model is already"
    if recipe.precision == "bf16" and not _has_bf16():
        return "this CPU computes nothing in bf16"
    if recipe.precision == "int8" and recipe.smooth and not _has_products(artifact):
        return "smoothing is for matrix products, and the model has none with constant weights"
    return None


def quantize(
    artifact: Artifact,
    recipe: Recipe,
    feeds: Feeds | None,
    folder: Path,
    *,
    float_layers: Sequence[Layer] = (),
) -> Artifact:
    """Write the lowered model into `folder`; see `Quantizer`."""
    reason = refuses(artifact, recipe)
    if reason is not None:
        raise StepError(reason, where=str(artifact.path), got=str(recipe))
    made = replace(artifact, precision=recipe.precision)
    if recipe.precision == "bf16":
        # The engine rounds to bf16 when it compiles; the file is the float one.
        files = tuple(Path(shutil.copy(path, folder)) for path in artifact.files)
        return replace(made, files=files).noting("the float file; the engine computes in bf16")
    model = openvino_graph.load(artifact.path)
    if recipe.precision == "fp16":
        files = openvino_graph.save(model, folder, half=True)
        return replace(made, files=files).noting(
            "weights of 16 bits; x86 CPUs without fp16 arithmetic compute with them in fp32"
        )
    keep = float_names(model, recipe, float_layers)
    if recipe.precision == "int8-weights":
        lowered, notes = _int8_weights(model, keep)
    elif feeds is None or not len(feeds):
        raise StepError("full int8 needs calibration images", where=str(artifact.path))
    else:
        lowered, notes = _int8(artifact, model, recipe, feeds, keep)
    files = openvino_graph.save(lowered, folder)
    if feeds is not None:
        _check_finite(files[0], feeds)
    return replace(made, files=files).noting(*notes)


def float_names(model: Any, recipe: Recipe, float_layers: Sequence[Layer]) -> list[str]:
    """Find the operations that the recipe leaves in float: by the layer's weights, else by name.

    Raises:
        StepError: a layer is not there.
    """
    here = openvino_graph.layers(model)
    given = {layer.name: layer for layer in float_layers}
    wanted = [given[name] for name in recipe.float_layers if name in given]
    found = layer_search.find(here, wanted)
    # Where the conversion folded something into the weights, the name may be left.
    names = {layer.name.removesuffix(_BIASLESS): layer.name for layer in here}
    for name in recipe.float_layers:
        if name not in found and name in names:
            found[name] = names[name]
    lost = [name for name in recipe.float_layers if name not in found]
    if lost:
        raise StepError(
            "layers that are to stay in float are not in the graph",
            expected="convolutions or matrix products with the weights of the ONNX graph's",
            got=", ".join(lost[:5]),
        )
    tail = openvino_graph.tail(model) if recipe.float_tail else ()
    return [*found.values(), *tail]


_kept: dict[tuple[str, str], openvino_ranges.Measured] = {}


def _int8(
    artifact: Artifact, model: Any, recipe: Recipe, feeds: Feeds, keep: list[str]
) -> tuple[Any, list[str]]:
    nncf = _nncf()
    calibrator = load_calibrator(recipe.calibrator)
    saturates = saturation.saturates()
    # Where nothing but the ranges depends on the images, which are replaced, one is enough.
    whole = recipe.bias_correction or recipe.smooth
    images = feeds if whole else [next(iter(feeds))]
    estimators = nncf.quantization.range_estimator.RangeEstimatorParametersSet
    try:
        with quiet(), no_telemetry():
            quantized = nncf.quantize(
                model.clone(),
                nncf.Dataset(images),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(images),
                fast_bias_correction=True,
                model_type=nncf.ModelType.TRANSFORMER if recipe.smooth else None,
                ignored_scope=nncf.IgnoredScope(names=keep, validate=False),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    overflow_fix=nncf.OverflowFix.ENABLE if saturates else nncf.OverflowFix.DISABLE,
                    disable_bias_correction=not recipe.bias_correction,
                    activations_range_estimator_params=estimators.MINMAX,
                    smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(
                        convolution=-1, matmul=_SMOOTH_ALPHA if recipe.smooth else -1
                    ),
                ),
            )
    except Exception as error:
        raise StepError(
            f"NNCF failed: {openvino_graph.reason(error)}", where="quantizer openvino"
        ) from error
    if recipe.smooth:
        measured = openvino_ranges.measure(_without_rounding(quantized), quantized, feeds, {})
    else:
        # One search tries many recipes on the same graph and images.
        key = (artifact.digest, feeds.digest)
        measured = openvino_ranges.measure(model, quantized, feeds, _kept.get(key, {}))
        _kept.clear()
        _kept[key] = measured
    openvino_ranges.recalibrate(quantized, measured, calibrator)
    total = len(openvino_graph.layers(model))
    int8 = sum(_is_int8(op) for op in quantized.get_ops())
    if not int8:
        raise StepError(
            "no layer is left to quantize",
            where=str(artifact.path),
            expected="a convolution or a matrix product with constant weights",
            got=f"{total} layers, {len(keep)} operations that stay in float",
        )
    notes = [f"{int8} of {total} layers have int8 weights and activations"]
    return quantized, notes + [saturation.NOTE] * saturates


def _int8_weights(model: Any, keep: list[str]) -> tuple[Any, list[str]]:
    nncf = _nncf()
    try:
        with quiet(), no_telemetry():
            lowered = nncf.compress_weights(
                model,
                mode=nncf.CompressWeightsMode.INT8_ASYM,
                ignored_scope=nncf.IgnoredScope(names=keep, validate=False),
            )
    except Exception as error:
        raise StepError(
            f"NNCF failed: {openvino_graph.reason(error)}", where="quantizer openvino"
        ) from error
    count = sum(_is_int8(op) for op in lowered.get_ops())
    if not count:
        raise StepError("no layer has weights to store as int8")
    return lowered, [
        f"weights of {count} layers are int8 in the file and restored to fp32: smaller, not faster"
    ]


def _without_rounding(quantized: Any) -> Any:
    """Copy a quantized model and let its activations through as they are."""
    copy = quantized.clone()
    for op in list(openvino_ranges.activations(copy)):
        op.output(0).replace(op.input_value(0))
    copy.validate_nodes_and_infer_types()
    return copy


def _is_int8(op: Any) -> bool:
    """Tell whether a layer's weights are integers; then NNCF rounds its input, too."""
    if op.get_type_name() not in openvino_graph.LAYER_OPS:
        return False
    return any(_is_integers(op.input_value(i)) for i in (0, 1))


def _is_integers(output: Any) -> bool:
    op = output.get_node()
    while op.get_type_name() in _RESTORING:
        op = op.input_value(0).get_node()
    return op.get_type_name() == "Constant" and op.get_element_type().get_type_name() in _INTEGERS


def _check_finite(path: Path, feeds: Feeds) -> None:
    opened = openvino_graph.compiled(openvino_graph.load(path))
    values = openvino_graph.run(opened, next(iter(feeds)))
    for output, value in zip(opened.outputs, values, strict=True):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise StepError(
                "the quantized model puts out values that are not finite", where=output.any_name
            )


def _has_bf16() -> bool:
    openvino_graph.require()
    return "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _has_products(artifact: Artifact) -> bool:
    model = openvino_graph.load(artifact.path)
    return any(layer.op == "MatMul" for layer in openvino_graph.layers(model))


def _nncf() -> Any:
    try:
        with quiet(), no_telemetry():
            import nncf
            import nncf.quantization.range_estimator
    except ImportError:
        raise DependencyMissingError(
            "NNCF is not installed", remedy="pip install 'edgecv[convert]'"
        ) from None
    return nncf
