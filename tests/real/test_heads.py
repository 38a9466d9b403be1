"""The heads on real models: raw engines, no Model, so that a fault here is a head's fault."""

import cv2
import numpy as np
import pytest

import edgecv
from edgecv import boxes, geometry, plugins
from edgecv.head import Fit
from edgecv.types import TensorSpec

pytestmark = pytest.mark.real


def run_onnx(path, make_tensor):
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {feed.name: make_tensor(feed.shape)}), strict=True))
    return tuple(feed.shape), outputs


def run_openvino(path, make_tensor):
    import openvino

    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    shape = tuple(model.inputs[0].shape)
    result = model([make_tensor(shape)])
    return shape, {port.any_name: np.array(result[port]) for port in model.outputs}


def detect(path, head_name, image, **options):
    """Prepare as the head's family does, run, decode, and map back."""
    head = plugins.load("heads", head_name)
    pixels = head.PIXELS
    plan = None

    def make_tensor(shape):
        nonlocal plan
        plan = geometry.plan(
            image.shape[:2], tuple(shape[2:]), pixels.resize, rounding=pixels.rounding
        )
        resized = cv2.resize(image, plan.resized_hw[::-1])
        canvas = np.full((*plan.input_hw, 3), pixels.pad_value, np.uint8)
        x, y = plan.offset_xy
        canvas[y : y + resized.shape[0], x : x + resized.shape[1]] = resized
        canvas = canvas[..., ::-1] if pixels.color == "rgb" else canvas
        values = (canvas - np.array(pixels.mean, np.float32)) / np.array(pixels.std, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)

    run = run_openvino if path.suffix == ".xml" else run_onnx
    shape, outputs = run(path, make_tensor)
    specs = [TensorSpec(name, array.shape, "float32") for name, array in outputs.items()]
    source = [TensorSpec("image", shape, "float32")]
    fits = {n: plugins.load("heads", n).recognise(source, specs) for n in plugins.names("heads")}
    assert [n for n, fit in fits.items() if fit is Fit.CERTAIN] == [head_name]
    found = head.decode(outputs, head.Options(input_hw=plan.input_hw, **options))
    return found.to_source(plan)


FACES = [
    ("ultraface", "ultraface/version-RFB-320.onnx"),
    ("ultraface", "ultraface/version-slim-320_without_postprocessing.onnx"),
    ("ssd", "omz/face-detection-retail-0005.xml"),
]


@pytest.mark.parametrize(("picture", "count"), [("face.jpg", 4), ("grace_hopper.bmp", 1)])
def test_three_detectors_find_the_same_faces(real_dir, picture, count):
    image = cv2.imread(str(real_dir / "data/images" / picture))
    found = [
        detect(real_dir / "models" / path, head, image, confidence=0.7) for head, path in FACES
    ]
    for faces in found:
        assert len(faces) == count
        assert faces.dropped == 0
        assert set(faces.class_id.tolist()) == {1}
        # Each face is the one that the first detector found.
        overlap = boxes.iou(found[0].xyxy, faces.xyxy)
        assert (overlap.max(axis=0) > 0.5).all()
        assert (overlap.max(axis=1) > 0.5).all()


def test_blazeface_finds_a_face_and_its_points(real_dir):
    """It is made for one face that is near, so the four small ones are for other detectors."""
    path = real_dir / "models/mediapipe/face_detection_short_range.tflite"
    picture = real_dir / "data/images/grace_hopper.bmp"
    with edgecv.load(path) as model:
        assert (model.head, model.info.told_by) == ("blazeface", "shapes")
        (face,) = found = model(picture).detections
        plain = model.with_options(blend=False)(picture).detections
    ultraface = detect(real_dir / "models" / FACES[0][1], "ultraface", cv2.imread(str(picture)))
    assert boxes.iou(found.xyxy, ultraface.xyxy).max() > 0.7
    assert boxes.iou(found.xyxy, plain.xyxy).max() > 0.8
    x1, y1, x2, y2 = face[0]
    right_eye, left_eye, nose, mouth, right_ear, left_ear = found.keypoints[0, :, :2]
    assert x1 < right_ear[0] < right_eye[0] < nose[0] < left_eye[0] < left_ear[0] < x2
    assert y1 < right_eye[1] < nose[1] < mouth[1] < y2
    assert abs(right_eye[1] - left_eye[1]) < 0.1 * (y2 - y1)


@pytest.mark.parametrize(
    ("head", "path"),
    [
        ("yolox", "yolox-nano/yolox_nano.onnx"),
        ("nanodet", "nanodet/nanodet.onnx"),
        ("nanodet", "nanodet/nanodet_m.onnx"),
        ("fastestdet", "fastestdet/FastestDet.onnx"),
    ],
)
def test_coco_detectors_find_what_is_labelled(real_dir, head, path):
    """Large objects of images that were never trained on: most are found, with their class."""
    folder = real_dir / "data/coco128"
    right = total = 0
    for file in sorted((folder / "images/val2017").iterdir())[:30]:
        image = cv2.imread(str(file))
        labels = folder / "labels/val2017" / f"{file.stem}.txt"
        if not labels.exists():
            continue
        truth = np.loadtxt(labels, ndmin=2, dtype=np.float32).reshape(-1, 5)
        size = np.tile(image.shape[1::-1], 2)
        xyxy = boxes.from_cxcywh(truth[:, 1:] * size.astype(np.float32))
        large = boxes.area(xyxy) > 0.1 * image.shape[0] * image.shape[1]
        if not large.any():
            continue
        found = detect(real_dir / "models" / path, head, image, confidence=0.25)
        overlap = boxes.iou(xyxy[large], found.xyxy)
        same = truth[large, :1] == found.class_id[None]
        total += int(large.sum())
        right += int(((overlap > 0.5) & same).any(axis=1).sum())
    assert total > 20
    # They find 29 to 32 of 36; a decode that is a little wrong finds almost none.
    assert right / total > 0.75


def test_mobilenet_names_what_is_in_the_picture(real_dir):
    from ai_edge_litert.interpreter import Interpreter

    softmax = plugins.load("heads", "softmax")
    folder = real_dir / "models/coral"
    labels = (folder / "imagenet_labels.txt").read_text().splitlines()
    interpreter = Interpreter(str(folder / "mobilenet_v2_1.0_224_quant.tflite"), num_threads=2)
    interpreter.allocate_tensors()
    feed, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    right = total = 0
    for place in sorted((real_dir / "data/imagenet200").iterdir())[:40]:
        image = cv2.imread(str(next(place.iterdir())))
        plan = geometry.plan(image.shape[:2], (224, 224), "crop", crop_ratio=0.875)
        resized = cv2.resize(image, plan.resized_hw[::-1])
        x, y = plan.offset_xy
        cut = resized[-y : 224 - y, -x : 224 - x, ::-1]
        interpreter.set_tensor(feed["index"], np.ascontiguousarray(cut[None]))
        interpreter.invoke()
        scale, zero_point = output["quantization"]
        scores = (interpreter.get_tensor(output["index"]).astype(np.float32) - zero_point) * scale
        found = softmax.decode({"p": scores}, softmax.Options(num_classes=1001))
        assert found.score.max() <= 1
        # Labels of Coral's list carry no index; folders are named as they are.
        right += labels[found.class_id[0]].strip() == place.name
        total += 1
    assert right / total > 0.75
