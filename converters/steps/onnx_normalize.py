"""Any float ONNX file -> the one graph that every other step starts from.

Fixed shapes, a known opset, simplified, every node named, checked, and proven to compute what the
file computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgecv.converters import onnx_edit, onnx_focus, onnx_fold, onnx_gather, onnx_parity
from edgecv.converters.artifact import Artifact
from edgecv.converters.onnx_edit import Graph
from edgecv.converters.quiet import quiet
from edgecv.errors import DependencyMissingError, ParityError, StepError, UsageError
from edgecv.types import Array

if TYPE_CHECKING:
    import onnx

TOOLS = ("onnx", "onnxslim")

_STEP = "onnx_normalize"
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_AXES = {"NCHW": (2, 3), "NHWC": (1, 2)}
# Their output's shape depends on the values that they get.
_OPEN_OPS = {"NonZero", "NonMaxSuppression", "Unique", "Compress", "Loop", "If", "Scan"}


def normalize(
    artifact: Artifact,
    folder: Path,
    *,
    opset: int = 17,
    ir_version: int = 10,
    input_hw: tuple[int, int] | None = None,
) -> Artifact:
    """Write the normal form of an ONNX file.

    Args:
        artifact: an ONNX file.
        folder: where to.
        opset: lowest version of ONNX's operators in the result.
        ir_version: highest version of the format in the result.
        input_hw: (height, width) for an image input that leaves them free.

    Raises:
        StepError: the file cannot be read, holds unknown operators, or cannot be brought to these
            versions.
        UsageError: a shape is free and `input_hw` does not say it, or says another than the file.
        ParityError: the result does not compute what the file computes.
        DependencyMissingError: onnx or onnxslim is not installed.
    """
    original = onnx_edit.load(artifact.path)
    where = artifact.path.name
    _check_ops(original, where)
    # ONNX Runtime refuses two nodes of one name.
    onnx_edit.name_nodes(original)
    import onnx.inliner

    model = _copy(original)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _drop_constant_inputs(model)
    _drop_unused_domains(model)
    model.ir_version = max(model.ir_version, 4)
    notes = _fix_shapes(model, _AXES[artifact.layout], input_hw, where)
    before = onnx_edit.opset(model)
    model, slimmed = _lowered(original, model, opset, ir_version, where)
    after = onnx_edit.opset(model)
    if after != before:
        notes.append(f"opset {'raised' if after > before else 'lowered'} from {before} to {after}")
    if not slimmed:
        notes.append("not simplified: onnxslim cannot do it, or changes what the graph computes")
    path = Graph(model).save(folder)
    return Artifact("onnx", (path,), artifact.precision, artifact.layout, artifact.in_graph).noting(
        *artifact.notes, *notes
    )


def _lowered(
    original: onnx.ModelProto, model: onnx.ModelProto, opset: int, ir_version: int, where: str
) -> tuple[onnx.ModelProto, bool]:
    """Bring a model with fixed shapes to its versions, simplify and prove it.

    Returns:
        The result, and whether it could be simplified.
    """
    failure: StepError | ParityError | None = None
    for simplify in (True, False):
        try:
            made = _at_versions(_copy(model), opset, ir_version, where, simplify)
            _prove(original, made)
        except (StepError, ParityError) as error:
            # Without simplifying it may still work; what went wrong first is what is to be told.
            failure = failure or error
            continue
        return made, simplify
    assert failure is not None
    raise failure


def _at_versions(
    model: onnx.ModelProto, opset: int, ir_version: int, where: str, simplify: bool
) -> onnx.ModelProto:
    import onnx
    from onnx import helper

    said = {entry.key: entry.value for entry in model.metadata_props}
    have = onnx_edit.opset(model)
    readable = [entry[2] for entry in helper.VERSION_TABLE if entry[1] <= ir_version]
    want = max(opset, min(have, max(readable)))
    if have != want:
        model = _converted(model, want, where, simplify)
    elif simplify:
        model = _slim(model)
    graph = Graph(model)
    onnx_fold.fold_batch_norms(graph)
    onnx_fold.hold_constants(graph)
    onnx_focus.fold_into_convolutions(graph)
    onnx_gather.cut_to_indices(graph)
    needed = int(helper.find_min_ir_version_for(model.opset_import))
    model.ir_version = max(needed, min(model.ir_version, ir_version))
    del model.metadata_props[:]
    helper.set_model_props(model, said)
    onnx_edit.name_nodes(model)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _converted(model: onnx.ModelProto, want: int, where: str, simplify: bool) -> onnx.ModelProto:
    """Convert to another opset, before or after simplifying, whichever works."""
    from onnx import version_converter

    have = onnx_edit.opset(model)
    kept = _copy(model)
    try:
        made = version_converter.convert_version(model, want)
        return _slim(made) if simplify else made
    except Exception as error:
        first = error
    if simplify and not isinstance(first, StepError | DependencyMissingError):
        try:
            # Some operators can be converted once their inputs are known to be constant.
            return version_converter.convert_version(_slim(kept), want)
        except Exception as error:
            first = error
    if isinstance(first, StepError | DependencyMissingError):
        raise first
    raise StepError(
        f"opset {have} cannot be brought to {want}: {onnx_edit.reason(first)}",
        where=where,
        remedy=f"export the model with opset {want}",
    ) from first


def _slim(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        import onnxslim
    except ImportError:
        raise DependencyMissingError(
            "the onnxslim package is not installed", remedy="pip install 'edgecv[convert]'"
        ) from None
    try:
        with quiet():
            return onnxslim.slim(_copy(model))
    except (Exception, SystemExit) as error:
        told = onnx_edit.reason(error) if isinstance(error, Exception) else "it gave up"
        raise StepError(f"onnxslim failed: {told}") from error


def _check_ops(model: onnx.ModelProto, where: str) -> None:
    """Refuse operators that only one engine knows, or none; name the first."""
    import onnx

    own = {(function.domain, function.name) for function in model.functions}
    version = onnx_edit.opset(model)

    def check(node: onnx.NodeProto) -> None:
        domain, op = node.domain, node.op_type
        if (domain, op) in own:
            return
        named = f"{where}: node {node.name or node.output[0]}"
        if domain not in _DOMAINS:
            remedy = (
                "give the file as it was before ONNX Runtime optimized or quantized it"
                if domain.startswith("com.microsoft")
                else "export the model without it"
            )
            raise StepError(
                "an operator that is not ONNX's own",
                where=named,
                got=f"{domain}:{op}",
                remedy=remedy,
            )
        if domain != "ai.onnx.ml" and not onnx.defs.has(op, version, ""):
            raise StepError(f"ONNX knows no operator {op} in opset {version}", where=named)
        for inner in onnx_edit.inner_graphs(node):
            for child in inner.node:
                check(child)

    for node in model.graph.node:
        check(node)
    for function in model.functions:
        for node in function.node:
            check(node)


def _drop_constant_inputs(model: onnx.ModelProto) -> None:
    """Files before IR version 4 list every weight as an input, too."""
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = model.graph.input
    for at in range(len(inputs) - 1, -1, -1):
        if inputs[at].name in held:
            del inputs[at]


def _drop_unused_domains(model: onnx.ModelProto) -> None:
    """Exporters declare domains of functions that are inlined; some tools refuse what they name."""
    used = {""}

    def note(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            used.add(node.domain if node.domain != "ai.onnx" else "")
            for inner in onnx_edit.inner_graphs(node):
                note(inner)

    note(model.graph)
    for entry in [entry for entry in model.opset_import if entry.domain not in used]:
        model.opset_import.remove(entry)


def _fix_shapes(
    model: onnx.ModelProto, axes: tuple[int, int], input_hw: tuple[int, int] | None, where: str
) -> list[str]:
    """Give every free axis of an input its size; return notes."""
    notes: list[str] = []
    fixed = False
    for value in model.graph.input:
        named = f"{where}: input {value.name}"
        shape = onnx_edit.shape_of(value)
        if shape is None:
            raise UsageError("an input of unknown rank", where=named, remedy="export it with one")
        wanted: list[int | None] = list(shape)
        if wanted and wanted[0] is None:
            wanted[0] = 1
            notes.append(f"{value.name}: batch fixed to 1")
        if len(shape) == 4 and input_hw is not None:
            for axis, size in zip(axes, input_hw, strict=True):
                if wanted[axis] not in (None, size):
                    raise UsageError(
                        "the graph's own size is fixed",
                        where=named,
                        expected=f"{shape[axes[0]]}x{shape[axes[1]]}, or no --input",
                        got=f"--input {input_hw[0]}x{input_hw[1]}",
                        remedy="export the model again with this size",
                    )
                wanted[axis] = size
        if None in wanted:
            raise UsageError(
                "dynamic shape: say --input HxW",
                where=named,
                got="[" + ",".join("?" if size is None else str(size) for size in wanted) + "]",
                remedy="name the height and width that the model is to run with: --input 640x640",
            )
        if wanted != list(shape):
            fixed = True
            for dim, length in zip(value.type.tensor_type.shape.dim, wanted, strict=True):
                dim.Clear()
                dim.dim_value = length or 1
    if fixed:
        # What the file says about other tensors was true of the free axes.
        del model.graph.value_info[:]
        for value in model.graph.output:
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()
    return notes


def _prove(original: onnx.ModelProto, made: onnx.ModelProto) -> None:
    """Run both on random inputs; note the shapes of outputs that no inference could tell."""
    feeds: list[Mapping[str, Array]] = [
        onnx_parity.random_feed(made, seed, high) for seed, high in enumerate((1.0, 255.0))
    ]
    outputs = onnx_parity.check_same(original, made, [(feed, feed) for feed in feeds], step=_STEP)
    if any(node.op_type in _OPEN_OPS for node in made.graph.node):
        return
    for value in made.graph.output:
        if None in (onnx_edit.shape_of(value) or (None,)):
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for size in outputs[value.name].shape:
                shape.dim.add().dim_value = size


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
