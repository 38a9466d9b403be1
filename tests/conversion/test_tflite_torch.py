"""torch to TFLite without ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("litert_torch")

from edgecv.converters.source import Source  # noqa: E402
from edgecv.converters.steps.torch_tflite import export_tflite  # noqa: E402
from edgecv.errors import StepError  # noqa: E402
from edgecv.hints import Hints  # noqa: E402
from tests.conversion import tflite_models as tiny  # noqa: E402


class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Nested outputs, one of them channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.boxes = torch.nn.Conv2d(8, 4, 1)

    def forward(self, image: Any) -> Any:
        seen = torch.nn.functional.silu(self.norm(self.stem(image)))
        return {"boxes": self.boxes(seen), "rest": (seen.flatten(2), seen.mean((2, 3)))}


def source(module: Any, names: tuple[str, ...] = ()) -> Source:
    return Source(
        kind="test",
        name="net",
        hints=Hints(),
        digest="0",
        module=module.eval(),
        input_hw=tiny.SIZE_HW,
        output_names=names,
    )


def test_outputs_keep_their_layout_order_and_names(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    net = Net()
    made = export_tflite(source(net, ("boxes", "cells", "mean")), tmp_path)
    said = capfd.readouterr()
    # LiteRT's one line at its first model comes of the check, and has no switch.
    lines = [line for line in (said.out + said.err).splitlines() if "XNNPACK" not in line]
    assert lines == []
    assert made.layout == "NHWC"
    image = np.random.default_rng(1).uniform(0, 1, (1, *tiny.SIZE_HW, 3)).astype(np.float32)
    with torch.no_grad():
        out = net(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    found = tiny.run_tflite(made, image)
    wanted = {"boxes": out["boxes"], "cells": out["rest"][0], "mean": out["rest"][1]}
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values.numpy(), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_converted_is_told(tmp_path: Path) -> None:
    class Free(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, image: Any) -> Any:
            return image[image > 0.5]

    with pytest.raises(StepError, match="litert-torch failed"):
        export_tflite(source(Free()), tmp_path)
    with pytest.raises(StepError, match="no torch module"):
        export_tflite(Source(kind="test", name="net", hints=Hints(), digest="0"), tmp_path)
