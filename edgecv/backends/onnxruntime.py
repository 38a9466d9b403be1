"""ONNX Runtime on the CPU, for ``.onnx`` files.

It computes in the precision of the file. ``InferenceSession.run`` may be called by several threads
at once; sessions are created one at a time, since concurrent creation is not promised. Idle threads
of the pool spin for a while before they sleep (the engine's default), which keeps latency low and
costs CPU time between runs; the engine option ``session.intra_op.allow_spinning`` = ``0`` turns it
off. With one thread there is no pool: each caller computes by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecv import external_data, onnx_file, session
from edgecv.errors import EdgecvError, ModelLoadError
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

ENGINE = "onnxruntime"
EXTRA: str | None = None
SUFFIXES = (".onnx",)

# The same library under another name: built for a GPU or with OpenVINO inside.
_DISTRIBUTIONS = (ENGINE, "onnxruntime-gpu", "onnxruntime-openvino")
_CREATION = threading.Lock()
_KEPT_BYTES = 16 * 2**20
_TELLING = threading.Lock()
_DTYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64",
    "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(uint16)": "uint16",
    "tensor(int16)": "int16", "tensor(uint32)": "uint32", "tensor(int32)": "int32",
    "tensor(uint64)": "uint64", "tensor(int64)": "int64", "tensor(bool)": "bool",
}  # fmt: skip
_ERRORS_ONLY = 3
_FP16_NOTE = (
    "the file is fp16; where ONNX Runtime has no fp16 kernel for this CPU, it computes in fp32"
)
_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_LEVEL = "graph_optimization_level"
_OPTIONS = {
    _LEVEL: _LEVELS.__contains__,
    "session.intra_op.allow_spinning": ("0", "1").__contains__,
    "session.set_denormal_as_zero": ("0", "1").__contains__,
}


def version() -> str | None:
    """Return the installed version, without importing the engine."""
    found = session.installed(*_DISTRIBUTIONS)
    return None if found is None else found[1]


def lacks(precision: str, features: Sequence[str] | None = None) -> str | None:
    """Return None: the file alone decides."""
    del precision, features
    return None


def companions(path: Path) -> tuple[Path, ...]:
    """List the external data files that an ONNX file names.

    Raises:
        ModelLoadError: one is missing, or lies outside the model's folder.
    """
    return external_data.find(path)


def open_session(source: ModelSource, options: SessionOptions) -> OnnxSession:
    """Open an ONNX file; see `edgecv.types.Backend.open_session`.

    Engine options: ``graph_optimization_level`` (disabled, basic, extended, all),
    ``session.intra_op.allow_spinning`` and ``session.set_denormal_as_zero`` (0, 1).
    """
    if version() is None:
        raise session.missing(ENGINE, EXTRA)
    session.check_source(source, "ONNX Runtime", SUFFIXES)
    session.check_extras("ONNX Runtime", options, _OPTIONS)
    return OnnxSession(source, options)


class OnnxSession(session.OpenSession):
    """An open ONNX model."""

    def __init__(self, source: ModelSource, options: SessionOptions) -> None:
        onnxruntime = session.import_engine("onnxruntime", ENGINE, EXTRA)
        self._name = str(source)
        self._asked = options.precision
        self._unread: bytes | None = None
        session.check_precision(options)
        if options.precision in ("fp16", "bf16"):
            session.check_as_the_file_says(
                "ONNX Runtime",
                options,
                self._read_precision(source.main)[0],
                "convert the file, or run it with OpenVINO",
            )
        external = external_data.mentioned(source.main)
        if external:
            external_data.check(onnx_file.read(source.main, self._name), source)
        threads = session.threads(options)
        session.streams(options)  # any number: each caller brings a thread
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        settings.log_severity_level = _ERRORS_ONLY
        for name, value in options.extra.items():
            if name == _LEVEL:
                settings.graph_optimization_level = getattr(
                    onnxruntime.GraphOptimizationLevel, _LEVELS[value]
                )
            else:
                settings.add_session_config_entry(name, value)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.engine: Any = None
        try:
            model = self._model(source, external)
            with _CREATION:
                # The fallback to other providers would print; there is none but the CPU anyway.
                self.engine = onnxruntime.InferenceSession(
                    model, settings, ["CPUExecutionProvider"], enable_fallback=0
                )
            if isinstance(model, bytes):
                # Kept by the engine's Python side for that same fallback: as large as the model.
                self.engine._model_bytes = None
            self._inputs = tuple(_spec(node, self._name) for node in self.engine.get_inputs())
            self._outputs = tuple(_spec(node, self._name) for node in self.engine.get_outputs())
            self._metadata = dict(self.engine.get_modelmeta().custom_metadata_map)
        except EdgecvError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise session.refused(source, "ONNX Runtime", error) from error
        self._check = session.InputCheck(self._inputs)
        self._output_names = [spec.name for spec in self._outputs]
        self._threads = threads
        self._version = onnxruntime.__version__
        if isinstance(model, bytes) and len(model) <= _KEPT_BYTES:
            # The very bytes that run are read when somebody asks, not before the first result.
            self._unread = model
        else:
            self._info = self._describe(source.main)

    def _read_precision(self, main: Path | memoryview) -> tuple[Precision | None, tuple[str, ...]]:
        """Read from the file in which precision its layers compute."""
        says = onnx_file.read(main, self._name)
        return session.tell_precision(says.layers, self._asked)

    def _tell(self) -> SessionInfo:
        with _TELLING:
            if self._info is None and self._unread is not None:
                self._info = self._describe(memoryview(self._unread))
                self._unread = None
        if self._info is None:
            raise session.closed(self._name)
        return self._info

    def _describe(self, main: Path | memoryview) -> SessionInfo:
        precision, notes = self._read_precision(main)
        return SessionInfo(
            backend="onnxruntime",
            engine=f"onnxruntime {self._version}",
            device="CPU",
            threads=self._threads,
            precision=precision,
            notes=(*notes, _FP16_NOTE) if precision == "fp16" else notes,
            streams=None,
        )

    def _model(self, source: ModelSource, external: bool) -> str | bytes:
        """Return what the engine opens: a path, or bytes where the model is in memory."""
        main = source.main
        if not external:
            return str(main) if isinstance(main, Path) else as_bytes(main)
        if isinstance(main, Path) and external_data.lies_together(source):
            return str(main)
        # External data are found by path only, so they need a folder for as long as they are open.
        self._folder = external_data.unpack(source)
        return str(Path(self._folder.name) / source.name)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see `edgecv.types.Session.run`. The engine makes the outputs anew each time."""
        engine = self.engine
        if engine is None:
            raise session.closed(self._name)
        self._check(inputs)
        try:
            arrays = engine.run(self._output_names, inputs)
        except Exception as error:
            raise session.failed(self._name, error) from error
        return dict(zip(self._output_names, arrays, strict=True))

    def close(self) -> None:
        """Free the engine's memory; a run that is under way in another thread still ends."""
        if self._unread is not None:
            _ = self.info  # what it is can still be asked for afterwards
        self.engine = None
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()


def _spec(node: Any, where: str) -> TensorSpec:
    if node.type not in _DTYPES:
        raise ModelLoadError(
            "a tensor of a kind that cannot be handled",
            where=f"{where}: {node.name}",
            expected=f"one of {', '.join(_DTYPES)}",
            got=node.type,
        )
    shape = tuple(n if isinstance(n, int) and n >= 0 else None for n in node.shape)
    return TensorSpec(node.name, shape, _DTYPES[node.type])
