"""Measure tracks on sequences: those of a results file, or those of a model and a tracker.

This stands beside `edgecv.evaluation`: that one measures images, which have nothing to do with each
other, this one whole sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecv.dataset import Problem
from edgecv.errors import DatasetError, ImageError, UsageError
from edgecv.evaluation import Evaluable, Progress
from edgecv.motchallenge import (
    Boxes,
    SequenceInfo,
    find_sequences,
    find_truth,
    read_boxes,
    read_sequence_info,
    write_boxes,
)
from edgecv.track_scores import Counts, count
from edgecv.tracker import Tracker

_PEOPLE = ("person", "pedestrian", "people")


@dataclass(frozen=True, slots=True)
class TrackEvaluation:
    """What was measured.

    Attributes:
        data: name of the file or folder with the truth.
        tracks: where the tracks come from: a file, or names of model and tracker.
        metrics: of all sequences together; see `edgecv.track_scores.Counts.metrics`.
        sequences: name -> the same of each.
        reasons: name -> why the value is None.
        frames: frames that were run; None where the tracks come from a file.
        problems: images that could not be run; what is true in them counts as missed.
        confidence: threshold that the model was run with; None where the tracks come from a file.
    """

    data: str
    tracks: str
    metrics: Mapping[str, float | None]
    sequences: Mapping[str, Mapping[str, float | None]]
    reasons: Mapping[str, str]
    frames: int | None = None
    problems: tuple[Problem, ...] = ()
    confidence: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Make the object that ``edgecv eval --task track --json`` prints; 6 digits."""
        return {
            "task": "track",
            "data": self.data,
            "tracks": self.tracks,
            "metrics": _rounded(self.metrics),
            "sequences": {name: _rounded(values) for name, values in self.sequences.items()},
            "reasons": dict(self.reasons),
            "frames": self.frames,
            "problems": [asdict(problem) for problem in self.problems],
            "confidence": self.confidence,
        }


def _rounded(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in metrics.items()
    }


def evaluate_results(truth: Path, results: Path, *, min_visibility: float = 0.0) -> TrackEvaluation:
    """Measure tracks that somebody wrote to MOTChallenge files.

    Args:
        truth: a ``gt.txt``, a sequence's folder, or a folder of such.
        results: a file; of several sequences, a folder with one ``NAME.txt`` each.
        min_visibility: true boxes less visible than this do not count.

    Raises:
        DatasetError: a file is missing or broken.
        DependencyMissingError: lapx is not installed.
    """
    sequences = find_sequences(truth)
    counts: dict[str, Counts] = {}
    for path in sequences:
        name = path.resolve().name
        file = results / f"{name}.txt" if results.is_dir() else results
        if len(sequences) > 1 and not results.is_dir():
            raise DatasetError(
                "one file for several sequences",
                where=str(results),
                expected=f"a folder with {name}.txt and so on",
            )
        counts[name] = count(
            read_boxes(find_truth(path)),
            read_boxes(file, classes=False),
            min_visibility=min_visibility,
        )
    return _evaluation(truth, str(results), counts)


def evaluate_tracker(
    model: Evaluable,
    tracker: Callable[[], Tracker],
    data: Path,
    *,
    name: str = "",
    label: str | None = None,
    confidence: float | None = None,
    frame_rate: float | None = None,
    min_visibility: float = 0.0,
    save: Path | None = None,
    progress: Progress | None = None,
) -> TrackEvaluation:
    """Run a detector and a tracker over the images of sequences and measure the tracks.

    Args:
        model: it makes `Detections`.
        tracker: makes a new one for each sequence.
        data: a sequence's folder (``img1``, ``gt/gt.txt``, ``seqinfo.ini``), or a folder of such.
        name: how to call model and tracker in the report.
        label: class that is followed, or ``*`` for all; None takes what the model calls a person,
            or its only class.
        confidence: threshold of the model; None takes the lowest score that the tracker uses.
        frame_rate: frames a second; None takes that of ``seqinfo.ini``.
        min_visibility: true boxes less visible than this do not count.
        save: folder for the results, one ``NAME.txt`` a sequence; None keeps none.
        progress: called with (done, total) after each frame.

    Raises:
        DatasetError: a sequence is incomplete or broken, or no image could be read.
        UsageError: the model does not detect, or has no such class.
        DependencyMissingError: lapx is not installed.
    """
    class_id = _class_of(model.labels, label)
    folders = find_sequences(data)
    infos = [read_sequence_info(folder) for folder in folders]
    total = sum(info.length for info in infos)
    counts: dict[str, Counts] = {}
    problems: list[Problem] = []
    done = 0
    if save is not None:
        _make_folder(save)
    threshold = tracker().min_score if confidence is None else confidence
    view = model.with_options(confidence=threshold)
    for folder, info in zip(folders, infos, strict=True):
        follow = tracker()
        rate = frame_rate or info.frame_rate
        rows: list[tuple[int, int, list[float]]] = []
        for frame in range(1, info.length + 1):
            try:
                detections = view(_image(info, frame)).detections
            except ImageError as error:
                problems.append(Problem(str(_image(info, frame)), error.message, image=True))
            else:
                if class_id is not None:
                    detections = detections[detections.class_id == class_id]
                found = follow.update(detections, (frame - 1) / rate)
                for xyxy, id in zip(found.xyxy.tolist(), _ids(found.track_id), strict=True):
                    if id:
                        rows.append((frame, id, xyxy))
            done += 1
            if progress is not None:
                progress(done, total)
        boxes = Boxes.of(
            np.array([row[0] for row in rows]),
            np.array([row[1] for row in rows]),
            np.array([row[2] for row in rows]),
        )
        if save is not None:
            write_boxes(save / f"{info.name}.txt", boxes)
        truth = read_boxes(find_truth(folder))
        counts[info.name] = count(truth, boxes, min_visibility=min_visibility)
    if len(problems) == total:
        raise DatasetError("no image could be read", where=str(data), got=str(problems[0]))
    return _evaluation(data, name, counts, total - len(problems), tuple(problems), threshold)


def _evaluation(
    data: Path,
    tracks: str,
    counts: Mapping[str, Counts],
    frames: int | None = None,
    problems: tuple[Problem, ...] = (),
    confidence: float | None = None,
) -> TrackEvaluation:
    first, *rest = counts.values()
    for more in rest:
        first = first + more
    each = {name: found.metrics() for name, found in counts.items()}
    metrics = first.metrics()
    why = "no true box counts" if not first.truths else "no box of a track was found"
    reasons = {name: why for name, value in metrics.items() if value is None}
    name = data.resolve().name
    return TrackEvaluation(name, tracks, metrics, each, reasons, frames, problems, confidence)


def _ids(track_id: Any) -> list[int]:
    ids: list[int] = track_id.tolist()
    return ids


def _image(info: SequenceInfo, frame: int) -> Path:
    return info.images / f"{frame:06d}{info.suffix}"


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"cannot be made: {error.strerror}", where=str(path)) from None


def _class_of(labels: Sequence[str], label: str | None) -> int | None:
    """Return the class that is followed; None where there is nothing to choose from.

    Raises:
        UsageError: no such class, or several and none is called a person.
    """
    if label == "*":
        return None
    known = [name.lower() for name in labels]
    wanted = _PEOPLE if label is None else (label.lower(),)
    for name in wanted:
        if name in known:
            return known.index(name)
    if label is None and len(known) < 2:
        return None
    raise UsageError(
        "no such class" if label else "which class is to be followed?",
        where="label",
        expected=f"one of {', '.join(labels[:20])}",
        got=repr(label) if label else None,
        remedy="name it with --class, '*' for all" if not label else None,
    )
