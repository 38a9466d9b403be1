"""Named vectors on disk, and the ones nearest to an image: exact cosine search.

A gallery belongs to the model that made its vectors: those of another model lie in another space,
where nearness means nothing. It is one file, a zip of stored members as a bundle is, with
``gallery.json`` and ``vectors.npy``; nothing in it is a pickle.
"""

# Annotations are not postponed here: `edgecv.schema` reads them when a gallery is opened.

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from edgecv import npy, schema
from edgecv.bundle_writer import all_or_nothing, write_archive
from edgecv.card import Sha256
from edgecv.errors import GalleryError, UsageError
from edgecv.members import Archive
from edgecv.model import ImageLike, Model
from edgecv.pooling import unit
from edgecv.record import Record
from edgecv.results.embedding import Embedding
from edgecv.schema import Rule
from edgecv.types import Array, Float32

SUFFIX = ".gallery"
MAX_VECTORS = 2**20
MAX_NAME = 1024
_MAX_JSON_BYTES = 256 * 2**20
_ABOUT, _VECTORS = "gallery.json", "vectors.npy"
_OFF_LENGTH = 1e-3

Name = Annotated[str, Rule(min_length=1, max_length=MAX_NAME)]


class Match(Record):
    """A name that a search found.

    Attributes:
        name: as it was added.
        score: cosine, -1 to 1; of several vectors of one name the best.
    """

    name: str
    score: float


class About(Record, kw_only=True):
    """What ``gallery.json`` says.

    Attributes:
        schema_version: of this format.
        dimension: numbers in each vector.
        model_name: for messages.
        model_key: sha256 over what decides the vectors of the model; see `model_key`.
        names: of the vectors, in their order; a name may occur several times.
    """

    schema_version: Literal[1] = 1
    dimension: Annotated[int, Rule(ge=1, le=2**20)]
    model_name: str
    model_key: Sha256
    names: tuple[Name, ...]


class Gallery:
    """Named vectors of one model; not safe for changes by several threads at once.

    Attributes:
        dimension: numbers in each vector.
        model_name: of the model, for messages.
        model_key: of the model; see `model_key`.
    """

    def __init__(self, dimension: int, model_key: str, model_name: str = "") -> None:
        """Make an empty gallery; `Gallery.of` does it for a model."""
        self.dimension, self.model_key, self.model_name = dimension, model_key, model_name
        self._names: list[str] = []
        self._vectors: Float32 = np.zeros((0, dimension), np.float32)
        # The distinct names, the place of each, and of each vector the place of its name.
        self._distinct: list[str] = []
        self._places: dict[str, int] = {}
        self._ids: Array = np.zeros(0, np.int64)

    @classmethod
    def of(cls, model: Model) -> "Gallery":
        """Make an empty gallery for a model.

        Raises:
            UsageError: the model does not embed, or leaves the size of its vectors free.
        """
        _check_task(model)
        black = np.zeros((*model.info.input.size_hw, 3), np.uint8)
        return cls(len(model(black).embedding), model_key(model), model.info.name)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[tuple[str, Float32]]:
        """Yield (name, (D,) float32 of length 1), in the order in which they were added."""
        for i, name in enumerate(self._names):
            yield name, self._vectors[i].copy()

    @property
    def names(self) -> tuple[str, ...]:
        """The names, each once, in the order in which they were first added."""
        return tuple(self._distinct)

    def add(self, name: str, vector: Float32 | Embedding) -> None:
        """Add a vector; several may have one name.

        Args:
            name: of what the image shows, such as a person or a product.
            vector: (D,) of any length; it is scaled to length 1.

        Raises:
            UsageError: another dimension, zeros alone, numbers that are not finite, or a name that
                is empty or too long.
            GalleryError: the gallery is full.
        """
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
            raise UsageError(
                "", where="name", expected=f"1 to {MAX_NAME} characters", got=repr(name)[:80]
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UsageError("not text that can be written", where=f"name {name!r}") from None
        row = self._unit(vector)
        if not row.any():
            raise UsageError("a vector of zeros has no direction", where=f"vector of {name!r}")
        count = len(self._names)
        if count >= MAX_VECTORS:
            raise GalleryError("full", expected=f"at most {MAX_VECTORS} vectors")
        if count == len(self._vectors):
            # Twice the room each time: adding N vectors copies about N, not N squared.
            room = max(16, 2 * count)
            self._vectors = np.resize(self._vectors, (room, self.dimension))
            self._ids = np.resize(self._ids, room)
        self._vectors[count] = row
        if name not in self._places:
            self._places[name] = len(self._distinct)
            self._distinct.append(name)
        self._ids[count] = self._places[name]
        self._names.append(name)

    def add_image(self, name: str, model: Model, image: ImageLike) -> None:
        """Add the vector that a model gives for an image.

        Raises:
            UsageError: the gallery belongs to another model.
            ImageError: it is not a usable image.
        """
        self.check(model)
        self.add(name, model(image).embedding)

    def remove(self, name: str) -> int:
        """Remove all vectors of a name, and return how many there were."""
        keep = [i for i, other in enumerate(self._names) if other != name]
        removed = len(self._names) - len(keep)
        if removed:
            kept, vectors = [self._names[i] for i in keep], self._vectors[keep]
            self._fill(kept, vectors)
        return removed

    def _fill(self, names: list[str], vectors: Float32) -> None:
        """Take over names and as many vectors of length 1."""
        self._names, self._vectors = names, vectors
        self._distinct = list(dict.fromkeys(names))
        self._places = {name: i for i, name in enumerate(self._distinct)}
        self._ids = np.array([self._places[name] for name in names], np.int64)

    def search(
        self, vector: Float32 | Embedding, top_k: int = 5, threshold: float = -1.0
    ) -> list[Match]:
        """Find the names whose vectors point most nearly where this one does.

        Args:
            vector: (D,) of any length.
            top_k: at most so many names.
            threshold: lowest cosine of a match, -1 to 1; -1 takes any.

        Returns:
            Best first; names of one score in the order in which they were added. Nothing for an
            empty gallery, and nothing for a vector of zeros.

        Raises:
            UsageError: another dimension, numbers that are not finite, or a threshold out of range.
        """
        if not -1 <= threshold <= 1 or top_k < 0:
            raise UsageError(
                "", where="search", expected="top_k of 0 or more, threshold from -1 to 1",
                got=f"{top_k}, {threshold}",
            )  # fmt: skip
        row = self._unit(vector)
        count = len(self._names)
        if not count or not row.any() or not top_k:
            return []
        scores = np.clip(self._vectors[:count] @ row, -1, 1)
        best = scores
        if len(self._distinct) < count:
            best = np.full(len(self._distinct), -np.inf, np.float32)
            np.maximum.at(best, self._ids[:count], scores)
        found = np.flatnonzero(best >= threshold)
        if len(found) > top_k:
            limit = np.partition(best[found], len(found) - top_k)[len(found) - top_k]
            found = found[best[found] >= limit]
        found = found[np.argsort(-best[found], kind="stable")][:top_k]
        return [Match(self._distinct[i], float(best[i])) for i in found]

    def search_image(
        self, model: Model, image: ImageLike, top_k: int = 5, threshold: float = -1.0
    ) -> list[Match]:
        """Search for the vector that a model gives for an image; see `search`.

        Raises:
            UsageError: the gallery belongs to another model.
            ImageError: it is not a usable image.
        """
        self.check(model)
        return self.search(model(image).embedding, top_k, threshold)

    def check(self, model: Model) -> None:
        """Check that this is the model whose vectors are in here.

        Raises:
            UsageError: it is another one, or is read in another way.
        """
        _check_task(model)
        if model_key(model) != self.model_key:
            raise UsageError(
                "the gallery's vectors were made by another model, or read in another way",
                where=f"gallery of {self.model_name or 'a model without a name'}",
                expected=f"model key {self.model_key[:12]}",
                got=f"{model_key(model)[:12]} of {model.info.name}",
                remedy="build the gallery anew with this model: edgecv gallery build",
            )

    def _unit(self, vector: Float32 | Embedding) -> Float32:
        values = vector.vector if isinstance(vector, Embedding) else np.asarray(vector)
        if values.shape != (self.dimension,) or values.dtype.kind not in "fiu":
            raise UsageError(
                "", where="vector", expected=f"({self.dimension},) numbers",
                got=f"{values.shape} {values.dtype}",
            )  # fmt: skip
        if not np.isfinite(values).all():
            raise UsageError("a vector that is not finite", where="vector")
        return unit(values)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the gallery, whole or not at all; a file that is there is replaced.

        Raises:
            BundleError: it cannot be written.
        """
        about = About(
            dimension=self.dimension,
            model_name=self.model_name,
            model_key=self.model_key,
            names=tuple(self._names),
        )
        members: dict[str, Path | bytes] = {
            _ABOUT: schema.to_json(about),
            _VECTORS: npy.encode(self._vectors[: len(self._names)]),
        }
        target = Path(path)
        if target.is_dir():
            raise UsageError("a folder is in the way", where=str(target))
        with all_or_nothing(target, folder=False) as draft:
            write_archive(draft, members)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Gallery":
        """Read what `save` wrote.

        Raises:
            UsageError: no such file.
            ArchiveError: not the kind of archive that a gallery is.
            GalleryError: contents that do not fit each other.
        """
        where = Path(path)
        if not where.is_file():
            raise UsageError("no such file", where=str(where))
        archive = Archive(where)
        try:
            sizes = archive.sizes
            if set(sizes) != {_ABOUT, _VECTORS} or sizes[_ABOUT] > _MAX_JSON_BYTES:
                raise GalleryError(
                    "not a gallery", where=str(where), expected=f"{_ABOUT} and {_VECTORS}",
                    got=", ".join(sorted(sizes))[:200],
                )  # fmt: skip
            place = f"{where}: {_ABOUT}"
            raw = schema.parse_object(archive.read(_ABOUT), place, GalleryError)
            about = schema.validate(About, raw, place, GalleryError)
            vectors = npy.parse(archive.read(_VECTORS), f"{where}: {_VECTORS}", GalleryError)
        finally:
            archive.close()
        expected = (len(about.names), about.dimension)
        if vectors.shape != expected or len(about.names) > MAX_VECTORS:
            raise GalleryError(
                "", where=f"{where}: {_VECTORS}", expected=f"shape {expected}",
                got=str(vectors.shape),
            )  # fmt: skip
        lengths = np.linalg.norm(vectors, axis=1)
        if not (np.abs(lengths - 1) < _OFF_LENGTH).all():
            raise GalleryError("vectors that are not of length 1", where=f"{where}: {_VECTORS}")
        gallery = cls(about.dimension, about.model_key, about.model_name)
        gallery._fill(list(about.names), vectors)
        return gallery


def model_key(model: Model) -> str:
    """Hash what decides a model's vectors: its files, its pixels, and how its outputs are read.

    Variants of one bundle share it. Options at their defaults do not count, nor does scaling.
    """
    options = model.options.to_dict()
    said = {
        name: value
        for name, value in options.items()
        if name not in ("input_hw", "normalize") and value != model.options.record_defaults[name]
    }
    text = json.dumps([model.info.fingerprint, model.head, said], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_task(model: Model) -> None:
    if model.task != "embed":
        raise UsageError(
            "this model does not embed",
            where=model.info.name,
            expected="a model of task embed",
            got=model.task,
            remedy="name the head of its vector with --head embed",
        )
