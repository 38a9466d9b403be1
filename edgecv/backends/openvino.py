"""OpenVINO on the CPU, for its own ``.xml`` + ``.bin`` files and for ``.onnx``.

Left to itself OpenVINO lowers the precision where the CPU can (bf16 on recent x86, fp16 on Arm).
Here it is pinned: fp32 unless another one is asked for, and what the compiled layers really use is
read back. Each concurrent `run` has an infer request of its own; with one stream, the default, they
take turns on the same threads.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv import external_data, host, onnx_file, session
from edgecv.errors import EdgecvError, ModelLoadError, UsageError
from edgecv.types import (
    Array,
    ModelSource,
    Precision,
    SessionInfo,
    SessionOptions,
    TensorSpec,
    as_bytes,
)

if TYPE_CHECKING:
    import tempfile

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
# Instruction sets, one of which OpenVINO's CPU plugin asks for.
_FEATURES = {"bf16": ("avx512_bf16", "amx_bf16"), "fp16": ("asimdhp", "amx_fp16")}
_EXECUTED: dict[str, Precision] = {
    "f32": "fp32", "f16": "fp16", "bf16": "bf16",
    "u8": "int8", "i8": "int8", "u4": "int8", "i4": "int8",
}  # fmt: skip
# Layers that carry the arithmetic of a network, in the names of the compiled graph.
_HEAVY_LAYERS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNSeq", "RNNCell")
_FLOAT_LAYERS = "INFERENCE_PRECISION_HINT"
_MAKING = threading.Lock()
_SWITCH = ("YES", "NO").__contains__
_OPTIONS = {
    "ENABLE_CPU_PINNING": _SWITCH,
    "ENABLE_HYPER_THREADING": _SWITCH,
    "SCHEDULING_CORE_TYPE": ("ANY_CORE", "PCORE_ONLY", "ECORE_ONLY").__contains__,
    "CPU_DENORMALS_OPTIMIZATION": _SWITCH,
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": str.isdecimal,
    _FLOAT_LAYERS: ("f32", "bf16", "f16").__contains__,
}


def version() -> str | None:
    """Return the installed version, without importing the engine."""
    found = session.installed(ENGINE)
    return None if found is None else found[1]


def lacks(precision: str, features: Sequence[str] | None = None) -> str | None:
    """Say that the CPU has no instructions for a reduced float precision."""
    needed = _FEATURES.get(precision, ())
    found = host.cpu_features() if features is None else features
    if not needed or found is None or set(needed) & set(found):
        return None
    return f"this CPU does not compute in {precision}"


def companions(path: Path) -> tuple[Path, ...]:
    """List the ``.bin`` beside an ``.xml``, or the external data of an ONNX file.

    Raises:
        ModelLoadError: one is missing, or lies outside the model's folder.
    """
    if path.suffix == ".onnx":
        return external_data.find(path)
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ModelLoadError("the weights of this model are missing", where=str(weights))
    return (weights,)


def open_session(source: ModelSource, options: SessionOptions) -> OpenVinoSession:
    """Open an IR or an ONNX file; see `edgecv.types.Backend.open_session`.

    Engine options: ``ENABLE_CPU_PINNING``, ``ENABLE_HYPER_THREADING``,
    ``CPU_DENORMALS_OPTIMIZATION`` (YES, NO), ``SCHEDULING_CORE_TYPE`` (ANY_CORE, PCORE_ONLY,
    ECORE_ONLY) and ``DYNAMIC_QUANTIZATION_GROUP_SIZE`` (a number), as OpenVINO's CPU plugin
    documents them. ``INFERENCE_PRECISION_HINT`` (f32, bf16, f16) is for the layers that a quantized
    file leaves in float; a CPU that does not compute in it takes f32, and `info` notes it.
    """
    if version() is None:
        raise session.missing(ENGINE, EXTRA)
    session.check_source(source, "OpenVINO", SUFFIXES)
    session.check_precision(options)
    session.check_extras("OpenVINO", options, _OPTIONS)
    return OpenVinoSession(source, options)


def shared_core() -> Any:
    """Return the ``openvino.Core`` that everything in this process shares, until its end.

    A core of one's own can cost the process its life: the CPU plugin of each gives the thread that
    starts it another stack for signals, and at its end restores the one that it found. Where two
    end in the order of their start, or one ends in another thread, the thread is left with a stack
    that is no longer there, and the next signal that Python handles, such as that of Ctrl-C, is a
    segmentation fault. (``SigAltStackSetup`` in OpenVINO's ``plugins/intel_cpu``, up to 2026.4.)

    Raises:
        ImportError: OpenVINO is not installed.
    """
    with _MAKING:
        return _core()


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


class OpenVinoSession(session.OpenSession):
    """A compiled OpenVINO model."""

    def __init__(self, source: ModelSource, options: SessionOptions) -> None:
        openvino = session.import_engine("openvino", ENGINE, EXTRA)
        self._tensor = openvino.Tensor
        self._idle: deque[Any] = deque()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._name = str(source)
        self._compiled: Any = None
        try:
            core = shared_core()
            config = _config(core, options)
            model, self._onnx = self._read(core, source)
            self._metadata = _rt_info(model)
            compiled = core.compile_model(model, "CPU", config)
            self._inputs = tuple(_specs(compiled.inputs, self._onnx.inputs))
            self._outputs = tuple(_specs(compiled.outputs, self._onnx.outputs))
            precision, notes = _read_back(compiled, options.precision)
            wanted = options.extra.get(_FLOAT_LAYERS, config.get(_FLOAT_LAYERS))
            if wanted != config.get(_FLOAT_LAYERS):
                notes = (*notes, f"this CPU runs the float layers in f32, not in {wanted}")
            threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
            streams = int(compiled.get_property("NUM_STREAMS"))
            # The engine's own account of its version ends in a build number.
            engine = f"openvino {openvino.__version__.partition('-')[0]}"
        except EdgecvError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise session.refused(source, "OpenVINO", error) from error
        self._compiled = compiled
        self._check = session.InputCheck(self._inputs)
        self._input_names = [spec.name for spec in self._inputs]
        self._output_names = [spec.name for spec in self._outputs]
        asked = config["INFERENCE_NUM_THREADS"]
        if threads != asked:
            notes = (*notes, f"asked for {asked} threads, got {threads}")
        self._info = SessionInfo(
            "openvino", engine, "CPU", threads // streams, precision, notes, streams
        )

    @property
    def engine(self) -> Any:
        """OpenVINO's own compiled model."""
        return self._compiled

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see `edgecv.types.Session.run`.

        A C-contiguous, writable array is read in place; any other is copied first.
        """
        compiled = self._compiled
        if compiled is None:
            raise session.closed(self._name)
        self._check(inputs)
        try:
            try:
                request = self._idle.pop()
            except IndexError:
                request = compiled.create_infer_request()
            for i, name in enumerate(self._input_names):
                array = np.ascontiguousarray(inputs[name])
                shared = array.flags.writeable
                request.set_input_tensor(i, self._tensor(array, shared_memory=shared))
            # Copies the outputs out of the request's memory, so the caller owns them.
            arrays = request.infer().values()
            outputs = dict(zip(self._output_names, arrays, strict=True))
        except Exception as error:
            raise session.failed(self._name, error) from error
        self._idle.append(request)
        if self._compiled is None:  # closed meanwhile: a request would keep the engine alive
            self._idle.clear()
        return outputs

    def close(self) -> None:
        """Free the engine's memory; a run that is under way in another thread still ends."""
        self._compiled = None
        self._idle.clear()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def _read(self, core: Any, source: ModelSource) -> tuple[Any, onnx_file.OnnxFile]:
        """Read a model from paths or from memory, and what an ONNX file says about itself."""
        main = source.main
        says = onnx_file.OnnxFile()
        if source.name.endswith(".onnx"):
            says = onnx_file.read(main, self._name)
            external_data.check(says, source)
            if says.external and not (
                isinstance(main, Path) and external_data.lies_together(source)
            ):
                # External data are found by path only, so they need a folder.
                self._folder = external_data.unpack(source)
                main = Path(self._folder.name) / source.name
            given = main if isinstance(main, Path) else as_bytes(main)
            return core.read_model(given), says
        weights = [part for name, part in source.parts.items() if name.endswith(".bin")]
        if len(weights) != 1:
            raise ModelLoadError(
                "an .xml model needs its weights", where=str(source), expected="one .bin"
            )
        if isinstance(main, Path) and isinstance(weights[0], Path):
            return core.read_model(main, weights[0]), says
        xml, binary = (
            np.fromfile(part, np.uint8) if isinstance(part, Path) else np.frombuffer(part, np.uint8)
            for part in (main, weights[0])
        )
        # The engine's tensor owns a copy: it outlives the caller's view of an archive.
        return core.read_model(xml.tobytes(), self._tensor(binary, shared_memory=False)), says


def _config(core: Any, options: SessionOptions) -> dict[str, Any]:
    """Make the compile properties, refusing a precision that this CPU cannot compute in."""
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": session.streams(options),
        "INFERENCE_NUM_THREADS": session.threads(options) * session.streams(options),
        **options.extra,
    }
    wanted = options.precision
    if wanted != "auto":
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if wanted in _CAPABILITY and _CAPABILITY[wanted] not in capabilities:
            able = [name for name, mark in _CAPABILITY.items() if mark in capabilities]
            raise UsageError(
                f"this CPU does not compute in {wanted}",
                where="precision",
                expected=f"one of {', '.join(['auto', 'fp32', *able])}",
                got=repr(wanted),
            )
        config[_FLOAT_LAYERS] = _HINTS[wanted]
        rest = options.extra.get(_FLOAT_LAYERS)
        marks = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
        if rest is not None and wanted.startswith("int8") and marks[rest] in capabilities:
            config[_FLOAT_LAYERS] = rest
    return config


def _specs(ports: Sequence[Any], preferred: Sequence[str]) -> list[TensorSpec]:
    """Describe ports by name: of several names of one tensor the one that the ONNX file uses."""
    names = []
    for port in ports:
        known = sorted(port.names)
        chosen = [name for name in preferred if name in known] or known
        names.append(chosen[0] if chosen else port.node.friendly_name)
    specs = []
    for name, port in zip(session.unique(names), ports, strict=True):
        kind = port.element_type.get_type_name()
        shape = port.partial_shape
        if kind not in _DTYPES or shape.rank.is_dynamic:
            raise ModelLoadError(
                "a tensor of a kind that cannot be handled",
                where=name,
                expected=f"a known number of axes, and one of {', '.join(_DTYPES)}",
                got=f"{kind}{shape}",
            )
        axes = tuple(None if axis.is_dynamic else int(axis.get_length()) for axis in shape)
        specs.append(TensorSpec(name, axes, _DTYPES[kind]))
    return specs


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


def _read_back(compiled: Any, asked: str) -> tuple[Precision | None, tuple[str, ...]]:
    """Read from the compiled graph in which precision its heavy layers really run.

    ``runtimePrecision`` of a layer is that of its inputs or of its compressed weights; the end of
    ``primitiveType`` (such as ``brgemm_avx512_f32``) tells in what the kernel computes.
    """
    layers: Counter[Precision] = Counter()
    for op in compiled.get_runtime_model().get_ops():
        info = op.get_rt_info()
        if not info["layerType"].astype(str).startswith(_HEAVY_LAYERS):
            continue
        runs = _EXECUTED.get(info["runtimePrecision"].astype(str).lower())
        kernel = info["primitiveType"].astype(str).lower().rpartition("_")[2]
        if runs == "int8" and _EXECUTED.get(kernel, "int8") != "int8":
            runs = "int8-weights"
        if runs is not None:
            layers[runs] += 1
    if layers:
        return session.tell_precision(layers, asked)
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return _EXECUTED.get(hint), ("no convolution or matrix product: precision is the hint's",)
