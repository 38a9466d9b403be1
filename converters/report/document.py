"""The record of a conversion: every rung that was tried, and what was measured of it.

``edgecv convert --json`` writes it, and a converted bundle has it attached as ``conversion``.
Strict, like the manifest: an unknown field, a wrong type or a newer schema is an error that names
the field, and so is a number that is missing without a reason.
"""

# Annotations are not postponed here: `edgecv.schema` reads them.

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from edgecv import schema
from edgecv.bundle import is_bundle, open_bundle
from edgecv.card import Sha256
from edgecv.errors import BundleError, UsageError
from edgecv.record import Record, field
from edgecv.schema import Rule

SCHEMA = "edgecv.conversion/1"
ATTACHMENT = "conversion"
"""Name of the attachment that holds the document in a bundle."""
MEMBER = "report/conversion.json"
"""Path of the document in a bundle."""
MAX_BYTES = 16 * 2**20

Real = float
"""A number; a record below has a field of the name ``float``."""


def _ascending(value: tuple[float, float]) -> None:
    if value[0] > value[1]:
        raise ValueError("expected the lower end first")


def _host(value: dict[str, Any]) -> None:
    wanted = {"cpu": str, "cores": int, "threads": int}
    for name in wanted:
        if name not in value:
            raise ValueError(f"expected the key {name!r}")
    for name, item in value.items():
        kind = wanted.get(name, str)
        if type(item) is not kind:
            raise ValueError(f"expected of {name!r} {'a string' if kind is str else 'an integer'}")


Text = Annotated[str, Rule(min_length=1)]
Count = Annotated[int, Rule(ge=0)]
Positive = Annotated[float, Rule(gt=0)]
Interval = Annotated[tuple[float, float], _ascending]


class Origin(Record, kw_only=True):
    """What was converted.

    Attributes:
        text: as the user named it.
        kind: the plug-in that opened it.
        files: name -> sha256 of each source file.
    """

    text: str
    kind: str
    files: dict[str, Sha256] = field(default_factory=dict)


class CalibrationSet(Record, kw_only=True):
    """Images without labels, on which layers and ranges were chosen.

    Attributes:
        name: of the data.
        images: how many.
        sha256: over the set.
    """

    name: str
    images: Count
    sha256: Sha256


class LabelledSet(Record, kw_only=True):
    """Labelled images.

    Attributes:
        name: of the data.
        split: such as ``val`` or ``test``.
        images: how many.
    """

    name: str
    split: str
    images: Count


class Data(Record, kw_only=True):
    """Which images were used for what.

    Attributes:
        calibration: chose calibrators, fixes and layers.
        gate: decided what is shipped; every metric of a rung was measured on it.
        card: what the bundle's card was measured on.
    """

    calibration: CalibrationSet | None = None
    gate: LabelledSet | None = None
    card: LabelledSet | None = None


class Reference(Record, kw_only=True):
    """The float model that all rungs are compared with.

    Attributes:
        variant: its id.
        backend: that ran it.
        value: of the document's metric, on the gate's images.
        ci95: 95 % interval of `value`.
    """

    variant: Text
    backend: Text
    value: float | None = None
    ci95: Interval | None = None


class Rung(Record, kw_only=True):
    """One file that was tried.

    Attributes:
        variant: unique id; that of the bundle's variant, where it is shipped.
        backend: that runs it.
        precision: that it was made for.
        recipe: how it was made, in words.
        graph: ``fused`` holds the pixel work, ``plain`` does not.
        metric: on the gate's images.
        ci95: 95 % interval of `metric`.
        drop: reference minus this, points (hundredths of the metric); negative where it is better.
        drop_ci95: 95 % interval of `drop`, paired by image.
        latency_ms: p50 from pixels in memory to result, one thread.
        latency_ci95: 95 % interval of `latency_ms`, ms.
        speedup: the reference's latency divided by this one's.
        size_bytes: of all its files.
        agreement: with the float model on calibration images, 0-1.
        shipped: it is in the bundle.
        reason: why it is shipped or not, or why a number is null.
        flags: what was found out about the file, such as saturated outputs.
        precision_actual: what the engine says it ran in.
    """

    variant: Text
    backend: Text
    precision: Text
    recipe: str
    graph: Literal["plain", "fused"]
    metric: float | None = None
    ci95: Interval | None = None
    drop: float | None = None
    drop_ci95: Interval | None = None
    latency_ms: Positive | None = None
    latency_ci95: Interval | None = None
    speedup: Positive | None = None
    size_bytes: Count | None = None
    agreement: Annotated[float, Rule(ge=0, le=1)] | None = None
    shipped: bool
    reason: str
    flags: tuple[str, ...] = ()
    precision_actual: str | None = None


class Parity(Record, kw_only=True):
    """How far an output was from the step's reference, on real images.

    Attributes:
        step: that made the file.
        output: name of the tensor.
        max_abs: largest absolute difference.
        cosine: of the angle between the two; null where one is all zero.
        snr_db: signal to noise, decibels; null where they are equal or the signal is zero.
    """

    step: str
    output: str
    max_abs: Annotated[float, Rule(ge=0)]
    cosine: float | None = None
    snr_db: float | None = None


class Sensitivity(Record, kw_only=True):
    """What one layer in eight bits costs, all others in float.

    Attributes:
        layer: its name.
        op: kind of the node.
        damage: to the agreement with the float model; more is worse.
        float: a shipped variant leaves it in float.
    """

    layer: str
    op: str
    damage: Real
    float: bool


class Conversion(Record, kw_only=True):
    """A whole conversion.

    Attributes:
        schema: of this document.
        name: of the model.
        task: such as ``detect``.
        metric: name of the task's own metric, such as ``map``; its values are in 0-1.
        max_drop: that was allowed, points.
        created: UTC time, ISO 8601.
        host: what it was measured on: ``cpu``, ``cores``, ``threads`` and further words.
        versions: library -> version.
        source: what was converted.
        data: which images were used for what.
        reference: the float model.
        rungs: what was tried, in the order of the ladder.
        parity: of the steps.
        sensitivity: of the layers, or null.
        sensitivity_reason: why it is null.
        target: that it was made for, or null; nothing was measured there.
        notes: what else a reader should know.
    """

    schema: Literal["edgecv.conversion/1"] = "edgecv.conversion/1"
    name: Text
    task: Text
    metric: Text
    max_drop: Annotated[float, Rule(ge=0)]
    created: str
    host: Annotated[dict[str, Any], _host]
    versions: dict[str, str] = field(default_factory=dict)
    source: Origin
    data: Data
    reference: Reference
    rungs: tuple[Rung, ...]
    parity: tuple[Parity, ...] = ()
    sensitivity: tuple[Sensitivity, ...] | None = None
    sensitivity_reason: str | None = None
    target: str | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Write as indented UTF-8 JSON, the form that is stored in a bundle.

        Raises:
            BundleError: it would not pass its own schema.
        """
        return schema.to_json(validate(self.to_dict()))


def parse(data: bytes | memoryview, where: str = MEMBER) -> Conversion:
    """Read and validate a document.

    Args:
        data: UTF-8 JSON.
        where: how errors name the file.

    Raises:
        BundleError: the first fault found, with the path of its field.
    """
    size = len(data)
    if size > MAX_BYTES:
        raise BundleError(
            "too large", where=where, expected=f"at most {MAX_BYTES} bytes", got=str(size)
        )
    return validate(schema.parse_object(data, where, BundleError), where)


def validate(raw: dict[str, Any], where: str = MEMBER) -> Conversion:
    """Make a record of the plain data of a document; see `parse`."""
    # The schema is looked at before the rest: a newer one has fields unknown here.
    named = raw.get("schema")
    if named != SCHEMA:
        newer = isinstance(named, str) and re.fullmatch(r"edgecv\.conversion/\d+", named)
        raise BundleError(
            "written by another edgecv" if newer else "not the record of a conversion",
            where=f"{where}: schema",
            expected=repr(SCHEMA),
            got=repr(named)[:80],
            remedy="pip install --upgrade edgecv" if newer else None,
        )
    conversion = schema.validate(Conversion, raw, where, BundleError)
    _check_consistency(conversion, where)
    return conversion


def _check_consistency(conversion: Conversion, where: str) -> None:
    """Check what no field can say alone: unique ids, and a reason for what is missing."""
    seen: set[str] = set()
    for i, rung in enumerate(conversion.rungs):
        place = f"{where}: rungs[{i}]"
        if rung.variant in seen:
            raise BundleError(
                "another rung has this id", where=f"{place}.variant", got=repr(rung.variant)
            )
        seen.add(rung.variant)
        if not rung.reason and (rung.metric is None or rung.latency_ms is None):
            raise BundleError("a null value needs a reason", where=f"{place}.reason")
        if not rung.reason and not rung.shipped:
            raise BundleError("what is not shipped needs a reason", where=f"{place}.reason")
    if conversion.sensitivity is None and not conversion.sensitivity_reason:
        raise BundleError("a null value needs a reason", where=f"{where}: sensitivity_reason")


def read(path: Path) -> Conversion:
    """Read the document of a converted bundle, or one that is a file of its own.

    Raises:
        UsageError: nothing there, or nothing that has a ladder in it.
        BundleError: the bundle or the document is broken.
    """
    if not path.exists():
        raise UsageError("no such file or folder", where=str(path))
    if path.is_dir() or is_bundle(path):
        with open_bundle(path) as bundle:
            found = bundle.attachment(ATTACHMENT)
            if found is None:
                raise UsageError(
                    "packed, not converted: there is no ladder in it",
                    where=str(path),
                    remedy="edgecv convert makes bundles with one",
                )
            return parse(bytes(found), f"{path}: {bundle.manifest.attachments[ATTACHMENT].path}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if not data.lstrip().startswith(b"{"):
        raise UsageError(
            "", where=str(path), expected="a bundle, or the JSON that edgecv convert writes"
        )
    return parse(data, str(path))
