"""OpenVINO on the CPU, for its own ``.xml`` + ``.bin`` files and for ``.onnx``.

Left to itself OpenVINO lowers the precision where the CPU can (bf16 on recent x86, fp16 on Arm).
Here it is pinned: fp32 unless another one is asked for, and what the compiled layers really use is
read back. Every thread that calls `run` gets an infer request of its own.
"""

from __future__ import annotations

import importlib.metadata
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv import host, onnx_file, session
from edgecv.errors import ModelLoadError, UsageError
from edgecv.types import (
    Array,
    ModelSource,
    Precision,
    SessionInfo,
    SessionOptions,
    TensorSpec,
)

ENGINE = "openvino"
EXTRA: str | None = "openvino"
SUFFIXES = (".xml", ".onnx")

_DTYPES = {
    "f32": "float32", "f16": "float16", "f64": "float64", "u8": "uint8", "i8": "int8",
    "u16": "uint16", "i16": "int16", "i32": "int32", "i64": "int64", "u32": "uint32",
    "u64": "uint64", "boolean": "bool",
}  # fmt: skip
_HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32", "int8-weights": "f32"}
_CAPABILITY = {"fp16": "FP16", "bf16": "BF16"}
_EXECUTED: dict[str, Precision] = {
    "f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8",
}  # fmt: skip
# Layers that carry the arithmetic of a network, in the names of the compiled graph.
_HEAVY_LAYERS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell")


def version() -> str | None:
    """Return the installed version, without importing the engine."""
    try:
        return importlib.metadata.version(ENGINE)
    except importlib.metadata.PackageNotFoundError:
        return None


def companions(path: Path) -> tuple[Path, ...]:
    """List the ``.bin`` beside an ``.xml``, or the external data of an ONNX file.

    Raises:
        ModelLoadError: one is missing.
    """
    if path.suffix == ".onnx":
        return onnx_file.external_data(path)
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ModelLoadError("the weights of this model are missing", where=str(weights))
    return (weights,)


def open_session(source: ModelSource, options: SessionOptions) -> OpenVinoSession:
    """Open an IR or an ONNX file; see `edgecv.types.Backend.open_session`."""
    if version() is None:
        raise session.missing(ENGINE, EXTRA)
    return OpenVinoSession(source, options)


class OpenVinoSession:
    """A compiled OpenVINO model."""

    def __init__(self, source: ModelSource, options: SessionOptions) -> None:
        import openvino

        core = openvino.Core()
        config = _config(core, options)
        self._name = str(source)
        self._source = source  # weights in memory are used in place: they must live as long
        try:
            model = _read(core, source)
            self._metadata = _rt_info(model)
            compiled = core.compile_model(model, "CPU", config)
            self._inputs = tuple(map(_spec, _named(compiled.inputs)))
            self._outputs = tuple(map(_spec, _named(compiled.outputs)))
            precision, notes = _read_back(compiled)
        except ModelLoadError:
            raise
        except Exception as error:
            raise session.refused(source, "OpenVINO", error) from None
        self._compiled: Any = compiled
        self._local = threading.local()
        self._info = SessionInfo(
            backend="openvino",
            engine=f"openvino {version()}",
            device="CPU",
            threads=int(compiled.get_property("INFERENCE_NUM_THREADS")),
            precision=precision,
            notes=notes,
        )

    @property
    def engine(self) -> Any:
        """OpenVINO's own compiled model."""
        return self._compiled

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
        """What was compiled; the precision is read back from its layers."""
        return self._info

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's rt_info, as ``model_info/key``."""
        return self._metadata

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see `edgecv.types.Session.run`."""
        compiled = self._compiled
        if compiled is None:
            raise session.closed(self._name)
        session.check_inputs(self._inputs, inputs)
        request = getattr(self._local, "request", None)
        try:
            if request is None:
                request = self._local.request = compiled.create_infer_request()
            arrays = [inputs[spec.name] for spec in self._inputs]
            # share_inputs passes C-contiguous arrays without a copy; outputs are copied, since the
            # request writes into the same memory next time.
            request.infer(arrays, share_inputs=True)
            return {
                spec.name: request.get_output_tensor(i).data.copy()
                for i, spec in enumerate(self._outputs)
            }
        except Exception as error:
            raise session.failed(self._name, error) from None

    def close(self) -> None:
        """Free the engine's memory; a run that is under way in another thread still ends."""
        self._compiled = None
        self._local = threading.local()


def _config(core: Any, options: SessionOptions) -> dict[str, Any]:
    """Make the compile properties, refusing what this CPU or OpenVINO cannot do."""
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": options.threads or host.usable_cpus(),
    }
    wanted = options.precision
    if wanted != "auto":
        if wanted not in _HINTS:
            raise UsageError(
                "", where="precision", expected=f"one of {', '.join(_HINTS)}", got=repr(wanted)
            )
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if wanted in _CAPABILITY and _CAPABILITY[wanted] not in capabilities:
            raise UsageError(
                f"this CPU does not compute in {wanted}",
                where="precision",
                expected=f"fp32, or what it can: {', '.join(capabilities)}",
                got=repr(wanted),
            )
        config["INFERENCE_PRECISION_HINT"] = _HINTS[wanted]
    supported = set(core.get_property("CPU", "SUPPORTED_PROPERTIES"))
    for name, value in options.extra.items():
        if name not in supported:
            raise UsageError("OpenVINO has no such option", where=f"engine option {name}")
        config[name] = value
    return config


def _read(core: Any, source: ModelSource) -> Any:
    """Read a model from paths, or from memory without copying its weights."""
    main = source.main
    if isinstance(main, Path):
        weights = main.with_suffix(".bin") if main.suffix == ".xml" else None
        return core.read_model(main, weights) if weights else core.read_model(main)
    import numpy as np
    from openvino import Tensor

    others = [part for name, part in source.parts.items() if name != source.name]
    if source.name.endswith(".xml"):
        if len(others) != 1 or not isinstance(others[0], memoryview):
            raise ModelLoadError("an .xml model needs one .bin", where=str(source))
        weights = Tensor(np.frombuffer(others[0], np.uint8), shared_memory=True)
        return core.read_model(bytes(main), weights)
    if others:
        raise ModelLoadError(
            "OpenVINO reads external data from a folder only",
            where=str(source),
            remedy="unpack the bundle into a folder",
        )
    return core.read_model(bytes(main))


def _named(ports: Any) -> list[tuple[str, Any]]:
    """Name every port; one without a name, or a second one of a name, gets its position."""
    named: list[tuple[str, Any]] = []
    for i, port in enumerate(ports):
        names = sorted(port.names)
        name = names[0] if names else f"{port.node.friendly_name}"
        taken = {other for other, _ in named}
        named.append((name if name not in taken else f"{name}:{i}", port))
    return named


def _spec(named: tuple[str, Any]) -> TensorSpec:
    name, port = named
    kind = port.element_type.get_type_name()
    if kind not in _DTYPES:
        raise ModelLoadError("a tensor of a kind that cannot be handled", where=name, got=kind)
    shape = tuple(
        None if dimension.is_dynamic else int(dimension.get_length())
        for dimension in port.partial_shape
    )
    return TensorSpec(name, shape, _DTYPES[kind])


def _rt_info(model: Any) -> dict[str, str]:
    """Flatten the model's rt_info."""
    found: dict[str, str] = {}

    def walk(prefix: str, value: Any) -> None:
        value = getattr(value, "value", value)
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{prefix}/{key}" if prefix else str(key), inner)
        else:
            found[prefix] = str(value)

    walk("", dict(model.get_rt_info()))
    return found


def _read_back(compiled: Any) -> tuple[Precision | None, tuple[str, ...]]:
    """Read from the compiled graph in which precision its heavy layers really run."""
    kinds: Counter[Precision] = Counter()
    for op in compiled.get_runtime_model().get_ops():
        info = op.get_rt_info()
        layer = str(_value(info, "layerType"))
        runs = _EXECUTED.get(str(_value(info, "runtimePrecision")).lower())
        if layer.startswith(_HEAVY_LAYERS) and runs is not None:
            kinds[runs] += 1
    if not kinds:
        hint = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        precision = _EXECUTED.get(hint)
        return precision, ("no convolution or matrix product: precision is the engine's hint",)
    if kinds["int8"]:
        rest = {name: count for name, count in kinds.items() if name != "int8"}
        text = ", ".join(f"{count} layers in {name}" for name, count in rest.items())
        return "int8", ((f"{kinds['int8']} layers in int8, {text}",) if rest else ())
    precision, _ = kinds.most_common(1)[0]
    if len(kinds) > 1:
        return precision, (
            "mixed: " + ", ".join(f"{n} layers in {name}" for name, n in kinds.items()),
        )
    return precision, ()


def _value(info: Any, key: str) -> Any:
    try:
        value = info[key]
    except (KeyError, RuntimeError):
        return ""
    return getattr(value, "value", value)
