"""A tiny network with whatever the quantizers must get right, for their tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tests.conversion.onnx_nets import Net


def convolutions(act: str = "Relu", **model: Any) -> onnx.ModelProto:
    """Three convolutions, a depthwise one among them, a sum, a concatenation and a small head."""
    net = Net()
    net.conv("x", "a", (3, 8), strides=[2, 2])
    net.add(act, ["a"], "a1", name="act_a")
    net.conv("a1", "b", (8, 8), group=8)
    net.add(act, ["b"], "b1", name="act_b")
    net.add("Add", ["a1", "b1"], "s", name="sum")
    net.conv("s", "c", (8, 8), kernel=1)
    net.add(act, ["c"], "c1", name="act_c")
    net.add("Concat", ["s", "c1"], "j", name="join", axis=1)
    net.conv("j", "d", (16, 6), kernel=1)
    net.add("Sigmoid", ["d"], "y", name="score")
    return net.model(["y"], **model)


def snr(want: Any, got: Any) -> float:
    """Signal to noise in dB."""
    return float(10 * np.log10(np.square(want).mean() / np.square(want - got).mean()))
