"""Lowering TFLite files with ai-edge-quantizer, for the ``litert`` backend.

Activations get one scale a tensor, weights one a channel. The ranges come from our own calibrators.
Without `Recipe.float_tail` the outputs are int8, one scale each: a tensor that joins boxes and
scores then loses the scores, whose step is that of the boxes. It is offered because the outputs of
raw heads lose nothing by it, and is for the caller to judge by what it measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgecv.converters.artifact import Artifact
from edgecv.converters.calibrator import load_calibrator
from edgecv.converters.feeds import Feeds
from edgecv.converters.float_islands import between
from edgecv.converters.layers import Layer, find
from edgecv.converters.recipe import Recipe
from edgecv.converters.steps.tflite_fp16 import to_fp16
from edgecv.converters.tail import tail
from edgecv.converters.tflite_file import Graph
from edgecv.converters.tflite_int8 import (
    float_ops,
    integrate,
    is_filled_with_nothing,
    take_bytes,
)
from edgecv.converters.tflite_quantize import apply_recipe, leave_in_float, observe, recipe_manager
from edgecv.engines import load_backend
from edgecv.errors import StepError
from edgecv.types import Precision, SessionOptions

TOOLS: tuple[str, ...] = ("ai-edge-quantizer", "ai-edge-litert")

# Kinds that the tool knows and yet cannot lower: it fails on a PADV2's scalar constant.
_BEYOND = frozenset({"PADV2"})
# Kinds that change no value.
_MOVING = frozenset({"TRANSPOSE", "RESHAPE"})


def refuses(artifact: Artifact, recipe: Recipe) -> str | None:
    """Say why this recipe cannot be made of this artifact; see `Quantizer.refuses`."""
    if artifact.format != "tflite" or artifact.precision != "fp32":
        return f"only a float TFLite file can be lowered, not {artifact.precision}"
    if recipe.precision in ("bf16", "fp32"):
        return f"TFLite files are not lowered to {recipe.precision}"
    if recipe.smooth:
        return "ai-edge-quantizer does not smooth activations"
    graph = Graph.read(artifact.path)
    if not graph.layers():
        return "the model has no layers with weights"
    if recipe.float_tail and recipe.precision == "int8" and not _tail(graph):
        return "nothing follows the last layers"
    return None


def quantize(
    artifact: Artifact,
    recipe: Recipe,
    feeds: Feeds | None,
    folder: Path,
    *,
    float_layers: Sequence[Layer] = (),
) -> Artifact:
    """Write the lowered model into `folder`; see `Quantizer.quantize`.

    Biases are not corrected here: that is done on the ONNX graph, before the conversion.
    """
    if recipe.precision == "fp16":
        return to_fp16(artifact, folder)
    graph = Graph.read(artifact.path)
    kept, notes = _kept_layers(graph, float_layers)
    made = folder / "model.tflite"
    manager = recipe_manager()
    if recipe.precision == "int8-weights":
        manager.add_weight_only_config(".*", "*", num_bits=8)
        leave_in_float(manager, graph, kept, outputs=False)
        apply_recipe(artifact.path, manager, made).write(made)
    elif recipe.precision == "int8":
        notes += _make_int8(artifact, graph, recipe, feeds, made, kept)
    else:
        raise StepError(f"TFLite files are not lowered to {recipe.precision}", where=str(made))
    _check(made, recipe.precision)
    return replace(artifact, files=(made,), precision=recipe.precision).noting(*notes)


def _make_int8(
    artifact: Artifact,
    graph: Graph,
    recipe: Recipe,
    feeds: Feeds | None,
    made: Path,
    kept: set[str],
) -> list[str]:
    """Write the int8 file and return what is to be said about it."""
    if feeds is None:
        raise StepError("int8 needs calibration inputs", where=str(artifact.path))
    layers = {layer.name for layer in graph.layers()}
    asked = kept | (set(_tail(graph)) if recipe.float_tail else set())
    asked |= between(graph.nodes(), kept, lambda node: node.name in layers) if kept else set()
    beyond = {graph.op_name(op) for op in graph.ops if graph.word(op) in _BEYOND}
    ends = _float_ends(graph, asked)
    asked |= ends
    manager = recipe_manager()
    manager.add_static_config(".*", "*", activation_num_bits=8, weight_num_bits=8)
    # An output that is computed in float is given in float, and with it all others.
    float_outputs = recipe.float_tail or bool(ends)
    leave_in_float(manager, graph, asked | beyond, outputs=float_outputs)
    ranges = _ranges(graph, artifact.path, recipe.calibrator, feeds)
    lowered = apply_recipe(artifact.path, manager, made, ranges)
    integrate(lowered, ranges, asked)
    take_bytes(lowered)
    lowered.write(made)
    left = float_ops(lowered)
    for op in graph.ops:
        word = graph.word(op)
        if graph.op_name(op) in asked and left.get(word):
            left[word] -= 1
    counted = [f"{count} {word}" for word, count in sorted(left.items()) if count]
    return [f"left in float, having no int8 form: {', '.join(counted)}"] if counted else []


def _float_ends(graph: Graph, kept: set[str]) -> set[str]:
    """Name the ops at the outputs whose values come from ops that stay in float.

    What only moves values on their way out is among them.
    """
    makers = graph.producers()
    found: set[str] = set()
    for tensor in graph.outputs:
        way, op = set(), makers.get(tensor)
        while op is not None and graph.word(op) in _MOVING and graph.op_name(op) not in kept:
            way.add(graph.op_name(op))
            op = makers.get(int(op.inputs[0]))
        if op is not None and graph.op_name(op) in kept:
            found |= way | {graph.op_name(op)}
    return found


def _ranges(
    graph: Graph, path: Path, calibrator: str, feeds: Feeds
) -> dict[str, tuple[float, float]]:
    """Choose the range of every computed float tensor."""
    choose = load_calibrator(calibrator).choose
    seen = observe(graph, path, feeds)
    found = {name: choose(histogram) for name, histogram in seen.items()}
    readers = graph.consumers()
    for tensor in graph.inputs:
        name = graph.name(tensor)
        if name in seen:
            # Pixels have no outliers: whatever clips them darkens or burns the image.
            found[name] = load_calibrator("minmax").choose(seen[name])
        for op in readers.get(tensor, []):
            if graph.dtype(tensor) == "uint8" and graph.word(op) == "CAST":
                # Bytes have 256 values already: each keeps its own.
                found[graph.name(int(op.outputs[0]))] = (0.0, 255.0)
    for op in graph.ops:
        before, behind = graph.name(int(op.inputs[0])), graph.op_name(op)
        if is_filled_with_nothing(graph, op) and before in found:
            found[behind] = found[before]
    return found


def _kept_layers(graph: Graph, wanted: Sequence[Layer]) -> tuple[set[str], list[str]]:
    """Find the layers that stay in float, and say which are not there."""
    found = find(graph.layers(), wanted)
    lost = [layer.name for layer in wanted if layer.name not in found]
    notes = [f"not found in the TFLite file, hence not left in float: {', '.join(lost)}"]
    return set(found.values()), notes if lost else []


def _tail(graph: Graph) -> tuple[str, ...]:
    """Name the ops after the last layers."""
    layers = {layer.name for layer in graph.layers()}
    return tail(graph.nodes(), graph.outputs, lambda node: node.name in layers)


def _check(made: Path, wanted: Precision) -> None:
    """Read the file's precision back.

    Raises:
        StepError: it is not what was asked for.
    """
    source = Artifact("tflite", (made,)).source()
    session = load_backend("litert").open_session(source, SessionOptions())
    try:
        found = session.info.precision
    finally:
        session.close()
    if found != wanted:
        raise StepError(
            "the file does not compute as it was asked to",
            where=str(made),
            expected=wanted,
            got=str(found),
        )
