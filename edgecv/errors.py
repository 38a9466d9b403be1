"""Every error that edgecv raises on purpose, as one tree.

::

    EdgecvError
    ├── UsageError              a call or a command line that cannot be meant
    │   └── AmbiguousModelError     a model that fits several heads, or none
    ├── BundleError             something about a bundle
    │   ├── ManifestError           a field of manifest.json
    │   ├── ArchiveError            an unsafe or broken archive or folder
    │   └── IntegrityError          a file that is not the one that was packed
    ├── ImageError              bytes that are not a usable image
    ├── BackendError            an inference engine
    │   ├── BackendMissingError     the engine is not installed here
    │   ├── ModelLoadError          the engine refuses, or dies on, a model file
    │   └── InferenceError          a run that failed, or inputs that do not fit
    ├── HeadError               tensors that do not fit the head that decodes them
    ├── StreamError             a source of frames that cannot be opened, or failed for good
    │   └── StreamRefusedError      one that trying again does not help
    ├── SinkError               results that cannot be delivered
    ├── GalleryError            a file of named vectors that is broken, or full
    ├── DatasetError            labels or images of an evaluation set
    ├── ConversionError         a model that could not be converted, or must not be shipped
    │   ├── SourceError             a source model that cannot be read
    │   │   └── UntrustedPickleError    a pickle that was not declared to be trusted
    │   ├── StepError               a conversion step that failed
    │   └── ParityError             a converted model that does not do what its source does
    ├── TargetError             the description of a board breaks its schema
    ├── RemoteError             another machine cannot be reached, or failed at its part
    ├── BenchReportError        a saved benchmark that cannot be read or breaks its schema
    └── DependencyMissingError  an optional library that an extra brings

Each says what is wrong, where, what was expected, what came instead and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class EdgecvError(Exception):
    """The root: what is wrong, where, expected, got, and the remedy.

    Args:
        what: the fault in a few words; may be empty where `expected` and `got` say it all.
        where: file, field or argument at fault, such as ``manifest.json: inputs[0].layout``.
        expected: what would have been right.
        got: what was found; shown as given, so pass ``repr(x)`` where quotes help.
        remedy: what the reader can do now.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.got = got
        self.remedy = remedy
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """One line without the remedy: ``where: what: expected ...; got ...``."""
        facts = []
        if self.expected is not None:
            facts.append(f"expected {self.expected}")
        if self.got is not None:
            facts.append(f"got {self.got}")
        parts = [self.where, self.what, "; ".join(facts)]
        return ": ".join(part for part in parts if part)

    def __str__(self) -> str:
        return self.message if self.remedy is None else f"{self.message}\n  remedy: {self.remedy}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.__dict__.copy()))


def _rebuild(cls: type[EdgecvError], state: dict[str, Any]) -> EdgecvError:
    """Make an error anew from its attributes, so that it can cross a process border."""
    error = cls.__new__(cls)
    error.__dict__.update(state)
    Exception.__init__(error, error.message)
    return error


class UsageError(EdgecvError):
    """A call or a command line that cannot be meant; the commands exit with status 2."""


class AmbiguousModelError(UsageError):
    """A model whose head cannot be told from its metadata and shapes.

    Attributes:
        candidates: names of the heads that would fit the shapes; may be empty.
    """

    def __init__(self, what: str, *, candidates: Sequence[str] = (), **facts: str | None) -> None:
        self.candidates = tuple(candidates)
        super().__init__(what, **facts)


class BundleError(EdgecvError):
    """Something is wrong with a bundle."""


class ManifestError(BundleError):
    """A field of a manifest is missing, unknown or wrong."""


class ArchiveError(BundleError):
    """An archive or folder is broken, or holds an entry that no bundle may hold."""


class IntegrityError(BundleError):
    """A file's size or sha256 differs from what the manifest records."""


class ImageError(EdgecvError):
    """Bytes or an array that cannot be used as an image."""


class BackendError(EdgecvError):
    """An inference engine could not do what was asked."""


class BackendMissingError(BackendError):
    """The engine is not installed on this machine."""


class ModelLoadError(BackendError):
    """The engine refuses the model file, or dies on it."""


class InferenceError(BackendError):
    """A run failed, or its inputs do not fit the model."""


class HeadError(EdgecvError):
    """Output tensors do not fit the head that is to decode them."""


class StreamError(EdgecvError):
    """A source of frames cannot be opened, or failed for good."""


class StreamRefusedError(StreamError):
    """A source refuses for a reason that trying again does not cure, such as a wrong password."""


class SinkError(EdgecvError):
    """Results cannot be delivered where they are meant to go."""


class GalleryError(EdgecvError):
    """A gallery that is broken, or full."""


class DatasetError(EdgecvError):
    """An evaluation data set that cannot be read or used."""


class ConversionError(EdgecvError):
    """A model could not be converted, or what came out must not be shipped."""


class SourceError(ConversionError):
    """A source model cannot be read, or is not what it was said to be."""


class UntrustedPickleError(SourceError):
    """A file holds a pickle, which can run any code, and nobody said that it is trusted."""


class StepError(ConversionError):
    """A conversion step failed; the error names the step and, where known, the node."""


class ParityError(ConversionError):
    """A converted model's outputs are not those of its source."""


class TargetError(EdgecvError):
    """The description of a board breaks its schema."""


class BenchReportError(EdgecvError):
    """The saved report of a benchmark cannot be read, or breaks its schema."""


class RemoteError(EdgecvError):
    """Another machine cannot be reached, or what was to be done there failed."""


class DependencyMissingError(EdgecvError):
    """A library that an optional extra brings is not installed."""
