"""Make trials and find out about them: agreement, accuracy, flags and speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecv import plugins
from edgecv.bench.interleaved import Competitor, Ratio, Timing, ratio, take_turns
from edgecv.converters import sensitivity
from edgecv.converters.agreement import agreement, pseudo_truth
from edgecv.converters.artifact import Artifact
from edgecv.converters.calibration import CalibrationSet
from edgecv.converters.candidate import Candidates
from edgecv.converters.flavour import Flavour
from edgecv.converters.gate import paired_drop
from edgecv.converters.graphs import Graphs
from edgecv.converters.layers import Layer
from edgecv.converters.quantizer import load_quantizer
from edgecv.converters.recipe import Recipe
from edgecv.converters.trial import Trial, trial_id
from edgecv.dataset import Dataset
from edgecv.errors import ConversionError, DependencyMissingError, EdgecvError
from edgecv.evaluation import evaluate
from edgecv.output_check import check_model

_REST, _HINTS = "INFERENCE_PRECISION_HINT", {"bf16": "bf16", "fp16": "f16"}
_AGREEMENT_IMAGES = 48
_FLAG_IMAGES = 3
TIMING_IMAGES = 16
_FEW_ROUNDS, _LONGER = 4, 4


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is spent on measuring.

    Attributes:
        limit: validation images, None for all.
        bootstrap: resamples for intervals.
        rounds: turns that each model gets when speeds are compared.
        turn_s: length of a turn.
        threads: of the inference that is timed.
    """

    limit: int | None = None
    bootstrap: int = 1000
    rounds: int = 8
    turn_s: float = 0.15
    threads: int = 1


class Judge:
    """Knows the data and the float reference; makes and measures trials.

    Args:
        graphs: the float graphs.
        candidates: wraps files as bundles.
        calibration: images to calibrate and choose on; None leaves int8 out.
        validation: images that the gate reads; None leaves accuracy unmeasured.
        effort: how much is spent.
    """

    def __init__(
        self,
        graphs: Graphs,
        candidates: Candidates,
        calibration: CalibrationSet | None,
        validation: Dataset | None,
        effort: Effort,
    ) -> None:
        self.graphs = graphs
        self.workspace = graphs.workspace
        self.candidates = candidates
        self.calibration = calibration
        self.validation = validation
        self.effort = effort
        self.reference: Trial | None = None
        self.damages: list[sensitivity.Damage] | None = None
        self._trials: dict[str, Trial] = {}
        self._truth: Dataset | None = None
        task = candidates.description.task
        precision = graphs.first.precision
        self.as_it_is = Recipe(
            precision=precision, calibrator="minmax" if precision == "fp32" else "as it is"
        )
        # A task that nothing measures is converted in float, without data.
        measured = task in plugins.names("metrics")
        self.metric: str = plugins.load("metrics", task).NAMES[0] if measured else "none"

    def trial(self, flavour: Flavour, recipe: Recipe) -> Trial:
        """Make a trial's file; where that fails, the trial says why and has no file."""
        name = trial_id(flavour, recipe)
        if name in self._trials:
            return self._trials[name]
        made = self._trials[name] = Trial(name, flavour, recipe)
        try:
            made.artifact = self._lower(flavour, recipe)
            options = {} if recipe.rest == "fp32" else {_REST: _HINTS[recipe.rest]}
            made.candidate = self.candidates.make(name, made.artifact, options)
        except EdgecvError as error:
            made.reason = f"not made: {error.message}"
            self.workspace.say(f"{name}: {made.reason}")
        return made

    def refuses(self, flavour: Flavour, recipe: Recipe) -> str | None:
        """Say why a recipe makes no sense for a float graph; None where it does, or may."""
        try:
            artifact = self.graphs.get(flavour)
        except EdgecvError as error:
            return error.message
        return load_quantizer(artifact.backend).refuses(artifact, recipe)

    def _lower(self, flavour: Flavour, recipe: Recipe) -> Artifact:
        artifact = self.graphs.get(flavour)
        if recipe == self.as_it_is:
            return artifact
        quantizer = load_quantizer(artifact.backend)
        why = quantizer.refuses(artifact, recipe)
        if why is not None:
            raise ConversionError(why)
        feeds = self.graphs.feeds(artifact) if recipe.precision == "int8" else None
        names = set(recipe.float_layers)
        layers = [layer for layer in self._layers(flavour) if layer.name in names]
        key = {
            "model": artifact,
            "recipe": recipe.replace(rest="fp32"),
            "calibration": feeds.digest if feeds else None,
        }
        return self.workspace.produce(
            f"quantize_{artifact.backend}",
            key,
            lambda folder: quantizer.quantize(artifact, recipe, feeds, folder, float_layers=layers),
            tools=quantizer.TOOLS,
        )

    def _layers(self, flavour: Flavour) -> list[Layer]:
        return self.graphs.layers(flavour)

    def agree(self, trial: Trial) -> float:
        """Measure a trial's agreement with the float reference on calibration images.

        Returns:
            0-1; -1 where there is no file, or nothing to compare with.
        """
        if trial.candidate is None or self.calibration is None or self.reference is None:
            return -1.0
        if trial.agreement is None:
            try:
                with trial.candidate.open() as model:
                    trial.agreement = agreement(model, self._pseudo_truth())
            except DependencyMissingError:
                raise
            except EdgecvError as error:
                trial.reason = trial.reason or f"agreement not measured: {error.message}"
                return -1.0
            told = "none" if trial.agreement is None else f"{trial.agreement:.3f}"
            self.workspace.say(f"{trial.id}: agreement on calibration images {told}")
        return -1.0 if trial.agreement is None else trial.agreement

    def _pseudo_truth(self) -> Dataset:
        if self._truth is None:
            assert self.reference is not None
            assert self.reference.candidate is not None
            assert self.calibration is not None
            with self.reference.candidate.open() as model:
                images = self.calibration.subset(_AGREEMENT_IMAGES).images
                self._truth = pseudo_truth(model, images)
        return self._truth

    def measure(self, trial: Trial) -> None:
        """Measure a trial's accuracy on the validation images, and look at its outputs."""
        if trial.candidate is None or trial.evaluation is not None:
            return
        images = self.images(_FLAG_IMAGES)
        try:
            with trial.candidate.open() as model:
                trial.flags = tuple(check_model(model, images)) if images else ()
                if self.validation is not None:
                    trial.evaluation = evaluate(
                        model,
                        self.validation,
                        limit=self.effort.limit,
                        bootstrap=self.effort.bootstrap,
                    )
        except DependencyMissingError:
            raise
        except EdgecvError as error:
            trial.reason = f"not measured: {error.message}"
            self.workspace.say(f"{trial.id}: {trial.reason}")
            return
        if trial.evaluation is None:
            return
        reference = self.reference or trial
        if reference.evaluation is not None:
            trial.drop = paired_drop(reference.evaluation, trial.evaluation, self.metric)
        value = trial.evaluation.metrics[self.metric]
        drop = "" if trial.drop is None else f", drop {trial.drop.value_points:+.2f} points"
        told = "none" if value is None else f"{value:.3f}"
        self.workspace.say(f"{trial.id}: {self.metric} {told}{drop}")

    def time(self, trials: Sequence[Trial]) -> None:
        """Time trials in turns, with the float reference among them."""
        first = self.reference
        others = [] if first is None or first in trials else [first]
        timings = self._take_turns([*others, *trials], self.effort.rounds)
        base = None if first is None else timings.get(first.id)
        for trial in trials:
            trial.timing = timings.get(trial.id)
            if trial.timing is None:
                continue
            if base is not None:
                trial.speedup = ratio(base, trial.timing)
            self.workspace.say(f"{trial.id}: {trial.timing.p50_ms:.2f} ms")

    def fastest(self, trials: Sequence[Trial]) -> Trial:
        """Tell which of some trials is the fastest, from a few turns."""
        timings = self._take_turns(trials, _FEW_ROUNDS)
        return min(
            trials, key=lambda trial: timings[trial.id].p50_ms if trial.id in timings else math.inf
        )

    def race(self, slower: Trial, faster: Trial) -> Ratio | None:
        """Tell how many times as fast one trial is as another, from many more turns.

        Their `timing` stays what the common turns of all trials said.
        """
        self.workspace.say(f"{slower.id} and {faster.id}: timing them longer")
        timings = self._take_turns([slower, faster], _LONGER * self.effort.rounds)
        if len(timings) < 2:
            return None
        return ratio(timings[slower.id], timings[faster.id])

    def _take_turns(self, trials: Sequence[Trial], rounds: int) -> dict[str, Timing]:
        """Time the trials that have a file; without one, or without images, nothing is timed."""
        competitors = [
            Competitor(trial.id, trial.candidate.bundle, {"threads": self.effort.threads})
            for trial in trials
            if trial.candidate is not None
        ]
        images = self.images(TIMING_IMAGES)
        if not competitors or not images:
            return {}
        return take_turns(competitors, images, rounds=rounds, turn_s=self.effort.turn_s)

    def images(self, count: int) -> list[Path]:
        """Pick images to look at outputs and to time with, spread over the set."""
        if self.calibration is not None:
            return list(self.calibration.subset(count).images)
        if self.validation is None:
            return []
        samples = self.validation.samples
        step = max(1, len(samples) // count)
        return [sample.image for sample in samples[::step][:count]]

    def worst_layers(self, recipe: Recipe) -> list[sensitivity.Damage]:
        """List the layers of the ONNX graph by the damage that quantizing each alone does."""
        if self.damages is None:
            self.damages = []
            if self.graphs.has_onnx and self.calibration is not None:
                self.damages = self._measure_damage(recipe.calibrator)
        return self.damages

    def _measure_damage(self, calibrator: str) -> list[sensitivity.Damage]:
        first = self.graphs.first
        feeds = self.graphs.feeds(first)
        rows = self.workspace.remember(
            "sensitivity",
            {"model": first, "calibration": feeds.digest, "calibrator": calibrator},
            lambda: [
                [damage.layer, damage.op, damage.value]
                for damage in sensitivity.measure(
                    first.path, feeds, calibrator, progress=self.workspace.say
                )
            ],
            tools=sensitivity.TOOLS,
        )
        return [sensitivity.Damage(*row) for row in rows]
