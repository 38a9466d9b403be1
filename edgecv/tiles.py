"""Large images in overlapping tiles: small objects keep the pixels that a model needs to see them.

    result = edgecv.tiled(model, "field.jpg", tile_hw=(640, 640), overlap=0.2)

Every tile is run as an image of its own; what is found is mapped to the whole image and merged
there, at the level of results (`edgecv.merging`). An object that is smaller than the overlap lies
whole in at least one tile. A larger one may be cut in every tile: `whole` runs the model on the
whole image, too, scaled down to its input, and finds those.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecv.errors import UsageError
from edgecv.masks import Masks
from edgecv.merging import merge
from edgecv.model import ImageLike, Model, is_pixels, read_bgr
from edgecv.record import Record
from edgecv.result import Result, Timings
from edgecv.results.detections import Detections
from edgecv.types import Array

if TYPE_CHECKING:
    from edgecv.codecs import Limits

# A box that ends this near to a tile's border, in parts of the tile's side, is taken for cut: boxes
# are not exact to the pixel.
_TOUCH = 0.01
_TOUCH_PX = 2
_AT_ONCE = 64  # tiles whose results are held as the model gave them


class Tile(Record):
    """A part of an image, whole pixels.

    Attributes:
        x: left edge.
        y: upper edge.
        width: at least 1.
        height: at least 1.
    """

    x: int
    y: int
    width: int
    height: int

    def of(self, image: Array) -> Array:
        """Return the part of an (H, W, 3) image, a view."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]


def cut(size_hw: tuple[int, int], tile_hw: tuple[int, int], overlap: float) -> tuple[Tile, ...]:
    """Lay out tiles that cover an image, row by row.

    All tiles are of one size, and lie inside of the image: they are moved together until they
    fit, so that neighbours overlap by at least what is asked for. Along an axis on which the image
    is not larger than a tile there is one tile, as long as the image.

    Args:
        size_hw: (height, width) of the image, at least 1x1.
        tile_hw: (height, width) of a tile, at least 1x1.
        overlap: of neighbours, in parts of a tile's side, 0 to 0.9.

    Raises:
        UsageError: a size or an overlap out of range.
    """
    if min(*size_hw, *tile_hw) < 1:
        raise UsageError(
            "", where="tile_hw", expected="at least 1x1 pixels", got=f"{tile_hw} in {size_hw}"
        )
    if not 0 <= overlap <= 0.9:
        raise UsageError("", where="overlap", expected="0 to 0.9", got=repr(overlap))
    rows = _starts(size_hw[0], tile_hw[0], overlap)
    columns = _starts(size_hw[1], tile_hw[1], overlap)
    height, width = min(size_hw[0], tile_hw[0]), min(size_hw[1], tile_hw[1])
    return tuple(Tile(x, y, width, height) for y in rows for x in columns)


def _starts(size: int, tile: int, overlap: float) -> list[int]:
    if size <= tile:
        return [0]
    # At least a pixel of progress, and no less overlap than asked for.
    step = max(1, tile - int(np.ceil(tile * overlap - 1e-9)))
    count = -(-(size - tile) // step)
    return [i * (size - tile) // count for i in range(count + 1)]


def tiled(
    model: Model,
    image: ImageLike,
    *,
    tile_hw: tuple[int, int] | None = None,
    overlap: float = 0.2,
    whole: bool = False,
    threshold: float = 0.5,
    limits: Limits | None = None,
) -> Result:
    """Run a model on an image in tiles, and merge what it finds.

    Args:
        model: one that detects: boxes, and masks, keypoints or oriented boxes if it makes them.
        image: any of the kinds that a call of a model takes.
        tile_hw: (height, width) of a tile in source pixels; None takes the size of the model's
            input, so that nothing is scaled.
        overlap: of neighbouring tiles, in parts of a tile's side; at least as large as the objects.
        whole: run the model on the whole image as well, for objects larger than the overlap.
        threshold: overlap above which two detections are of one object, see `edgecv.merging`.
        limits: on pixels and bytes of encoded images; None for the defaults.

    Returns:
        A result in source pixels. Its timings are the sums over all tiles; merging counts as
        postprocessing.

    Raises:
        UsageError: the model does not detect, or an argument is out of range.
        ImageError: it is not a usable image.
        InferenceError: the engine failed, or the model is closed.
    """
    start = perf_counter()
    if not 0 <= threshold <= 1:
        raise UsageError("", where="threshold", expected="0 to 1", got=repr(threshold))
    pixels, source = read_bgr(image, limits)
    decode = 0.0 if is_pixels(image) else (perf_counter() - start) * 1e3
    size_hw = (pixels.shape[0], pixels.shape[1])
    tiles = cut(size_hw, tile_hw or model.options.input_hw, overlap)
    spent = np.zeros(3)
    found: list[Detections] = []
    cuts: list[Array] = []
    windows = [(t.x, t.y, t.x + t.width, t.y + t.height) for t in tiles]
    for first in range(0, len(tiles), _AT_ONCE):
        some = tiles[first : first + _AT_ONCE]
        for tile, result in zip(some, model.batch([t.of(pixels) for t in some]), strict=True):
            spent += _stages(result)
            detections = _detections(result)
            cuts.append(_is_cut(detections, tile, size_hw))
            found.append(_placed(detections, tile, size_hw))
    if whole and len(tiles) > 1:
        result = model(pixels)
        spent += _stages(result)
        found.append(_detections(result))
        cuts.append(np.zeros(len(found[-1]), bool))
        windows.append((0, 0, size_hw[1], size_hw[0]))
    merging = perf_counter()
    part = np.repeat(np.arange(len(found)), [len(one) for one in found])
    value = _joined(found)
    if len(found) > 1:
        value = merge(value, np.array(windows, np.float32), part, np.concatenate(cuts), threshold)
    end = perf_counter()
    preprocess, infer, postprocess = (float(ms) for ms in spent)
    timings = Timings(
        decode, preprocess, infer, postprocess + (end - merging) * 1e3, (end - start) * 1e3
    )
    return Result(value, source, size_hw, model.labels, timings)


def _stages(result: Result) -> Array:
    times = result.timings_ms
    return np.array([times.preprocess, times.infer, times.postprocess])


def _detections(result: Result) -> Detections:
    if not isinstance(result.value, Detections):
        raise UsageError(
            "only results that are detections can be merged",
            where="tiled",
            expected="a model for detection, instance segmentation, pose or oriented boxes",
            got=type(result.value).__name__,
        )
    return result.value


def _is_cut(found: Detections, tile: Tile, size_hw: tuple[int, int]) -> Array:
    """Tell which detections, in pixels of their tile, touch a border that the image goes on at."""
    x, y = (max(_TOUCH_PX, _TOUCH * side) for side in (tile.width, tile.height))
    xyxy = found.xyxy
    touches = (xyxy[:, 0] <= x) & (tile.x > 0)
    touches |= (xyxy[:, 1] <= y) & (tile.y > 0)
    touches |= (xyxy[:, 2] >= tile.width - x) & (tile.x + tile.width < size_hw[1])
    touches |= (xyxy[:, 3] >= tile.height - y) & (tile.y + tile.height < size_hw[0])
    return np.asarray(touches, bool)


def _placed(found: Detections, tile: Tile, size_hw: tuple[int, int]) -> Detections:
    """Map detections from pixels of a tile to those of the image."""
    xy = np.array([tile.x, tile.y], np.float32)
    changes: dict[str, Any] = {"xyxy": found.xyxy + np.tile(xy, 2)}
    if found.keypoints is not None:
        changes["keypoints"] = found.keypoints + np.append(xy, np.float32(0))
    if found.xywhr is not None:
        changes["xywhr"] = found.xywhr + np.append(xy, np.zeros(3, np.float32))
    if isinstance(found.masks, Masks):
        offsets = found.masks.offset_xy + xy.astype(np.int32)
        changes["masks"] = Masks(size_hw, offsets, found.masks.crops)
    return found.replace(**changes)


def _joined(found: Sequence[Detections]) -> Detections:
    """Put the detections of all parts into one, in order."""
    filled = [one for one in found if len(one)] or [found[0]]
    fields: dict[str, Any] = {"dropped": sum(one.dropped for one in found)}
    for name in ("xyxy", "score", "class_id", "keypoints", "xywhr"):
        if getattr(filled[0], name) is not None:
            fields[name] = np.concatenate([getattr(one, name) for one in filled])
    if isinstance(filled[0].masks, Masks):
        all_masks = [one.instance_masks for one in filled]
        fields["masks"] = Masks(
            all_masks[0].size_hw,
            np.concatenate([masks.offset_xy for masks in all_masks]),
            tuple(crop for masks in all_masks for crop in masks.crops),
        )
    return Detections(**fields)
