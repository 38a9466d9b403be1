"""What a user wants to be converted, and how."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgecv.bundle import SUFFIX
from edgecv.converters.artifact import FORMATS, Format
from edgecv.converters.decision import Rules
from edgecv.converters.judge import Effort
from edgecv.converters.source import Request
from edgecv.converters.workspace import Workspace
from edgecv.errors import UsageError
from edgecv.hints import Hints
from edgecv.types import Precision


@dataclass(frozen=True, slots=True)
class Order:
    """What the user wants.

    Attributes:
        request: the source.
        output: ``NAME.edgecv`` for an archive, any other name for a folder.
        formats: to make.
        rules: what may be shipped.
        effort: how much is spent on measuring.
        hints: what the user says about the model.
        data: a data set with labels; None leaves accuracy unmeasured, and int8 out.
        split: of `data` that the gate reads.
        calibration: images to calibrate on; None takes the split ``train`` of `data`.
        calibration_limit: at most so many of them.
        golden: images whose results are recorded; () picks some of the validation images.
        work: folder for intermediate results; None makes one beside the output.
        keep_work: leave it there when all went well.
        overwrite: replace an existing archive.
        name: of the model; None takes the source's own.
        version: of the model, the maker's own.
        target: that the conversion is for; it is only recorded.
        excluded: pairs of a format and a precision that is not tried in it.
        notes: that the document repeats.
    """

    request: Request
    output: Path
    formats: tuple[Format, ...] = FORMATS
    rules: Rules = field(default_factory=Rules)
    effort: Effort = field(default_factory=Effort)
    hints: Hints = field(default_factory=Hints)
    data: Path | None = None
    split: str = "val"
    calibration: Path | None = None
    calibration_limit: int | None = None
    golden: tuple[Path, ...] = ()
    work: Path | None = None
    keep_work: bool = False
    overwrite: bool = False
    name: str | None = None
    version: str = "1"
    target: str | None = None
    excluded: tuple[tuple[Format, Precision], ...] = ()
    notes: tuple[str, ...] = ()

    def rules_for(self, wanted: Format) -> Rules:
        """Return the rules for one format: without the precisions that are excluded in it."""
        left = (p for p in self.rules.precisions if (wanted, p) not in self.excluded)
        return replace(self.rules, precisions=tuple(left))

    def workspace(
        self, progress: Callable[[str], None] | None
    ) -> AbstractContextManager[Workspace]:
        """Open the work folder for as long as the order is carried out."""
        root = self.work or self.output.with_name(f".{self.output.name}.work")
        keep = self.keep_work or self.work is not None
        return Workspace.during(root, progress, keep=keep)

    def check(self) -> None:
        """Refuse at once what would fail after minutes of work.

        Raises:
            UsageError: the output exists, an input does not, or nothing can be proven.
        """
        output = self.output
        replaceable = self.overwrite and output.suffix == SUFFIX and output.is_file()
        if output.exists() and not replaceable:
            raise UsageError(
                "exists already",
                where=str(output),
                remedy="--force replaces an archive; a folder must be removed by hand",
            )
        for path in (self.data, self.calibration, *self.golden):
            if path is not None and not path.exists():
                raise UsageError("no such file or folder", where=str(path))
        tried = {p for wanted in self.formats for p in self.rules_for(wanted).precisions}
        reduced = tried - {"fp32"}
        if self.data is None and reduced and not self.rules.ship:
            raise UsageError(
                f"no data to prove {', '.join(sorted(reduced))} with",
                expected="a data set with labels: --data data.yaml",
                remedy="or convert in fp32 alone: --precision fp32",
            )
        if not self.formats:
            raise UsageError("", where="formats", expected=f"one of {', '.join(FORMATS)}")
