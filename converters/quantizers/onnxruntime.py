"""ONNX Runtime on CPUs: full int8 as QDQ, int8 weights alone, and fp16.

Full int8 takes every operator that ONNX Runtime has an int8 kernel for, not the convolutions alone:
measured on yolox_nano (one thread, AVX-512 VNNI), quantizing convolutions alone is no faster than
fp32, because each activation between them is converted back and forth, while all of them together
run 1.35 times faster at the same mAP. Softmax and normalisations stay in float, for their results
need more than 256 levels.

An operator without weights is computed in int8 only where an input of it is: so whatever prepares
the pixels in front of the first int8 layer, and the activations between float layers, stay in
float.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecv import host
from edgecv.converters import layers as layer_search
from edgecv.converters import (
    onnx_activations,
    onnx_edit,
    onnx_graph,
    onnx_int8_weights,
    onnx_qdq,
    saturation,
)
from edgecv.converters.artifact import Artifact
from edgecv.converters.calibrator import load_calibrator
from edgecv.converters.feeds import Feeds
from edgecv.converters.layers import Layer
from edgecv.converters.recipe import Recipe
from edgecv.converters.statistics import Histogram
from edgecv.errors import StepError
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

TOOLS: tuple[str, ...] = ("onnxruntime", "onnx", "numpy")

MIN_OPSET = 13
"""The first with scales for each channel."""

_INT8_LAYERS = frozenset({"QLinearConv", "QConv", "ConvInteger", "QGemm", "QLinearMatMul",
                          "MatMulInteger", "MatMulIntegerToFloat"})  # fmt: skip
_FATAL_ONLY = 4
"""ONNX Runtime warns that the optimized file, which is only looked at, is for this CPU alone."""


def refuses(artifact: Artifact, recipe: Recipe) -> str | None:
    """Say why ONNX Runtime cannot be given this; see `Quantizer`."""
    if artifact.format != "onnx":
        return f"ONNX Runtime runs no {artifact.format} files"
    if artifact.precision != "fp32":
        return f"the model is {artifact.precision} already"
    if recipe.precision == "bf16":
        return "ONNX Runtime computes nothing in bf16 on CPUs"
    if recipe.precision == "fp32":
        return "fp32 is what the model is already"
    if recipe.precision == "int8" and recipe.smooth:
        return "ONNX Runtime's smoothing is for language models: it needs Intel Neural Compressor"
    return None


def quantize(
    artifact: Artifact,
    recipe: Recipe,
    feeds: Feeds | None,
    folder: Path,
    *,
    float_layers: Sequence[Layer] = (),
) -> Artifact:
    """Write the lowered model into `folder`; see `Quantizer`.

    Biases are not corrected here but by the step ``onnx_bias_correction`` beforehand.
    """
    reason = refuses(artifact, recipe)
    if reason is not None:
        raise StepError(reason, where=str(artifact.path), got=str(recipe))
    if recipe.precision == "fp16":
        from edgecv.converters.steps import onnx_fp16

        return onnx_fp16.to_fp16(artifact, folder)
    model = onnx_edit.load(artifact.path)
    onnx_edit.name_nodes(model)
    keep = float_names(model, recipe, float_layers)
    if recipe.precision == "int8-weights":
        made, notes = _int8_weights(model, keep, folder)
        return Artifact("onnx", (made,), "int8-weights", artifact.layout, artifact.in_graph).noting(
            *artifact.notes, *notes
        )
    if feeds is None or not len(feeds):
        raise StepError("full int8 needs calibration images", where=str(artifact.path))
    made, notes = _int8(artifact, model, recipe, feeds, keep, folder)
    return Artifact("onnx", (made,), "int8", artifact.layout, artifact.in_graph).noting(
        *artifact.notes, *notes
    )


def float_names(
    model: onnx.ModelProto, recipe: Recipe, float_layers: Sequence[Layer]
) -> frozenset[str]:
    """Find the nodes that the recipe leaves in float: by name, else by the layer's weights.

    Raises:
        StepError: a layer is not there.
    """
    found = set(onnx_graph.tail(model)) if recipe.float_tail else set()
    here = onnx_graph.layers(model)
    names = {layer.name for layer in here}
    absent = [name for name in recipe.float_layers if name not in names]
    given = {layer.name: layer for layer in float_layers}
    taken = {*recipe.float_layers} - {*absent}
    free = [layer for layer in here if layer.name not in taken]
    matched = layer_search.find(free, [given[name] for name in absent if name in given])
    lost = [name for name in absent if name not in matched]
    if lost:
        raise StepError(
            "layers that are to stay in float are not in the graph",
            expected="names of convolutions or matrix products with constant weights",
            got=", ".join(lost[:5]),
        )
    return frozenset(found | taken | {*matched.values()})


def _int8(
    artifact: Artifact,
    model: onnx.ModelProto,
    recipe: Recipe,
    feeds: Feeds,
    keep: frozenset[str],
    folder: Path,
) -> tuple[Path, list[str]]:
    opset = onnx_edit.opset(model)
    if opset < MIN_OPSET:
        raise StepError(
            "the model is too old for int8 with a scale for each channel",
            where=str(artifact.path),
            expected=f"opset {MIN_OPSET} or later",
            got=f"opset {opset}",
            remedy="raise it first, with the step onnx_normalize",
        )
    onnx_qdq.lift_constants(model)
    chosen = onnx_qdq.quantizable(model, keep)
    layers = {layer.name for layer in onnx_graph.layers(model)}
    if not layers & {*chosen}:
        raise StepError(
            "no layer is left to quantize",
            where=str(artifact.path),
            expected="a convolution or a matrix product with constant weights",
            got=f"{len(layers)} layers, {len(keep)} nodes that stay in float",
        )
    measured = _measured(artifact, model, feeds)
    choose = load_calibrator(recipe.calibrator).choose
    ranges = {name: choose(histogram) for name, histogram in measured.items()}
    reduced = saturation.saturates()
    graph = onnx_edit.Graph(onnx_qdq.insert(model, chosen, ranges, reduce_range=reduced))
    onnx_qdq.keep_float(graph, layers - {*chosen})
    path = graph.save(folder)
    executed = _executed(path, next(iter(feeds)))
    notes = [f"{executed} of {len(layers)} layers run in int8 in ONNX Runtime"]
    if reduced:
        notes.append(saturation.NOTE)
    return path, notes


_kept: dict[tuple[str, str], dict[str, Histogram]] = {}


def _measured(artifact: Artifact, model: onnx.ModelProto, feeds: Feeds) -> dict[str, Histogram]:
    """Gather the histograms of whatever may be quantized; the last ones are kept.

    One search tries many recipes on the same graph and images.
    """
    key = (artifact.digest, feeds.digest)
    if key not in _kept:
        constants = {tensor.name for tensor in model.graph.initializer}
        tensors = [
            name
            for node in model.graph.node
            if node.op_type in onnx_qdq.OPS
            for name in (*node.input, *node.output)
            if name and name not in constants
        ]
        measured = onnx_activations.histograms(model, feeds, tensors)
        _kept.clear()
        _kept[key] = measured
    return _kept[key]


def _executed(path: Path, feed: Mapping[str, Array]) -> int:
    """Count the layers that ONNX Runtime runs in int8; look at the outputs of one image.

    Raises:
        StepError: the file does not load, has no int8 layer, or puts out what is not finite.
    """
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.intra_op_num_threads = host.usable_cpus()
        options.optimized_model_filepath = str(optimized)
        try:
            opened = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise StepError(
                f"ONNX Runtime refuses the quantized model: {onnx_edit.reason(error)}"
            ) from error
        ops = [node.op_type for node in onnx.load(str(optimized)).graph.node]
    count = sum(op in _INT8_LAYERS for op in ops)
    if not count:
        raise StepError("ONNX Runtime runs no layer of the quantized model in int8")
    for name, value in onnx_edit.run(opened, feed).items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise StepError("the quantized model puts out values that are not finite", where=name)
    return count


def _int8_weights(
    model: onnx.ModelProto, keep: frozenset[str], folder: Path
) -> tuple[Path, list[str]]:
    graph = onnx_edit.Graph(model)
    count = onnx_int8_weights.store_int8(graph, keep)
    if not count:
        raise StepError("no layer has weights to store as int8")
    path = graph.save(folder)
    onnx_edit.session(graph.model)
    return path, [
        f"{count} weight tensors are int8 in the file; ONNX Runtime restores them when it loads "
        "it: smaller, not faster"
    ]
