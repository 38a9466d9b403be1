"""ONNX to TFLite, through onnx2tf's direct writer, which needs no TensorFlow.

onnx2tf works in a child process on a copy of the model: it rewrites the file that it is given,
prints, and leaves files about. It also permutes some outputs for its own convenience; here each
output is compared with ONNX Runtime's and transposed back, so that names, order, shapes and values
are those of the ONNX file. The input becomes NHWC.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np

from edgecv.converters.artifact import Artifact
from edgecv.converters.tflite_file import Graph
from edgecv.converters.tflite_layout import (
    drop_unused_tensors,
    permute_output,
    settle_shapes,
    undo_transpositions,
)
from edgecv.converters.tflite_run import run_once
from edgecv.converters.tflite_shuffle import unshuffle
from edgecv.engines import load_backend
from edgecv.errors import DependencyMissingError, EdgecvError, ParityError, StepError
from edgecv.types import Array, Session, SessionOptions, TensorSpec

TOOLS = ("onnx2tf",)

TOLERANCE = 1e-3
"""Largest deviation of an output, as a share of its largest magnitude."""

_TIMEOUT_S = 1800
_REMEDY = (
    "pip install --no-deps --ignore-requires-python onnx2tf==2.6.9 sne4onnx==2.0.1 sng4onnx==2.0.1"
)
Values = Mapping[str, Array]


def to_tflite(artifact: Artifact, folder: Path) -> Artifact:
    """Convert an ONNX file of fixed shapes into a float TFLite file with NHWC input.

    Args:
        artifact: an ONNX graph; one of layout NHWC keeps its inputs as they are.
        folder: where ``model.tflite`` is written.

    Returns:
        An artifact whose outputs have the ONNX file's names, order, shapes and values.

    Raises:
        DependencyMissingError: onnx2tf or LiteRT is not installed.
        StepError: an op that TFLite does not know, free axes, or onnx2tf failed.
        ParityError: the outputs are not those of ONNX Runtime.
    """
    if importlib.util.find_spec("onnx2tf") is None:
        raise DependencyMissingError("converting ONNX to TFLite needs onnx2tf", remedy=_REMEDY)
    reference = load_backend("onnxruntime").open_session(artifact.source(), SessionOptions())
    try:
        _check_fixed(artifact, reference.inputs)
        nhwc = artifact.layout == "NHWC"
        with tempfile.TemporaryDirectory(prefix="edgecv-onnx2tf-") as scratch:
            kept = [spec.name for spec in reference.inputs if nhwc or len(spec.shape) != 4]
            graph = Graph.read(_convert(artifact, Path(scratch), kept))
        _check_ops(artifact, graph)
        made = folder / "model.tflite"
        samples = [_with_outputs(reference, sample) for sample in _samples(reference.inputs)]
        usable = [pair for pair in samples if _finite(pair[1])]
        if not usable:
            raise ParityError("ONNX Runtime gives no finite outputs", where=str(artifact.path))
        _match(graph, reference, usable[0], nhwc, made)
        drop_unused_tensors(graph)
        graph.write(made)
        result = replace(artifact, format="tflite", files=(made,), layout="NHWC")
        _verify(result, reference, usable, nhwc)
        return result
    finally:
        reference.close()


def _convert(artifact: Artifact, scratch: Path, kept: Sequence[str]) -> Path:
    """Run onnx2tf in a child process and return its float32 file."""
    for path in artifact.files:
        shutil.copyfile(path, scratch / path.name)
    command = [sys.executable, "-m", "onnx2tf", "-i", artifact.path.name, "-o", "made"]
    command += ["-tb", "flatbuffer_direct", "-n"]
    if kept:
        command += ["-kat", *kept]
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StepError(
            f"onnx2tf was not done after {_TIMEOUT_S} s", where=str(artifact.path)
        ) from None
    found = sorted((scratch / "made").glob("*_float32.tflite"))
    if done.returncode != 0 or len(found) != 1:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise StepError(
            "onnx2tf failed",
            where=str(artifact.path),
            got=" | ".join(said[-3:])[:600] or f"status {done.returncode}",
            remedy="simplify the model, or convert its torch source",
        )
    return found[0]


def _check_fixed(artifact: Artifact, specs: Sequence[TensorSpec]) -> None:
    for spec in specs:
        if None in spec.shape:
            raise StepError(
                "an input has free axes",
                where=str(artifact.path),
                expected="fixed shapes",
                got=str(spec),
                remedy="name the size: --input HEIGHTxWIDTH",
            )


def _check_ops(artifact: Artifact, graph: Graph) -> None:
    """Refuse custom ops: onnx2tf writes one for whatever it cannot convert."""
    import onnx

    unknown = [op for op in graph.ops if graph.word(op).startswith("ONNX_")]
    if not unknown:
        return
    word = graph.word(unknown[0]).removeprefix("ONNX_")
    model = onnx.load(str(artifact.path), load_external_data=False)
    node = next((n for n in model.graph.node if n.op_type.upper() == word), None)
    name = graph.op_name(unknown[0]) if node is None else node.name or node.output[0]
    others = sorted({graph.word(op).removeprefix("ONNX_") for op in unknown} - {word})
    raise StepError(
        f"TFLite has no op for {word if node is None else node.op_type}",
        where=f"{artifact.path}: node {name}",
        got=f"also {', '.join(others)}" if others else None,
        remedy="end the model before it, or use ONNX or OpenVINO",
    )


def _samples(specs: Sequence[TensorSpec]) -> Iterator[dict[str, Array]]:
    """Make inputs of two scales: models take pixels as 0..1, as 0..255 or about 0."""
    rng = np.random.default_rng(0)
    for low, high in ((0.0, 255.0), (-2.0, 2.0), (0.0, 1.0)):
        sample = {}
        for spec in specs:
            shape = tuple(size or 1 for size in spec.shape)
            if np.dtype(spec.dtype).kind == "f":
                sample[spec.name] = rng.uniform(low, high, shape).astype(spec.dtype)
            else:
                top = 256 if spec.dtype == "uint8" else 2
                sample[spec.name] = rng.integers(0, top, shape).astype(spec.dtype)
        yield sample


def _with_outputs(session: Session, sample: Values) -> tuple[Values, Values]:
    return sample, session.run(sample)


def _finite(outputs: Values) -> bool:
    return all(np.isfinite(v).all() for v in outputs.values() if v.dtype.kind == "f")


def _to_nhwc(values: Array, nhwc: bool) -> Array:
    """Bring an input of the ONNX file into the layout of the TFLite file."""
    if nhwc or values.ndim != 4:
        return values
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1))


def _match(
    graph: Graph, reference: Session, sample: tuple[Values, Values], nhwc: bool, made: Path
) -> None:
    """Give the graph the names, order and shapes of the reference's inputs and outputs."""
    inputs, wanted = sample
    specs = reference.inputs
    if len(graph.inputs) != len(specs):
        raise StepError(
            "onnx2tf lost an input",
            where=str(made),
            expected=", ".join(map(str, specs)),
            got=", ".join(map(graph.name, graph.inputs)),
        )
    places = {graph.name(tensor): tensor for tensor in graph.inputs}
    # By name; a name that onnx2tf could not keep is found by its place.
    chosen = [places.get(s.name, t) for s, t in zip(specs, graph.inputs, strict=True)]
    graph.body.inputs = np.asarray(chosen, np.int32)
    feeds = [_to_nhwc(inputs[spec.name], nhwc) for spec in specs]
    for tensor, values in zip(chosen, feeds, strict=True):
        if graph.shape(tensor) != values.shape or graph.dtype(tensor) != values.dtype.name:
            raise StepError(
                "onnx2tf changed an input",
                where=graph.name(tensor),
                expected=f"{values.dtype}{list(values.shape)}",
                got=f"{graph.dtype(tensor)}{list(graph.shape(tensor))}",
            )
        graph.body.tensors[tensor].shapeSignature = None
    graph.model.metadata = []  # lets some engines compute in half precision unasked
    graph.model.metadataBuffer = None
    held = run_once(graph, feeds)
    settle_shapes(graph, held)
    undo_transpositions(graph)
    unshuffle(graph)
    ordered = []
    left = graph.outputs
    for name, values in wanted.items():
        tensor, axes = _find(graph, name, values, left, held)
        left.remove(tensor)
        ordered.append((tensor, axes))
    graph.body.outputs = np.asarray([tensor for tensor, _ in ordered], np.int32)
    for place, (_, axes) in enumerate(ordered):
        permute_output(graph, place, axes)
    tensors = graph.inputs + graph.outputs
    for spec, tensor in zip((*specs, *reference.outputs), tensors, strict=True):
        graph.rename(tensor, spec.name)
    graph.sign()


def _find(
    graph: Graph, name: str, wanted: Array, candidates: Sequence[int], held: Mapping[int, Array]
) -> tuple[int, tuple[int, ...]]:
    """Find the output with the wanted values, and how its axes are to be permuted."""
    best = float("inf")
    # The one of the same name first; else they stand in the ONNX file's order.
    for tensor in sorted(candidates, key=lambda tensor: graph.name(tensor) != name):
        found = held[tensor]
        if found.ndim != wanted.ndim:
            continue
        for axes in permutations(range(found.ndim)):
            if tuple(found.shape[axis] for axis in axes) != wanted.shape:
                continue
            deviation = _deviation(found.transpose(axes), wanted)
            best = min(best, deviation)
            if deviation <= TOLERANCE:
                return tensor, axes
    raise _unlike(name, best)


def _deviation(values: Array, wanted: Array) -> float:
    """Largest difference as a share of the largest magnitude; of integers, the share that differ.

    An index may differ where two values tie.
    """
    if not values.size:
        return 0.0
    if wanted.dtype.kind != "f":
        return float(np.mean(values != wanted))
    scale = max(float(np.abs(wanted).max()), 1e-12)
    worst = float(np.abs(values.astype(np.float64) - wanted).max())
    return worst / scale if np.isfinite(worst) else float("inf")


def _unlike(name: str, deviation: float) -> ParityError:
    return ParityError(
        "the TFLite file does not compute what the ONNX file does",
        where=f"output {name}",
        expected=f"at most {TOLERANCE:g} of the output's scale",
        got="another shape, or values that are not finite"
        if deviation == float("inf")
        else f"{deviation:.2g}",
        remedy="convert the model's torch source, or use ONNX or OpenVINO",
    )


def _verify(
    made: Artifact, reference: Session, samples: Sequence[tuple[Values, Values]], nhwc: bool
) -> None:
    """Compare the written file with the reference, through the backend that will run it."""
    try:
        session = load_backend("litert").open_session(made.source(), SessionOptions())
    except EdgecvError as error:
        raise StepError(
            "LiteRT does not open what onnx2tf wrote", where=str(made.path), got=error.message
        ) from error
    try:
        names = [spec.name for spec in session.outputs]
        if names != [spec.name for spec in reference.outputs]:
            raise StepError("the outputs' names were lost", where=str(made.path), got=str(names))
        for inputs, wanted in samples:
            found = session.run({name: _to_nhwc(v, nhwc) for name, v in inputs.items()})
            for name, values in wanted.items():
                fits = found[name].shape == values.shape
                deviation = _deviation(found[name], values) if fits else float("inf")
                if not deviation <= TOLERANCE:
                    raise _unlike(name, deviation)
    finally:
        session.close()
