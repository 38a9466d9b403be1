"""Climb down from eight bits to floats until a file is both right and fast.

For one format the rungs are, in this order:

1. full int8, with the calibrator that agrees best with the float source on calibration images;
   equalized weights, corrected biases and smoothing are kept where they agree better still; then
   those that agree nearly as well;
2. the tail of the head in float, where it joins tensors whose ranges have nothing in common;
3. the most sensitive layers in float, more and more of them;
4. int8 weights only;
5. 16-bit floats;
6. fp32.

Everything up to here is chosen on calibration images. The gate then reads the validation images: a
rung may be shipped if its metric drops by no more than the user allows, and if it is faster on this
host than every rung of higher precision in the same format that may be shipped, too.
"""

from __future__ import annotations

import math
from dataclasses import replace

from edgecv import plugins
from edgecv.converters import onnx_graph
from edgecv.converters.artifact import Format
from edgecv.converters.decision import Rules, decide
from edgecv.converters.flavour import Fix, Flavour
from edgecv.converters.gate import passes
from edgecv.converters.judge import Judge
from edgecv.converters.recipe import Recipe
from edgecv.converters.steps import onnx_equalize
from edgecv.converters.trial import Trial
from edgecv.engines import load_backend
from edgecv.errors import EdgecvError
from edgecv.types import Precision

FLOAT_SHARES = (0.02, 0.04, 0.08, 0.16, 0.32)
"""Parts of the layers that are left in float, one rung each; with the layers right before them."""
_BETTER = 0.002
_NEAR, _RUNNERS_UP = 0.05, 3


class Ladder:
    """Climb the ladder of one format.

    Args:
        judge: makes and measures trials.
        format: of the files.
        rules: what may be shipped.
    """

    def __init__(self, judge: Judge, format: Format, rules: Rules) -> None:
        self.judge = judge
        self.rules = rules
        self.plain = Flavour(format)
        self.trials: list[Trial] = []

    def climb(self) -> list[Trial]:
        """Make, measure and judge the rungs; the first of the list is the plain float file."""
        floats = self._floats()
        as_it_is = self.judge.graphs.first.precision != "fp32"
        if "int8" in self.rules.precisions and not as_it_is:
            self._int8()
        if not as_it_is:
            self._reduced(self._faster(floats))
        measured = [trial for trial in self.trials if trial.evaluation or self._unjudged(trial)]
        self.judge.time(measured)
        decide(self.trials, self.judge.as_it_is, self.rules, self.judge.race)
        return self.trials

    def _faster(self, floats: list[Trial]) -> Flavour:
        """Tell which float graph is faster here; the other one is not lowered any further."""
        if len(floats) < 2:
            return self.plain
        return self.judge.fastest(floats).flavour

    def _reduced(self, flavour: Flavour) -> None:
        """Try int8 weights and 16-bit floats."""
        kinds: tuple[Precision, ...] = ("int8-weights", "fp16", "bf16")
        for precision in kinds:
            if precision in self.rules.precisions:
                self._measured(flavour, Recipe(precision=precision))

    def _unjudged(self, trial: Trial) -> bool:
        """Tell whether a file is there but no data to judge it by."""
        return trial.candidate is not None and self.judge.validation is None

    def _floats(self) -> list[Trial]:
        fp32 = self.judge.as_it_is
        plain = self._measured(self.plain, fp32)
        if plain.candidate is None:
            return []
        if not self.rules.fused or not self.judge.graphs.has_onnx:
            return [plain]
        fused = self._measured(replace(self.plain, graph="fused"), fp32)
        return [plain] if fused.candidate is None else [plain, fused]

    def _measured(self, flavour: Flavour, recipe: Recipe) -> Trial:
        trial = self._add(self.judge.trial(flavour, recipe))
        self.judge.measure(trial)
        return trial

    def _add(self, trial: Trial) -> Trial:
        if trial not in self.trials:
            self.trials.append(trial)
        return trial

    def _int8(self) -> None:
        """Search on calibration images; measure what was chosen; give in layer by layer."""
        mixed = self._mixed_joins()
        best = self._best_calibrator(float_tail=mixed is not None)
        if best is None:
            return
        if mixed is not None:
            # The rung above is known to be wrong; it is made all the same, to show by how much.
            whole = self._add(self.judge.trial(best.flavour, best.recipe.replace(float_tail=False)))
            self.judge.agree(whole)
            whole.reason = whole.reason or mixed
        best = self._first_accurate(self._best_fixes(best))
        if not self._accurate(best) and not best.recipe.float_tail and self._has_tail():
            tail = self._measured(best.flavour, best.recipe.replace(float_tail=True))
            if self._further(tail, best):
                best = tail
        if not self._accurate(best):
            best = self._float_layers(best)
        if best.candidate is not None:
            self._in_other_ways(best)

    def _first_accurate(self, best: Trial) -> Trial:
        """Measure the best full int8 file, then those that agree nearly as well, until one passes.

        Agreement on some dozens of images does not tell closer ones apart.
        """
        chosen = best
        near = [
            trial
            for trial in self.trials
            if trial.recipe.precision == "int8"
            and trial.recipe.float_tail == best.recipe.float_tail
            and trial is not chosen
            and trial.candidate is not None
            and self.judge.agree(best) - self.judge.agree(trial) <= _NEAR
        ]
        near.sort(key=self.judge.agree, reverse=True)
        for trial in [chosen, *near[:_RUNNERS_UP]]:
            self.judge.measure(trial)
            if self._accurate(trial):
                return trial
            if self._further(trial, best):
                best = trial
        return best

    def _in_other_ways(self, best: Trial) -> None:
        """Measure what was found with its pixels fused in, and with its floats in 16 bits."""
        recipes = [best.recipe]
        if best.backend == "openvino" and load_backend("openvino").lacks("bf16") is None:
            recipes.append(best.recipe.replace(rest="bf16"))
        flavours = [best.flavour]
        if self.rules.fused and self.judge.graphs.has_onnx:
            flavours.append(replace(best.flavour, graph="fused"))
        for recipe in recipes:
            for flavour in flavours:
                self._measured(flavour, recipe)

    def _best_calibrator(self, *, float_tail: bool) -> Trial | None:
        tried: list[Trial] = []
        for name in plugins.names("converters.calibrators"):
            recipe = Recipe(precision="int8", calibrator=name, float_tail=float_tail)
            if self.judge.refuses(self.plain, recipe) is not None:
                continue
            trial = self._add(self.judge.trial(self.plain, recipe))
            if trial.candidate is not None:
                self.judge.agree(trial)
                tried.append(trial)
        if not tried:
            return None
        best = max(tried, key=self.judge.agree)
        for trial in tried:
            if trial is not best:
                trial.reason = trial.reason or _behind(trial, best)
        return best

    def _best_fixes(self, best: Trial) -> Trial:
        """Keep each fix that makes the agreement better than without it."""
        for flavour, recipe in self._fixed(best):
            if self.judge.refuses(flavour, recipe) is not None:
                continue
            other = self._add(self.judge.trial(flavour, recipe))
            if other.candidate is None:
                continue
            if self.judge.agree(other) > self.judge.agree(best) + _BETTER:
                best.reason = best.reason or _behind(best, other)
                best = other
            else:
                other.reason = other.reason or _behind(other, best)
        return best

    def _fixed(self, best: Trial) -> list[tuple[Flavour, Recipe]]:
        """List what the same recipe would be with one fix more, or with both rewritings."""
        flavour, recipe = best.flavour, best.recipe
        fixes: list[Fix] = []
        if self.judge.graphs.has_onnx:
            if onnx_equalize.equalizable(self.judge.graphs.model):
                fixes.append("equalize")
            if flavour.format != "openvino":
                # OpenVINO's tool corrects biases itself, from what its own rounding does.
                fixes.append("bias correction")
        found = [(replace(flavour, fixes=(fix,)), recipe) for fix in fixes]
        if len(fixes) > 1:
            found.append((replace(flavour, fixes=tuple(fixes)), recipe))
        if flavour.format == "openvino":
            found.append((flavour, recipe.replace(bias_correction=True)))
        return [*found, (flavour, recipe.replace(smooth=True))]

    def _float_layers(self, best: Trial) -> Trial:
        """Leave the most sensitive layers in float, more each time, until the gate lets it pass.

        The layers right before a sensitive one go with it: they make the input that it suffers
        from.
        """
        damages = self.judge.worst_layers(best.recipe)
        graphs = self.judge.graphs
        before = onnx_graph.feeding(graphs.model) if graphs.has_onnx else {}
        for share in FLOAT_SHARES:
            worst = [damage.layer for damage in damages[: math.ceil(share * len(damages))]]
            pairs = ((layer, *before[layer]) for layer in worst)
            names = tuple(dict.fromkeys(name for pair in pairs for name in pair))
            if not names:
                break
            trial = self._add(
                self.judge.trial(best.flavour, best.recipe.replace(float_layers=names))
            )
            self.judge.agree(trial)
            self.judge.measure(trial)
            if self._accurate(trial):
                return trial
            if self._further(trial, best):
                best = trial
        return best

    def _further(self, trial: Trial, best: Trial) -> bool:
        """Tell whether a trial lost less than the best one so far."""
        if trial.drop is None:
            return False
        return best.drop is None or trial.drop.value_points <= best.drop.value_points

    def _accurate(self, trial: Trial) -> bool:
        if trial.candidate is None or trial.refused:
            return False
        return trial.drop is not None and passes(trial.drop, self.rules.max_drop)

    def _has_tail(self) -> bool:
        graphs = self.judge.graphs
        return graphs.has_onnx and bool(onnx_graph.tail(graphs.model))

    def _mixed_joins(self) -> str | None:
        """Find joins of tensors with nothing in common in the tail; say which."""
        graphs = self.judge.graphs
        if not graphs.has_onnx or self.judge.calibration is None:
            return None
        try:
            feeds = graphs.feeds(graphs.first)
            joins = onnx_graph.mixed_joins(graphs.model, feeds)
        except EdgecvError as error:
            self.judge.workspace.say(f"the head was not analysed: {error.message}")
            return None
        return f"the head joins {joins[0]} under one scale" if joins else None


def _behind(trial: Trial, best: Trial) -> str:
    def told(value: float | None) -> str:
        return "none" if value is None else f"{value:.3f}"

    return (
        f"agrees {told(trial.agreement)} with the float file on calibration images; "
        f"{best.id} agrees {told(best.agreement)}"
    )
