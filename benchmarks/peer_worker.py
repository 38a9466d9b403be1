"""One peer of `peers.py`, in a process and a virtual environment of its own.

It reads lines of JSON from standard input. The first says which peer this is, with the model, the
engine, the CPUs and the images; each of the others asks for one turn (`TURNS`). Every line is
answered by one line of JSON. Nothing of edgecv is imported here but by edgecv's own adapter, and
nothing is imported early: the time from the start of the process to the first result counts.

An adapter turns an image file into what its library gives (`detect`), a list of them in the way
that its library documents as the fast one (`detect_all`), and a result into rows.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

Rows = list[list[float]]
"""Left, top, right, bottom in source pixels, score, class id; the best first."""


class Edgecv:
    """A bundle; many images with `predict_all` on an engine opened for the plan that it chose.

    That is what loading does where ``edgecv tune`` has found the plan.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        import edgecv

        self.predict_all = edgecv.predict_all
        self.open = partial(
            edgecv.load, asked["model"], backend=asked["engine"], precision=asked["precision"],
            confidence=asked["confidence"], iou=asked["iou"],
        )  # fmt: skip
        self.model = self.open(threads=asked["threads"])
        self.detect = self.model
        self.plan: Any = None
        self.many: Any = None
        info = self.model.info
        self.facts = {"threads": info.threads, "precision": info.precision}

    def detect_all(self, images: list[str]) -> list[Any]:
        if self.plan is None:
            # An iterator of unknown length is always worth the trials.
            with self.predict_all(self.model, iter([*images, *images])) as run:
                for _ in run:
                    pass
            self.plan = plan = run.stats.plan
            self.facts["plan"] = str(plan)
            self.many = self.model
            if plan.threads is not None:
                self.many = self.open(threads=plan.threads, streams=plan.streams)
        with self.predict_all(self.many, images, plan=self.plan) as run:
            return list(run)

    def rows(self, result: Any) -> Rows:
        found = result.detections
        return rows_of(found.xyxy, found.score, found.class_id)


class HandWritten:
    """The loop of `handwritten.py`; many images one after the other."""

    def __init__(self, asked: dict[str, Any]) -> None:
        import cv2
        from handwritten import Yolo

        self.read = cv2.imread
        self.loop = Yolo(
            asked["model"], asked["threads"], asked["engine"], asked["precision"],
            asked["confidence"], asked["iou"],
        )  # fmt: skip
        self.facts = {"threads": asked["threads"], "precision": asked["precision"]}

    def detect(self, image: str) -> Any:
        return self.loop(self.read(image))

    def detect_all(self, images: list[str]) -> list[Any]:
        return [self.detect(image) for image in images]

    def rows(self, result: Any) -> Rows:
        return rows_of(*result)


class Ultralytics:
    """`YOLO(model).predict`; a list with ``stream=True``. It is told no threads, no precision."""

    def __init__(self, asked: dict[str, Any]) -> None:
        if asked["operators"]:
            stand_in(asked["operators"])
        from ultralytics import YOLO

        self.model = YOLO(asked["model"], task="detect")
        self.options = {
            "conf": asked["confidence"], "iou": asked["iou"], "imgsz": asked["side"],
            "device": "cpu", "verbose": False,
        }  # fmt: skip
        self.facts = {"threads": None, "precision": None}

    def detect(self, image: str) -> Any:
        return self.model.predict(image, **self.options)[0]

    def detect_all(self, images: list[str]) -> list[Any]:
        return list(self.model.predict(images, stream=True, **self.options))

    def rows(self, result: Any) -> Rows:
        boxes = result.boxes
        return rows_of(boxes.xyxy.numpy(), boxes.conf.numpy(), boxes.cls.numpy())


class ModelApi:
    """Model API on OpenVINO; many images with ``infer_batch`` and a stream for each thread."""

    def __init__(self, asked: dict[str, Any]) -> None:
        import cv2

        self.read = cv2.imread
        self.asked = asked
        self.model = self.opened(streams=1)
        self.many: Any = None
        self.facts = {"threads": asked["threads"], "precision": asked["precision"]}

    def opened(self, streams: int) -> Any:
        from model_api.adapters import OpenvinoAdapter, create_core
        from model_api.models import Model

        settings = {"INFERENCE_NUM_THREADS": self.asked["threads"], "NUM_STREAMS": streams}
        settings["INFERENCE_PRECISION_HINT"] = self.asked["precision"].replace("fp", "f")
        adapter = OpenvinoAdapter(
            create_core(), self.asked["model"], device="CPU", plugin_config=settings
        )
        limits = {"confidence_threshold": self.asked["confidence"]}
        limits["iou_threshold"] = self.asked["iou"]
        return Model.create_model(adapter, configuration=limits, preload=True)

    def detect(self, image: str) -> Any:
        return self.model(self.read(image))

    def detect_all(self, images: list[str]) -> list[Any]:
        if self.many is None:
            self.many = self.opened(streams=self.asked["threads"])
        return self.many.infer_batch([self.read(image) for image in images])

    def rows(self, result: Any) -> Rows:
        return rows_of(result.bboxes, result.scores, result.labels)


PEERS = {
    "edgecv": Edgecv,
    "hand-written": HandWritten,
    "ultralytics": Ultralytics,
    "model-api": ModelApi,
}


def rows_of(xyxy: Any, score: Any, class_id: Any) -> Rows:
    parts = xyxy, score, class_id
    rows = [[*map(float, box), float(s), int(c)] for box, s, c in zip(*parts, strict=True)]
    return sorted(rows, key=lambda row: -row[4])


def stand_in(operators: list[str]) -> None:
    """Declare torchvision's operators where its compiled part cannot be loaded beside this torch.

    As ``torch.library`` documents it. ``torchvision.ops.nms`` is then OpenCV's, compiled as well.
    """
    import cv2
    import torch

    def nms(dets: Any, scores: Any, iou_threshold: float) -> Any:
        boxes = dets.numpy().copy()
        boxes[:, 2:] -= boxes[:, :2]
        kept = cv2.dnn.NMSBoxes(boxes, scores.numpy(), 0.0, iou_threshold)
        return torch.as_tensor(kept, dtype=torch.int64)

    for name in operators:
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", schema)
    import torchvision

    torchvision.ops.nms = nms


def latency(peer: Any, images: list[str]) -> dict[str, Any]:
    """Time each image from its file to its result, milliseconds."""
    # Who ran before has left the caches to others, and perhaps threads that spin for a while.
    peer.detect(images[-1])
    times, clock = [], time.perf_counter
    for image in images:
        start = clock()
        peer.detect(image)
        times.append((clock() - start) * 1e3)
    return {"ms": times}


def throughput(peer: Any, images: list[str]) -> dict[str, Any]:
    """Time a list of images as a whole."""
    start = time.perf_counter()
    done = len(peer.detect_all(images))
    return {"images_per_s": done / (time.perf_counter() - start)}


def results(peer: Any, images: list[str]) -> dict[str, Any]:
    """Return the rows of each image, one by one and as a list."""
    return {
        "one": [peer.rows(peer.detect(image)) for image in images],
        "all": [peer.rows(result) for result in peer.detect_all(images)],
    }


TURNS: dict[str, Callable[[Any, list[str]], dict[str, Any]]] = {
    "latency": latency,
    "throughput": throughput,
    "results": results,
}


def main() -> None:
    """Serve until standard input ends; whatever goes wrong is said as JSON, with exit status 1."""
    try:
        asked = json.loads(sys.stdin.readline())
        # Before any library makes its threads, which inherit it.
        os.sched_setaffinity(0, asked["cpus"])
        peer = PEERS[asked["peer"]](asked)
        peer.detect(asked["images"][0])
        first_result_s = time.monotonic()
        # Before anything else is loaded.
        facts = {"first_result_s": first_result_s, "peak_rss_bytes": peak_rss_bytes()}
        say(**facts, versions=versions(), facts=peer.facts)
        for line in sys.stdin:
            turn = json.loads(line)
            wall, cpu = time.perf_counter(), time.process_time()
            said = TURNS[turn["do"]](peer, turn["images"])
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            said |= {"cpus_used": cpu / wall, "peak_rss_bytes": peak_rss_bytes()}
            say(**said, facts=peer.facts)
    except Exception as error:  # of any library
        say(error=f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")
        sys.exit(1)


def versions() -> dict[str, str]:
    """Return what is installed in this environment."""
    from importlib import metadata

    return {found.metadata["Name"]: found.version for found in metadata.distributions()}


def peak_rss_bytes() -> int | None:
    """Return the highest resident set so far; None where the kernel does not tell."""
    with open("/proc/self/status") as file:  # noqa: PTH123  # pathlib is not in this process yet
        for line in file:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return None


def say(**facts: Any) -> None:
    print(json.dumps({"done": True, **facts}), flush=True)


if __name__ == "__main__":
    main()
