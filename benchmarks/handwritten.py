"""The tight loops that edgecv is measured against: what an engineer would write for one model.

Each class opens a model with the engine's own API and turns a decoded BGR image into a result; no
checks, no options, buffers used again. They are also run as programs of their own, for cold start
and memory: ``python benchmarks/handwritten.py yolox MODEL IMAGE THREADS``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import cv2
import numpy as np


class YoloX:
    """YOLOX at its own size in ONNX Runtime: letterbox top-left, grid decode, class-aware NMS."""

    def __init__(self, path: str, threads: int, session: object = None) -> None:
        if session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.session = session
        self.name = session.get_inputs()[0].name
        self.size = session.get_inputs()[0].shape[2]
        self.canvas = np.full((self.size, self.size, 3), 114, np.uint8)
        points, strides = [], []
        for stride in (8, 16, 32):
            n = self.size // stride
            y, x = np.mgrid[:n, :n]
            points.append(np.stack([x.ravel(), y.ravel()], 1))
            strides.append(np.full((n * n, 1), stride))
        self.grid = np.concatenate(points).astype(np.float32)
        self.strides = np.concatenate(strides).astype(np.float32)

    def __call__(
        self, image: np.ndarray, confidence: float = 0.25, iou: float = 0.45
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return xyxy (N, 4), score (N,) and class (N,) in source pixels."""
        height, width = image.shape[:2]
        ratio = min(self.size / height, self.size / width)
        rows, columns = int(height * ratio), int(width * ratio)
        self.canvas[:] = 114
        self.canvas[:rows, :columns] = cv2.resize(image, (columns, rows))
        tensor = np.ascontiguousarray(self.canvas.transpose(2, 0, 1)[None], dtype=np.float32)
        out = self.session.run(None, {self.name: tensor})[0][0]
        scores = out[:, 5:] * out[:, 4:5]
        best = scores.argmax(1)
        score = scores[np.arange(len(best)), best]
        keep = np.nonzero(score >= confidence)[0]
        if not len(keep):
            return np.zeros((0, 4)), np.zeros(0), np.zeros(0)
        centre = (out[keep, :2] + self.grid[keep]) * self.strides[keep]
        size = np.exp(out[keep, 2:4]) * self.strides[keep]
        corner = centre - size / 2
        boxes = np.concatenate([corner, size], 1)
        kept = cv2.dnn.NMSBoxesBatched(boxes, score[keep], best[keep], confidence, iou)
        kept = np.asarray(kept, np.int64)
        xyxy = np.concatenate([corner[kept], corner[kept] + size[kept]], 1) / ratio
        np.clip(xyxy, 0, [width, height, width, height], out=xyxy)
        return xyxy, score[keep][kept], best[keep][kept]


class Yolo:
    """An Ultralytics export of YOLOv8 or YOLO11: centred letterbox, best class, class-aware NMS."""

    def __init__(
        self,
        path: str,
        threads: int,
        engine: str,
        precision: str,
        confidence: float = 0.25,
        iou: float = 0.45,
    ) -> None:
        self.run, (self.rows, self.columns) = ENGINES[engine](path, threads, precision)
        self.confidence, self.iou = confidence, iou
        self.canvas = np.full((self.rows, self.columns, 3), 114, np.uint8)
        self.tensor = np.empty((1, 3, self.rows, self.columns), np.float32)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return xyxy (N, 4), score (N,) and class (N,) in source pixels."""
        height, width = image.shape[:2]
        ratio = min(self.rows / height, self.columns / width)
        rows, columns = round(height * ratio), round(width * ratio)
        top = round((self.rows - rows) / 2 - 0.1)
        left = round((self.columns - columns) / 2 - 0.1)
        if (rows, columns) != (height, width):
            image = cv2.resize(image, (columns, rows))
        self.canvas[:] = 114
        self.canvas[top : top + rows, left : left + columns] = image
        np.multiply(self.canvas[..., ::-1].transpose(2, 0, 1), np.float32(1 / 255), self.tensor[0])
        out = self.run(self.tensor)[0]
        best_score = out[4:].max(0)
        keep = np.nonzero(best_score >= self.confidence)[0]
        if not len(keep):
            return np.zeros((0, 4)), np.zeros(0), np.zeros(0)
        picked, score = out[:, keep], best_score[keep]
        best = picked[4:].argmax(0)
        corner = (picked[:2] - picked[2:4] / 2).T
        boxes = np.concatenate([corner, picked[2:4].T], 1)
        kept = cv2.dnn.NMSBoxesBatched(boxes, score, best, self.confidence, self.iou)
        kept = np.asarray(kept, np.int64)
        xyxy = np.concatenate([boxes[kept, :2], boxes[kept, :2] + boxes[kept, 2:]], 1)
        x, y = width / columns, height / rows
        xyxy = (xyxy - [left, top, left, top]) * [x, y, x, y]
        np.clip(xyxy, 0, [width, height, width, height], out=xyxy)
        return xyxy, score[kept], best[kept]


def in_onnxruntime(path: str, threads: int, precision: str) -> tuple[Callable, tuple[int, int]]:
    """Return what runs a tensor in the precision of the file, and (height, width) of the input."""
    import onnxruntime

    assert precision == "fp32"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    return lambda tensor: session.run(None, {entry.name: tensor})[0], tuple(entry.shape[2:])


def in_openvino(path: str, threads: int, precision: str) -> tuple[Callable, tuple[int, int]]:
    """Return what runs a tensor in fp32, bf16 or fp16, and (height, width) of the input."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    settings["INFERENCE_PRECISION_HINT"] = precision.replace("fp", "f")
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()

    def run(tensor: np.ndarray) -> np.ndarray:
        request.infer({0: tensor}, share_inputs=True)
        return request.get_output_tensor().data

    return run, tuple(compiled.input(0).shape)[2:]


ENGINES = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}


class MobileNet:
    """A quantized MobileNet in LiteRT: short side to size / 0.875, centre crop, top 5."""

    def __init__(self, path: str, threads: int, session: object = None) -> None:
        if session is None:
            from ai_edge_litert.interpreter import Interpreter

            session = Interpreter(model_path=path, num_threads=threads)
            session.allocate_tensors()
        self.session = session
        entry = session.get_input_details()[0]
        exit_ = session.get_output_details()[0]
        self.input, self.output = entry["index"], exit_["index"]
        self.size = int(entry["shape"][1])
        self.scale, self.zero_point = exit_["quantization"]

    def __call__(self, image: np.ndarray, top: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """Return class ids and probabilities of the best `top` classes."""
        height, width = image.shape[:2]
        ratio = int(self.size / 0.875) / min(height, width)
        rows, columns = max(self.size, int(height * ratio)), max(self.size, int(width * ratio))
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        y, x = round((rows - self.size) / 2), round((columns - self.size) / 2)
        image = cv2.cvtColor(image[y : y + self.size, x : x + self.size], cv2.COLOR_BGR2RGB)
        self.session.set_tensor(self.input, image[None])
        self.session.invoke()
        out = self.session.get_tensor(self.output)[0]
        score = (out.astype(np.float32) - self.zero_point) * self.scale
        best = np.argsort(-score)[:top]
        return best, score[best]


LOOPS = {"yolox": YoloX, "mobilenet": MobileNet}


def main() -> None:
    """Run once as a program; print when the first result was there, and the peak memory."""
    kind, model, image, threads = sys.argv[1:]
    LOOPS[kind](model, int(threads))(cv2.imread(image))
    first_result_s = time.monotonic()
    with open("/proc/self/status") as file:  # noqa: PTH123  # pathlib is not in this program
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    print(first_result_s, peak * 1024)


if __name__ == "__main__":
    main()
