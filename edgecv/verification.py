"""Prove that a bundle still is and still does what was recorded when it was made.

A bare model file has no record to be held against; its raw outputs alone can show what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from edgecv import plugins
from edgecv.bundle import Bundle, is_bundle, open_bundle
from edgecv.engines import backends_for, find_model_file, gather, why_not
from edgecv.errors import EdgecvError, ManifestError, UsageError
from edgecv.hints import Hints
from edgecv.loading import load
from edgecv.manifest import Golden, Manifest
from edgecv.model import Model
from edgecv.output_check import Flag, check_model
from edgecv.types import Image

_MAX_IMAGES = 8
_SYNTHETIC = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One golden sample, replayed through one variant.

    Attributes:
        variant: its id.
        image: member name of the golden image; empty where the variant could not be opened.
        status: ``ok``, ``failed``, or ``skipped`` where the engine is not installed.
        score: largest difference of a score; None where nothing was compared.
        box_px: largest difference of a box edge, keypoint or corner, source pixels.
        unmatched: detections that only one side has and that no tolerance explains.
        area: largest share of pixels on which masks or maps disagree.
        reason: why it was skipped or failed.
    """

    variant: str
    image: str
    status: Literal["ok", "failed", "skipped"]
    score: float | None = None
    box_px: float | None = None
    unmatched: int = 0
    reason: str = ""
    area: float = 0.0


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found.

    Attributes:
        path: of the bundle.
        files: how many were hashed; a wrong hash is an error, not a report.
        checks: one for each golden sample and variant.
        golden: golden samples in the bundle.
        note: what could not be proven, such as a bundle without golden samples.
        flags: variant id, or the backend of a bare file -> what is wrong with its raw outputs.
    """

    path: str
    files: int
    checks: tuple[Check, ...]
    golden: int = 0
    note: str = ""
    flags: Mapping[str, tuple[Flag, ...]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Tell whether nothing failed, and something was compared if there is anything to compare.

        Variants whose engine is not installed do not count as failed, nor do warnings.
        """
        statuses = {check.status for check in self.checks}
        refused = any(flag.severity == "refuse" for found in self.flags.values() for flag in found)
        return "failed" not in statuses and not refused and (not self.golden or "ok" in statuses)

    def to_json(self) -> dict[str, Any]:
        """Make the object that ``edgecv verify --json`` prints."""
        flags = {name: [flag.to_dict() for flag in found] for name, found in self.flags.items()}
        return {
            "ok": self.ok,
            "path": self.path,
            "files": self.files,
            "checks": [asdict(check) for check in self.checks],
            "golden": self.golden,
            "note": self.note,
            "flags": flags,
        }


def verify(
    path: str | os.PathLike[str], progress: Callable[[str], None] | None = None
) -> Verification:
    """Check schema and hashes, and replay the golden samples through every variant that can run.

    The raw outputs of each variant on golden images are looked at as well: see
    `edgecv.output_check`.

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
        flags: dict[str, tuple[Flag, ...]] = {}
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
                    images = [bundle.read(g.image) for g in manifest.golden[:_MAX_IMAGES]]
                    if images:
                        flags[variant.id] = check_model(model, images)
            except EdgecvError as error:
                checks.append(Check(variant.id, "", "failed", reason=error.message))
        note = ""
        if not manifest.golden:
            note = "no golden samples: results were not compared"
        elif not any(check.image and check.status != "skipped" for check in checks):
            note = "no golden sample could be compared"
        files = len({entry.path for entry in manifest.files()})
        golden = len(manifest.golden)
        return Verification(os.fspath(path), files, tuple(checks), golden, note, flags)


def verify_file(
    path: str | os.PathLike[str],
    images: Sequence[Path] = (),
    *,
    hints: Hints | None = None,
    backend: str | None = None,
    trusted: bool = False,
) -> Verification:
    """Look at the raw outputs of a bare model file for what cannot be right.

    There is nothing recorded to compare it with, so that it passes proves little; that it fails
    proves that it cannot do its task.

    Args:
        path: a model file, or a folder with one.
        images: to run it on, at most 8 of them, spread evenly; () takes three synthetic ones.
        hints: how it is fed and read, where the file does not say.
        backend: run with this one; None takes the first that is installed.
        trusted: do not open it in a child process first.

    Raises:
        UsageError: a file that is no model, or whose head cannot be told.
        BackendError: the engine is missing, or refuses it.
        ImageError: an image cannot be read.
    """
    with load(path, hints=hints, backend=backend, trusted=trusted) as model:
        step = -(-len(images) // _MAX_IMAGES) or 1
        shown: Sequence[Any] = images[::step]
        note = f"looked at the raw outputs for {len(shown)} of {len(images)} image(s)"
        if not images:
            hw = model.info.input.size_hw
            shown = [_synthetic(seed, hw) for seed in range(_SYNTHETIC)]
            note = f"looked at the raw outputs for {len(shown)} synthetic images; name real ones"
        flags = check_model(model, shown)
        name = model.info.backend
    files = len(gather(find_model_file(Path(path)), name).parts)
    return Verification(os.fspath(path), files, (), 0, note, {name: flags})


def bare_file(path: Path) -> Path | None:
    """Return the model file that a path means, or None where it is (or is to be) a bundle."""
    if is_bundle(path):
        return None
    try:
        file = find_model_file(path)
        backends_for(file)
    except UsageError:
        return None
    return file


def _synthetic(seed: int, size_hw: tuple[int, int]) -> Image:
    """Draw an image (H, W, 3) uint8 BGR of smooth colours, rectangles and some noise."""
    random = np.random.default_rng(seed)
    height, width = size_hw
    coarse = random.integers(0, 256, (6, 6, 3)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    for _ in range(6):
        y, x = int(random.integers(height)), int(random.integers(width))
        image[y : y + height // 4 + 1, x : x + width // 4 + 1] = random.integers(0, 256, 3)
    image += random.normal(0, 8, image.shape)
    drawn: Image = np.clip(image, 0, 255).astype(np.uint8)
    return drawn


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
    found = model(bundle.read(golden.image)).value
    difference = found.difference(recorded)
    tolerance = golden.tolerances.get(variant, golden.tolerance)
    # What scores next to the threshold may come and go within the tolerance of a score. What was
    # recorded far below it was recorded with another threshold.
    threshold = getattr(model.options, "confidence", 0.0)
    unmatched = sum(abs(score - threshold) > tolerance.score for score in difference.unmatched)
    faults = []
    if difference.score > tolerance.score:
        faults.append(f"score off by {difference.score:.3g}, tolerance {tolerance.score:.3g}")
    if difference.box_px > tolerance.box_px:
        faults.append(f"box off by {difference.box_px:.3g} px, tolerance {tolerance.box_px:.3g}")
    if difference.area > tolerance.area:
        faults.append(f"area off by {difference.area:.3g}, tolerance {tolerance.area:.3g}")
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
        difference.area,
    )


def result_type(manifest: Manifest) -> Any:
    """Find the class of a task's results.

    Raises:
        ManifestError: no result type is for this task.
    """
    modules = [plugins.load("results", name) for name in plugins.names("results")]
    for module in modules:
        if manifest.task in module.TASKS:
            return module.RESULT
    raise ManifestError(
        "unknown task",
        where="manifest.json: task",
        expected=f"one of {', '.join(task for module in modules for task in module.TASKS)}",
        got=repr(manifest.task),
    )
