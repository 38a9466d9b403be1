"""Estimate what a model takes at its peak, without running it.

The figure is ``engine + 3 * model bytes + 48 bytes * input elements``. It was fitted on x86-64, two
threads, to the peak resident memory of 22 processes, each of which opened one of 15 models of 0.2
to 5 MB (NanoDet, YOLOX-nano, FastestDet, UltraFace, MobileNet, DeepLab, MoveNet, ...) with ONNX
Runtime 1.32, OpenVINO 2026.4 or LiteRT 2.3 and ran it three times; what `edgecv.load` takes besides
was measured with one model and added. The measured peaks were 11 % below to 2 % above the figure.
Larger models are an extrapolation, and Arm was not measured.
"""

from __future__ import annotations

from math import prod

from edgecv.manifest import Manifest, Variant
from edgecv.record import Record

MIB = 2**20
ENGINE_MIB = {"onnxruntime": 80, "openvino": 130, "litert": 66}
"""Python, numpy, OpenCV, edgecv and the engine, before there is a model."""
COPIES = 3
"""Of the weights: the file, the engine's own, and those packed for its kernels."""
BYTES_PER_INPUT_ELEMENT = 48
BASIS = (
    "engine + 3 x model bytes + 48 bytes x input elements; fitted on x86-64 with models of up to "
    "5 MB; images, streams and your own program come on top"
)


class Estimate(Record, kw_only=True):
    """What a variant takes.

    Attributes:
        peak_mib: of the process; null where nothing is known about the engine.
        basis: how the figure was made, or why there is none.
    """

    peak_mib: int | None
    basis: str


def estimate(manifest: Manifest, variant: Variant) -> Estimate:
    """Estimate the peak of a process that runs a variant on one image at a time."""
    engine = ENGINE_MIB.get(variant.backend)
    if engine is None:
        return Estimate(peak_mib=None, basis=f"nothing was measured for {variant.backend}")
    size_hw = manifest.input.size_hw
    elements = sum(_elements(tensor.shape, size_hw) for tensor in variant.inputs)
    model = sum(entry.bytes for entry in variant.files)
    total = COPIES * model + BYTES_PER_INPUT_ELEMENT * elements
    return Estimate(peak_mib=engine + -(-total // MIB), basis=BASIS)


def _elements(shape: tuple[int | None, ...], size_hw: tuple[int, int]) -> int:
    """Count the elements of a tensor; one that is free is taken for an image of one item."""
    if all(shape):
        return prod(axis or 1 for axis in shape)
    return max(3 * size_hw[0] * size_hw[1], prod(axis or 1 for axis in shape))
