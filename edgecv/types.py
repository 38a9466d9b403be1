"""The few types that every layer shares: tensors, frames, model files and sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from edgecv.record import Record, field

if TYPE_CHECKING:
    from threading import Event

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Image = npt.NDArray[np.uint8]
    """(H, W, 3) uint8, BGR, row 0 at the top."""
    Float32 = npt.NDArray[np.float32]
    Int32 = npt.NDArray[np.int32]
else:
    # numpy.typing is for checkers; importing it here would cost every start a millisecond.
    Array = Image = Float32 = Int32 = np.ndarray

Precision = Literal["fp32", "fp16", "bf16", "int8", "int8-weights"]
"""Numeric format of a model's arithmetic; ``int8-weights`` keeps activations in float."""

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8", "int8-weights")


class Quantization(Record):
    """Affine mapping of an integer tensor: ``real = (integer - zero_point) * scale``.

    Only per-tensor quantization occurs at a model's inputs and outputs.
    """

    scale: float
    zero_point: int


class TensorSpec(Record):
    """Name, shape, dtype and quantization of one input or output.

    Attributes:
        name: the engine's name of the tensor.
        shape: sizes of the axes; None where the size is free.
        dtype: numpy's name of the type, such as ``float32``, ``uint8``, ``int8``, ``int64``.
        quantization: mapping of an integer tensor to real values, or None.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None = None

    def __str__(self) -> str:
        axes = ",".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.name} {self.dtype}[{axes}]"


class Frame(Record):
    """One image of a source.

    Attributes:
        image: (H, W, 3) uint8 BGR; of an `edgecv.raw_frames.RawFrame` made when first looked at.
        index: 0-based position in its stream.
        timestamp_s: capture time in seconds on the stream's own clock.
        stream: name of the stream.
        source: where the image came from, a path or an address; may be empty.
        epoch: counts the connections of a stream from 0: after a reconnect, or where the size of
            the images changes, a new epoch begins and `timestamp_s` may start anew.
        arrival_s: when the frame reached this process, by `time.monotonic`; None where nobody
            noted it. A frame's age is what has passed since.
    """

    image: Image
    index: int = 0
    timestamp_s: float = 0.0
    stream: str = ""
    source: str = ""
    epoch: int = 0
    arrival_s: float | None = None


class Source(Protocol):
    """Where the frames of one stream come from.

    Made by a module in ``sources/``; nothing is opened before `frames` is iterated.
    """

    @property
    def stream(self) -> str:
        """Name of the stream, put into each frame."""

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace and are lost if nobody takes them."""

    def frames(self, cancel: Event) -> Iterator[Frame]:
        """Open the source and yield its frames until it ends or `cancel` is set.

        Every wait inside ends within half a second of `cancel` being set; of it, only `is_set`
        and `wait` are used. Closing the iterator closes whatever was opened.

        Raises:
            StreamError: it cannot be opened, or failed for good.
        """


class Sink(Protocol):
    """Where results go. Made by a module in ``sinks/``; called by one thread at a time."""

    def write(self, frame: Frame, result: Any) -> None:
        """Deliver one `edgecv.result.Result` with the frame that it is about.

        Raises:
            SinkError: it could not be delivered.
        """

    def close(self) -> None:
        """Finish what is half done and let go of files and connections; may be called twice."""


class ModelSource(Record):
    """The files of one model, on disk or in memory, main file first.

    Attributes:
        parts: file name (no folder) -> path, or a read-only view of its bytes. The first entry is
            the one the engine opens (``.onnx``, ``.xml``, ``.tflite``); the others are its
            companions (``.bin``, external data).
    """

    parts: Mapping[str, Path | memoryview]

    @classmethod
    def from_paths(cls, *paths: Path) -> ModelSource:
        """Name each path by its last component."""
        return cls({path.name: path for path in paths})

    @property
    def name(self) -> str:
        """File name of the main part."""
        return next(iter(self.parts))

    @property
    def main(self) -> Path | memoryview:
        """The part that the engine opens."""
        return next(iter(self.parts.values()))

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts together."""
        return sum(
            part.nbytes if isinstance(part, memoryview) else part.stat().st_size
            for part in self.parts.values()
        )

    def __str__(self) -> str:
        return str(self.main) if isinstance(self.main, Path) else self.name


def as_bytes(view: memoryview) -> bytes:
    """Return what a view shows as bytes: without a copy where that is all of a bytes object."""
    whole = view.obj
    if type(whole) is bytes and view.c_contiguous and view.nbytes == len(whole):
        return whole
    return bytes(view)


class SessionOptions(Record):
    """How a model is to be opened.

    Attributes:
        threads: threads of one inference; None means the CPUs this process may use.
        precision: pin the arithmetic of float layers (``fp32``, ``bf16``, ``fp16``). ``auto``
            leaves the choice to the engine; what it chose is read back and reported. The default
            never lets an engine lower the precision on its own.
        extra: engine-specific settings, passed through by name.
        streams: runs that callers will make at the same time; each has `threads` threads. Memory
            for intermediate results grows with it.
    """

    threads: int | None = None
    precision: str = "fp32"
    extra: Mapping[str, str] = field(default_factory=dict)
    streams: int = 1


class SessionInfo(Record):
    """What an engine really does with a model, read back after it was compiled.

    Attributes:
        backend: name of the plug-in in ``backends/``.
        engine: name and version of the library, such as ``onnxruntime 1.31.1``.
        device: what computes, such as ``CPU`` or ``CPU (XNNPACK)``.
        threads: threads of one inference.
        precision: read back from the compiled model or the file; None where the engine does not
            tell (``notes`` then says why).
        notes: facts a user should see, such as a fallback that happened.
        streams: runs that are worked on at the same time, more take turns; None where each thread
            that calls computes by itself.
    """

    backend: str
    engine: str
    device: str
    threads: int
    precision: Precision | None
    notes: tuple[str, ...] = ()
    streams: int | None = 1


class Session(Protocol):
    """A model opened by an engine. Nothing more: batching and streams belong to higher layers.

    `run` may be called by several threads at once and returns arrays that the caller owns.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs in the model's order."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs in the model's order."""

    @property
    def info(self) -> SessionInfo:
        """What was opened, read back from the engine."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Key-value pairs in the file itself (ONNX metadata_props, IR rt_info); may be empty."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Args:
            inputs: input name -> array of exactly the dtype and shape that `inputs` names.

        Returns:
            Output name -> array in the tensor's own dtype; integers are not dequantized here.

        Raises:
            InferenceError: a name, shape or dtype does not fit, the session is closed, or the
                engine failed.
        """

    def close(self) -> None:
        """Free the engine's memory; a second call does nothing."""


class Backend(Protocol):
    """What a module in ``backends/`` offers."""

    ENGINE: str
    """Distribution name of the library, such as ``onnxruntime``."""
    EXTRA: str | None
    """Extra of edgecv that installs it, or None where the base install does."""
    SUFFIXES: tuple[str, ...]
    """File suffixes it opens, such as ``('.onnx',)``."""

    def version(self) -> str | None:
        """Version of the installed engine, or None; must not import the engine."""

    def lacks(self, precision: str, features: Sequence[str] | None = None) -> str | None:
        """Say what a CPU lacks for a precision; None where it can, or nobody knows yet.

        `features` are those of another machine, as `edgecv.host.cpu_features` names them; None
        means this one. Must not import the engine: it decides which variant of a bundle is opened
        at all.
        """

    def companions(self, path: Path) -> tuple[Path, ...]:
        """List the files beside a model file that it cannot be opened without.

        Raises:
            ModelLoadError: one is missing, or lies outside the model's folder.
        """

    def open_session(self, source: ModelSource, options: SessionOptions) -> Session:
        """Open a model.

        Raises:
            BackendMissingError: the engine is not installed.
            ModelLoadError: the engine refuses the file.
            UsageError: an option that this engine cannot honour.
        """
