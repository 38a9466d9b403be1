"""How source pixels become model-input pixels, and the exact way back.

All coordinates are continuous, in (x, y): pixel (0, 0) covers [0, 1) x [0, 1) and its centre is
(0.5, 0.5). Every resize here maps edges to edges, which is what ``cv2.resize`` does, so that
``input = source * scale + offset`` holds exactly, with a scale of its own for each axis because
the resized size is a whole number of pixels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edgecv.record import Record
from edgecv.types import Array, Float32

Resize = Literal["stretch", "letterbox", "letterbox-topleft", "crop"]
Rounding = Literal["round", "floor"]


class Geometry(Record):
    """An affine map without rotation between a source image and a model input.

    Attributes:
        source_hw: (height, width) of the source image.
        input_hw: (height, width) of the model input.
        resized_hw: (height, width) to which the source is resized before padding or cropping.
        offset_xy: position of the resized image in the input, whole pixels; positive is a border
            on the left or top, negative is cut away.
    """

    source_hw: tuple[int, int]
    input_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    offset_xy: tuple[int, int] = (0, 0)

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Input pixels per source pixel along x and y."""
        return (
            self.resized_hw[1] / self.source_hw[1],
            self.resized_hw[0] / self.source_hw[0],
        )

    def points_to_source(self, xy: Float32) -> Float32:
        """Map (..., 2) x, y from input to source pixels; not clipped."""
        offset = np.array(self.offset_xy, np.float32)
        scale = np.array(self.scale_xy, np.float32)
        return np.asarray((xy - offset) / scale, np.float32)

    def points_to_input(self, xy: Float32) -> Float32:
        """Map (..., 2) x, y from source to input pixels; not clipped."""
        offset = np.array(self.offset_xy, np.float32)
        scale = np.array(self.scale_xy, np.float32)
        return np.asarray(xy * scale + offset, np.float32)

    def boxes_to_source(self, xyxy: Float32) -> Float32:
        """Map (N, 4) xyxy from input to source pixels, clipped to the source image."""
        offset = np.array(self.offset_xy * 2, np.float32)
        scale = np.array(self.scale_xy * 2, np.float32)
        height, width = self.source_hw
        limit = np.array([width, height, width, height], np.float32)
        mapped = (xyxy - offset) / scale
        return np.asarray(np.clip(mapped, np.float32(0), limit), np.float32)

    def boxes_to_input(self, xyxy: Float32) -> Float32:
        """Map (N, 4) xyxy from source to input pixels; not clipped."""
        corners = self.points_to_input(xyxy.reshape(-1, 2))
        return corners.reshape(-1, 4)

    def rotated_to_source(self, xywhr: Float32) -> Float32:
        """Map (N, 5) oriented boxes from input to source pixels; not clipped.

        Exact where both axes have one scale, as letterboxes have but for rounding. Where they have
        not, a turned rectangle becomes a parallelogram; the rectangle returned has its centre, its
        longer direction's angle, and sides as long as the parallelogram's.

        Args:
            xywhr: centre x, centre y, width, height in pixels, angle in radians.
        """
        sx, sy = self.scale_xy
        cos, sin = np.cos(xywhr[:, 4]), np.sin(xywhr[:, 4])
        width = xywhr[:, 2] * np.hypot(cos / sx, sin / sy)
        height = xywhr[:, 3] * np.hypot(sin / sx, cos / sy)
        by_width = np.arctan2(sin / sy, cos / sx)
        by_height = np.arctan2(sin / sx, cos / sy)
        angle = np.where(width >= height, by_width, by_height)
        centre = self.points_to_source(xywhr[:, :2])
        mapped = np.concatenate([centre, np.stack([width, height, angle], axis=1)], axis=1)
        return np.asarray(mapped, np.float32)

    def mask_to_source(self, mask: Array, *, nearest: bool = False) -> Array:
        """Bring an (h, w) map over the model input to source size.

        Args:
            mask: (h, w) uint8 or float32 over the whole input, at any resolution.
            nearest: take the nearest value (class maps) instead of interpolating (logits).

        Returns:
            (source height, source width) of the same dtype. What a centre crop cut away is 0.
        """
        height, width = self.source_hw
        if self.resized_hw == self.input_hw and self.offset_xy == (0, 0):
            import cv2  # late, as below: laying out a fit and mapping boxes do not need it

            # The same map as below, seven times as fast.
            kind = cv2.INTER_NEAREST_EXACT if nearest else cv2.INTER_LINEAR
            stretched: Array = cv2.resize(mask, (width, height), interpolation=kind)
            return stretched
        map_hw = (mask.shape[0], mask.shape[1])
        out = self.part_to_source(mask, (0, 0), map_hw, (0, 0, width, height), nearest=nearest)
        x1, y1 = np.array(self.offset_xy) / self.scale_xy
        if x1 < 0 or y1 < 0:
            rows, columns = self.visible()
            cut = np.zeros_like(out)
            cut[rows, columns] = out[rows, columns]
            out = cut
        return out

    def _to_mask(self, rows: int, columns: int) -> Array:
        """Return the (2, 3) matrix from source pixels to places of a mask, both as indices."""
        sx, sy = self.scale_xy
        kx, ky = columns / self.input_hw[1], rows / self.input_hw[0]
        # Centre of source pixel (i, j) -> mask position, both shifted from edge to centre.
        return np.array(
            [
                [sx * kx, 0, (0.5 * sx + self.offset_xy[0]) * kx - 0.5],
                [0, sy * ky, (0.5 * sy + self.offset_xy[1]) * ky - 0.5],
            ]
        )

    def rows_to_source(self, mask: Float32, rows: slice) -> Float32:
        """Interpolate an (h, w) map over the model input to some rows of the source.

        Args:
            mask: (h, w) float32 over the whole input, at any resolution.
            rows: of the source, with start and stop.

        Returns:
            (rows, source width) float32, as `mask_to_source` gives them, but that nothing is 0
            where a centre crop did not see.
        """
        import cv2

        matrix = self._to_mask(mask.shape[0], mask.shape[1])
        first, last, fraction = self.mask_rows(mask.shape[0], rows)
        across = mask[first] * (1 - fraction) + mask[last] * fraction
        if self.resized_hw == self.input_hw and self.offset_xy == (0, 0):
            size = (self.source_hw[1], len(across))
            stretched: Float32 = cv2.resize(across, size, interpolation=cv2.INTER_LINEAR)
            return stretched
        matrix[1] = 0, 1, 0
        out: Float32 = cv2.warpAffine(
            across,
            matrix,
            (self.source_hw[1], len(across)),
            flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return out

    def mask_rows(self, height: int, rows: slice) -> tuple[Array, Array, Float32]:
        """Find the rows of a mask that rows of the source lie between.

        Args:
            height: of the mask, which covers the whole input.
            rows: N rows of the source, with start and stop.

        Returns:
            (N,) indices of the rows above and below, and (N, 1) float32 how far down they lie.
        """
        _, scale, shift = self._to_mask(height, 1)[1]
        at = np.clip(np.arange(rows.start, rows.stop) * scale + shift, 0, height - 1)
        first = at.astype(np.intp)
        last = np.minimum(first + 1, height - 1)
        return first, last, np.asarray((at - first)[:, None], np.float32)

    def part_to_source(
        self,
        part: Array,
        at_xy: tuple[int, int],
        map_hw: tuple[int, int],
        window: tuple[int, int, int, int],
        *,
        nearest: bool = False,
    ) -> Array:
        """Bring a part of a map over the model input to a window of the source.

        Args:
            part: (h, w) uint8 or float32, cut out of a map over the whole input.
            at_xy: where its upper left cell lies in the map.
            map_hw: (height, width) of the map.
            window: x1, y1, x2, y2 in whole source pixels.
            nearest: take the nearest value instead of interpolating.

        Returns:
            (y2 - y1, x2 - x1) of the same dtype; beyond the part its outermost cells go on.
        """
        import cv2  # late: laying out a fit and mapping boxes do not need it

        x1, y1, x2, y2 = window
        matrix = self._to_mask(*map_hw)
        matrix[:, 2] += matrix[:, :2] @ (x1, y1) - at_xy
        flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR)
        out: Array = cv2.warpAffine(
            part, matrix, (x2 - x1, y2 - y1), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        return out

    def visible(self) -> tuple[slice, slice]:
        """Return the rows and columns of the source whose centres lie inside the input."""
        slices = []
        for size, scale, offset, limit in zip(
            self.source_hw, self.scale_xy[::-1], self.offset_xy[::-1], self.input_hw, strict=True
        ):
            low = max(0, int(np.ceil(-offset / scale - 0.5)))
            high = min(size, int(np.ceil((limit - offset) / scale - 0.5)))
            slices.append(slice(low, max(low, high)))
        return slices[0], slices[1]


def _whole(value: float, rounding: Rounding) -> int:
    # int() after the epsilon: 416 * (1 / 416 * 300) must not become 299
    return max(1, round(value) if rounding == "round" else int(value + 1e-6))


def plan(
    source_hw: tuple[int, int],
    input_hw: tuple[int, int],
    resize: Resize,
    *,
    rounding: Rounding = "round",
    crop_ratio: float = 1.0,
) -> Geometry:
    """Lay out how an image is fitted into a model input.

    Sources of the rules:
        ``letterbox`` with ``round``: the centred letterbox of Ultralytics' documented
        preprocessing: sizes ``round(side * r)``, left border ``round(dw / 2 - 0.1)``.
        ``letterbox-topleft`` with ``floor``: YOLOX's ``preproc``: sizes ``int(side * r)``, border
        on the right and the bottom.
        ``crop``: the usual ImageNet evaluation: short side to ``int(input / crop_ratio)``, then
        the centre is cut, as torchvision's ``Resize`` and ``CenterCrop`` do.

    Args:
        source_hw: (height, width) of the image, at least 1x1.
        input_hw: (height, width) of the model input.
        resize: the kind of fit.
        rounding: of the letterboxed size.
        crop_ratio: of ``crop``, in (0, 1].
    """
    height, width = source_hw
    in_h, in_w = input_hw
    if resize == "stretch":
        return Geometry(source_hw, input_hw, input_hw)
    if resize == "crop":
        short = min(in_h, in_w)
        target = max(int(short / crop_ratio + 1e-6), 1)
        ratio = target / min(height, width)
        # A non-square input must be covered on both axes.
        ratio = max(ratio, in_h / height, in_w / width)
        size = (_whole(height * ratio, "floor"), _whole(width * ratio, "floor"))
        size = (max(size[0], in_h), max(size[1], in_w))
        offset = (-round((size[1] - in_w) / 2), -round((size[0] - in_h) / 2))
        return Geometry(source_hw, input_hw, size, offset)
    ratio = min(in_h / height, in_w / width)
    size = (
        min(_whole(height * ratio, rounding), in_h),
        min(_whole(width * ratio, rounding), in_w),
    )
    if resize == "letterbox-topleft":
        return Geometry(source_hw, input_hw, size)
    left = max(0, round((in_w - size[1]) / 2 - 0.1))
    top = max(0, round((in_h - size[0]) / 2 - 0.1))
    return Geometry(source_hw, input_hw, size, (left, top))
