"""A detector and a pose model together: crops, and the way back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import edgecv
from edgecv.errors import UsageError
from edgecv.hints import Hints
from edgecv.results.detections import Detections
from edgecv.top_down import TopDown, estimate
from tests import models

HW = (64, 48)


def peak_finder(path, batch="N"):
    """Write a pose model whose one heatmap is the brightness of its input at stride 4."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ReduceMean", ["x"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["y"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    height, width = HW
    graph = helper.make_graph(
        nodes,
        "peaks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, height, width])],
        [
            helper.make_tensor_value_info(
                "y", TensorProto.FLOAT, [batch, 1, height // 4, width // 4]
            )
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(params=["N", 1], ids=["free batch", "one by one"])
def pose(tmp_path, request):
    path = peak_finder(tmp_path / "pose.onnx", request.param)
    hints = Hints(head="heatmap", mean=(0, 0, 0), std=(255, 255, 255))
    with edgecv.load(path, hints=hints, trusted=True, threads=1) as model:
        yield model


def people(*xyxy):
    boxes = np.array(xyxy, np.float32).reshape(-1, 4)
    return Detections(boxes, np.ones(len(boxes), np.float32), np.arange(len(boxes), dtype=np.int32))


def street(*spots, hw=(200, 300)):
    image = np.zeros((*hw, 3), np.uint8)
    for x, y in spots:
        cv2.circle(image, (x, y), 6, (255, 255, 255), cv2.FILLED)
    return image


def test_every_person_gets_the_keypoints_of_its_own_crop(pose):
    spots = [(60, 70), (200, 120), (5, 5), (297, 190)]
    boxes = [(x - 20, y - 32, x + 28, y + 32) for x, y in spots]
    found = estimate(pose, street(*spots), people(*boxes))
    assert found.keypoints.shape == (4, 1, 3)
    # A cell is 4 input pixels, which are up to 6 pixels of the image here.
    assert np.abs(found.keypoints[:, 0, :2] - spots).max() < 7
    assert found.keypoints[:, 0, 2].min() > 0.5
    assert found.xyxy.tolist() == [[float(v) for v in box] for box in boxes]


def test_boxes_of_any_form_keep_the_aspect(pose):
    """A circle in a crop that was not stretched has its centre where it is."""
    spots = [(150, 100)] * 3
    found = estimate(
        pose, street(*spots), people((50, 90, 250, 110), (145, 10, 155, 190), (0, 0, 300, 200))
    )
    for (x, y), points in zip(spots, found.keypoints, strict=True):
        assert np.abs(points[0, :2] - (x, y)).max() < 25
    sizes = [w / h for _, _, w, h in _windows_of(found, 1.25)]
    assert sizes == pytest.approx([0.75] * 3, rel=0.02)


def _windows_of(found, margin):
    from edgecv.top_down import _windows

    return _windows(found.xyxy, 0.75, margin)


def test_nobody_and_boxes_without_area(pose):
    nobody = estimate(pose, street(), people())
    assert (len(nobody), nobody.keypoints.shape) == (0, (0, 0, 3))
    found = estimate(pose, street((10, 10)), people((10, 10, 10, 10), (-500, -500, -400, -400)))
    assert found.keypoints.shape == (2, 1, 3)
    assert found.keypoints[1, 0, 2] == 0
    unsure = estimate(pose.with_options(confidence=1.0), street(), people((0, 0, 50, 50)))
    assert unsure.keypoints.shape == (1, 0, 3)


def test_one_pixel(pose):
    found = estimate(pose, np.full((1, 1, 3), 255, np.uint8), people((0, 0, 1, 1)))
    assert np.isfinite(found.keypoints).all()


def test_two_models_as_one(pose, tmp_path):
    rows = [[10, 10, 50, 40, 0.9, 1], [60, 20, 90, 60, 0.6, 0]]
    path = models.null_detector(tmp_path / "d.null.json", rows)
    with edgecv.load(path, head="end2end", labels=("bag", "person"), trusted=True) as detector:
        both = TopDown(detector, pose)
        result = both(street(hw=models.SIZE_HW))
        assert result.detections.keypoints.shape == (2, 1, 3)
        assert result.labels == ("bag", "person")
        times = result.timings_ms
        assert times.total >= times.preprocess + times.infer > 0
        only = TopDown(detector, pose, class_ids=[1])(street(hw=models.SIZE_HW))
        assert only.detections.class_id.tolist() == [1]
        assert only.detections.keypoints.shape == (1, 1, 3)
        assert "keypoints" in only.to_json()["detections"][0]
        with pytest.raises(UsageError, match="expected a model for poses; got detect"):
            TopDown(detector, detector)
        with pytest.raises(UsageError, match="expected a detector; got pose"):
            TopDown(pose, pose)
        with pytest.raises(UsageError, match="margin: expected at least 1"):
            TopDown(detector, pose, margin=0.5)
