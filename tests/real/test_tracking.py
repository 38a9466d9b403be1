"""Published figures of tracking metrics; our trackers beside a public one; real videos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgecv
from edgecv.motchallenge import Boxes, read_boxes
from edgecv.motion_gate import MotionGate
from edgecv.track_scores import Counts, count
from edgecv.tracker import create_tracker
from tests.models import command
from tests.scenes import detections

pytestmark = pytest.mark.real

NAMES = ("TUD-Campus", "TUD-Stadtmitte")
TRACKERS = ("bytetrack", "ocsort")
FPS = 25
PUBLISHED = {
    "TUD-Campus": {
        "mota": 52.6, "motp": 72.3, "idf1": 55.8, "idp": 73.0, "idr": 45.1, "recall": 58.2,
        "precision": 94.1, "mt": 1, "pt": 6, "ml": 1, "fp": 13, "fn": 150, "idsw": 7, "frag": 7,
    },
    "TUD-Stadtmitte": {
        "mota": 56.4, "motp": 65.4, "idf1": 64.5, "idp": 82.0, "idr": 53.1, "recall": 60.9,
        "precision": 94.0, "mt": 5, "pt": 4, "ml": 1, "fp": 45, "fn": 452, "idsw": 7, "frag": 6,
    },
}  # fmt: skip
HOTA = {
    "TUD-Campus": (0.3913974378451139, 0.418047030142763, 0.36912068120832836),
    "TUD-Stadtmitte": (0.3978490169927877, 0.3922675723693166, 0.4088407518112996),
    "both": (0.3999570912884786, 0.3976832912424188, 0.4124495298453543),
}


@pytest.fixture(scope="module")
def mot(real_dir: Path) -> Path:
    return real_dir / "data/metrics/mot"


@pytest.fixture(scope="module")
def files(mot: Path) -> dict[str, tuple[Boxes, Boxes]]:
    return {
        name: (read_boxes(mot / name / "gt.txt"), read_boxes(mot / name / "test.txt"))
        for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_published_clear_and_identity_metrics(mot: Path, name: str) -> None:
    ran = command(
        "eval", "--task", "track", "--data", mot / name, "--results", mot / name / "test.txt",
        "--json", "-",
    )  # fmt: skip
    assert ran.status == 0
    metrics = json.loads(ran.out)["metrics"]
    for key, expected in PUBLISHED[name].items():
        value = metrics[key]
        assert (value if isinstance(value, int) else round(100 * value, 1)) == expected, key


def test_published_hota(files: dict[str, tuple[Boxes, Boxes]]) -> None:
    counts = {name: count(*pair) for name, pair in files.items()}
    counts["both"] = counts["TUD-Campus"] + counts["TUD-Stadtmitte"]
    for name, expected in HOTA.items():
        metrics = counts[name].metrics()
        found = [metrics[key] for key in ("hota", "deta", "assa")]
        assert found == pytest.approx(expected, abs=1e-6), name


def followed(boxes: Boxes, name: str, frames: set[int] | None = None, **options: float) -> Boxes:
    """Run a tracker on boxes without their ids."""
    tracker = create_tracker(name, **options)
    rows = []
    for frame in range(1, int(boxes.frame.max()) + 1):
        if frames is None or frame in frames:
            here = boxes.xyxy[boxes.frame == frame]
            found = tracker.update(detections(here), frame / FPS)
            for id, xyxy in zip(found.track_id, found.xyxy, strict=True):
                if id:
                    rows.append((frame, int(id), *xyxy))
    table = np.array(rows)
    return Boxes.of(table[:, 0], table[:, 1], table[:, 2:])


@pytest.mark.parametrize("name", TRACKERS)
def test_as_good_as_the_public_tracker_on_its_own_boxes(
    files: dict[str, tuple[Boxes, Boxes]], name: str
) -> None:
    def total(make) -> dict:
        parts: list[Counts] = [count(truth, make(found)) for truth, found in files.values()]
        return (parts[0] + parts[1]).metrics()

    public, ours = total(lambda found: found), total(lambda found: followed(found, name))
    for key in ("mota", "idf1", "hota", "assa"):
        assert ours[key] >= public[key], key
    assert ours["idsw"] <= public["idsw"]


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("seed", range(3))
def test_true_boxes_with_a_third_of_the_frames_dropped(
    files: dict[str, tuple[Boxes, Boxes]], name: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    for truth, _ in files.values():
        kept = {f for f in range(1, int(truth.frame.max()) + 1) if random.random() >= 0.3}
        seen = truth[np.isin(truth.frame, list(kept))]
        metrics = count(seen, followed(truth, name, kept)).metrics()
        assert metrics["idsw"] == 0
        assert metrics["idf1"] > 0.94
        assert metrics["precision"] == 1


@pytest.fixture(scope="module")
def people(real_dir: Path):
    labels = ["person", *map(str, range(1, 80))]
    path = real_dir / "models/yolox-nano/yolox_nano.onnx"
    with edgecv.load(path, head="yolox", labels=labels, trusted=True, confidence=0.1) as model:
        yield model


@pytest.mark.slow
def test_people_one_by_one_and_no_episode_is_gated_away(people, real_dir: Path) -> None:
    video = cv2.VideoCapture(str(real_dir / "data/videos/one-by-one-person-detection.mp4"))
    fps, index = video.get(cv2.CAP_PROP_FPS), 0
    tracker, gate = create_tracker("bytetrack"), MotionGate()
    present, looked, ids = [], [], {}
    while True:
        good, image = video.read()
        if not good:
            break
        if index % 2 == 0:
            looked.append(gate.update(image, index / fps))
            found = people(image).detections
            found = tracker.update(found[found.class_id == 0], index / fps)
            present.append(bool((found.score >= 0.5).any()))
            for id in found.track_id[found.track_id > 0].tolist():
                ids[id] = ids.get(id, 0) + 1
        index += 1
    seen, run = np.array(present), np.array(looked)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], seen, [0]])))
    episodes = list(zip(edges[::2], edges[1::2], strict=True))
    assert len(episodes) >= 5
    for start, end in episodes:
        assert run[start:end].mean() > 0.9, (start, end)
    assert (~run[~seen]).mean() > 0.3, "a third of the empty frames is saved"
    # Six people pass, one after the other.
    assert sorted(ids) == [1, 2, 3, 4, 5, 6]
    assert min(ids.values()) > 40
