"""Edge computer vision: open a bundle, run it, and know what ran.

    import edgecv

    with edgecv.load("digits.edgecv") as model:
        result = model("image.jpg")
        for xyxy, score, class_id in result.detections:
            print(model.labels[class_id], score, xyxy)

Importing this package loads neither an inference engine nor torch nor the converters.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgecv.errors import EdgecvError
from edgecv.gc_pause import gc_paused

if TYPE_CHECKING:
    from edgecv.bundle import Bundle, open_bundle
    from edgecv.gallery import Gallery
    from edgecv.hints import Hints
    from edgecv.loading import load
    from edgecv.manifest import Manifest
    from edgecv.model import Model
    from edgecv.plan import Plan
    from edgecv.prompting import load_segmenter
    from edgecv.result import Result
    from edgecv.results.classes import Classes
    from edgecv.results.detections import Detections
    from edgecv.results.embedding import Embedding
    from edgecv.streaming import stream
    from edgecv.streaming_async import astream
    from edgecv.throughput import predict_all
    from edgecv.tiles import tiled
    from edgecv.types import Frame

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "edgecv.bundle",
    "Classes": "edgecv.results.classes",
    "Detections": "edgecv.results.detections",
    "Embedding": "edgecv.results.embedding",
    "Frame": "edgecv.types",
    "Gallery": "edgecv.gallery",
    "Hints": "edgecv.hints",
    "Manifest": "edgecv.manifest",
    "Model": "edgecv.model",
    "Plan": "edgecv.plan",
    "Result": "edgecv.result",
    "astream": "edgecv.streaming_async",
    "load": "edgecv.loading",
    "load_segmenter": "edgecv.prompting",
    "open_bundle": "edgecv.bundle",
    "predict_all": "edgecv.throughput",
    "stream": "edgecv.streaming",
    "tiled": "edgecv.tiles",
}

__all__ = [
    "Bundle",
    "Classes",
    "Detections",
    "EdgecvError",
    "Embedding",
    "Frame",
    "Gallery",
    "Hints",
    "Manifest",
    "Model",
    "Plan",
    "Result",
    "astream",
    "load",
    "load_segmenter",
    "open_bundle",
    "predict_all",
    "stream",
    "tiled",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import edgecv`` stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edgecv' has no attribute {name!r}")
    # All of them need it, and from the foot of the stack its import is faster (by 9 of 75 ms, see
    # benchmarks/README.md): CPython 3.11 and later map frames in pieces of 16 KiB, and where our
    # own imports come to numpy, hundreds of its calls cross the end of one, each mapping and
    # unmapping the next.
    with gc_paused():
        import numpy  # noqa: F401

        value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
