"""Prove that a converted model still computes what its source computes, on real images.

Outputs are compared number by number, and results as a user sees them. A comparison that could not
have failed is no proof: outputs that are zero, vanishingly small or the same for every image are
found and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgecv import codecs
from edgecv.converters.artifact import Artifact
from edgecv.converters.calibration import CalibrationSet
from edgecv.converters.output_difference import TINY, OutputParity, Tally
from edgecv.engines import load_backend
from edgecv.errors import ParityError
from edgecv.head import load_head
from edgecv.manifest import HeadSpec, Input
from edgecv.output_check import dequantize
from edgecv.preprocess import Preprocessor
from edgecv.score_parts import score_part
from edgecv.types import Array, Session, SessionOptions

MIN_COSINE = 0.999
MAX_RELATIVE = 1e-2
"""Of a float conversion: the largest difference, in parts of the output's largest value."""

_UNMATCHED_EDGE = 0.02  # scores next to the threshold may come and go

Which = Literal["reference", "candidate"]


@dataclass(frozen=True, slots=True)
class Parity:
    """How far two models' outputs are apart.

    Attributes:
        outputs: one row for each output.
        images: how many were compared.
        vacuous: why the comparison proves nothing, or None.
        nondeterministic: who gave other numbers when asked twice.
        nan: who put out what is not a number, or infinite.
        notes: what a reader should know.
    """

    outputs: tuple[OutputParity, ...]
    images: int
    vacuous: str | None = None
    nondeterministic: tuple[Which, ...] = ()
    nan: tuple[Which, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> OutputParity:
        """The output with the largest difference, in parts of its scale."""
        return max(self.outputs, key=lambda row: row.max_abs / max(row.scale, TINY))

    def to_json(self) -> dict[str, Any]:
        """Make the object that reports hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the results of two models are apart, over all images.

    Attributes:
        images: how many were compared.
        found: results of the reference, such as detections.
        score: largest difference of a score.
        box_px: largest difference of a box edge, keypoint or corner, source pixels.
        area: largest share of pixels on which masks or maps disagree.
        unmatched: what only one of the two found, clearly above the threshold.
    """

    images: int
    found: int
    score: float
    box_px: float
    area: float
    unmatched: int

    def to_json(self) -> dict[str, Any]:
        """Make the object that reports hold."""
        return asdict(self)


def parity(
    reference: Artifact,
    candidate: Artifact,
    images: CalibrationSet,
    spec: Input,
    *,
    limit: int = 4,
    head: HeadSpec | None = None,
    precision: str = "fp32",
) -> Parity:
    """Run two artifacts on the same images, each fed in its own way, and compare their outputs.

    Args:
        reference: what is right.
        candidate: what was made from it.
        images: real ones.
        spec: how pixels are prepared, for both.
        limit: at most so many images, spread evenly.
        head: that decodes the outputs; with it, scores are looked at apart from boxes.
        precision: that both engines are held to; see `edgecv.types.SessionOptions`.

    Raises:
        ParityError: the outputs of the two cannot be matched.
        BackendError: an engine is missing, or refuses a file.
    """
    options = SessionOptions(precision=precision)
    chosen = images.subset(limit)
    with _Runner(reference, spec, options) as before, _Runner(candidate, spec, options) as after:
        return compare_outputs(before, after, chosen.images, head=head, input_hw=spec.size_hw)


Run = Callable[[Path], Mapping[str, Array]]
"""An image file in, real-valued outputs out: name -> array, in the model's order."""


def compare_outputs(
    reference: Run,
    candidate: Run,
    images: Sequence[Path],
    *,
    head: HeadSpec | None = None,
    input_hw: tuple[int, int] = (0, 0),
) -> Parity:
    """Compare what two models put out for the same images, one image at a time.

    Args:
        reference: what is right.
        candidate: what was made from it.
        images: files; the first is run twice.
        head: see `parity`.
        input_hw: (height, width) of the model's input, for the head.

    Raises:
        ParityError: the outputs of the two cannot be matched, or there is no image.
    """
    if not images:
        raise ParityError("no image to compare with")
    split = _splitter(head, input_hw)
    rows: dict[str, Tally] = {}
    nan: set[Which] = set()
    repeats: set[Which] = set()
    for i, image in enumerate(images):
        a, b = reference(image), candidate(image)
        pairs = _match(a, b)
        if not all(np.isfinite(v).all() for v in a.values()):
            nan.add("reference")
        if not all(np.isfinite(v).all() for v in b.values()):
            nan.add("candidate")
        for name, other in pairs.items():
            for part, x, y in split(name, a[name], b[other]):
                rows.setdefault(part, Tally()).add(x, y)
        if i == 0:
            if _differ(a, reference(image)):
                repeats.add("reference")
            if _differ(b, candidate(image)):
                repeats.add("candidate")
    # One output may well be constant, such as a table of anchors; but not all of them. An output of
    # zeros hides whatever is wrong with it.
    nothing = {name: why for name, row in rows.items() if (why := row.nothing())}
    constant = {name: why for name, row in rows.items() if (why := row.constant())}
    told = "; ".join(f"{name} {why}" for name, why in {**nothing, **constant}.items())
    hopeless = bool(nothing) or len(constant) == len(rows)
    return Parity(
        outputs=tuple(row.result(name) for name, row in rows.items()),
        images=len(images),
        vacuous=told if hopeless else None,
        nondeterministic=tuple(sorted(repeats, reverse=True)),
        nan=tuple(sorted(nan, reverse=True)),
        notes=() if hopeless or not told else (told,),
    )


def check_float(
    result: Parity,
    *,
    where: str | None = None,
    cosine: float = MIN_COSINE,
    relative: float = MAX_RELATIVE,
) -> None:
    """Refuse a float conversion whose outputs are not those of its source.

    Args:
        result: of `parity`.
        where: the step that made it.
        cosine: smallest cosine of an output.
        relative: largest difference of an output, in parts of its largest value.

    Raises:
        ParityError: an output is too far off, not finite, or the comparison proves nothing.
    """
    if "candidate" in result.nan and "reference" not in result.nan:
        raise ParityError("the converted model puts out NaN or infinity", where=where)
    if result.vacuous is not None:
        raise ParityError(
            "the comparison proves nothing",
            where=where,
            got=result.vacuous,
            remedy="convert a trained model, and give images that show what it looks for",
        )
    for row in result.outputs:
        if row.cosine >= cosine and row.max_abs <= relative * row.scale:
            continue
        raise ParityError(
            f"output {row.name} is not the source's",
            where=where,
            expected=f"cosine at least {cosine:g}, differences of at most "
            f"{relative * row.scale:.3g} ({relative:.0%} of {row.scale:.3g})",
            got=f"cosine {row.cosine:.6f}, differences of up to {row.max_abs:.3g} "
            f"on {result.images} image(s)",
            remedy="convert to another format, or report the model: the step computes it wrongly",
        )


def result_agreement(
    reference: Callable[[Path], Any], candidate: Callable[[Path], Any], images: Sequence[Path]
) -> Agreement:
    """Compare two models by their results: what a user sees.

    Args:
        reference: an image file in, an `edgecv.result.Result` out, such as an `edgecv.model.Model`.
        candidate: likewise.
        images: files.
    """
    edge = getattr(getattr(reference, "options", None), "confidence", 0.0) + _UNMATCHED_EDGE
    found = unmatched = 0
    score = box_px = area = 0.0
    for image in images:
        expected, got = reference(image).value, candidate(image).value
        difference = got.difference(expected)
        found += len(expected)
        score, box_px = max(score, difference.score), max(box_px, difference.box_px)
        area = max(area, difference.area)
        unmatched += sum(one > edge for one in difference.unmatched)
    return Agreement(len(images), found, score, box_px, area, unmatched)


class _Runner:
    """An artifact, opened, that takes image files and gives real-valued outputs."""

    def __init__(self, artifact: Artifact, spec: Input, options: SessionOptions) -> None:
        backend = load_backend(artifact.backend)
        self._session: Session = backend.open_session(artifact.source(), options)
        self._input = self._session.inputs[0].name
        try:
            self._preprocessor = Preprocessor(
                spec, self._session.inputs[0], artifact.layout, artifact.in_graph
            )
        except BaseException:
            self._session.close()
            raise

    def __call__(self, image: Path) -> dict[str, Array]:
        tensor, _ = self._preprocessor.prepare(codecs.read(image))
        raw = self._session.run({self._input: tensor})
        return {spec.name: dequantize(spec, raw[spec.name]) for spec in self._session.outputs}

    def __enter__(self) -> _Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()


def _match(a: Mapping[str, Array], b: Mapping[str, Array]) -> dict[str, str]:
    """Pair outputs by name, else by position, else by shapes that occur once."""
    shapes = [{name: array.shape for name, array in side.items()} for side in (a, b)]
    if shapes[0] == shapes[1]:
        return {name: name for name in a}
    ours, theirs = shapes
    if list(ours.values()) == list(theirs.values()):
        return dict(zip(ours, theirs, strict=True))
    by_shape = {shape: name for name, shape in theirs.items()}
    once = len(set(ours.values())) == len(ours) == len(theirs) == len(by_shape)
    if once and set(ours.values()) == set(by_shape):
        return {name: by_shape[shape] for name, shape in ours.items()}
    raise ParityError(
        "the outputs of the two models do not match",
        expected=", ".join(f"{name} {list(shape)}" for name, shape in ours.items()),
        got=", ".join(f"{name} {list(shape)}" for name, shape in theirs.items()),
    )


Split = Callable[[str, Array, Array], Iterator[tuple[str, Array, Array]]]


def _splitter(head: HeadSpec | None, input_hw: tuple[int, int]) -> Split:
    """Make the function that takes the scores of a pair of outputs apart, where a head tells."""

    def whole(name: str, a: Array, b: Array) -> Iterator[tuple[str, Array, Array]]:
        yield name, a, b

    if head is None:
        return whole
    kind = head.name
    options = load_head(kind).Options(**{**head.options, "input_hw": input_hw})

    def apart(name: str, a: Array, b: Array) -> Iterator[tuple[str, Array, Array]]:
        yield name, a, b
        x, y = score_part(kind, options, a), score_part(kind, options, b)
        if x is not None and y is not None:
            yield f"{name} (scores)", x, y

    return apart


def _differ(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return any(not np.array_equal(a[name], b[name], equal_nan=True) for name in a)
