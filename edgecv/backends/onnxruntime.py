"""ONNX Runtime on the CPU, for ``.onnx`` files.

It computes in the precision of the file. ``Session.run`` is safe to call from several threads;
sessions are created one at a time, since concurrent creation is not promised.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecv import host, onnx_file, session
from edgecv.errors import InferenceError, ModelLoadError
from edgecv.types import Array, ModelSource, SessionInfo, SessionOptions, TensorSpec

ENGINE = "onnxruntime"
EXTRA: str | None = None
SUFFIXES = (".onnx",)

_CREATION = threading.Lock()
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(uint16)": "uint16",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
_ERROR_SEVERITY = 3


def version() -> str | None:
    """Return the installed version, without importing the engine."""
    for name in (ENGINE, "onnxruntime-gpu", "onnxruntime-openvino"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def companions(path: Path) -> tuple[Path, ...]:
    """List the external data files that an ONNX file names.

    Raises:
        ModelLoadError: one is missing, or lies outside the model's folder.
    """
    return onnx_file.external_data(path)


def open_session(source: ModelSource, options: SessionOptions) -> OnnxSession:
    """Open an ONNX file; see `edgecv.types.Backend.open_session`."""
    if version() is None:
        raise session.missing(ENGINE, EXTRA)
    session.only_as_the_file_says(
        "ONNX Runtime", options, "convert the model, or run it with --backend openvino"
    )
    session.only_extras("ONNX Runtime", options, {})
    return OnnxSession(source, options)


class OnnxSession:
    """An open ONNX model."""

    def __init__(self, source: ModelSource, options: SessionOptions) -> None:
        import onnxruntime

        says = onnx_file.read(source.main)
        for location in says.external:
            if onnx_file.plain_name(location, str(source)) not in source.parts:
                raise ModelLoadError(
                    "the model's external data are missing", where=str(source), expected=location
                )
        threads = options.threads or host.usable_cpus()
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = _ERROR_SEVERITY
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._name = str(source)
        try:
            with _CREATION:
                self.engine: Any = onnxruntime.InferenceSession(
                    self._model(source, bool(says.external)), settings, ["CPUExecutionProvider"]
                )
            self._inputs = tuple(_spec(node, self._name) for node in self.engine.get_inputs())
            self._outputs = tuple(_spec(node, self._name) for node in self.engine.get_outputs())
        except ModelLoadError:
            self._forget_folder()
            raise
        except Exception as error:
            self._forget_folder()
            raise session.refused(source, "ONNX Runtime", error) from None
        self._output_names = [spec.name for spec in self._outputs]
        self._metadata = dict(self.engine.get_modelmeta().custom_metadata_map)
        self._info = SessionInfo(
            backend="onnxruntime",
            engine=f"onnxruntime {onnxruntime.__version__}",
            device="CPU",
            threads=threads,
            precision=says.precision,
        )

    def _model(self, source: ModelSource, external: bool) -> str | bytes:
        """Return what the engine opens: a path, or bytes where the model is in memory."""
        if isinstance(source.main, Path):
            return str(source.main)
        if not external:
            return bytes(source.main)
        # External data are found by path only, so they need a folder for as long as they are open.
        self._folder = tempfile.TemporaryDirectory(prefix="edgecv-")
        for name, part in source.parts.items():
            data = part if isinstance(part, memoryview) else part.read_bytes()
            (Path(self._folder.name) / name).write_bytes(data)
        return str(Path(self._folder.name) / source.name)

    def _forget_folder(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

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
        """What was opened; the precision is what the file asks for."""
        return self._info

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's metadata_props."""
        return self._metadata

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see `edgecv.types.Session.run`."""
        engine = self.engine
        if engine is None:
            raise session.closed(self._name)
        session.check_inputs(self._inputs, inputs)
        try:
            arrays = engine.run(self._output_names, inputs)
        except Exception as error:
            raise session.failed(self._name, error) from None
        return dict(zip(self._output_names, arrays, strict=True))

    def close(self) -> None:
        """Free the engine's memory; a run that is under way in another thread still ends."""
        self.engine = None
        self._forget_folder()


def _spec(node: Any, where: str) -> TensorSpec:
    if node.type not in _DTYPES:
        raise InferenceError(
            "a tensor of a kind that cannot be handled",
            where=f"{where}: {node.name}",
            expected=f"one of {', '.join(_DTYPES)}",
            got=node.type,
        )
    shape = tuple(n if isinstance(n, int) and n > 0 else None for n in node.shape)
    return TensorSpec(node.name, shape, _DTYPES[node.type])
