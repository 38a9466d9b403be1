"""Source pixels -> the model's input tensor, and the geometry that leads back.

Buffers are allocated once a thread and used again, so preparing an image allocates nothing once the
sizes have been seen. The tensor returned is such a buffer: it is valid until the same thread
prepares its next image.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgecv.errors import UsageError
from edgecv.geometry import Geometry, plan
from edgecv.manifest import Input
from edgecv.types import Array, Image, TensorSpec

if TYPE_CHECKING:
    from edgecv.raw_frames import RawPixels

_INTERPOLATION = {
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}
_ANTIALIASED = {"linear-antialias": "linear", "cubic-antialias": "cubic"}
# A crop of a very thin image would resize it to a huge one first; beyond this many pixels the
# visible part is sampled directly.
_MAX_RESIZED_PIXELS = 16_000_000
_MAX_PLANS = 64
_MIN_LEVELS = 8


class Preprocessor:
    """Prepare images for one model input; safe to share between threads.

    Args:
        spec: how pixels become input, from the manifest.
        tensor: the engine's input: dtype and quantization decide the last step.
        layout: ``NCHW`` or ``NHWC``.
        in_graph: steps that the graph does itself: with ``color`` the tensor holds BGR, with
            ``normalize`` it holds 0-255.

    Raises:
        UsageError: the tensor does not fit the input that the manifest describes.
    """

    def __init__(
        self, spec: Input, tensor: TensorSpec, layout: str, in_graph: Sequence[str] = ()
    ) -> None:
        self.spec = spec
        self.tensor = tensor
        self.planar = layout == "NCHW"
        self.channels = 1 if spec.color == "grey" else 3
        height, width = spec.size_hw
        self.shape = (
            (self.channels, height, width) if self.planar else (height, width, self.channels)
        )
        fits = len(tensor.shape) == 4 and all(
            have in (None, want) for have, want in zip(tensor.shape[1:], self.shape, strict=True)
        )
        if not fits:
            raise UsageError(
                "the model's input does not fit its description",
                where=f"input {tensor.name}",
                expected=f"[N,{','.join(map(str, self.shape))}] ({layout})",
                got=str(tensor),
            )
        self.dtype = np.dtype(tensor.dtype)
        self._swap = spec.color == "rgb" and "color" not in in_graph
        mean = np.array(spec.mean[: self.channels], np.float64)
        std = np.array(spec.std[: self.channels], np.float64)
        if "normalize" in in_graph:
            mean, std = np.zeros_like(mean), np.ones_like(std)
        if tensor.quantization is not None:
            # integer = real / scale + zero_point, folded into the same scale and shift
            std = std * tensor.quantization.scale
            mean = mean - tensor.quantization.zero_point * std
        self._scale, self._shift = 1 / std, -mean / std
        self._plain = bool(np.all(self._scale == 1) and np.all(self._shift == 0))
        self._table = self._lookup() if self.dtype.kind in "iu" else None
        self._local = threading.local()

    def _lookup(self) -> Array:
        """Tabulate pixel -> integer as (256, C) of the tensor's dtype, rounded and saturated."""
        levels = np.arange(256)[:, None] * self._scale + self._shift
        limits = np.iinfo(self.dtype)
        table: Array = np.clip(np.rint(levels), limits.min, limits.max).astype(self.dtype)
        # Not np.unique: its first call imports numpy.ma, a tenth of a cold start.
        fewest = min(len(set(table[:, c].tolist())) for c in range(self.channels))
        if fewest < _MIN_LEVELS:
            raise UsageError(
                f"the normalisation leaves {fewest} of 256 grey levels in this integer input",
                where=f"input {self.tensor.name}",
                got=f"mean {self.spec.mean}, std {self.spec.std} for {self.tensor}",
                remedy="an integer input without quantization takes raw pixels: mean 0, std 1",
            )
        return table

    def buffer(self, count: int = 1) -> Array:
        """Return this thread's tensor for `count` images, [count, ...] of the input's dtype."""
        held: Array | None = getattr(self._local, "tensor", None)
        if held is None or len(held) < count:
            held = self._local.tensor = np.zeros((count, *self.shape), self.dtype)
        return held[:count]

    def prepare(self, image: Image | RawPixels, out: Array | None = None) -> tuple[Array, Geometry]:
        """Prepare one image.

        Args:
            image: (H, W, 3) uint8 BGR, at least 1x1; raw pixels are converted at the size that is
                needed where their kind can.
            out: one image's place in a tensor, of shape [C, H, W] or [H, W, C]; None uses the
                thread's own buffer.

        Returns:
            The tensor ([1, ...], or `out` itself) and the geometry of the fit.
        """
        geometry = self.geometry((image.shape[0], image.shape[1]))
        canvas = self._fit(image, geometry)
        if out is None:
            tensor = self.buffer()
            self._convert(canvas, tensor[0])
            return tensor, geometry
        self._convert(canvas, out)
        return out, geometry

    def geometry(self, source_hw: tuple[int, int]) -> Geometry:
        """Lay out the fit of an image of this size; remembered for sizes seen before."""
        plans: dict[tuple[int, int], Geometry] = self._local.__dict__.setdefault("plans", {})
        found = plans.get(source_hw)
        if found is None:
            if len(plans) >= _MAX_PLANS:
                plans.clear()
            spec = self.spec
            found = plans[source_hw] = plan(
                source_hw,
                spec.size_hw,
                spec.resize,
                rounding=spec.rounding,
                crop_ratio=spec.crop_ratio,
            )
        return found

    def _fit(self, image: Image | RawPixels, geometry: Geometry) -> Image:
        """Resize and pad or cut to (input height, input width, 3) uint8 BGR."""
        height, width = geometry.input_hw
        (rows, columns), (left, top) = geometry.resized_hw, geometry.offset_xy
        if self.spec.interpolation in _ANTIALIASED:
            return self._fit_antialiased(_as_bgr(image), geometry)
        inter = _INTERPOLATION[self.spec.interpolation]
        if inter == cv2.INTER_AREA and (rows > image.shape[0] or columns > image.shape[1]):
            inter = cv2.INTER_LINEAR
        oversize = rows * columns > max(_MAX_RESIZED_PIXELS, height * width)
        pixels = None if oversize else _resize_raw(image, (rows, columns), inter)
        if pixels is None:
            pixels = _as_bgr(image)
        if oversize:
            return self._sample(pixels, geometry)
        if rows >= height and columns >= width:
            if pixels.shape[:2] != (rows, columns):
                pixels = cv2.resize(
                    pixels, (columns, rows), self._resized(rows, columns), 0, 0, inter
                )
            return pixels[-top : height - top, -left : width - left]
        canvas = self._canvas(geometry)
        window = canvas[top : top + rows, left : left + columns]
        if pixels.shape[:2] == (rows, columns):
            window[:] = pixels
        else:
            cv2.resize(pixels, (columns, rows), window, 0, 0, inter)
        return canvas

    def _fit_antialiased(self, image: Image, geometry: Geometry) -> Image:
        """Do the same with a resize that averages what it shrinks."""
        from edgecv import antialias  # late: most models do not need it

        height, width = geometry.input_hw
        (rows, columns), (left, top) = geometry.resized_hw, geometry.offset_xy
        # What of the resized image is seen.
        seen = (max(0, -left), max(0, -top), min(columns, width - left), min(rows, height - top))
        resized = antialias.resize(
            image, geometry.resized_hw, seen, _ANTIALIASED[self.spec.interpolation]
        )
        if rows >= height and columns >= width:
            return resized
        canvas = self._canvas(geometry)
        canvas[top : top + rows, left : left + columns] = resized
        return canvas

    def _sample(self, image: Image, geometry: Geometry) -> Image:
        """Sample the visible part of a crop directly, bilinear, without resizing the rest."""
        height, width = geometry.input_hw
        (sx, sy), (ox, oy) = geometry.scale_xy, geometry.offset_xy
        matrix = np.array(
            [
                [1 / sx, 0, (0.5 - ox) / sx - 0.5],
                [0, 1 / sy, (0.5 - oy) / sy - 0.5],
            ]
        )
        # warpAffine takes sides below 32768: cut the columns and rows that are not visible.
        x1, y1 = max(0, int(-ox / sx) - 2), max(0, int(-oy / sy) - 2)
        x2, y2 = int((width - ox) / sx) + 3, int((height - oy) / sy) + 3
        matrix[:, 2] -= (x1, y1)
        sampled: Image = cv2.warpAffine(
            image[y1:y2, x1:x2],
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return sampled

    def _resized(self, rows: int, columns: int) -> Image:
        """Return the thread's scratch image of this size."""
        local = self._local
        scratch: Image | None = getattr(local, "resized", None)
        if scratch is None or scratch.shape[:2] != (rows, columns):
            scratch = local.resized = np.empty((rows, columns, 3), np.uint8)
        return scratch

    def _canvas(self, geometry: Geometry) -> Image:
        """Return the thread's canvas; its border is painted only when the window moved."""
        local = self._local
        window = (geometry.resized_hw, geometry.offset_xy)
        if getattr(local, "window", None) != window:
            if not hasattr(local, "canvas"):
                local.canvas = np.empty((*geometry.input_hw, 3), np.uint8)
            local.canvas[:] = self.spec.pad_value
            local.window = window
        canvas: Image = local.canvas
        return canvas

    def _planes(self, canvas: Image) -> list[Array]:
        """Split into the model's channels in the model's order, (H, W) uint8 each."""
        local = self._local
        if not hasattr(local, "planes"):
            local.planes = [np.empty(canvas.shape[:2], np.uint8) for _ in range(3)]
        if self.channels == 1:
            return [cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY, local.planes[0])]
        planes: list[Array] = local.planes
        cv2.split(canvas, planes)
        return planes[::-1] if self._swap else planes

    def _convert(self, canvas: Image, out: Array) -> None:
        """Write channels, normalised and cast, into `out`."""
        if not self.planar and self._plain and self.dtype == np.uint8 and self.channels == 3:
            if self._swap:
                cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB, out)
            else:
                out[:] = canvas
            return
        for c, plane in enumerate(self._planes(canvas)):
            target = out[c] if self.planar else out[..., c]
            if self._table is not None:
                np.take(self._table[:, c], plane, out=target, mode="clip")
            elif self._plain:
                np.copyto(target, plane, casting="unsafe")
            else:
                # A plane at a time stays in the cache; float32 holds 0-255 exactly.
                np.multiply(plane, np.float32(self._scale[c]), out=target, casting="same_kind")
                if self._shift[c]:
                    np.add(target, np.float32(self._shift[c]), out=target, casting="same_kind")


def _as_bgr(image: Image | RawPixels) -> Image:
    """Return pixels as (H, W, 3) uint8 BGR, converted where they are something else."""
    return image if isinstance(image, np.ndarray) else image.to_bgr()


def _resize_raw(image: Image | RawPixels, size_hw: tuple[int, int], inter: int) -> Image | None:
    """Resize raw pixels before they are converted; None for an image, or where they cannot."""
    return None if isinstance(image, np.ndarray) else image.resized(size_hw, inter)
