"""The schema of a bundle's ``manifest.json``.

Strict: an unknown field, a wrong type or a newer schema is an error that names the field.
"""

# Annotations are not postponed here: `edgecv.schema` reads them whenever a bundle is opened, and
# would have to evaluate each.

from typing import Annotated, Any, Literal, get_args

from edgecv import schema
from edgecv.card import Card, Identifier, Provenance, Sha256
from edgecv.errors import ManifestError
from edgecv.members import check_member_name
from edgecv.record import Record, field
from edgecv.schema import Rule
from edgecv.types import Precision, Quantization, TensorSpec

SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 16 * 2**20
MANIFEST = "manifest.json"


def _not_zero(value: float) -> float:
    if abs(value) < 1e-6:
        raise ValueError("expected a number other than 0")
    return value


def _identifiers(value: dict[str, Any]) -> None:
    for name in value:
        try:
            get_args(Identifier)[1].check(name)
        except ValueError as error:
            raise ValueError(f"expected of each name {error}") from None


MemberName = Annotated[str, check_member_name]
Side = Annotated[int, Rule(ge=1, le=16384)]
Level = Annotated[float, Rule(ge=-1e6, le=1e6)]
Divisor = Annotated[float, _not_zero, Rule(ge=-1e6, le=1e6)]


class FileEntry(Record, kw_only=True):
    """One file of the bundle.

    Attributes:
        path: relative to the bundle's root, with forward slashes.
        sha256: of its bytes, 64 lower-case hex digits.
        bytes: its size.
    """

    path: MemberName
    sha256: Sha256
    bytes: Annotated[int, Rule(ge=0, le=2**40)]


class Input(Record, kw_only=True):
    """How an image becomes the model's input; independent of engine and tensor type.

    Attributes:
        size_hw: (height, width) of the model input in pixels.
        resize: how the image is fitted in; `edgecv.geometry.plan` defines each.
        rounding: of the letterboxed size.
        pad_value: grey level of the border, 0-255.
        crop_ratio: of ``crop``.
        interpolation: OpenCV's of that name; ``area`` averages what it shrinks, and where it would
            enlarge, ``linear`` is used instead. With ``-antialias`` Pillow's bilinear or bicubic,
            which torchvision uses on images, too: see `edgecv.antialias`.
        color: channels that the model wants; ``grey`` uses the first of `mean` and `std`.
        mean: per channel in the model's order, in 0-255 units.
        std: per channel; the tensor's value is (pixel - mean) / std.
    """

    size_hw: tuple[Side, Side]
    resize: Literal["stretch", "letterbox", "letterbox-topleft", "crop"]
    rounding: Literal["round", "floor"] = "round"
    pad_value: Annotated[int, Rule(ge=0, le=255)] = 114
    crop_ratio: Annotated[float, Rule(ge=0.01, le=1)] = 1.0
    interpolation: Literal[
        "linear", "area", "cubic", "nearest", "linear-antialias", "cubic-antialias"
    ] = "linear"
    color: Literal["rgb", "bgr", "grey"] = "rgb"
    mean: tuple[Level, Level, Level] = (0.0, 0.0, 0.0)
    std: tuple[Divisor, Divisor, Divisor] = (1.0, 1.0, 1.0)


class HeadSpec(Record, kw_only=True):
    """Which head decodes the outputs, and its options.

    Attributes:
        name: a plug-in in ``heads/``.
        options: fields of that head's ``Options``, without ``input_hw``.
        arrays: further fields of it that are arrays, each an ``.npy`` file of the bundle.
    """

    name: Identifier
    options: dict[str, Any] = field(default_factory=dict)
    arrays: Annotated[dict[str, FileEntry], _identifiers] = field(default_factory=dict)


class Quant(Record, kw_only=True):
    """``real = (integer - zero_point) * scale`` of an integer tensor."""

    scale: Annotated[float, Rule(gt=0)]
    zero_point: int


class Tensor(Record, kw_only=True):
    """Name, shape (null = free), dtype and quantization of a tensor."""

    name: str
    shape: tuple[Annotated[int, Rule(ge=0)] | None, ...]
    dtype: Annotated[str, Rule(pattern=r"^(u?int(8|16|32|64)|float(16|32|64)|bool)$")]
    quantization: Quant | None = None

    @classmethod
    def from_spec(cls, spec: TensorSpec) -> "Tensor":
        """Make the manifest's form of a session's tensor."""
        q = spec.quantization
        quant = None if q is None else Quant(scale=q.scale, zero_point=q.zero_point)
        return cls(name=spec.name, shape=spec.shape, dtype=spec.dtype, quantization=quant)

    def to_spec(self) -> TensorSpec:
        """Make the form that sessions use."""
        q = self.quantization
        quant = None if q is None else Quantization(q.scale, q.zero_point)
        return TensorSpec(self.name, self.shape, self.dtype, quant)


class Variant(Record, kw_only=True):
    """The model in one format and precision.

    Attributes:
        id: unique in the bundle.
        backend: a plug-in in ``backends/``.
        precision: of the arithmetic that this variant is meant to run in.
        files: main file first.
        inputs: as the engine reports them.
        outputs: as the engine reports them.
        layout: of the image input.
        in_graph: preprocessing steps that the graph itself does. With ``color`` it takes BGR, with
            ``normalize`` it takes 0-255.
        engine_options: passed to the engine by name.
    """

    id: Identifier
    backend: Identifier
    precision: Precision = "fp32"
    files: Annotated[tuple[FileEntry, ...], Rule(min_length=1)]
    inputs: Annotated[tuple[Tensor, ...], Rule(min_length=1)]
    outputs: Annotated[tuple[Tensor, ...], Rule(min_length=1)]
    layout: Literal["NCHW", "NHWC"]
    in_graph: tuple[Literal["color", "normalize"], ...] = ()
    engine_options: dict[str, str] = field(default_factory=dict)


class Tolerance(Record, kw_only=True):
    """How far a replayed result may be from the recorded one.

    Attributes:
        score: largest absolute difference of a score.
        box_px: largest absolute difference of a box edge, keypoint or corner, source pixels.
        area: largest share of an object's or the image's pixels on which masks or maps disagree.
    """

    score: Annotated[float, Rule(ge=0)] = 0.02
    box_px: Annotated[float, Rule(ge=0)] = 2.0
    area: Annotated[float, Rule(ge=0)] = 0.05


class Golden(Record, kw_only=True):
    """An image with the result that each variant gave when the bundle was made.

    Attributes:
        image: an encoded image in the bundle.
        expected: variant id -> what the result's ``to_json`` gave.
        tolerance: for every variant that has none of its own.
        tolerances: variant id -> its own tolerance.
    """

    image: FileEntry
    expected: dict[str, dict[str, Any]]
    tolerance: Tolerance = field(default_factory=Tolerance)
    tolerances: dict[str, Tolerance] = field(default_factory=dict)


class Manifest(Record, kw_only=True):
    """Everything about a model but its weights.

    Attributes:
        schema_version: of this format.
        name: of the model.
        version: of the model, the maker's own.
        task: such as ``detect`` or ``classify``; names a type in ``results/``.
        labels: class names by class id; may be empty.
        input: how pixels are prepared.
        head: how tensors are decoded.
        variants: in the order of preference.
        golden: images with recorded results.
        provenance: where it came from.
        card: what was measured.
        attachments: name -> a document about the model, such as ``conversion``; not looked at
            when a model is loaded.
    """

    schema_version: Literal[1] = 1
    name: Annotated[str, Rule(min_length=1, max_length=128)]
    version: str = "1"
    task: Identifier
    labels: tuple[str, ...] = ()
    input: Input
    head: HeadSpec
    variants: Annotated[tuple[Variant, ...], Rule(min_length=1)]
    golden: tuple[Golden, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    card: Card = field(default_factory=Card)
    attachments: Annotated[dict[str, FileEntry], _identifiers] = field(default_factory=dict)

    def files(self) -> list[FileEntry]:
        """List every file of the bundle but the manifest, in order; shared files occur again."""
        listed = [entry for variant in self.variants for entry in variant.files]
        listed += [golden.image for golden in self.golden]
        listed += self.head.arrays.values()
        return listed + list(self.attachments.values())

    def variant(self, variant_id: str) -> Variant:
        """Find a variant by id.

        Raises:
            ManifestError: there is none; the error lists those that exist.
        """
        for variant in self.variants:
            if variant.id == variant_id:
                return variant
        raise ManifestError(
            "no such variant",
            where=self.name,
            expected=f"one of {', '.join(v.id for v in self.variants)}",
            got=repr(variant_id),
        )

    def to_json(self) -> bytes:
        """Write as indented UTF-8 JSON, the form that is stored in a bundle."""
        return schema.to_json(self)


def parse(data: bytes, where: str = MANIFEST) -> Manifest:
    """Read and validate a manifest.

    Args:
        data: UTF-8 JSON.
        where: how errors name the file.

    Raises:
        ManifestError: the first fault found, with the path of its field.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(
            "too large",
            where=where,
            expected=f"at most {MAX_MANIFEST_BYTES} bytes",
            got=f"{len(data)}",
        )
    # The version is looked at before the rest: a newer manifest has fields unknown here.
    raw = schema.parse_object(data, where, ManifestError)
    version = raw.get("schema_version")
    if version is None:
        raise ManifestError(
            "missing field", where=f"{where}: schema_version", expected=str(SCHEMA_VERSION)
        )
    if type(version) is not int:
        raise ManifestError(
            "",
            where=f"{where}: schema_version",
            expected=str(SCHEMA_VERSION),
            got=repr(version)[:80],
        )
    if version > SCHEMA_VERSION:
        raise ManifestError(
            "the bundle is newer than this edgecv",
            where=f"{where}: schema_version",
            expected=f"at most {SCHEMA_VERSION}",
            got=str(version),
            remedy="pip install --upgrade edgecv",
        )
    manifest = schema.validate(Manifest, raw, where, ManifestError)
    _check_consistency(manifest, where)
    return manifest


def _check_consistency(manifest: Manifest, where: str) -> None:
    """Check what no field can say alone: unique ids, known ids, one hash a path."""
    for name in manifest.head.arrays.keys() & manifest.head.options.keys():
        raise ManifestError("said twice", where=f"{where}: head.options.{name}")
    ids = [variant.id for variant in manifest.variants]
    for i, name in enumerate(ids):
        if name in ids[:i]:
            raise ManifestError(
                "another variant has this id", where=f"{where}: variants[{i}].id", got=repr(name)
            )
    for i, golden in enumerate(manifest.golden):
        for name in (*golden.expected, *golden.tolerances):
            if name not in ids:
                raise ManifestError(
                    "no such variant",
                    where=f"{where}: golden[{i}]",
                    expected=f"one of {', '.join(ids)}",
                    got=repr(name),
                )
    for i, measured in enumerate(manifest.card.measurements):
        if measured.value is None and not measured.reason:
            raise ManifestError(
                "a null value needs a reason", where=f"{where}: card.measurements[{i}].reason"
            )
    entries = {MANIFEST: FileEntry(path=MANIFEST, sha256="", bytes=0)}
    for entry in manifest.files():
        other = entries.setdefault(entry.path.casefold(), entry)
        if other != entry:
            raise ManifestError(
                "two entries are the same file on some systems, or one file with two hashes",
                where=f"{where}: files",
                got=f"{other.path!r} and {entry.path!r}",
            )
