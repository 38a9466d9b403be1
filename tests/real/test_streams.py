"""Streams and many images on real models, engines and videos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import edgecv
from edgecv.plan import Plan
from edgecv.throughput import predict_all

CASES = {
    "onnxruntime": ("models/yolox-nano/yolox_nano.onnx", "yolox", "data/coco128/images/val2017"),
    "openvino": ("models/yolox-nano/yolox_nano.onnx", "yolox", "data/coco128/images/val2017"),
    "litert": ("models/coral/mobilenet_v2_1.0_224_quant.tflite", "softmax",
               "data/coco128/images/val2017"),
}  # fmt: skip


@pytest.mark.parametrize("backend", CASES)
@pytest.mark.parametrize("plan", [Plan(2), Plan(2, 1, 2), Plan(3, 1, 2)], ids=str)
def test_many_images_at_once_say_the_same_as_one_by_one(
    real_dir: Path, backend: str, plan: Plan
) -> None:
    model, head, folder = CASES[backend]
    images = sorted((real_dir / folder).glob("*.jpg"))[:16]
    with edgecv.load(real_dir / model, head=head, backend=backend, threads=2) as opened:
        expected = [opened(image) for image in images]
        got = list(predict_all(opened, images, plan=plan))
    for one, other in zip(got, expected, strict=True):
        assert one.source == other.source
        apart = one.value.difference(other.value)
        assert apart.score < 1e-4
        assert apart.box_px < 0.1
        assert max(apart.unmatched, default=0) < 0.26  # at the threshold, a rounding decides


def test_people_in_a_video_keep_their_ids(real_dir: Path) -> None:
    video = real_dir / "data/videos/one-by-one-person-detection.mp4"
    model = real_dir / "models/yolox-nano/yolox_nano.onnx"
    seen: Counter[int] = Counter()
    with edgecv.load(model, head="yolox") as opened:
        run = edgecv.stream(opened, video, track=True, most=150, stop_s=30.0)
        indices = []
        for frame, result in run:
            indices.append(frame.index)
            found = result.detections
            assert found.track_id is not None
            people = found.track_id[(found.class_id == 0) & (found.track_id > 0)]
            assert len(set(people.tolist())) == len(people)
            seen.update(people.tolist())
    assert indices == list(range(150))
    (one,) = run.stats.streams
    assert (one.frames_out, one.policy, one.epoch) == (150, "every", 0)
    # One person after the other: few ids, each for many frames.
    assert seen
    assert len(seen) <= 6
