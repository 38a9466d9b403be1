"""What a bundle says about itself: where it came from, and what was measured on it."""

# Annotations are not postponed here: `edgecv.schema` reads them whenever a bundle is opened, and
# would have to evaluate each.

from typing import Annotated, Any

from edgecv.record import Record, field
from edgecv.schema import Rule
from edgecv.types import Precision

Sha256 = Annotated[str, Rule(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, Rule(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]


class Provenance(Record, kw_only=True):
    """Where the bundle came from.

    Attributes:
        created: UTC time, ISO 8601.
        tool: program and version that wrote it.
        sources: name and sha256 of each source file.
        calibration_sha256: hash over the calibration set, where there was one.
        versions: library -> version at the time.
    """

    created: str = ""
    tool: str = ""
    sources: dict[str, Sha256] = field(default_factory=dict)
    calibration_sha256: Sha256 | None = None
    versions: dict[str, str] = field(default_factory=dict)


class Measurement(Record, kw_only=True):
    """One number on the card, measured on the bytes in this bundle.

    Attributes:
        metric: such as ``map``, ``map50``, ``top1`` or ``latency_ms``.
        value: the number, or null where it could not be measured.
        reason: why the value is null.
        ci95: its 95 % interval.
        variant: id of the variant that was measured.
        precision: read back from the engine.
        data: name of the data and the number of images.
        conditions: such as threads, machine or engine version.
    """

    metric: Identifier
    value: float | None
    reason: str | None = None
    ci95: tuple[float, float] | None = None
    variant: Identifier
    precision: Precision | None = None
    data: str = ""
    conditions: dict[str, Any] = field(default_factory=dict)


class Card(Record, kw_only=True):
    """What is known about the model: words and measurements.

    Attributes:
        description: one paragraph.
        license: SPDX identifier or name.
        measurements: numbers that anyone can measure again.
    """

    description: str = ""
    license: str = ""
    measurements: tuple[Measurement, ...] = ()
