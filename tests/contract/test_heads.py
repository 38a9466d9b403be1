"""What every head must do, and which heads recognise which shapes."""

import itertools
import json

import numpy as np
import pytest

from edgecv import geometry, plugins
from edgecv.errors import HeadError
from edgecv.head import Fit, Pixels
from edgecv.record import Record
from edgecv.types import TensorSpec

HEADS = plugins.names("heads")
TASKS = {task for name in plugins.names("results") for task in plugins.load("results", name).TASKS}
head_names = pytest.mark.parametrize("name", HEADS)

C, P = Fit.CERTAIN, Fit.POSSIBLE

# One value for each place of the image.
MAPS = {"semantic": P, "depth": P, "anomaly": P}

# Model; input; outputs; every head that does not say NO.
KNOWN = [
    # The models that the project is measured on.
    ("YOLOX nano", (1, 3, 416, 416), [(1, 3549, 85)], {"yolox": C}),
    (
        "NanoDet without batch axis, mixed order",
        (1, 3, 320, 320),
        [(1600, 80), (400, 80), (100, 80), (1600, 32), (400, 32), (100, 32)],
        {"nanodet": C},
    ),
    (
        "NanoDet-m",
        (1, 3, 416, 416),
        [(1, 2704, 80), (1, 676, 80), (1, 169, 80), (1, 2704, 32), (1, 676, 32), (1, 169, 32)],
        {"nanodet": C},
    ),
    ("FastestDet", (1, 3, 352, 352), [(1, 85, 22, 22)], {"fastestdet": C, "semantic": P}),
    ("UltraFace", (1, 3, 240, 320), [(1, 4420, 2), (1, 4420, 4)], {"ultraface": C}),
    ("UltraFace 640", (1, 3, 480, 640), [(1, 17640, 2), (1, 17640, 4)], {"ultraface": C}),
    ("OMZ face-detection-retail", (1, 3, 300, 300), [(1, 1, 200, 7)], {"ssd": C}),
    ("MobileNet", (1, 224, 224, 3), [(1, 1001)], {"softmax": C}),
    ("DeepLab, argmax", (1, 513, 513, 3), [(1, 513, 513)], MAPS),
    ("BlazeFace", (1, 128, 128, 3), [(1, 896, 16), (1, 896, 1)], {"blazeface": C}),
    ("BlazeFace, back camera", (1, 256, 256, 3), [(1, 896, 16), (1, 896, 1)], {"blazeface": C}),
    (
        "BlazeFace, full range",
        (1, 192, 192, 3),
        [(1, 2304, 16), (1, 2304, 1)],
        {"blazeface": C},
    ),
    ("Palms, full", (1, 192, 192, 3), [(1, 2016, 18), (1, 2016, 1)], {"blazeface": P}),
    ("Selfie segmentation", (1, 256, 256, 3), [(1, 256, 256, 1)], MAPS),
    ("MoveNet", (1, 192, 192, 3), [(1, 1, 17, 3)], {"movenet": C}),
    ("MoveNet MultiPose", (1, 256, 256, 3), [(1, 6, 56)], {"movenet": C}),
    ("RTMPose", (None, 3, 256, 192), [(None, 17, 384), (None, 17, 512)], {"simcc": C}),
    ("RTMPose hand, square", (1, 3, 256, 256), [(1, 21, 512), (1, 21, 512)], {"simcc": C}),
    ("HRNet", (1, 3, 256, 192), [(1, 17, 64, 48)], {"heatmap": P, "semantic": P}),
    ("Stride 4, 19 classes", (1, 3, 512, 512), [(1, 19, 128, 128)], {"semantic": P}),
    # Ultralytics' exports.
    ("YOLO11", (1, 3, 640, 640), [(1, 84, 8400)], {"yolo": C}),
    ("YOLO11, free batch", (None, 3, 640, 640), [(None, 84, 8400)], {"yolo": C}),
    ("YOLO11 TFLite", (1, 320, 320, 3), [(1, 84, 2100)], {"yolo": C}),
    ("YOLO11 384x640", (1, 3, 384, 640), [(1, 84, 5040)], {"yolo": C}),
    ("YOLO11, all sizes free", (None, 3, None, None), [(None, 84, None)], {"yolo": P}),
    ("YOLOv8 P2", (1, 3, 640, 640), [(1, 84, 34000)], {"yolo": C}),
    ("YOLOv3-tiny", (1, 3, 640, 640), [(1, 84, 2000)], {"yolo": C}),
    ("YOLO11, one class", (1, 3, 640, 640), [(1, 5, 8400)], {"yolo": C}),
    ("YOLO11, two classes", (1, 3, 640, 640), [(1, 6, 8400)], {"yolo": P}),
    (
        "YOLO11, 52 classes, or pose",
        (1, 3, 640, 640),
        [(1, 56, 8400)],
        {"yolo": P, "yolo_pose": P},
    ),
    (
        "YOLO11, 16 classes, or OBB",
        (1, 3, 1024, 1024),
        [(1, 20, 21504)],
        {"yolo": P, "yolo_obb": P},
    ),
    ("YOLO11-seg", (1, 3, 640, 640), [(1, 116, 8400), (1, 32, 160, 160)], {"yolo_seg": C}),
    (
        "YOLO11-seg TFLite, prototypes first",
        (1, 640, 640, 3),
        [(1, 160, 160, 32), (1, 116, 8400)],
        {"yolo_seg": C},
    ),
    ("YOLO11-seg transposed", (1, 128, 128, 3), [(1, 336, 38), (1, 32, 32, 32)], {"yolo_seg": C}),
    (
        "YOLO11-seg, sizes free",
        (None, 3, None, None),
        [(None, 116, None), (None, 32, None, None)],
        {"yolo_seg": P},
    ),
    ("YOLO transposed", (1, 640, 640, 3), [(1, 8400, 84)], {"yolo": P, "yolox": P}),
    ("YOLO11-cls", (1, 3, 224, 224), [(1, 1000)], {"softmax": C}),
    ("YOLOv10", (1, 3, 640, 640), [(1, 300, 6)], {"end2end": C}),
    ("YOLO26, free batch and size", (None, 3, None, None), [(None, 300, 6)], {"end2end": C}),
    (
        "NMS inside, free number",
        (1, 3, 640, 640),
        [(1, None, 6)],
        {"end2end": P, "yolox": P, "yolov5": P},
    ),
    ("YOLO26-pose", (1, 3, 640, 640), [(1, 300, 57)], {"yolo_pose": P}),
    ("YOLO26-obb", (1, 3, 1024, 1024), [(1, 300, 7)], {"yolo_obb": P, "detr": P}),
    ("YOLO26-seg", (1, 3, 640, 640), [(1, 300, 38), (1, 32, 160, 160)], {"yolo_seg": C}),
    ("RT-DETR of Ultralytics", (1, 3, 640, 640), [(1, 300, 84)], {"detr": C}),
    (
        "RT-DETR of Hugging Face",
        (1, 3, 640, 640),
        {"logits": (1, 300, 80), "pred_boxes": (1, 300, 4)},
        {"detr": C},
    ),
    (
        "DETR, sizes free",
        (None, 3, None, None),
        {"logits": (None, 100, 92), "pred_boxes": (None, 100, 4)},
        {"detr": C},
    ),
    (
        "RF-DETR",
        (1, 3, 560, 560),
        {"dets": (1, 300, 4), "labels": (1, 300, 91)},
        {"detr": C},
    ),
    (
        "DETR with masks",
        (1, 3, 640, 640),
        {
            "logits": (1, 100, 251),
            "pred_boxes": (1, 100, 4),
            "pred_masks": (1, 100, 160, 160),
        },
        {"detr": P},
    ),
    ("DETR without names", (1, 3, 640, 640), [(1, 100, 4), (1, 100, 92)], {"detr": P}),
    (
        "RT-DETR, deployed",
        (None, 3, 640, 640),
        {"labels": (None, 300), "boxes": (None, 300, 4), "scores": (None, 300)},
        {"detr": C},
    ),
    (
        "RT-DETR, deployed, without names",
        (1, 3, 640, 640),
        [(1, 300), (1, 300, 4), (1, 300)],
        {"detr": P},
    ),
    (
        "Torchvision's detectors",
        (1, 3, 640, 640),
        {"boxes": (None, 4), "labels": (None,), "scores": (None,)},
        {},
    ),
    # PaddleDetection.
    (
        "PicoDet",
        (1, 3, 416, 416),
        [(1, n, w) for w in (80, 32) for n in (2704, 676, 169, 49)],
        {"picodet": C},
    ),
    (
        "PicoDet, 16 bins",
        (1, 3, 416, 416),
        [(1, n, w) for w in (80, 64) for n in (2704, 676, 169, 49)],
        {"picodet": P},
    ),
    ("PicoDet, finished", (1, 3, 416, 416), [(None, 6), (None,)], {"picodet": C}),
    ("PP-YOLOE, finished", (1, 3, 640, 640), [(300, 6), (1,)], {"picodet": C}),
    ("PicoDet, decoded", (1, 3, 320, 320), [(1, 2125, 4), (1, 80, 2125)], {"picodet": P}),
    # Suppression inside.
    (
        "EfficientNMS",
        (1, 3, 640, 640),
        {
            "num_dets": (1, 1),
            "det_boxes": (1, 100, 4),
            "det_scores": (1, 100),
            "det_classes": (1, 100),
        },
        {"end2end": C},
    ),
    (
        "EfficientNMS without names",
        (1, 3, 640, 640),
        [(1, 1), (1, 100, 4), (1, 100), (1, 100)],
        {"end2end": C},
    ),
    (
        "YOLOv7 with ONNX's suppression, or a classifier",
        (1, 3, 640, 640),
        [(None, 7)],
        {"end2end": P, "softmax": P},
    ),
    (
        "SSD of the Object Detection API",
        (1, None, None, 3),
        {
            "detection_boxes": (1, 100, 4),
            "detection_classes": (1, 100),
            "detection_scores": (1, 100),
            "num_detections": (1,),
            "raw_detection_boxes": (1, 1917, 4),
        },
        {"tflite_ssd": C},
    ),
    (
        "YuNet",
        (1, 3, 640, 640),
        [(1, n, w) for w in (1, 1, 4, 10) for n in (6400, 1600, 400)],
        {"yunet": C},
    ),
    (
        "YuNet, size free",
        (1, 3, None, None),
        [(1, None, w) for w in (1, 1, 4, 10) for _ in range(3)],
        {"yunet": P},
    ),
    ("YOLOv5", (1, 3, 640, 640), [(1, 25200, 85)], {"yolov5": C}),
    ("YOLOv5 P6", (1, 3, 1280, 1280), [(1, 102000, 85)], {"yolov5": C}),
    ("YOLOv7, 7 classes", (1, 3, 320, 320), [(1, 6300, 12)], {"yolov5": C}),
    ("YOLOv5, one class", (1, 3, 640, 640), [(1, 25200, 6)], {"yolov5": P, "end2end": P}),
    ("YOLOv5-seg", (1, 3, 640, 640), [(1, 25200, 117), (1, 32, 160, 160)], {"yolo_seg": C}),
    (
        "YOLOv5, size free",
        (1, 3, None, None),
        [(1, None, 85)],
        {"yolov5": P, "yolox": P},
    ),
    # YOLOX.
    ("YOLOX 640", (1, 3, 640, 640), [(1, 8400, 85)], {"yolox": C}),
    ("YOLOX, one class", (1, 3, 640, 640), [(1, 8400, 6)], {"yolox": P, "end2end": P}),
    ("YOLOX, 79 classes", (1, 3, 640, 640), [(1, 8400, 84)], {"yolox": P, "yolo": P}),
    ("YOLOX, rounded up", (1, 3, 300, 400), [(1, 2505, 7)], {"yolox": C}),
    # Others that must not be taken for one of ours.
    ("NanoDet-Plus", (1, 3, 416, 416), [(1, 3598, 112)], {"nanodet": C}),
    ("NanoDet-Plus, 3 classes", (1, 3, 416, 416), [(1, 3598, 35)], {"nanodet": P}),
    ("NanoDet in one tensor", (1, 3, 320, 320), [(1, 2100, 112)], {"nanodet": P, "yolox": P}),
    (
        "YOLOv8 raw heads in rows",
        (1, 3, 320, 320),
        [(1, 1600, 80), (1, 1600, 64), (1, 400, 80), (1, 400, 64), (1, 100, 80), (1, 100, 64)],
        {"nanodet": P},
    ),
    (
        "SCRFD",
        (1, 3, 640, 640),
        [(12800, 1), (3200, 1), (800, 1), (12800, 4), (3200, 4), (800, 4)],
        {},
    ),
    (
        "NanoDet, size free",
        (1, 3, None, None),
        [(1, None, 80)] * 3 + [(1, None, 32)] * 3,
        {"nanodet": P},
    ),
    ("RetinaFace", (1, 3, 640, 640), [(1, 16800, 4), (1, 16800, 2), (1, 16800, 10)], {}),
    ("YOLO-NAS, two classes", (1, 3, 640, 640), [(1, 8400, 4), (1, 8400, 2)], {}),
    ("UltraFace, size free", (1, 3, None, None), [(1, None, 2), (1, None, 4)], {"ultraface": P}),
    (
        "TFLite SSD",
        (1, 300, 300, 3),
        [(1, 10, 4), (1, 10), (1, 10), (1,)],
        {"tflite_ssd": C},
    ),
    # Maps.
    (
        "Segmentation logits at stride 16",
        (1, 3, 512, 512),
        [(1, 21, 32, 32)],
        {"fastestdet": P, "semantic": P},
    ),
    ("Segmentation logits", (1, 3, 512, 512), [(1, 21, 512, 512)], {"semantic": C}),
    ("DeepLab logits, NHWC", (1, 513, 513, 3), [(1, 65, 65, 21)], {"semantic": P}),
    ("SegFormer", (1, 3, 512, 512), [(1, 150, 128, 128)], {"semantic": P}),
    (
        "Logits, size free",
        (1, 3, None, None),
        [(1, 19, None, None)],
        {"fastestdet": P, "semantic": P},
    ),
    ("MiDaS", (1, 3, 256, 256), [(1, 256, 256)], MAPS),
    ("Depth Anything, size free", (None, 3, None, None), [(None, None, None)], MAPS),
    ("PatchCore", (1, 3, 256, 256), [(1, 1, 256, 256), (1, 1)], {"anomaly": C}),
    ("A map and its features", (1, 3, 256, 256), [(1, 1, 256, 256), (1, 64, 8, 8)], {}),
    (
        "FastestDet, three classes",
        (1, 3, 352, 352),
        [(1, 8, 22, 22)],
        {"fastestdet": P, "semantic": P},
    ),
    ("YOLOv5, free input", (1, 3, None, None), [(1, 25200, 85)], {"yolov5": P, "yolox": P}),
    ("YOLOX, free input", (1, 3, None, None), [(1, 3549, 85)], {"yolox": P}),
    ("Embedding", (1, 3, 112, 112), [(1, 512)], {"softmax": P, "embed": P}),
    ("Classifier with pooling axes", (1, 3, 224, 224), [(1, 1000, 1, 1)], {"softmax": C}),
    ("Classifier, two classes", (1, 3, 96, 96), [(1, 2)], {"softmax": P}),
    ("One number", (1, 3, 96, 96), [(1, 1)], {}),
    ("SSD, free number", (1, 3, 300, 300), [(1, 1, None, 7)], {"ssd": C}),
    ("Batch of four", (4, 3, 640, 640), [(4, 84, 8400)], {}),
    ("Backbone", (1, 3, 224, 224), [(1, 960, 7, 7)], {}),
    ("No outputs", (1, 3, 224, 224), [], {}),
    ("Vector in", (1, 128), [(1, 1000)], {}),
    ("Scalar out", (1, 3, 224, 224), [()], {}),
]


def named(shapes):
    """Give tensors that a list brings without names numbers."""
    return shapes if isinstance(shapes, dict) else {f"t{i}": s for i, s in enumerate(shapes)}


def specs(shapes):
    return [TensorSpec(name, shape, "float32") for name, shape in named(shapes).items()]


@pytest.mark.parametrize(
    ("source", "outputs", "expected"), [k[1:] for k in KNOWN], ids=[k[0] for k in KNOWN]
)
def test_known_shapes(source, outputs, expected):
    fits = {
        name: plugins.load("heads", name).recognise(specs([source]), specs(outputs))
        for name in HEADS
    }
    assert {name: fit for name, fit in fits.items() if fit is not Fit.NO} == expected
    assert list(fits.values()).count(Fit.CERTAIN) <= 1


def test_at_most_one_head_is_certain_whatever_the_input_size():
    """Every known set of outputs under every known input."""
    for (_, source, _, _), (_, _, outputs, _) in itertools.product(KNOWN, KNOWN):
        fits = [
            name
            for name in HEADS
            if plugins.load("heads", name).recognise(specs([source]), specs(outputs)) is C
        ]
        assert len(fits) <= 1, (source, outputs, fits)


NAMED = [
    ("DeepLab", (1, 513, 513, 3), [("ArgMax", (1, 513, 513), "int64")], {"semantic": C}),
    ("YOLO26-sem", (1, 3, 128, 160), [("output0", (1, 128, 160), "uint8")], {"semantic": C}),
    (
        "STFPM",
        (1, 3, 256, 256),
        [("anomaly_map", (1, 1, 256, 256), "float32")],
        MAPS | {"anomaly": C},
    ),
    (
        "anomalib 2",
        (1, 3, 256, 256),
        [
            ("pred_score", (1,), "float32"),
            ("pred_label", (1,), "bool"),
            ("anomaly_map", (1, 1, 256, 256), "float32"),
            ("pred_mask", (1, 1, 256, 256), "bool"),
        ],
        {"anomaly": C},
    ),
]


@pytest.mark.parametrize(
    ("source", "outputs", "expected"), [k[1:] for k in NAMED], ids=[k[0] for k in NAMED]
)
def test_names_and_types_tell_more_than_shapes(source, outputs, expected):
    found = [TensorSpec(*output) for output in outputs]
    fits = {name: plugins.load("heads", name).recognise(specs([source]), found) for name in HEADS}
    assert {name: fit for name, fit in fits.items() if fit is not Fit.NO} == expected


@head_names
def test_two_inputs_are_no_image_model(name):
    head = plugins.load("heads", name)
    for _, source, outputs, _ in KNOWN:
        assert head.recognise(specs([source, (1, 2)]), specs(outputs)) is Fit.NO


@head_names
def test_the_interface(name):
    head = plugins.load("heads", name)
    assert head.__doc__
    assert head.TASK in TASKS
    assert isinstance(head.PIXELS, Pixels)
    assert head.PIXELS.resize in ("stretch", "letterbox", "letterbox-topleft", "crop")
    assert head.PIXELS.rounding in ("round", "floor")
    assert head.PIXELS.color in ("rgb", "bgr")
    assert len(head.PIXELS.mean) == len(head.PIXELS.std) == 3
    assert all(head.PIXELS.std)
    options = head.Options()
    assert isinstance(options, Record)
    with pytest.raises(AttributeError, match="cannot be changed"):
        options.input_hw = (1, 1)
    assert options.replace(input_hw=(3, 4)).input_hw == (3, 4)
    assert getattr(options, "num_classes", 0) == 0
    # Options travel in manifests: JSON makes a list of every tuple.
    given = json.loads(json.dumps(options.to_dict()))
    outputs = {"o": np.zeros((1, 3), np.float32)}
    try:
        head.decode(outputs, head.Options(**{**given, "input_hw": (64, 64)}))
    except HeadError:
        assert head.TASK != "classify" or name == "zero_shot"


def _decodes_or_says_why(head, outputs, options):
    try:
        result = head.decode(outputs, options)
    except HeadError as error:
        where = error.where or ""
        assert where.startswith("head ")
        return
    if head.TASK in ("semantic", "depth", "anomaly"):
        mapped = result.to_source(geometry.plan((30, 40), options.input_hw, "letterbox"))
        assert mapped.to_json(())
        return
    if head.TASK == "embed":
        assert np.isfinite(result.vector).all()
        return
    score = np.asarray(result.score)
    assert np.isfinite(score).all()
    assert (np.diff(score) <= 0).all()
    if head.TASK == "detect":
        assert np.isfinite(result.xyxy).all()
        assert (result.class_id >= 0).all()


@head_names
@pytest.mark.parametrize("fill", ["zeros", "noise", "nan", "inf", "huge"])
@pytest.mark.filterwarnings("error")
def test_any_tensors_are_decoded_or_refused_with_a_reason(name, fill):
    head = plugins.load("heads", name)
    rng = np.random.default_rng(0)
    for _, source, shapes, _ in KNOWN:
        sizes = {
            tensor: [3 if n is None else min(n, 3600) for n in shape]
            for tensor, shape in named(shapes).items()
        }
        known = [n for n in source[1:] if n not in (None, 3)]
        input_hw = tuple(known[:2]) if len(known) >= 2 else (64, 64)
        options = head.Options(input_hw=input_hw)
        values = {
            "zeros": np.zeros,
            "noise": lambda shape: rng.normal(0, 3, shape),
            "nan": lambda shape: np.full(shape, np.nan),
            "inf": lambda shape: np.where(rng.random(shape) < 0.5, np.inf, 0.5),
            "huge": lambda shape: np.where(rng.random(shape) < 0.5, 3e38, 0.5),
        }[fill]
        outputs = {tensor: np.asarray(values(s), np.float32) for tensor, s in sizes.items()}
        _decodes_or_says_why(head, outputs, options)


@head_names
def test_no_outputs_and_scalars_are_refused(name):
    head = plugins.load("heads", name)
    for outputs in ({}, {"o": np.float32(1).reshape(())}, {"o": np.zeros((0,), np.float32)}):
        with pytest.raises(HeadError):
            head.decode(outputs, head.Options(input_hw=(64, 64)))
