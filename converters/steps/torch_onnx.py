"""Export a torch module to ONNX, and compare both at once.

torch's current exporter (``dynamo=True``) is tried first; what it cannot take goes to the older
one, which also exports TorchScript, and the artifact's notes say why. Shapes are static. Opset 18
is the oldest that the current exporter writes correctly: files that it lowers to 16 or 17 are
refused by ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv.converters.artifact import Artifact
from edgecv.converters.export_failure import failure, reason
from edgecv.converters.export_parity import compare
from edgecv.converters.module_source import flatten
from edgecv.converters.quiet import quiet
from edgecv.converters.source import Source
from edgecv.engines import load_backend
from edgecv.errors import DependencyMissingError, ModelLoadError, ParityError, StepError
from edgecv.types import ModelSource, SessionOptions

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

TOOLS = ("torch", "onnx", "onnxscript")
OPSET = 18
IR_VERSION = 10
"""Newest ONNX IR that a file may need; ONNX Runtime 1.20 reads it."""
_WHERE = "step torch to ONNX: "
# Protobuf cannot write 2 GiB or more; the graph needs some room, too.
_MAX_INSIDE_BYTES = 1900 * 2**20


def export_onnx(source: Source, folder: Path) -> Artifact:
    """Export a source's module.

    Args:
        source: with a module; see `Source` for its form.
        folder: gets ``NAME.onnx``, with its weights inside if it stays below protobuf's 2 GiB.

    Returns:
        A float ONNX file: input `source.input_name` float32 [1, C, H, W], outputs named by
        `source.output_names`, or ``output0``, ``output1``...; its properties are
        `source.metadata`.

    Raises:
        StepError: neither exporter takes the module; the error names the operator and the line.
        ParityError: ONNX Runtime computes something else than torch.
        DependencyMissingError: torch, onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
        import torch
    except ImportError as error:
        raise DependencyMissingError(
            f"{error.name} is needed to export", remedy="pip install 'edgecv[convert]'"
        ) from None
    if source.module is None or source.input_hw is None:
        raise StepError("there is no module to export", where=_WHERE + source.name)
    shape = (1, source.channels, *source.input_hw)
    # Compared on another image than it is traced with: constants of one would not fit both.
    image, other = (
        torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    )
    names = _output_names(source, other)
    path = folder / f"{source.name}.onnx"
    model, notes = _export(source, image, names, path)
    files = _write(model, source.metadata, path)
    _check(onnx, path)
    images = [other]
    if notes:
        # Tracing keeps one side of each branch of Python: other values might have taken another.
        images += [torch.zeros(shape), 4 * other - 2]
    try:
        doubts = _compare(source, names, files, images)
    except ParityError as error:
        if notes:
            error.remedy = f"write branches that depend on values without if; {notes[0]}"
        raise
    return Artifact("onnx", files, "fp32", "NCHW", notes=(*notes, *doubts))


def _output_names(source: Source, image: Tensor) -> tuple[str, ...]:
    """Name the outputs, which are counted by running the module."""
    import torch

    assert source.module is not None
    with quiet(), torch.no_grad():
        count = len(flatten(source.module(image)))
    names = source.output_names or tuple(f"output{i}" for i in range(count))
    if len(names) != count:
        raise StepError(
            "wrong number of outputs",
            where=_WHERE + source.name,
            expected=f"{len(names)} ({', '.join(names)})",
            got=str(count),
        )
    return names


def _compare(
    source: Source, names: tuple[str, ...], files: tuple[Path, ...], images: list[Tensor]
) -> tuple[str, ...]:
    """Run the module and the file on images; return what makes the comparison say little."""
    import torch

    module = source.module
    assert module is not None
    backend = load_backend("onnxruntime")
    try:
        session = backend.open_session(ModelSource.from_paths(*files), SessionOptions())
    except ModelLoadError as error:
        raise StepError(
            f"ONNX Runtime refuses the exported file: {error.what}", where=_WHERE + source.name
        ) from error
    doubts: dict[str, None] = {}
    try:
        for image in images:
            with quiet(), torch.no_grad():
                expected = [tensor.numpy() for tensor in flatten(module(image))]
            actual = session.run({source.input_name: image.numpy()})
            found = compare(
                names,
                expected,
                [actual[name] for name in names],
                source.name,
                unordered_rows=bool(getattr(module, "unordered_rows", False)),
                score_column=getattr(module, "score_column", None),
            )
            doubts |= dict.fromkeys(found if image is images[0] else ())
    finally:
        session.close()
    return tuple(doubts)


def _export(
    source: Source, image: Tensor, names: tuple[str, ...], path: Path
) -> tuple[ModelProto, tuple[str, ...]]:
    """Export with the current exporter, or else with the older one."""
    import torch

    module = source.module
    assert module is not None
    if isinstance(module, torch.jit.ScriptModule):
        try:
            return _older(module, image, source.input_name, names, path), ()
        except Exception as error:
            raise failure(_WHERE + source.name, error) from error
    try:
        return _current(module, image, source.input_name, names), ()
    except Exception as error:
        first = error
    if isinstance(module, torch.fx.GraphModule):
        # The older exporter traces modules, and an exported program cannot be traced.
        raise failure(_WHERE + source.name, first) from first
    try:
        model = _older(module, image, source.input_name, names, path)
    except Exception as second:
        raise failure(_WHERE + source.name, first, second) from first
    said = reason(first)
    return model, (f"exported with torch's older exporter: the current one says: {said}",)


def _current(
    module: nn.Module, image: Tensor, input_name: str, names: tuple[str, ...]
) -> ModelProto:
    import torch

    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            _flat(module),
            (image,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[input_name],
            output_names=list(names),
            custom_translation_table=_translations(),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model: ModelProto = program.model_proto
    return model


def _older(
    module: nn.Module, image: Tensor, input_name: str, names: tuple[str, ...], path: Path
) -> ModelProto:
    import onnx
    import torch

    draft = path.with_suffix(".draft.onnx")
    try:
        with quiet(native=True), torch.no_grad():
            flat = _flat(module)
            if isinstance(module, torch.jit.ScriptModule):
                # The exporter cannot trace through it; torch.jit.trace keeps its control flow.
                flat = torch.jit.trace(flat, (image,), check_trace=False)
            torch.onnx.export(
                flat,
                (image,),
                str(draft),
                dynamo=False,
                opset_version=OPSET,
                input_names=[input_name],
                output_names=list(names),
            )
            return onnx.load(str(draft))
    finally:
        draft.unlink(missing_ok=True)


def _flat(module: nn.Module) -> nn.Module:
    """Wrap a module so that it returns a tuple of tensors, whatever it is nested in."""
    import torch

    class Flat(torch.nn.Module):  # type: ignore[misc]  # torch's types are not read
        """Passes an image on, and the tensors back."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            """Return the tensors in the module's output."""
            return tuple(flatten(self.inner(image)))

    return Flat().eval() if not isinstance(module, torch.fx.GraphModule) else Flat()


def _translations() -> dict[Any, Callable[..., Any]]:
    """Translate what torch 2.13 lacks: RT-DETR v2 and D-FINE check their anchors with this one."""
    import onnxscript
    import torch

    ops: Any = onnxscript.opset18

    def is_all_true(values: Any) -> Any:
        """Reduce by minimum: ONNX has no logical reduction."""
        whole = ops.Cast(values, to=6)  # INT32
        return ops.Cast(ops.ReduceMin(whole, keepdims=0), to=9)  # BOOL

    return {torch.ops.aten._is_all_true.default: is_all_true}


def _write(model: ModelProto, metadata: Mapping[str, str], path: Path) -> tuple[Path, ...]:
    """Write the file without the exporter's notes: they quote paths of this machine."""
    import onnx

    model.ir_version = min(model.ir_version, IR_VERSION)
    model.doc_string = ""
    model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    inside = sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= _MAX_INSIDE_BYTES
    if inside:
        onnx.save_model(model, str(path))
        return (path,)
    beside = path.with_suffix(".onnx.data")
    onnx.save_model(
        model, str(path), save_as_external_data=True, location=beside.name, size_threshold=1024
    )
    return (path, beside)


def _check(onnx: Any, path: Path) -> None:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StepError(
            f"the exported file is not valid ONNX: {reason(error)}", where=f"{_WHERE}{path.name}"
        ) from error
