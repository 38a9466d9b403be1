"""A bundle, or a bare model file, as a callable: image in, result out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgecv.errors import InferenceError, UsageError
from edgecv.head import keeps_batch, load_head
from edgecv.manifest import HeadSpec, Input
from edgecv.model_inputs import constants, image_input
from edgecv.preprocess import Preprocessor
from edgecv.types import Array, Frame, Image, Session, SessionInfo, TensorSpec

if TYPE_CHECKING:
    from edgecv.bundle import Bundle
    from edgecv.codecs import Limits
    from edgecv.geometry import Geometry
    from edgecv.model_info import ModelInfo
    from edgecv.plan import Plan
    from edgecv.raw_frames import RawPixels
    from edgecv.result import Result

ImageLike = str | os.PathLike[str] | bytes | bytearray | memoryview | Array | Frame
"""A path, an encoded image, (H, W, 3) uint8 BGR (or grey, or BGRA), or a `Frame`."""


_MAX_BATCH_BYTES = 2**25


class Model:
    """A model ready to run; made by `edgecv.load`. May be called by several threads at once.

    Attributes:
        task: such as ``detect``.
        labels: class names by class id; may be empty.
        info: what runs, and how it was chosen.
        options: the head's options in use.
        plan: how `edgecv.predict_all` and streams of every frame work, where the model
            was loaded as tuned for throughput; None lets them find out on the first images.
    """

    def __init__(
        self,
        session: Session,
        head: HeadSpec,
        labels: Sequence[str],
        spec: Input,
        describe: Callable[[Session], ModelInfo],
        *,
        layout: str,
        in_graph: Sequence[str] = (),
        bundle: Bundle | None = None,
        reopen: Callable[[int, int], Session] | None = None,
        plan: Plan | None = None,
    ) -> None:
        """Put together what `edgecv.loading.load` found; not for callers."""
        self.labels = tuple(labels)
        self._tell = describe
        self._describe = cache(lambda: describe(session))
        self._reopen = reopen
        self.plan = plan
        self._session = session
        self._bundle = bundle
        self._head_name = head.name
        self._head = load_head(head.name)
        self.task = self._head.TASK
        self._outputs = session.outputs
        image = image_input(session.inputs) or session.inputs[0]
        self._input_name = image.name
        self._beside = constants(self._head, head.name, session.inputs, spec.size_hw)
        self._preprocessor = Preprocessor(spec, image, layout, in_graph)
        self.options = self._head.Options(**{**head.options, "input_hw": spec.size_hw})

    @property
    def info(self) -> ModelInfo:
        """What runs, and how it was chosen; read back from the engine when first asked for."""
        return self._describe()

    @property
    def session(self) -> SessionInfo:
        """What the engine does with the model, read back from it."""
        return self._session.info

    @property
    def head(self) -> str:
        """Name of the head that decodes."""
        return self._head_name

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The engine's output tensors."""
        return self._outputs

    def prepare(self, image: ImageLike, *, limits: Limits | None = None) -> Array:
        """Make the tensor that the engine is fed with, [1, ...], the caller's own.

        Raises:
            ImageError: it is not a usable image.
        """
        return self._preprocessor.prepare(read_pixels(image, limits)[0])[0].copy()

    def infer(self, tensor: Array) -> dict[str, Array]:
        """Run the engine on what `prepare` made: output name -> array as the engine gives it.

        Raises:
            InferenceError: the engine failed, or the model is closed.
        """
        beside = self._beside
        if beside and len(tensor) > 1:
            beside = {name: array.repeat(len(tensor), axis=0) for name, array in beside.items()}
        return self._session.run({self._input_name: tensor, **beside})

    def with_options(self, **options: Any) -> Model:
        """Return a view of this model with other head options; it shares session and buffers.

        Args:
            **options: fields of the head's ``Options``, such as ``confidence``; None keeps one.

        Raises:
            UsageError: the head does not have the option.
        """
        # A numpy scalar is taken as the number that it holds.
        given = {
            key: value.item() if hasattr(value, "item") and not value.ndim else value
            for key, value in options.items()
            if value is not None
        }
        if not given:
            return self
        from edgecv.head_check import check_options

        check_options(self._head, self._head_name, given)
        view = object.__new__(Model)
        view.__dict__.update(self.__dict__)
        view.options = self.options.replace(**given)
        return view

    def reopened(self, *, threads: int, streams: int = 1) -> Model:
        """Open the same files once more, for other use of the CPUs; results stay the same.

        Args:
            threads: of one inference.
            streams: inferences at the same time.

        Returns:
            A model with the same options and an engine session of its own, to be closed by itself;
            closing it leaves this one open.

        Raises:
            BackendError: the engine refuses, or the model is closed.
            BundleError: its archive cannot be read any more, or was altered.
        """
        if self._reopen is None:
            raise InferenceError("the model cannot be opened once more", where="model.reopened")
        view = object.__new__(Model)
        view.__dict__.update(self.__dict__)
        try:
            view._session = self._reopen(threads, streams)
        except ValueError as error:  # the files lie in a bundle that was closed
            raise InferenceError("the model is closed", where="model.reopened") from error
        view._bundle = None
        view.plan = None  # it was measured with another use of the CPUs
        view._describe = cache(lambda: self._tell(view._session).replace(plan=None))
        return view

    def __call__(self, image: ImageLike, *, limits: Limits | None = None) -> Result:
        """Run on one image.

        Args:
            image: a path, encoded bytes, pixels (H, W, 3) uint8 BGR, or a `Frame`.
            limits: on pixels and bytes of encoded images; None for the defaults.

        Raises:
            ImageError: it is not a usable image.
            InferenceError: the engine failed, or the model is closed.
        """
        from edgecv.result import Result, Timings

        start = perf_counter()
        pixels, source = read_pixels(image, limits)
        decoded = perf_counter()
        tensor, geometry = self._preprocessor.prepare(pixels)
        prepared = perf_counter()
        outputs = self.infer(tensor)
        inferred = perf_counter()
        value = self._decode(outputs, geometry)
        end = perf_counter()
        timings = Timings(
            decode=0.0 if is_pixels(image) else (decoded - start) * 1e3,
            preprocess=(prepared - decoded) * 1e3,
            infer=(inferred - prepared) * 1e3,
            postprocess=(end - inferred) * 1e3,
            total=(end - start) * 1e3,
        )
        return Result(value, source, geometry.source_hw, self.labels, timings)

    @property
    def batches(self) -> bool:
        """Whether several images can be one run of the engine.

        Every input's batch axis is free, and the outputs can be cut into those of each image.
        """
        free = all(spec.shape[:1] == (None,) for spec in self._session.inputs)
        return free and keeps_batch(self._head, self._outputs)

    def batch(self, images: Iterable[ImageLike], *, limits: Limits | None = None) -> list[Result]:
        """Run on several images and keep their order.

        A model whose batch axis is free takes them in one run, or in several of at most 32 MiB
        of input each; any other takes them one by one. The results are those of single calls.

        Args:
            images: any of the kinds that a call takes, mixed as you like; may be empty.
            limits: as in a call.
        """
        if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike | Frame) or (
            getattr(images, "ndim", 4) < 4
        ):
            raise UsageError(
                "one image", where="images", expected="a sequence", got=type(images).__name__
            )
        images = list(images)
        if not self.batches or len(images) < 2:
            return [self(image, limits=limits) for image in images]
        size = max(1, _MAX_BATCH_BYTES // self._preprocessor.buffer(1).nbytes)
        results: list[Result] = []
        for start in range(0, len(images), size):
            results += self._run_batch(images[start : start + size], limits)
        return results

    def _run_batch(self, images: Sequence[ImageLike], limits: Limits | None) -> list[Result]:
        from edgecv.result import Result, Timings

        count = len(images)
        tensor = self._preprocessor.buffer(count)
        sources, geometries, times = [], [], []
        for i, image in enumerate(images):
            start = perf_counter()
            pixels, source = read_pixels(image, limits)
            decoded = perf_counter()
            geometries.append(self._preprocessor.prepare(pixels, tensor[i])[1])
            times.append(((decoded - start) * 1e3, (perf_counter() - decoded) * 1e3))
            sources.append(source)
        start = perf_counter()
        outputs = self.infer(tensor)
        infer = (perf_counter() - start) * 1e3 / count
        for name, array in outputs.items():
            if array.shape[:1] != (count,):
                raise InferenceError(
                    "the model does not keep the batch axis first",
                    where=f"output {name}",
                    expected=f"[{count},...]",
                    got=str(list(array.shape)),
                )
        results = []
        for i, geometry in enumerate(geometries):
            start = perf_counter()
            value = self._decode({n: a[i : i + 1] for n, a in outputs.items()}, geometry)
            post = (perf_counter() - start) * 1e3
            decode, prepare = times[i]
            decode = 0.0 if is_pixels(images[i]) else decode
            timings = Timings(decode, prepare, infer, post, decode + prepare + infer + post)
            results.append(Result(value, sources[i], geometry.source_hw, self.labels, timings))
        return results

    def _decode(self, outputs: Mapping[str, Array], geometry: Geometry) -> Any:
        """Dequantize one image's outputs, decode them, and map the result to the source."""
        real: dict[str, Array] = {}
        for spec in self._outputs:
            array, q = outputs[spec.name], spec.quantization
            if q is not None:
                # float32 first: zero_point may not fit the tensor's own type
                array = (array.astype("float32") - q.zero_point) * q.scale
            real[spec.name] = array
        return self._head.decode(real, self.options).to_source(geometry)

    def close(self) -> None:
        """Free the engine's memory and let go of the bundle; views of this model end with it."""
        self._session.close()
        if self._bundle is not None:
            self._bundle.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_pixels(image: ImageLike, limits: Limits | None) -> tuple[Image | RawPixels, str]:
    """Return (H, W, 3) uint8 BGR, or raw pixels, and where it came from ('' where nobody says)."""
    from edgecv import codecs

    limits = limits or codecs.DEFAULT
    if isinstance(image, str | os.PathLike):
        return codecs.read(Path(image), limits=limits), os.fspath(image)
    if isinstance(image, bytes | bytearray | memoryview):
        encoded = image if isinstance(image, bytes) else memoryview(image)
        return codecs.decode(encoded, limits=limits), "bytes"
    if isinstance(image, Frame):
        from edgecv.raw_frames import pixels_of

        pixels = pixels_of(image)
        checked = codecs.as_image(pixels) if hasattr(pixels, "__array__") else pixels
        return checked, image.source
    return codecs.as_image(image), ""


def read_bgr(image: ImageLike, limits: Limits | None) -> tuple[Image, str]:
    """Return (H, W, 3) uint8 BGR and where it came from; raw pixels are converted."""
    pixels, source = read_pixels(image, limits)
    return (pixels.to_bgr() if hasattr(pixels, "to_bgr") else pixels), source


def is_pixels(image: ImageLike) -> bool:
    """Tell whether pixels were handed in, and nothing is to be decoded."""
    return not isinstance(image, str | os.PathLike | bytes | bytearray | memoryview)
