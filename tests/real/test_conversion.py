"""The ladder on real models and data: int8 keeps its accuracy where plain int8 loses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecv.converters.conversion import convert
from edgecv.converters.decision import Rules
from edgecv.converters.judge import Effort
from edgecv.converters.order import Order
from edgecv.converters.source import Request
from edgecv.hints import Hints
from edgecv.verification import verify


@pytest.mark.parametrize(
    ("path", "head", "iou"),
    [
        ("yolox-nano/yolox_nano.onnx", "yolox", 0.65),
        ("fastestdet/FastestDet.onnx", "fastestdet", 0.45),
    ],
)
def test_int8_within_a_point(
    real_dir: Path, tmp_path: Path, path: str, head: str, iou: float
) -> None:
    made = convert(
        Order(
            request=Request(str(real_dir / "models" / path)),
            output=tmp_path / "m.edgecv",
            formats=("openvino",),
            rules=Rules(("fp32", "int8"), max_drop=1.0, fused=False),
            effort=Effort(limit=64, bootstrap=200, rounds=3),
            hints=Hints(origin="option", head=head, head_options={"iou": iou}),
            data=real_dir / "data/coco128/coco128.yaml",
            calibration_limit=48,
        )
    )
    drops = [
        trial.drop.value_points
        for trial in made.trials
        if trial.recipe.precision == "int8" and trial.drop is not None
    ]
    # Which of the files is the faster one is for a quiet machine to say.
    assert min(drops) <= 1.0
    assert verify(made.path).ok
