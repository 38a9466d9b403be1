"""LiteRT (TensorFlow Lite) on the CPU, for ``.tflite`` files.

It computes in the precision of the file. One interpreter serves one thread at a time, so `run`
takes a lock: callers in other threads wait for their turn.
"""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import host, session
from edgecv.errors import InferenceError, ModelLoadError
from edgecv.types import (
    Array,
    ModelSource,
    Precision,
    Quantization,
    SessionInfo,
    SessionOptions,
    TensorSpec,
)

ENGINE = "ai-edge-litert"
EXTRA: str | None = "litert"
SUFFIXES = (".tflite",)

# The older engine is used only where the newer one does not exist, such as on 32-bit Arm.
_DISTRIBUTIONS = {
    ENGINE: "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
_XNNPACK = {"true": "BUILTIN", "false": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}


def _installed() -> tuple[str, str] | None:
    for name in _DISTRIBUTIONS:
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def version() -> str | None:
    """Return the installed version, without importing the engine."""
    found = _installed()
    return None if found is None else found[1]


def companions(path: Path) -> tuple[Path, ...]:
    """Return (): a TFLite file stands alone."""
    del path
    return ()


def open_session(source: ModelSource, options: SessionOptions) -> LiteRtSession:
    """Open a TFLite file; see `edgecv.types.Backend.open_session`.

    Engine option ``xnnpack`` = ``true`` or ``false`` turns the XNNPACK kernels on (default) or off.
    """
    if version() is None:
        raise session.missing(ENGINE, EXTRA)
    session.only_as_the_file_says("LiteRT", options, "convert the model to this precision")
    session.only_extras("LiteRT", options, {"xnnpack": _XNNPACK.__contains__})
    return LiteRtSession(source, options)


class LiteRtSession:
    """An open TFLite model."""

    def __init__(self, source: ModelSource, options: SessionOptions) -> None:
        distribution, engine_version = _installed() or ("", "")
        module = importlib.import_module(_DISTRIBUTIONS[distribution])
        threads = options.threads or host.usable_cpus()
        xnnpack = options.extra.get("xnnpack", "true")
        resolver = getattr(module.OpResolverType, _XNNPACK[xnnpack])
        self._name = str(source)
        main = source.main
        # A copy of bytes in memory: the interpreter does not keep a view of them alive.
        model = (
            {"model_path": str(main)} if isinstance(main, Path) else {"model_content": bytes(main)}
        )
        try:
            engine = module.Interpreter(
                **model, num_threads=threads, experimental_op_resolver_type=resolver
            )
            engine.allocate_tensors()
            entries, exits = engine.get_input_details(), engine.get_output_details()
            self._inputs = tuple(map(_spec, _named(entries)))
            self._outputs = tuple(map(_spec, _named(exits)))
            precision = _precision(engine)
        except ModelLoadError:
            raise
        except Exception as error:
            raise session.refused(source, "LiteRT", error) from None
        self._lock = threading.Lock()
        self.engine: Any = engine
        self._input_indices = [entry["index"] for entry in entries]
        self._output_indices = [exit_["index"] for exit_ in exits]
        self._free = [any(n is None for n in spec.shape) for spec in self._inputs]
        self._info = SessionInfo(
            backend="litert",
            engine=f"{distribution} {engine_version}",
            device="CPU (XNNPACK)" if xnnpack == "true" else "CPU",
            threads=threads,
            precision=precision,
        )

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs in the model's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs in the model's order."""
        return self._outputs

    @property
    def info(self) -> SessionInfo:
        """What was opened; the precision is read from the types of the file's tensors."""
        return self._info

    @property
    def metadata(self) -> Mapping[str, str]:
        """Nothing: what is stored behind a TFLite file is read by ``edgecv.foreign``."""
        return {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see `edgecv.types.Session.run`."""
        with self._lock:
            engine = self.engine
            if engine is None:
                raise session.closed(self._name)
            session.check_inputs(self._inputs, inputs)
            try:
                self._set(engine, inputs)
                engine.invoke()
                # get_tensor copies, so the caller owns what it gets.
                return {
                    spec.name: engine.get_tensor(index)
                    for spec, index in zip(self._outputs, self._output_indices, strict=True)
                }
            except Exception as error:
                raise session.failed(self._name, error) from None

    def _set(self, engine: Any, inputs: Mapping[str, Array]) -> None:
        resized = False
        for spec, index, free in zip(self._inputs, self._input_indices, self._free, strict=True):
            shape = inputs[spec.name].shape
            if free and tuple(engine.get_tensor_details()[index]["shape"]) != shape:
                engine.resize_tensor_input(index, shape)
                resized = True
        if resized:
            engine.allocate_tensors()
        for spec, index in zip(self._inputs, self._input_indices, strict=True):
            engine.set_tensor(index, inputs[spec.name])

    def close(self) -> None:
        """Free the engine's memory, after a run that is under way."""
        with self._lock:
            self.engine = None


def _named(details: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Name every tensor; a second one of a name gets its position."""
    named: list[tuple[str, dict[str, Any]]] = []
    for i, detail in enumerate(details):
        taken = {other for other, _ in named}
        name = detail["name"]
        named.append((name if name not in taken else f"{name}:{i}", detail))
    return named


def _spec(named: tuple[str, dict[str, Any]]) -> TensorSpec:
    name, detail = named
    signature = detail["shape_signature"]
    shape = signature if len(signature) else detail["shape"]
    scales = detail["quantization_parameters"]["scales"]
    points = detail["quantization_parameters"]["zero_points"]
    if len(scales) > 1:
        raise InferenceError("an input or output is quantized per channel", where=name)
    integer = np.dtype(detail["dtype"]).kind in "iu"
    quantized = integer and len(scales) == 1 and float(scales[0]) > 0
    return TensorSpec(
        name,
        tuple(None if n < 0 else int(n) for n in shape),
        np.dtype(detail["dtype"]).name,
        Quantization(float(scales[0]), int(points[0])) if quantized else None,
    )


def _precision(engine: Any) -> Precision | None:
    """Tell the precision from the tensors: the weights are the largest ones of each type.

    Integer weights with float activations are ``int8-weights``; with integer activations ``int8``.
    """
    bytes_of = {"int8": 0, "float16": 0, "float32": 0}
    integer_activations = float_activations = 0
    for detail in engine.get_tensor_details():
        kind = np.dtype(detail["dtype"]).name
        size = int(np.prod(detail["shape"])) * np.dtype(detail["dtype"]).itemsize
        kind = "int8" if kind == "uint8" else kind
        quantized = len(detail["quantization_parameters"]["scales"]) > 0
        if kind in bytes_of and (kind != "int8" or quantized):
            bytes_of[kind] += size
        if len(detail["shape"]) == 4 and detail["shape"][0] == 1:
            integer_activations += kind == "int8" and quantized
            float_activations += kind == "float32"
    if integer_activations > float_activations:
        return "int8"
    if bytes_of["int8"]:
        return "int8-weights"
    return "fp16" if bytes_of["float16"] else "fp32"
