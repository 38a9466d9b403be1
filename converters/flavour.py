"""Which float graph a file is made from: its format, and what was rewritten in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecv.converters.artifact import Format

Graph = Literal["plain", "fused"]
Fix = Literal["equalize", "bias correction"]


@dataclass(frozen=True)
class Flavour:
    """One float graph.

    Attributes:
        format: of the file.
        graph: ``plain`` takes prepared pixels; ``fused`` takes uint8 BGR and prepares them itself.
        fixes: rewritings that make it easier to quantize and change no result.
    """

    format: Format
    graph: Graph = "plain"
    fixes: tuple[Fix, ...] = ()
