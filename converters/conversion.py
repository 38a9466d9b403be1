"""Convert a model: open the source, make every format, climb the ladders, write the bundle."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecv.bench.interleaved import Competitor, Timing, take_turns
from edgecv.converters import bundling
from edgecv.converters.candidate import Candidates
from edgecv.converters.flavour import Flavour
from edgecv.converters.graphs import Graphs
from edgecv.converters.judge import TIMING_IMAGES, Judge
from edgecv.converters.ladder import Ladder
from edgecv.converters.minutes import document
from edgecv.converters.near_duplicates import check_disjoint
from edgecv.converters.order import Order
from edgecv.converters.parity import Agreement
from edgecv.converters.proof import images_of, prove, prove_results
from edgecv.converters.report.document import validate
from edgecv.converters.source import Source, open_source
from edgecv.converters.splits import calibration_images, card_images, gate_images, labelled
from edgecv.converters.trial import Trial
from edgecv.converters.workspace import Workspace
from edgecv.dataset import Dataset
from edgecv.describe import Description, describe
from edgecv.engines import load_backend
from edgecv.errors import ConversionError
from edgecv.evaluation import Evaluation, evaluate
from edgecv.hints import Hints
from edgecv.host import usable_cpus
from edgecv.types import SessionOptions

_GOLDEN = 4


@dataclass(frozen=True, slots=True)
class Conversion:
    """What came out.

    Attributes:
        path: of the bundle.
        document: the whole ladder; see `edgecv.converters.report.document`.
        trials: every rung of every format.
        description: how the model is fed and read.
    """

    path: Path
    document: Mapping[str, Any]
    trials: tuple[Trial, ...]
    description: Description


def convert(order: Order, progress: Callable[[str], None] | None = None) -> Conversion:
    """Convert a model and write a bundle of what is proven to work.

    Args:
        order: what is wanted.
        progress: called with one line for each thing that is done.

    Raises:
        UsageError: the order contradicts itself, or names what is not there.
        ConversionError: a step failed; what was finished is kept in the work folder, and the same
            order goes on from there.
        DatasetError: the data cannot be read, or have no labels.
    """
    order.check()
    with order.workspace(progress) as workspace:
        return _carry_out(order, workspace)


def _carry_out(order: Order, workspace: Workspace) -> Conversion:
    source = open_source(order.request)
    graphs = Graphs(workspace, source, order.request.input_hw)
    graphs.check_formats(order.formats)
    description = _describe(graphs, source, order.hints)
    validation = None if order.data is None else gate_images(order.data, order.split, description)
    calibration = calibration_images(
        order.calibration,
        order.data,
        order.calibration_limit,
        needed="int8" in order.rules.precisions,
    )
    if calibration is not None and validation is not None:
        workspace.say("comparing calibration and validation images")
        check_disjoint(calibration.images, [sample.image for sample in validation.samples])
    graphs.prepare(description.input, calibration)
    name = order.name or description.hints.name or source.name
    judge = Judge(
        graphs, Candidates(workspace, name, description), calibration, validation, order.effort
    )
    _measure_reference(judge)
    proofs = prove(
        graphs,
        order.formats,
        description.input,
        description.head,
        images_of(calibration, validation),
        fused=order.rules.fused,
    )
    trials = [
        trial
        for wanted in order.formats
        for trial in Ladder(judge, wanted, order.rules_for(wanted)).climb()
    ]
    shipped = [trial for trial in trials if trial.shipped]
    if not shipped:
        raise ConversionError(
            "nothing is left to ship",
            where=order.request.text,
            got="; ".join(f"{trial.id}: {trial.reason}" for trial in trials)[:2000],
        )
    timings = _time(judge, shipped)
    shipped.sort(key=lambda trial: timings[trial.id, 1].p50_ms if timings else 0.0)
    card, card_data = _card(order, judge, shipped)
    facts = document(
        order=order,
        source=source,
        judge=judge,
        proofs=proofs,
        results=_compare_results(judge, trials),
        trials=trials,
        card_data=card_data,
        created=datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat(),
    )
    validate(facts)  # the report is to be readable before anything is written
    path = bundling.write(
        bundling.Shipment(
            name=name,
            version=order.version,
            license=description.hints.license or "",
            description=description,
            trials=shipped,
            card=card,
            timings=timings,
            golden=order.golden or _golden(judge),
            sources=source.files,
            versions={k: v for k, v in facts["versions"].items() if v is not None},
            calibration_sha256=None if calibration is None else calibration.digest,
            document=facts,
        ),
        order.output,
        overwrite=order.overwrite,
    )
    return Conversion(path, facts, tuple(trials), description)


def _describe(graphs: Graphs, source: Source, said: Hints) -> Description:
    """Find out how the model is fed and read: the user's word first, then the source's."""
    first = graphs.first
    session = load_backend(first.backend).open_session(first.source(), SessionOptions())
    try:
        return describe(
            first.path, session.inputs, session.outputs, session.metadata, said.over(source.hints)
        )
    finally:
        session.close()


def _measure_reference(judge: Judge) -> None:
    """Make and measure the float file that everything is compared with."""
    first = judge.graphs.first
    reference = judge.trial(Flavour(first.format), judge.as_it_is)
    if reference.candidate is None:
        raise ConversionError(
            "the source cannot be run", where=judge.graphs.source.name, got=reference.reason
        )
    judge.reference = reference
    judge.measure(reference)
    if reference.refused:
        raise ConversionError(
            "the source itself must not be shipped",
            where=judge.graphs.source.name,
            got=reference.refused,
        )
    if judge.validation is not None and (
        reference.evaluation is None or reference.evaluation.metrics[judge.metric] is None
    ):
        raise ConversionError(
            f"the source's own {judge.metric} cannot be measured",
            where=judge.graphs.source.name,
            got=reference.reason or "no value",
        )


def _compare_results(judge: Judge, trials: Sequence[Trial]) -> list[tuple[str, Agreement]]:
    """Compare what the float files find, decoded, with what the reference finds."""
    reference = judge.reference
    images = judge.images(TIMING_IMAGES)
    if reference is None or reference.candidate is None or not images:
        return []
    others = [
        trial.candidate
        for trial in trials
        if trial.recipe == judge.as_it_is and trial is not reference and trial.candidate
    ]
    return prove_results(reference.candidate, others, images)


def _time(judge: Judge, shipped: Sequence[Trial]) -> dict[tuple[str, int], Timing]:
    """Time the shipped files side by side, with one thread and with all."""
    found: dict[tuple[str, int], Timing] = {}
    images = judge.images(TIMING_IMAGES)
    if not images:  # never on made-up pixels
        return found
    for threads in sorted({1, usable_cpus()}):
        timings = take_turns(
            [
                Competitor(trial.id, trial.candidate.bundle, {"threads": threads})
                for trial in shipped
                if trial.candidate is not None
            ],
            images,
            rounds=judge.effort.rounds,
            turn_s=judge.effort.turn_s,
            progress=None,
        )
        found |= {(name, threads): timing for name, timing in timings.items()}
    return found


def _card(
    order: Order, judge: Judge, shipped: Sequence[Trial]
) -> tuple[dict[str, Evaluation], Dataset | None]:
    """Measure the card on the test split, or take the gate's numbers where there is none."""
    gate = {trial.id: trial.evaluation for trial in shipped if trial.evaluation is not None}
    test = card_images(order.data, order.split, judge.candidates.description)
    if test is None:
        return gate, judge.validation
    found: dict[str, Evaluation] = {}
    for trial in shipped:
        assert trial.candidate is not None
        judge.workspace.say(f"{trial.id}: measuring the card on split {test.split}")
        with trial.candidate.open() as model:
            found[trial.id] = evaluate(
                model, test, limit=judge.effort.limit, bootstrap=judge.effort.bootstrap
            )
    return found, test


def _golden(judge: Judge) -> list[Path]:
    """Pick images in which the reference finds something; others prove little."""
    if judge.validation is None:
        return judge.images(_GOLDEN)
    samples = judge.validation.samples
    shown = [sample.image for sample in samples if labelled(sample)]
    step = max(1, len(shown) // _GOLDEN)
    return shown[::step][:_GOLDEN]
