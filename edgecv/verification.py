"""Prove that a bundle still is and still does what was recorded when it was made."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgecv import plugins
from edgecv.bundle import Bundle, open_bundle
from edgecv.engines import why_not
from edgecv.errors import EdgecvError, ManifestError, UsageError
from edgecv.loading import load
from edgecv.manifest import Golden, Manifest
from edgecv.model import Model


@dataclass(frozen=True, slots=True)
class Check:
    """One golden sample, replayed through one variant.

    Attributes:
        variant: its id.
        image: member name of the golden image; empty where the variant could not be opened.
        status: ``ok``, ``failed``, or ``skipped`` where the engine is not installed.
        score: largest difference of a score; None where nothing was compared.
        box_px: largest difference of a box edge, source pixels.
        unmatched: detections that only one side has and that no tolerance explains.
        reason: why it was skipped or failed.
    """

    variant: str
    image: str
    status: Literal["ok", "failed", "skipped"]
    score: float | None = None
    box_px: float | None = None
    unmatched: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found.

    Attributes:
        path: of the bundle.
        files: how many were hashed; a wrong hash is an error, not a report.
        checks: one for each golden sample and variant.
        golden: golden samples in the bundle.
        note: what could not be proven, such as a bundle without golden samples.
    """

    path: str
    files: int
    checks: tuple[Check, ...]
    golden: int = 0
    note: str = ""

    @property
    def ok(self) -> bool:
        """Tell whether nothing failed, and something was compared if there is anything to compare.

        Variants whose engine is not installed do not count as failed.
        """
        statuses = {check.status for check in self.checks}
        return "failed" not in statuses and (not self.golden or "ok" in statuses)

    def to_json(self) -> dict[str, Any]:
        """Make the object that ``edgecv verify --json`` prints."""
        return {"ok": self.ok, **asdict(self)}


def verify(
    path: str | os.PathLike[str], progress: Callable[[str], None] | None = None
) -> Verification:
    """Check schema and hashes, and replay the golden samples through every variant that can run.

    Args:
        path: of the bundle.
        progress: called with each variant's id as its turn comes.

    Raises:
        UsageError: there is no such path.
        BundleError: the bundle is broken, unsafe or altered.
    """
    if not Path(path).exists():
        raise UsageError("no such file or folder", where=os.fspath(path))
    with open_bundle(path) as bundle:
        manifest = bundle.manifest
        checks: list[Check] = []
        for variant in manifest.variants:
            if progress:
                progress(variant.id)
            reason = why_not(variant.backend)
            if reason is not None:
                checks.append(Check(variant.id, "", "skipped", reason=reason))
                continue
            try:
                with load(path, variant=variant.id) as model:
                    checks += [_replay(bundle, golden, model) for golden in manifest.golden]
            except EdgecvError as error:
                checks.append(Check(variant.id, "", "failed", reason=error.message))
        note = ""
        if not manifest.golden:
            note = "no golden samples: results were not compared"
        elif not any(check.status == "ok" for check in checks):
            note = "no golden sample could be compared"
        files = len({entry.path for entry in manifest.files()})
        return Verification(os.fspath(path), files, tuple(checks), len(manifest.golden), note)


def _replay(bundle: Bundle, golden: Golden, model: Model) -> Check:
    variant, image = model.info.variant, golden.image.path
    if variant not in golden.expected:
        reason = "no result was recorded for this variant"
        return Check(variant, image, "skipped", reason=reason)
    try:
        recorded = result_type(bundle.manifest).from_json(golden.expected[variant])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ManifestError(
            f"no result of this task can be read from it: {error!r}",
            where=f"manifest.json: golden {image}: expected.{variant}",
        ) from None
    found = model(bytes(bundle.read(golden.image))).value
    difference = found.difference(recorded)
    tolerance = golden.tolerances.get(variant, golden.tolerance)
    # What scores next to the threshold may come and go within the tolerance of a score.
    edge = getattr(model.options, "confidence", 0.0) + tolerance.score
    unmatched = sum(score > edge for score in difference.unmatched)
    faults = []
    if difference.score > tolerance.score:
        faults.append(f"score off by {difference.score:.3g}, tolerance {tolerance.score:.3g}")
    if difference.box_px > tolerance.box_px:
        faults.append(f"box off by {difference.box_px:.3g} px, tolerance {tolerance.box_px:.3g}")
    if unmatched:
        faults.append(f"{unmatched} without a counterpart")
    return Check(
        variant,
        image,
        "failed" if faults else "ok",
        difference.score,
        difference.box_px,
        unmatched,
        "; ".join(faults),
    )


def result_type(manifest: Manifest) -> Any:
    """Find the class of a task's results.

    Raises:
        ManifestError: no result type is for this task.
    """
    modules = [plugins.load("results", name) for name in plugins.names("results")]
    for module in modules:
        if manifest.task == module.TASK:
            return module.RESULT
    raise ManifestError(
        "unknown task",
        where="manifest.json: task",
        expected=f"one of {', '.join(module.TASK for module in modules)}",
        got=repr(manifest.task),
    )
