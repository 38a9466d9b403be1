"""YuNet: by hand, and beside OpenCV's own decoding of a network that puts out given tensors."""

import itertools

import cv2
import numpy as np
import pytest

from edgecv.errors import HeadError
from edgecv.heads import yunet

OPTIONS = yunet.Options(input_hw=(64, 96), confidence=0.5)
CELLS = {8: 96, 16: 24, 32: 6}


def tensors():
    outputs = {}
    for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride, cells in CELLS.items():
            outputs[f"{kind}_{stride}"] = np.zeros((1, cells, width), np.float32)
    return outputs


def one_face():
    outputs = tensors()
    cell = 1 * 6 + 2  # column 2, row 1 of stride 16: corner (32, 16)
    outputs["cls_16"][0, cell], outputs["obj_16"][0, cell] = 0.8, 0.9
    outputs["bbox_16"][0, cell] = 0.5, 0.25, np.log(2), 0
    outputs["kps_16"][0, cell] = np.arange(10) / 10
    return outputs


def check(found):
    # Centre (40, 20), 32 by 16.
    np.testing.assert_allclose(found.xyxy, [[24, 12, 56, 28]], rtol=1e-5)
    np.testing.assert_allclose(found.score, [np.sqrt(0.72)], rtol=1e-6)
    assert found.class_id.tolist() == [0]
    assert found.keypoints.shape == (1, 5, 3)
    np.testing.assert_allclose(found.keypoints[0, 0], [32, 17.6, 1], rtol=1e-6)
    np.testing.assert_allclose(found.keypoints[0, 4], [44.8, 30.4, 1], rtol=1e-6)


def test_golden_in_any_order():
    outputs = one_face()
    for order in itertools.islice(itertools.permutations(outputs), 0, 10**7, 10**6):
        check(yunet.decode({name: outputs[name] for name in order}, OPTIONS))


def test_scores_are_limited_to_0_and_1():
    outputs = one_face()
    outputs["cls_16"][0, 8], outputs["obj_16"][0, 8] = 1.5, 0.81
    np.testing.assert_allclose(yunet.decode(outputs, OPTIONS).score, [0.9], rtol=1e-6)
    outputs["obj_16"][0, 8] = -3
    assert len(yunet.decode(outputs, OPTIONS)) == 0


def test_nothing_found():
    found = yunet.decode(tensors(), OPTIONS)
    assert len(found) == 0
    assert found.keypoints.shape == (0, 5, 3)


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_is_dropped_and_counted():
    outputs = tensors()
    outputs["cls_8"][0, :4], outputs["obj_8"][0, :4] = 0.9, 0.9
    outputs["cls_8"][0, 0] = np.nan
    outputs["bbox_8"][0, 1, 2] = 1e4
    outputs["bbox_8"][0, 2, 0] = np.inf
    outputs["kps_8"][0, 3, 3] = np.nan
    found = yunet.decode(outputs, OPTIONS)
    assert len(found) == 0
    assert found.dropped == 4


def test_wrong_shapes():
    for change in (
        lambda o: o.pop("kps_8"),
        lambda o: o.update(kps_8=np.zeros((1, 96, 8), np.float32)),
        lambda o: o.update(more=np.zeros((1, 96, 4), np.float32)),
    ):
        outputs = tensors()
        change(outputs)
        with pytest.raises(HeadError, match=r"expected 2 x \[1, 96, 1\], \[1, 96, 4\]"):
            yunet.decode(outputs, OPTIONS)
    with pytest.raises(HeadError, match="wrong output shape"):
        yunet.decode(tensors(), OPTIONS.replace(input_hw=(64, 64)))


def _network(path, outputs):
    """Write a network that puts out given tensors, whatever the image [1, 3, 64, 96]."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing4"]),
        helper.make_node("Reshape", ["nothing4", "axes"], ["nothing"]),
    ]
    constants = {"zero": np.zeros(1, np.float32), "axes": np.array([1, 1, 1])}
    values = []
    for name, array in outputs.items():
        constants[f"{name}_value"] = array
        nodes.append(helper.make_node("Add", ["nothing", f"{name}_value"], [name]))
        values.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape))
    graph = helper.make_graph(
        nodes,
        "yunet",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 64, 96])],
        values,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    path.write_bytes(model.SerializeToString())


def test_the_same_faces_as_opencv(tmp_path):
    random = np.random.default_rng(3)
    outputs = tensors()
    for name, array in outputs.items():
        if name.startswith(("cls", "obj")):
            array[:] = random.uniform(-0.1, 1.1, array.shape) ** 2
        else:
            array[:] = random.normal(0.3, 0.4, array.shape)
    _network(tmp_path / "yunet.onnx", outputs)
    detector = cv2.FaceDetectorYN.create(str(tmp_path / "yunet.onnx"), "", (96, 64), 0.5, 0.3)
    _, expected = detector.detect(np.full((64, 96, 3), 99, np.uint8))
    found = yunet.decode(outputs, OPTIONS)
    assert len(expected) == len(found) > 10
    np.testing.assert_allclose(found.score, expected[:, 14], atol=1e-6)
    np.testing.assert_allclose(found.xyxy[:, :2], expected[:, :2], atol=1e-3)
    np.testing.assert_allclose(found.xyxy[:, 2:] - found.xyxy[:, :2], expected[:, 2:4], atol=1e-3)
    np.testing.assert_allclose(
        found.keypoints[..., :2], expected[:, 4:14].reshape(-1, 5, 2), atol=1e-3
    )
