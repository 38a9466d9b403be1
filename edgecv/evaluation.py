"""Measure a model on a data set: run every image, compare with the truth, say what was left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, cast

from edgecv import plugins
from edgecv.class_map import ClassMap, class_table
from edgecv.dataset import Dataset, Problem, Sample
from edgecv.errors import DatasetError, ImageError, UsageError
from edgecv.metric import ClassScore, Draws, Interval, MetricModule
from edgecv.results import label_of

Progress = Callable[[int, int], None]


class Evaluable(Protocol):
    """What is asked of a model; `edgecv.model.Model` is one."""

    @property
    def task(self) -> str:
        """Task, such as ``detect``."""

    @property
    def labels(self) -> Sequence[str]:
        """Class names by class id; may be empty."""

    @property
    def info(self) -> Any:
        """What runs: `variant`, `backend`, `precision` and `notes`."""

    @property
    def options(self) -> Any:
        """The head's options in use."""

    def with_options(self, **options: Any) -> Evaluable:
        """Return the same model with other head options."""

    def __call__(self, image: Any) -> Any:
        """Run on the image file; return a `edgecv.result.Result`."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured, with what, on what.

    Attributes:
        task: such as ``detect``.
        images: images that were measured.
        skipped: images that the data set names and that could not be.
        variant: of the model, as are `backend` and `precision`, read back from the engine.
        metrics: name -> value, None where it could not be measured.
        ci95: same names -> 95 % interval over images, or None.
        reasons: name -> why the value is None.
        data: name of the data set.
        split: the part that was measured.
        problems: everything that was left out, with the reason.
        confidence: threshold that the model was run with; None where it has none.
        iou: of the model's own suppression; None where it has none.
        bootstrap: resamples behind `ci95`.
        per_class: scores of the classes that occur.
        labels: the model's class names.
        notes: what a reader of the numbers should know.
        measured: paths of the images that were measured, in order; not in the JSON.
        seed: of the resampling; not in the JSON.
        draws: name -> (B,) float64, the values of the resamples, see `edgecv.metric.Scores`; not in
            the JSON.
    """

    task: str
    images: int
    skipped: int
    variant: str
    backend: str
    precision: str | None
    metrics: Mapping[str, float | None]
    ci95: Mapping[str, Interval | None]
    reasons: Mapping[str, str]
    data: str
    split: str
    problems: tuple[Problem, ...]
    confidence: float | None
    iou: float | None
    bootstrap: int
    per_class: tuple[ClassScore, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    measured: tuple[str, ...] = ()
    seed: int = 0
    draws: Mapping[str, Draws] = field(default_factory=dict, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Make the object that ``edgecv eval --json`` prints; numbers rounded to 6 digits."""
        return {
            "task": self.task,
            "images": self.images,
            "skipped": self.skipped,
            "variant": self.variant,
            "backend": self.backend,
            "precision": self.precision,
            "metrics": {name: _rounded(value) for name, value in self.metrics.items()},
            "ci95": {
                name: None if ends is None else [_rounded(end) for end in ends]
                for name, ends in self.ci95.items()
            },
            "reasons": dict(self.reasons),
            "data": self.data,
            "split": self.split,
            "problems": [asdict(problem) for problem in self.problems],
            "confidence": self.confidence,
            "iou": self.iou,
            "bootstrap": self.bootstrap,
            "per_class": [
                {
                    "class_id": score.class_id,
                    "label": label_of(self.labels, score.class_id),
                    "images": score.images,
                    "truths": score.truths,
                    **{name: _rounded(value) for name, value in score.metrics.items()},
                }
                for score in self.per_class
            ],
            "notes": list(self.notes),
        }


def evaluate(
    model: Evaluable,
    dataset: Dataset,
    *,
    limit: int | None = None,
    confidence: float | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    class_map: ClassMap = "auto",
    progress: Progress | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Measure a model on a data set.

    An image that cannot be read, or is not of the size that its annotation states, is skipped and
    named in `problems`.

    Args:
        model: as loaded; it is not changed.
        dataset: of the model's task.
        limit: measure only so many images, spread evenly over the data set.
        confidence: threshold of the model; None takes what the metric is defined for (0.001 for
            detection, so that the whole precision-recall curve is seen).
        iou: of the model's own suppression; None leaves it as it is.
        max_detections: None takes what the metric is defined for.
        class_map: see `edgecv.class_map.ClassMap`.
        progress: called with (done, total) after each image.
        bootstrap: resamples for the intervals; 0 leaves them out.
        seed: of the resampling.

    Raises:
        DatasetError: the data are for another task, the classes do not fit, or no image is left.
        UsageError: no metric for the task, or an option that the model does not have.
    """
    if limit is not None and limit < 1:
        raise UsageError("", where="limit", expected="at least 1", got=str(limit))
    if dataset.task != model.task:
        raise DatasetError(
            "the data are for another task than the model",
            where=dataset.name,
            expected=model.task,
            got=dataset.task,
        )
    module = cast(MetricModule, plugins.load("metrics", model.task))
    given = {"confidence": confidence, "iou": iou, "max_detections": max_detections}
    asked = {name: value for name, value in given.items() if value is not None}
    view = model.with_options(**{**module.MODEL_OPTIONS, **asked})
    _check_names(model, dataset, class_map)
    table = class_table(dataset.labels, model.labels, class_map, where=dataset.name)
    metric = module.create()
    problems = list(dataset.problems)
    samples = _spread(dataset.samples, limit)
    measured: list[str] = []
    for done, sample in enumerate(samples, 1):
        try:
            result = view(sample.image)
            wrong = _wrong_size(sample, result.source_hw)
            if wrong is None:
                truth = sample.truth if table.ids is None else sample.truth.with_classes(table.ids)
                metric.update(result.value, truth, result.source_hw)
                measured.append(str(sample.image))
            else:
                problems.append(Problem(str(sample.image), wrong, image=True))
        except ImageError as error:
            # Of the image, or of a truth that is an image itself.
            problems.append(Problem(str(sample.image), error.message, image=True))
        if progress is not None:
            progress(done, len(samples))
    if not measured:
        raise DatasetError(
            "no image could be measured",
            where=dataset.name,
            got=f"{len(problems)} problems, such as {problems[-1]}" if problems else "0 images",
        )
    scores = metric.compute(bootstrap, seed)
    return Evaluation(
        task=model.task,
        images=len(measured),
        skipped=sum(problem.image for problem in problems),
        variant=model.info.variant,
        backend=model.info.backend,
        precision=model.info.precision,
        metrics=scores.metrics,
        ci95=scores.ci95,
        reasons=scores.reasons,
        data=dataset.name,
        split=dataset.split,
        problems=tuple(problems),
        confidence=getattr(view.options, "confidence", None),
        iou=getattr(view.options, "iou", None),
        bootstrap=bootstrap,
        per_class=tuple(scores.per_class),
        labels=tuple(model.labels),
        notes=(*table.notes, *model.info.notes),
        measured=tuple(measured),
        seed=seed,
        draws=scores.draws,
    )


def _check_names(model: Evaluable, dataset: Dataset, class_map: ClassMap) -> None:
    """Refuse to number folders that are named, for a model whose numbers mean nothing known."""
    named = not all(name.isdecimal() for name in dataset.labels)
    if model.task == "classify" and named and not model.labels and class_map == "auto":
        raise DatasetError(
            "the model has no class names to compare with those of the folders",
            where=dataset.name,
            got=f"folders such as {dataset.labels[0]!r}",
            remedy="name them with --labels FILE, or take folders by number: --class-map index",
        )


def _spread(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    """Pick `limit` samples at even distances: the first ones are often all of one class."""
    if limit is None or limit >= len(samples):
        return samples
    return [samples[i * len(samples) // limit] for i in range(limit)]


def _wrong_size(sample: Sample, size_hw: tuple[int, int]) -> str | None:
    if sample.size_hw is None or sample.size_hw == tuple(size_hw):
        return None
    height, width = sample.size_hw
    return f"the image is {size_hw[1]}x{size_hw[0]}, its annotation is for {width}x{height}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
