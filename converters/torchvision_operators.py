"""Let torchvision be imported where its compiled operators cannot be loaded.

timm, transformers and Ultralytics import torchvision for its Python parts. Beside a CPU build of
torch its usual wheel cannot load its library of operators, and then its import stops at the first
operator that it wants to describe. Declaring these operators, as ``torch.library.define`` documents
for operators without an implementation, lets the import go on. Calling one still fails.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_missing() -> tuple[str, ...]:
    """Declare what torchvision's import lacks; nothing is done where it works or is not there.

    Returns:
        The names of the operators that were declared.
    """
    declared: list[str] = []
    if find_spec("torch") is None or find_spec("torchvision") is None:
        return ()
    import torch

    for name in _OPERATORS:
        try:
            importlib.import_module("torchvision")
        except (RuntimeError, ImportError) as error:
            if f"torchvision::{name} does not exist" not in str(error):
                break
            torch.library.define(f"torchvision::{name}", _SCHEMA)
            declared.append(name)
            # What was imported before the failure would be taken for whole.
            for module in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
                del sys.modules[module]
    return tuple(declared)
