"""A converted file that can be run, measured and shipped: a folder bundle with one variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgecv import head_arrays
from edgecv.bundle_writer import file_entry, write_bundle
from edgecv.converters.artifact import Artifact
from edgecv.converters.workspace import Workspace
from edgecv.describe import Description, tensors
from edgecv.engines import load_backend
from edgecv.loading import load
from edgecv.manifest import Manifest, Variant
from edgecv.model import Model
from edgecv.probe import probe
from edgecv.types import SessionOptions


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant in the making.

    Attributes:
        id: of the variant.
        artifact: its files.
        variant: as it stands in a manifest.
        bundle: a folder bundle with this variant alone.
    """

    id: str
    artifact: Artifact
    variant: Variant
    bundle: Path

    def open(self, threads: int | None = None) -> Model:
        """Load it as a user would."""
        return load(self.bundle, threads=threads)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Makes candidates of one model.

    Attributes:
        workspace: where the bundles lie.
        name: of the model.
        description: how it is fed and read.
    """

    workspace: Workspace
    name: str
    description: Description
    made: dict[str, Candidate] = field(default_factory=dict)

    def make(
        self, variant_id: str, artifact: Artifact, options: Mapping[str, str] | None = None
    ) -> Candidate:
        """Open a converted file in a child process first, then wrap it as a bundle.

        Args:
            variant_id: unique in this conversion.
            artifact: the file.
            options: engine options that the variant records.

        Raises:
            ModelLoadError: the engine refuses it, or dies on it.
        """
        if variant_id in self.made:
            return self.made[variant_id]
        probe(artifact.path, artifact.backend)
        session = load_backend(artifact.backend).open_session(
            artifact.source(),
            SessionOptions(precision=artifact.precision, extra=dict(options or {})),
        )
        try:
            inputs, outputs = tensors(session.inputs), tensors(session.outputs)
        finally:
            session.close()
        files = {f"models/{variant_id}{path.suffix}": path for path in artifact.files}
        members: dict[str, Path | bytes] = {**files}
        variant = Variant(
            id=variant_id,
            backend=artifact.backend,
            precision=artifact.precision,
            files=tuple(file_entry(member, path) for member, path in files.items()),
            inputs=inputs,
            outputs=outputs,
            layout=artifact.layout,
            in_graph=artifact.in_graph,
            engine_options=dict(options or {}),
        )
        found = self.description
        manifest = Manifest(
            name=self.name,
            task=found.task,
            labels=found.labels,
            input=found.input,
            head=head_arrays.store(found.head, members),
            variants=(variant,),
        )
        folder = self.workspace.folder("candidates") / variant_id
        write_bundle(folder, manifest, members)
        made = self.made[variant_id] = Candidate(variant_id, artifact, variant, folder)
        return made
