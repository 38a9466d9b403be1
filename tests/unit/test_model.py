"""A model as a callable: the kinds of images, batches, threads, views and what comes out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgecv
from edgecv import codecs
from edgecv.codecs import Limits
from edgecv.errors import ImageError, InferenceError, UsageError
from edgecv.hints import Hints
from edgecv.model import Model
from edgecv.packing import pack
from edgecv.result import Result
from edgecv.types import Frame
from tests import models

Opener = Callable[..., Model]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Load a model that is closed when the test ends."""
    made: list[Model] = []

    def load(path: Path, **options: Any) -> Model:
        made.append(edgecv.load(path, trusted=True, **options))
        return made[-1]

    yield load
    for model in made:
        model.close()


@pytest.fixture
def detector(tmp_path: Path, opened: Opener) -> Model:
    path = models.onnx_detector(tmp_path / "detector.onnx")
    return opened(path, head="yolo", labels=models.LABELS)


@pytest.fixture
def classifier(tmp_path: Path, opened: Opener) -> Model:
    path = models.onnx_classifier(tmp_path / "classifier.onnx")
    hints = Hints(mean=(0.0,), std=(255.0,), crop_ratio=1.0)
    return opened(path, head="softmax", labels=models.LABELS, hints=hints)


def same(a: Result, b: Result) -> None:
    """Check that two results say the same, but for where from and when."""
    assert a.source_hw == b.source_hw
    assert a.value.to_json(a.labels) == b.value.to_json(b.labels)


def test_every_kind_of_image_gives_the_same(detector: Model, tmp_path: Path) -> None:
    path = models.write_image(tmp_path / "a.png")
    pixels, encoded = models.image(), path.read_bytes()
    expected = detector(pixels)
    assert len(expected.detections) == 2
    kinds = {
        str(path): path, "bytes": encoded, "": pixels, "camera 1": Frame(pixels, source="camera 1"),
    }  # fmt: skip
    for source, image in kinds.items():
        result = detector(image)
        same(result, expected)
        assert result.source == source
        assert (result.timings_ms.decode > 0) == (source not in ("", "camera 1"))
    for image in (str(path), bytearray(encoded), memoryview(encoded)):
        same(detector(image), expected)
    assert detector(str(path)).source == str(path)
    assert detector(Frame(pixels)).source == ""


def test_grey_and_alpha_arrays(detector: Model) -> None:
    grey = models.image()[..., 0]
    expected = detector(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    same(detector(grey), expected)
    same(detector(grey[..., None]), expected)
    same(detector(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGRA)), expected)


@pytest.mark.parametrize("hw", [(1, 1), (1, 300), (300, 1), (64, 96), (500, 700)])
def test_any_size(detector: Model, hw: tuple[int, int]) -> None:
    result = detector(models.image(hw=hw, color=255))
    assert result.source_hw == hw
    boxes = result.detections.xyxy
    assert (boxes >= 0).all()
    assert (boxes[:, [0, 2]] <= hw[1]).all()
    assert (boxes[:, [1, 3]] <= hw[0]).all()


def test_boxes_come_back_to_the_source(detector: Model) -> None:
    # The input is 64 x 96; this image is three times as large and fills it.
    found = detector(models.image(hw=(192, 288), color=255)).detections
    for (x, y, w, h, class_id, score), (xyxy, got, got_class) in zip(
        models.BOXES, found, strict=True
    ):
        assert xyxy == pytest.approx([3 * v for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)])
        assert got == pytest.approx(score, abs=1e-3)
        assert got_class == class_id


@pytest.mark.parametrize(
    "image",
    [b"", b"not an image", np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8),
     np.zeros((2, 2, 2, 3), np.uint8), "missing.png", None, 7],
)  # fmt: skip
def test_what_is_no_image(detector: Model, image: Any) -> None:
    with pytest.raises(ImageError):
        detector(image)
    with pytest.raises(ImageError):
        detector.batch([models.image(), image])
    # And the next image is none the worse for it.
    assert len(detector(models.image()).detections) == 2


def test_limits(detector: Model, tmp_path: Path) -> None:
    path = models.write_image(tmp_path / "a.png", hw=(20, 20))
    small = Limits(max_pixels=399)
    with pytest.raises(ImageError, match="at most 399 pixels"):
        detector(path, limits=small)
    with pytest.raises(ImageError, match="at most 399 pixels"):
        detector.batch([path], limits=small)
    detector(path, limits=Limits(max_pixels=400))


def test_an_empty_result(detector: Model) -> None:
    result = detector(models.image(color=0))
    assert len(result.detections) == 0
    assert result.detections.xyxy.shape == (0, 4)
    assert result.to_json()["detections"] == []


def test_the_json_of_a_detector(detector: Model, tmp_path: Path) -> None:
    path = models.write_image(tmp_path / "a.png", color=255)
    data = json.loads(json.dumps(detector(path).to_json(), allow_nan=False))
    assert list(data) == ["source", "size_hw", "detections", "dropped", "timings_ms"]
    assert data["source"] == str(path)
    assert data["size_hw"] == [40, 60]
    first = data["detections"][0]
    assert list(first) == ["xyxy", "score", "class_id", "label"]
    assert (first["class_id"], first["label"]) == (1, "green")
    assert len(first["xyxy"]) == 4
    stages = ["decode", "preprocess", "infer", "postprocess", "total"]
    assert list(data["timings_ms"]) == stages
    assert all(data["timings_ms"][stage] >= 0 for stage in stages)


def test_the_json_of_a_classifier(classifier: Model) -> None:
    data = classifier(models.image(color=(0, 255, 0))).to_json()
    assert list(data) == ["source", "size_hw", "classes", "timings_ms"]
    first = data["classes"][0]
    assert list(first) == ["class_id", "score", "label"]
    assert (first["class_id"], first["label"]) == (1, "green")
    assert sum(item["score"] for item in data["classes"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("bgr", "label"), [((0, 0, 255), "red"), ((0, 255, 0), "green"), ((255, 0, 0), "blue")]
)
def test_colours_reach_the_model_in_its_order(classifier: Model, bgr: Any, label: str) -> None:
    best = classifier(models.image(color=bgr)).classes
    assert classifier.labels[int(best.class_id[0])] == label


def test_a_class_without_a_label_is_its_number(tmp_path: Path, opened: Opener) -> None:
    path = models.null_detector(tmp_path / "d.null.json", [[1, 1, 5, 5, 0.9, 7]])
    result = opened(path, head="end2end", labels=["only"])(models.image())
    assert result.to_json()["detections"][0]["label"] == "7"


def test_the_wrong_property_says_so(detector: Model, classifier: Model) -> None:
    with pytest.raises(UsageError, match="does not detect: got Classes"):
        classifier(models.image()).detections  # noqa: B018
    with pytest.raises(UsageError, match="does not classify: got Detections"):
        detector(models.image()).classes  # noqa: B018


def test_timings_add_up(detector: Model, tmp_path: Path) -> None:
    path = models.write_image(tmp_path / "a.jpg", hw=(300, 400))
    for result in [detector(path), *detector.batch([path, path])]:
        t = result.timings_ms
        parts = t.decode + t.preprocess + t.infer + t.postprocess
        assert min(t.decode, t.preprocess, t.infer, t.postprocess) > 0
        assert parts == pytest.approx(t.total, rel=1e-6)


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_batch_gives_the_results_of_single_calls(
    tmp_path: Path, opened: Opener, batch: Any, backend: str
) -> None:
    path = models.onnx_detector(tmp_path / "d.onnx", batch=batch)
    model = opened(path, head="yolo", backend=backend, labels=models.LABELS, confidence=0.01)
    file = models.write_image(tmp_path / "a.png", 1, (50, 20))
    images = [
        models.image(2, (10, 80)), file, file.read_bytes(), Frame(models.image(3), source="f"),
        models.image(color=0), str(file), models.image(4, (200, 3)),
    ]  # fmt: skip
    results = model.batch(images)
    assert [r.source for r in results] == ["", str(file), "bytes", "f", "", str(file), ""]
    assert [i for i, r in enumerate(results) if r.timings_ms.decode > 0] == [1, 2, 5]
    for result, image in zip(results, images, strict=True):
        same(result, model(image))
    # Scores follow the brightness: the images have not been mixed up.
    tops = [r.detections.score[0] if len(r.detections) else 0 for r in results]
    assert tops[4] == 0
    assert len({round(float(t), 5) for t in tops}) > 3
    assert model.batch([]) == []
    same(model.batch(images[:1])[0], model(images[0]))
    # A smaller batch after a larger one, and the larger one again.
    for part in (images[:3], images):
        for result, image in zip(model.batch(part), part, strict=True):
            same(result, model(image))


def test_a_batch_of_a_classifier(tmp_path: Path, opened: Opener) -> None:
    model = opened(models.onnx_classifier(tmp_path / "c.onnx", batch="N"), head="softmax")
    images = [models.image(color=c) for c in ((0, 0, 255), (0, 255, 0), (255, 0, 0))]
    assert [int(r.classes.class_id[0]) for r in model.batch(images)] == [0, 1, 2]


def test_a_model_that_loses_the_batch_axis(tmp_path: Path, opened: Opener) -> None:
    path = models.null_model(
        tmp_path / "m.null.json",
        [models.tensor("y", [1, 3], values=[0.1, 0.7, 0.2])],
        inputs=[models.tensor("x", [None, 3, 8, 8])],
    )
    model = opened(path, head="softmax")
    assert len(model.batch([models.image()])) == 1
    with pytest.raises(InferenceError, match=r"output y: .*expected \[2,...\]; got \[1, 3\]"):
        model.batch([models.image(), models.image()])


def test_views_share_the_session(detector: Model) -> None:
    strict = detector.with_options(confidence=0.75)
    # Brightness 0.9 or so: scores of about 0.8 and 0.7.
    image = models.image(hw=(64, 96), color=230)
    assert len(detector(image).detections) == 2
    assert len(strict(image).detections) == 1
    assert detector.options.confidence == 0.25
    assert strict.info is detector.info
    assert strict.labels == detector.labels
    assert detector.with_options() is detector
    assert detector.with_options(confidence=None) is detector
    again = strict.with_options(iou=0.1)
    assert (again.options.confidence, again.options.iou) == (0.75, 0.1)
    for wrong in ({"nope": 1}, {"confidence": 3}, {"confidence": "x"}, {"input_hw": (1, 1)}):
        with pytest.raises(UsageError):
            detector.with_options(**wrong)


def test_a_context_manager_closes_on_errors_too(tmp_path: Path) -> None:
    path = models.null_classifier(tmp_path / "c.null.json")

    def fail() -> None:
        with edgecv.load(path, head="softmax", trusted=True) as model:
            seen.append(model)
            raise KeyError("mine")

    seen: list[Model] = []
    with pytest.raises(KeyError, match="mine"):
        fail()
    with pytest.raises(InferenceError, match="closed"):
        seen[0](models.image())


@pytest.mark.parametrize("batch", [1, "N"])
def test_many_threads_get_the_results_of_one(tmp_path: Path, opened: Opener, batch: Any) -> None:
    path = models.onnx_detector(tmp_path / "d.onnx", batch=batch)
    model = opened(path, head="yolo", confidence=0.01, threads=1)
    images = [models.image(i, (20 + 7 * i, 90 - 5 * i)) for i in range(12)]
    expected = [model(image) for image in images]
    start = threading.Barrier(6)

    def work(offset: int) -> None:
        start.wait()
        for i in range(offset, offset + 36):
            same(model(images[i % 12]), expected[i % 12])
        picked = [i % 12 for i in range(offset, offset + 5)]
        for i, result in zip(picked, model.batch([images[i] for i in picked]), strict=True):
            same(result, expected[i])

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work, offset) for offset in range(6)]:
            done.result()


def test_quantized_outputs_are_made_real(tmp_path: Path, opened: Opener) -> None:
    path = models.null_model(
        tmp_path / "m.null.json",
        [models.tensor(
            "y", [1, 3], "uint8", values=[0, 255, 128],
            quantization={"scale": 1 / 255, "zero_point": 0},
        )],
        inputs=[models.tensor("x", [1, 8, 8, 3], "uint8")],
    )  # fmt: skip
    scores = dict(opened(path, head="softmax", hints=Hints(head_options={"logits": False}))(
        models.image()
    ).classes)  # fmt: skip
    assert scores == pytest.approx({1: 1.0, 2: 128 / 255, 0: 0.0}, abs=1e-6)


def test_a_result_is_not_changed_by_the_next_image(detector: Model) -> None:
    first = detector(models.image(color=255))
    before = json.dumps(first.value.to_json(first.labels))
    detector(models.image(color=120))
    assert json.dumps(first.value.to_json(first.labels)) == before


def test_info_is_json(detector: Model) -> None:
    data = json.loads(json.dumps(detector.info.to_json(), allow_nan=False))
    assert data["backend"] == "onnxruntime"
    assert data["input"]["size_hw"] == list(models.SIZE_HW)
    assert data["input"]["std"] == [255.0, 255.0, 255.0]
    assert data["inputs"] == ["x float32[1,3,64,96]"]
    assert data["outputs"] == ["y float32[1,7,126]"]


def test_exif_orientation_is_applied_before_boxes_are_mapped(
    detector: Model, tmp_path: Path
) -> None:
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Pillow.new("RGB", (60, 40), (255, 255, 255)).save(path, exif=exif)
    result = detector(path)
    assert result.source_hw == (60, 40)
    same(result, detector(codecs.read(path)))


def test_a_large_batch_is_run_in_pieces(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(models.onnx_classifier(tmp_path / "c.onnx", batch="N"), head="softmax")
    images = [models.image(seed) for seed in range(7)]
    whole = [result.value.to_json(()) for result in model.batch(images)]
    one = model._preprocessor.buffer(1).nbytes
    monkeypatch.setattr("edgecv.model._MAX_BATCH_BYTES", 3 * one)
    sizes: list[int] = []
    run = model._session.run

    def counted(inputs: Any) -> Any:
        sizes.append(len(next(iter(inputs.values()))))
        return run(inputs)

    monkeypatch.setattr(model._session, "run", counted)
    assert [result.value.to_json(()) for result in model.batch(images)] == whole
    assert sizes == [3, 3, 1]


def test_closing_a_model_lets_go_of_its_bundle(tmp_path: Path) -> None:
    model_file = models.onnx_detector(tmp_path / "d.onnx")
    path = pack([model_file], tmp_path / "d.edgecv", hints=Hints(head="yolo"), trusted=True)
    for backend in ("onnxruntime", "openvino"):
        model = edgecv.load(path, backend=backend)
        model(models.image())
        model.close()
        assert str(path) not in Path("/proc/self/maps").read_text()
        assert model.info.precision is not None or model.info.notes


def test_one_image_is_no_batch(detector: Model) -> None:
    for image in (models.image(), "photo.jpg", b"bytes", Frame(models.image())):
        with pytest.raises(UsageError, match="one image: expected a sequence"):
            detector.batch(image)
    assert len(detector.batch(models.image(i) for i in range(3))) == 3


def test_a_batch_from_a_generator(tmp_path: Path, opened: Opener) -> None:
    model = opened(models.onnx_classifier(tmp_path / "c.onnx", batch="N"), head="softmax")
    assert len(model.batch(models.image(i) for i in range(3))) == 3
