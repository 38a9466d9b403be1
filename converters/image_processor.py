"""Read how pixels are prepared from the image processor's settings in a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Pillow's numbers of its filters. The others (Lanczos, box, Hamming) average what they shrink, and
# OpenCV's area comes closest to that.
_RESAMPLE = {0: "nearest", 2: "linear-antialias", 3: "cubic-antialias"}
# ConvNeXt's processor crops below this side, and stretches from it on.
_CROP_PCT_LIMIT = 384


def pixel_hints(
    settings: Mapping[str, Any],
) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """Translate an image processor's settings.

    A pixel p becomes ``(p * rescale_factor - image_mean) / image_std``, where each of the two steps
    may be switched off; here this is ``(p - mean) / std`` in 0-255 units.

    Args:
        settings: content of preprocessor_config.json; may be empty.

    Returns:
        Fields of `edgecv.hints.Hints`, and (height, width) of the input, or None where the
        settings leave it to the image.
    """
    if not settings:
        return {}, None
    hints = _values(settings)
    size, fit = _fit(settings)
    hints |= fit
    if settings.get("do_flip_channel_order"):
        hints["color"] = "bgr"
    else:
        hints["color"] = "rgb"
    hints["interpolation"] = _RESAMPLE.get(settings.get("resample", 2), "area")
    return hints, size


def _values(settings: Mapping[str, Any]) -> dict[str, Any]:
    factor = float(settings.get("rescale_factor") or 1 / 255)
    scale = 1 / factor if settings.get("do_rescale", True) else 1.0
    mean, std = (0.0,) * 3, (1.0,) * 3
    if settings.get("do_normalize", True):
        mean = _three(settings.get("image_mean"), 0.0)
        std = _three(settings.get("image_std"), 1.0)
    return {"mean": tuple(v * scale for v in mean), "std": tuple(v * scale for v in std)}


def _three(values: Any, default: float) -> tuple[float, float, float]:
    if isinstance(values, int | float):
        return (float(values),) * 3
    if isinstance(values, list | tuple) and len(values) in (1, 3):
        listed = [float(value) for value in values]
        return (listed[0], listed[len(listed) // 2], listed[-1])
    return (default,) * 3


def _fit(settings: Mapping[str, Any]) -> tuple[tuple[int, int] | None, dict[str, Any]]:
    """Read the input size and the kind of resize."""
    size, short = _size(settings.get("size"))
    crop, crop_short = _size(settings.get("crop_size"))
    crop = crop or (None if crop_short is None else (crop_short, crop_short))
    if settings.get("do_center_crop") and crop is not None:
        side = short or (None if size is None else min(size))
        ratio = min(1.0, min(crop) / side) if side else 1.0
        return crop, {"resize": "crop", "crop_ratio": ratio}
    part = settings.get("crop_pct")
    if short is not None and isinstance(part, int | float):
        if short >= _CROP_PCT_LIMIT:
            return (short, short), {"resize": "stretch"}
        return (short, short), {"resize": "crop", "crop_ratio": float(part)}
    return size, {} if size is None else {"resize": "stretch"}


def _size(value: Any) -> tuple[tuple[int, int] | None, int | None]:
    """Return (height, width), or the short side alone, of one of the forms of a size."""
    if isinstance(value, int):
        return (value, value), None
    if isinstance(value, list | tuple) and len(value) == 2:
        return (int(value[0]), int(value[1])), None
    if not isinstance(value, Mapping):
        return None, None
    if isinstance(value.get("height"), int) and isinstance(value.get("width"), int):
        return (value["height"], value["width"]), None
    short = value.get("shortest_edge")
    return None, short if isinstance(short, int) else None
