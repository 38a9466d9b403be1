"""LiteRT (TensorFlow Lite) on the CPU, for ``.tflite`` files.

It computes in the precision of the file. One interpreter serves one thread at a time, so `run`
takes a lock: callers in other threads wait for their turn. With ``streams`` of the options there
are as many interpreters over one copy of the file. A broken file can crash the engine: try unknown
files with `edgecv.probe` first.

At the first model, the engine itself writes "INFO: Created TensorFlow Lite XNNPACK delegate for
CPU." to standard error. There is no switch for that line in its Python interface, and it heeds
none of TensorFlow's environment variables.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgecv import session
from edgecv.errors import EdgecvError, ModelLoadError
from edgecv.record import Record
from edgecv.turns import Turns
from edgecv.types import (
    Array,
    ModelSource,
    Precision,
    SessionInfo,
    SessionOptions,
    TensorSpec,
    as_bytes,
)

ENGINE = "ai-edge-litert"
EXTRA: str | None = "litert"
SUFFIXES = (".tflite",)

# The older engine is used only where the newer one does not exist, such as on 32-bit Arm.
_MODULES = {ENGINE: "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}
_XNNPACK = {"true": "BUILTIN", "false": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}
# Position of data and weights among the inputs of the ops that carry the arithmetic.
_HEAVY_OPS = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "CONV_3D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "BATCH_MATMUL": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
    "Convolution2DTransposeBias": (0, 1),
}
_FLOATS: dict[str, Precision] = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_NUMBERS = "iufb"


def version() -> str | None:
    """Return the installed version, without importing the engine."""
    found = session.installed(*_MODULES)
    return None if found is None else found[1]


def lacks(precision: str, features: Sequence[str] | None = None) -> str | None:
    """Return None: the file alone decides."""
    del precision, features
    return None


def companions(path: Path) -> tuple[Path, ...]:
    """Return (): a TFLite file stands alone."""
    del path
    return ()


def open_session(source: ModelSource, options: SessionOptions) -> LiteRtSession:
    """Open a TFLite file; see `edgecv.types.Backend.open_session`.

    Engine option ``xnnpack`` = ``true`` or ``false`` turns the XNNPACK kernels on (default) or off.
    """
    found = session.installed(*_MODULES)
    if found is None:
        raise session.missing(ENGINE, EXTRA)
    session.check_source(source, "LiteRT", SUFFIXES)
    session.check_extras("LiteRT", options, {"xnnpack": _XNNPACK.__contains__})
    return LiteRtSession(source, options, *found)


class LiteRtSession(session.OpenSession):
    """An open TFLite model."""

    def __init__(
        self,
        source: ModelSource,
        options: SessionOptions,
        distribution: str = ENGINE,
        engine_version: str = "",
    ) -> None:
        module = session.import_engine(_MODULES[distribution], ENGINE, EXTRA)
        threads = session.threads(options)
        xnnpack = options.extra.get("xnnpack", "true")
        resolver = getattr(module.OpResolverType, _XNNPACK[xnnpack])
        main = source.main
        # In memory: the interpreter takes bytes only, and keeps them for as long as it lives.
        model = (
            {"model_path": str(main)}
            if isinstance(main, Path)
            else {"model_content": as_bytes(main)}
        )
        self._name = str(source)
        try:
            engines = [
                module.Interpreter(
                    **model, num_threads=threads, experimental_op_resolver_type=resolver
                )
                for _ in range(session.streams(options))
            ]
            for engine in engines:
                engine.allocate_tensors()
            engine = engines[0]
            entries, exits = engine.get_input_details(), engine.get_output_details()
            self._inputs = tuple(_specs(entries))
            self._outputs = tuple(_specs(exits))
        except EdgecvError:
            raise
        except Exception as error:
            remedy = "leave engine option xnnpack=false out" if xnnpack == "false" else None
            raise session.refused(source, "LiteRT", error, remedy) from error
        self.engine: Any = engine
        self._closing = threading.Lock()
        self._streams = len(engines)
        shapes = {entry["index"]: tuple(map(int, entry["shape"])) for entry in entries}
        # A stack: the interpreter that ran last is taken first, its memory is in the caches.
        self._idle: list[_Interpreter | None] = [_Interpreter(e, dict(shapes)) for e in engines]
        self._turns = Turns(self._streams)
        self._asked, self._threads = options.precision, threads
        self._version = f"{distribution} {engine_version}"
        session.check_precision(options)
        if options.precision in ("fp16", "bf16"):
            # Weights that are stored as fp16 may be called that; `info` tells what they run in.
            stored = _layers(engine).from_fp16 > 0 and options.precision == "fp16"
            session.check_as_the_file_says(
                "LiteRT",
                options,
                "fp16" if stored else self.info.precision,
                "convert the model again",
            )
        self._check = session.InputCheck(self._inputs)
        self._entries = [
            (spec.name, entry["index"]) for spec, entry in zip(self._inputs, entries, strict=True)
        ]
        self._exits = [
            (spec.name, exit_["index"]) for spec, exit_ in zip(self._outputs, exits, strict=True)
        ]

    def _tell(self) -> SessionInfo:
        with self._borrowed() as one:
            found = _layers(one.engine)
        # Computing fp16 weights in fp32 loses nothing: the notes say it, not a fallback.
        asked = "auto" if found.from_fp16 and self._asked == "fp16" else self._asked
        precision, more = session.tell_precision(found.layers, asked)
        return SessionInfo(
            backend="litert",
            engine=self._version,
            device="CPU (XNNPACK)" if found.delegated else "CPU",
            threads=self._threads,
            precision=precision,
            notes=(*more, *found.notes),
            streams=self._streams,
        )

    @contextmanager
    def _borrowed(self) -> Iterator[_Interpreter]:
        """Wait for an interpreter that nobody uses."""
        self._turns.take()
        try:
            one = self._idle.pop()
            try:
                if one is None:
                    raise session.closed(self._name)
                yield one
            finally:
                self._idle.append(one)
        finally:
            self._turns.give()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see `edgecv.types.Session.run`. Runs beyond the streams take turns."""
        with self._borrowed() as one:
            self._check(inputs)
            try:
                one.resize({index: inputs[name].shape for name, index in self._entries})
                for name, index in self._entries:
                    one.engine.set_tensor(index, inputs[name])
                one.engine.invoke()
                # get_tensor copies, so the caller owns what it gets.
                return {name: one.engine.get_tensor(index) for name, index in self._exits}
            except Exception as error:
                raise session.failed(self._name, error) from error

    def close(self) -> None:
        """Free the engine's memory, after the runs that are under way."""
        with self._closing:
            if self.engine is None:
                return
            _ = self.info  # what it is can still be asked for afterwards
            for _ in range(self._streams):
                self._turns.take()
            self.engine = None
            for one in self._idle:
                # Here and now, not when the last thread that ran it lets go of it.
                one.engine = None  # type: ignore[union-attr]  # they are there until now
            self._idle = [None] * self._streams
            for _ in range(self._streams):
                self._turns.give()  # whoever waits is told


class _Interpreter:
    """One of the engine's interpreters, and the shapes that its inputs have."""

    def __init__(self, engine: Any, shapes: dict[int, tuple[int, ...]]) -> None:
        self.engine = engine
        self.shapes = shapes

    def resize(self, wanted: dict[int, tuple[int, ...]]) -> None:
        """Give inputs with free axes the shape of this run, if the last one had another."""
        if wanted == self.shapes:
            return
        # Should the engine refuse a shape, the next run must set all shapes anew.
        self.shapes = {}
        for index, shape in wanted.items():
            self.engine.resize_tensor_input(index, shape)
        self.engine.allocate_tensors()
        self.shapes = wanted


def _specs(details: Sequence[Mapping[str, Any]]) -> list[TensorSpec]:
    names = session.unique([str(detail["name"]) for detail in details])
    specs = []
    for name, detail in zip(names, details, strict=True):
        dtype = np.dtype(detail["dtype"])
        scales = detail["quantization_parameters"]["scales"]
        if dtype.kind not in _NUMBERS or len(scales) > 1:
            raise ModelLoadError(
                "a tensor of a kind that cannot be handled",
                where=name,
                expected="numbers, quantized as a whole or not at all",
                got=f"{dtype} with {len(scales)} scales",
            )
        signature = detail["shape_signature"]
        shape = signature if len(signature) else detail["shape"]
        points = detail["quantization_parameters"]["zero_points"]
        specs.append(
            TensorSpec(
                name,
                tuple(None if n < 0 else int(n) for n in shape),
                dtype.name,
                session.quantization(scales, points) if dtype.kind in "iu" else None,
            )
        )
    return specs


class _Layers(Record):
    """What the heavy ops of a file are.

    Attributes:
        layers: precision -> number of ops.
        notes: what a user should know.
        delegated: whether a delegate (XNNPACK) took over any op.
        from_fp16: ops whose weights are stored as fp16.
    """

    layers: Counter[Precision]
    notes: tuple[str, ...]
    delegated: bool = False
    from_fp16: int = 0


def _layers(engine: Any) -> _Layers:
    """Count the heavy ops by precision, from the types of their data and weights.

    ``int8``: integer data, or integer weights for which the kernels quantize float data at run
    time. ``int8-weights``: integer weights that an op turns into floats. Weights that are merely
    stored as fp16 are turned into fp32 too, which decides.
    """
    layers: Counter[Precision] = Counter()
    read = getattr(engine, "_get_ops_details", None)
    if read is None:
        return _Layers(layers, ("this version of the engine does not list its ops",))
    ops = read()
    types = {
        int(index): np.dtype(kind).name
        for op in ops
        for indices, kinds in (
            (op["inputs"], op["operand_types"]),
            (op["outputs"], op["result_types"]),
        )
        for index, kind in zip((i for i in indices if i != -1), kinds, strict=True)
    }
    stored = {
        int(op["outputs"][0]): types[int(op["inputs"][0])]
        for op in ops
        if op["op_name"] == "DEQUANTIZE"
    }
    at_run_time = from_fp16 = 0
    for op in ops:
        inputs = [int(index) for index in op["inputs"]]
        places = _HEAVY_OPS.get(op["op_name"])
        if places is None or len(inputs) <= max(places):
            continue
        data, weights = (inputs[place] for place in places)
        if data not in types or weights not in types:
            continue
        if types[data] not in _FLOATS:
            layers["int8"] += 1
        elif types[weights] not in _FLOATS:
            layers["int8"] += 1
            at_run_time += 1
        elif stored.get(weights, "float32") in ("int8", "uint8", "int4"):
            layers["int8-weights"] += 1
        else:
            layers[_FLOATS[types[data]]] += 1
            from_fp16 += stored.get(weights) == "float16"
    notes = []
    if at_run_time:
        notes.append(f"{at_run_time} layers quantize their float inputs at run time")
    if from_fp16:
        notes.append(f"weights of {from_fp16} layers are stored as fp16 and computed with in fp32")
    delegated = any(op["op_name"] == "DELEGATE" for op in ops)
    return _Layers(layers, tuple(notes), delegated, from_fp16)
