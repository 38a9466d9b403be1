"""Masks of what a user points at: the SAM family, as an encoder and a decoder.

    with edgecv.load_segmenter("encoder.onnx", "decoder.onnx") as segmenter:
        session = segmenter.set_image("image.jpg")
        found = session.predict(points=[[320, 200]])
        found = session.predict(points=[[320, 200], [90, 40]], labels=[1, 0], mask=found.logits[0])

The encoder is slow and sees the image once; the decoder is fast and runs for every prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from edgecv.codecs import Limits
from edgecv.engines import choose_backend, find_model_file, gather, load_backend
from edgecv.errors import UsageError
from edgecv.geometry import Geometry
from edgecv.manifest import Input
from edgecv.masks import Masks
from edgecv.model import ImageLike, read_pixels
from edgecv.output_check import dequantize
from edgecv.preprocess import Preprocessor
from edgecv.prompt_decoder import Answer, PromptDecoder
from edgecv.prompts import Prompts, prompts_of
from edgecv.record import Record
from edgecv.types import Array, Float32, Session, SessionOptions, TensorSpec

_SIDE = 1024
# Mean and standard deviation of Segment Anything's own preprocessing, which its family shares.
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_WITH_SINGLE = 4


class Prompted(Record):
    """Masks that answer a prompt, best first.

    Attributes:
        masks: M masks on the source image.
        score: (M,) float32, the IoU with the true object that the model itself expects.
        logits: (M, h, w) float32 over the model input, as ``mask`` of a further prompt takes them.
    """

    masks: Masks
    score: Float32
    logits: Float32

    def __len__(self) -> int:
        return len(self.score)

    def to_json(self) -> dict[str, Any]:
        """Make ``{"masks": [{score, mask}, ...]}``; a mask is in COCO's compressed form."""
        items = [
            {"score": round(float(score), 6), "mask": self.masks.to_json(i)}
            for i, score in enumerate(self.score)
        ]
        return {"masks": items}


class PromptSession:
    """One image, encoded, and ready for any number of prompts.

    Attributes:
        source_hw: (height, width) of the image.
    """

    def __init__(self, segmenter: Segmenter, carried: Mapping[str, Array], fit: Geometry) -> None:
        """Made by `Segmenter.set_image`; not for callers."""
        self._segmenter, self._carried, self._fit = segmenter, dict(carried), fit
        self.source_hw = fit.source_hw

    def predict(
        self,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        mask: Float32 | None = None,
        *,
        multimask: bool = True,
    ) -> Prompted:
        """Find masks of what the prompts show.

        Args:
            points: (N, 2) x, y in source pixels, continuous.
            labels: (N,), 1 on the object and 0 beside it; None means that all are on it.
            boxes: (4,) or (B, 4) xyxy in source pixels. Several boxes are as many objects, which
                only boxes can tell apart.
            mask: (h, w) logits of an earlier answer about the same object.
            multimask: what one point shows can be a part or the whole: return all that the model
                finds possible. False returns the likeliest. With several boxes each has one.

        Returns:
            One object's masks, best first; or with several boxes one of each, in their order.

        Raises:
            UsageError: no prompt, one of a wrong shape or outside the image, or a kind that this
                decoder does not take.
            InferenceError: the engine failed, or the segmenter is closed.
        """
        xy, on, corners = prompts_of(points, labels, boxes, mask, self.source_hw)
        xy = self._fit.points_to_input(xy)
        if corners is None or len(corners) == 1:
            box = None if corners is None else self._fit.boxes_to_input(corners)[0]
            return self._ask(xy, on, box, mask, multimask)
        found = [self._ask(xy, on, box, None, False) for box in self._fit.boxes_to_input(corners)]
        crops = tuple(crop for one in found for crop in one.masks.crops)
        offsets = np.concatenate([one.masks.offset_xy for one in found])
        return Prompted(
            Masks(self.source_hw, offsets, crops),
            np.concatenate([one.score for one in found]),
            np.concatenate([one.logits for one in found]),
        )

    def _ask(
        self, xy: Float32, on: Array, box: Float32 | None, mask: Float32 | None, multimask: bool
    ) -> Prompted:
        decoder = self._segmenter.decoder
        prompts = Prompts(points=xy, labels=on, box=box, mask=mask, source_hw=self.source_hw)
        feeds = decoder.feeds(prompts)
        feeds |= {name: self._carried[name] for name in decoder.carried}
        answer = decoder.answer(self._segmenter.decode(feeds), self.source_hw)
        chosen = _chosen(answer, len(xy) + 2 * (box is not None), multimask)
        if answer.full is None:
            full = np.stack([_to_source(answer.logits[i], self._fit) for i in chosen])
        else:
            full = answer.full[chosen]
        return Prompted(Masks.from_full(full > 0), answer.score[chosen], answer.logits[chosen])


class Segmenter:
    """An encoder and a decoder, open; made by `load_segmenter`. Several threads may share it."""

    def __init__(self, encoder: Session, decoder: Session, pixels: Input, layout: str) -> None:
        """Put together what `load_segmenter` found; not for callers.

        Raises:
            UsageError: the two do not fit each other.
        """
        self._encoder, self._decoder = encoder, decoder
        self._preprocessor = Preprocessor(pixels, encoder.inputs[0], layout)
        self._alias = _alias(encoder.outputs, decoder.inputs)
        names = [self._alias.get(spec.name, spec.name) for spec in encoder.outputs]
        self.decoder = PromptDecoder(
            decoder.inputs, decoder.outputs, names, pixels.size_hw, "decoder"
        )

    def set_image(self, image: ImageLike, *, limits: Limits | None = None) -> PromptSession:
        """Encode an image once, for any number of prompts.

        Args:
            image: a path, encoded bytes, pixels (H, W, 3) uint8 BGR, or a `Frame`.
            limits: on pixels and bytes of encoded images; None for the defaults.

        Raises:
            ImageError: it is not a usable image.
            InferenceError: the engine failed, or the segmenter is closed.
        """
        pixels, _ = read_pixels(image, limits)
        tensor, fit = self._preprocessor.prepare(pixels)
        rows, columns = fit.resized_hw
        # The border is 0 after the normalisation, which is no one grey level before it.
        q = self._encoder.inputs[0].quantization
        inner = tensor[0] if self._preprocessor.planar else tensor[0].transpose(2, 0, 1)
        inner[:, rows:] = inner[:, :, columns:] = 0 if q is None else q.zero_point
        outputs = self._encoder.run({self._encoder.inputs[0].name: tensor})
        carried = {
            self._alias.get(spec.name, spec.name): dequantize(spec, outputs[spec.name])
            for spec in self._encoder.outputs
        }
        return PromptSession(self, carried, fit)

    def decode(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the decoder; outputs are dequantized.

        Raises:
            InferenceError: the engine failed, or the segmenter is closed.
        """
        outputs = self._decoder.run(feeds)
        return {spec.name: dequantize(spec, outputs[spec.name]) for spec in self._decoder.outputs}

    def close(self) -> None:
        """Free the engines' memory; sessions of this segmenter end with it."""
        self._encoder.close()
        self._decoder.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def load_segmenter(
    encoder: str | Path,
    decoder: str | Path,
    *,
    backend: str | None = None,
    threads: int | None = None,
    pixels: Input | None = None,
    trusted: bool = False,
) -> Segmenter:
    """Open the two files of a promptable model.

    Args:
        encoder: takes a normalised image [1, 3, H, W] or [1, H, W, 3], and puts out its embedding.
        decoder: of the same export, in one of the layouts of `edgecv.prompt_decoder`.
        backend: run both with this one; None takes the first that is installed.
        threads: of one inference; None means the CPUs that this process may use.
        pixels: how the image is prepared; None is Segment Anything's own way: RGB, its mean and
            standard deviation, the long side resized to that of the input.
        trusted: open the files at once, not in a child process first.

    Raises:
        UsageError: no such file, or the two do not fit each other.
        BackendError: the engine is missing, or refuses a file.
    """
    options = SessionOptions(threads=threads)
    first = _open(Path(encoder), backend, options, trusted)
    try:
        second = _open(Path(decoder), backend, options, trusted)
    except BaseException:
        first.close()
        raise
    try:
        layout, size_hw = _image_input(first.inputs, str(encoder))
        if pixels is None:
            pixels = Input(
                size_hw=size_hw, resize="letterbox-topleft", interpolation="area",
                mean=_MEAN, std=_STD,
            )  # fmt: skip
        elif pixels.resize != "letterbox-topleft":
            raise UsageError(
                "", where="pixels.resize", expected="letterbox-topleft", got=pixels.resize
            )
        return Segmenter(first, second, pixels, layout)
    except BaseException:
        first.close()
        second.close()
        raise


def _open(path: Path, backend: str | None, options: SessionOptions, trusted: bool) -> Session:
    path = find_model_file(path)
    name = choose_backend(path, backend)
    source = gather(path, name)
    if not trusted:
        from edgecv.probe import probe

        probe(path, name)
    return load_backend(name).open_session(source, options)


def _image_input(inputs: Sequence[TensorSpec], where: str) -> tuple[str, tuple[int, int]]:
    """Return layout and (height, width) of the encoder's input; free sides are 1024."""
    shape = inputs[0].shape if len(inputs) == 1 else ()
    if len(shape) != 4 or shape[0] not in (1, None) or (shape[1] == 3) == (shape[3] == 3):
        raise UsageError(
            "not an image encoder",
            where=where,
            expected="one input [1,3,H,W] or [1,H,W,3]",
            got="; ".join(map(str, inputs)) or "none",
        )
    planar = shape[1] == 3
    height, width = shape[2:] if planar else shape[1:3]
    return ("NCHW" if planar else "NHWC"), (height or _SIDE, width or _SIDE)


def _alias(outputs: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> dict[str, str]:
    """Let an encoder's only output be the embedding, whatever its name is."""
    wanted = "image_embeddings"
    if len(outputs) == 1 and wanted in {spec.name for spec in inputs}:
        return {outputs[0].name: wanted}
    return {}


def _chosen(answer: Answer, points: int, multimask: bool) -> Array:
    """Choose masks, best first.

    Of four masks the first is meant for prompts that leave no doubt, the other three for those that
    do. As ``SamOnnxModel`` does where it returns one mask: with more than two points, corners of
    boxes counted, it is the first; else the best of the rest.
    """
    count = len(answer.score)
    candidates = np.arange(1, count) if count == _WITH_SINGLE else np.arange(count)
    if count == _WITH_SINGLE and not multimask and points > 2:
        candidates = np.arange(1)
    order = candidates[np.argsort(-answer.score[candidates], kind="stable")]
    return order if multimask else order[:1]


def _to_source(logits: Float32, fit: Geometry) -> Float32:
    """Bring (h, w) logits over the model input to source size.

    In two bilinear steps, to the input's size and from its visible part to the source: so the
    family's own ``postprocess_masks`` does.
    """
    height, width = fit.input_hw
    rows, columns = fit.resized_hw
    large = cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)
    visible = large[:rows, :columns]
    full = cv2.resize(visible, fit.source_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(full, np.float32)
