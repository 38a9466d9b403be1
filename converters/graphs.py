"""The float graphs of one model: one ONNX graph, and from it every format and flavour.

::

    source -> ONNX -> [equalized] -> [biases corrected] -> [pixels fused in] -> ONNX, IR or TFLite

All formats come from the same ONNX file, so that they compute the same. A source that is already in
OpenVINO's or LiteRT's own format has no such file: it is taken as it is, in that format alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from edgecv.converters import onnx_graph
from edgecv.converters.artifact import Artifact, Format
from edgecv.converters.calibration import CalibrationSet
from edgecv.converters.feeds import Feeds
from edgecv.converters.flavour import Flavour
from edgecv.converters.layers import Layer
from edgecv.converters.source import Source
from edgecv.converters.steps import (
    onnx_bias_correction,
    onnx_equalize,
    onnx_fuse_input,
    onnx_normalize,
    onnx_openvino,
    onnx_pad_pooling,
    onnx_tflite,
    torch_onnx,
    torch_tflite,
)
from edgecv.converters.workspace import Workspace
from edgecv.engines import load_backend
from edgecv.errors import (
    ConversionError,
    DependencyMissingError,
    ParityError,
    StepError,
    UsageError,
)
from edgecv.manifest import Input
from edgecv.types import SessionOptions, TensorSpec

if TYPE_CHECKING:
    import onnx


class Graphs:
    """Makes and keeps the float graphs of one source.

    Args:
        workspace: keeps the files.
        source: what is converted.
        input_hw: (height, width) for a graph that leaves it free.
    """

    def __init__(
        self, workspace: Workspace, source: Source, input_hw: tuple[int, int] | None = None
    ) -> None:
        self.workspace = workspace
        self.source = source
        self._input_hw = input_hw
        self._spec: Input | None = None
        self._calibration: CalibrationSet | None = None

    def prepare(self, spec: Input, calibration: CalibrationSet | None) -> None:
        """Tell how the model is fed, and with what it is calibrated."""
        self._spec = spec
        self._calibration = calibration

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats that can be made of the source."""
        given = self.source.artifact
        if given is not None and given.format != "onnx":
            return (given.format,)
        return ("onnx", "openvino", "tflite")

    def check_formats(self, wanted: Sequence[Format]) -> None:
        """Refuse formats that cannot be made of the source.

        Raises:
            UsageError: one cannot; the error names those that can.
        """
        missing = [name for name in wanted if name not in self.formats]
        if missing:
            raise UsageError(
                f"{', '.join(missing)} cannot be made of this source",
                where=self.source.name,
                expected=f"--to {','.join(self.formats)}",
                remedy="convert the model's ONNX file, or the network that it came from",
            )

    @cached_property
    def first(self) -> Artifact:
        """The graph that everything is compared with: ONNX, or the source's own file."""
        source = self.source
        given = source.artifact
        if given is not None and given.format != "onnx":
            return given
        if given is None:
            given = self.workspace.produce(
                "torch_onnx",
                {"source": source.digest, "input_hw": source.input_hw},
                lambda folder: torch_onnx.export_onnx(source, folder),
                tools=torch_onnx.TOOLS,
            )
        exported, size = given, self._input_hw
        return self.workspace.produce(
            "onnx_normalize",
            {"model": exported, "input_hw": size},
            lambda folder: onnx_normalize.normalize(exported, folder, input_hw=size),
            tools=onnx_normalize.TOOLS,
        )

    @property
    def has_onnx(self) -> bool:
        """Whether there is an ONNX graph to analyse and rewrite."""
        return self.first.format == "onnx"

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The plain ONNX graph, in memory."""
        import onnx

        return onnx.load(str(self.first.path))

    def get(self, flavour: Flavour) -> Artifact:
        """Make a float graph, or find it made.

        Raises:
            ConversionError: it cannot be made of this source; the error says why.
        """
        if not self.has_onnx:
            if flavour != Flavour(self.first.format):
                raise ConversionError(
                    "this format cannot be made of the source",
                    where=self.source.name,
                    expected=f"{self.first.format}, as it is",
                    got=f"{flavour.format}, {flavour.graph}",
                    remedy="convert the model's ONNX file, or the network that it came from",
                )
            return self.first
        onnx_file = self.onnx(flavour)
        if flavour.format == "onnx":
            return onnx_file
        if flavour.format == "openvino":
            return self.workspace.produce(
                "onnx_openvino",
                {"model": onnx_file},
                lambda folder: onnx_openvino.to_openvino(onnx_file, folder),
                tools=onnx_openvino.TOOLS,
            )
        return self._tflite(flavour, onnx_file)

    def onnx(self, flavour: Flavour) -> Artifact:
        """Make the ONNX graph that a flavour's file is made of."""
        graph = self.first
        produce = self.workspace.produce
        if "equalize" in flavour.fixes:
            before = graph
            graph = produce(
                "onnx_equalize",
                {"model": before},
                lambda folder: onnx_equalize.equalize(before, folder),
                tools=onnx_equalize.TOOLS,
            )
        if "bias correction" in flavour.fixes:
            plain = graph
            feeds = self.feeds(plain)
            graph = produce(
                "onnx_bias_correction",
                {"model": plain, "calibration": feeds.digest},
                lambda folder: onnx_bias_correction.bias_correct(plain, folder, feeds=feeds),
                tools=onnx_bias_correction.TOOLS,
            )
        if flavour.graph == "fused":
            unfused, spec = graph, self._known_spec()
            graph = produce(
                "onnx_fuse_input",
                {"model": unfused, "input": spec},
                lambda folder: onnx_fuse_input.fuse_input(unfused, folder, spec=spec),
                tools=onnx_fuse_input.TOOLS,
            )
        return graph

    def _tflite(self, flavour: Flavour, onnx_file: Artifact) -> Artifact:
        padded = self.workspace.produce(
            "onnx_pad_pooling",
            {"model": onnx_file},
            lambda folder: onnx_pad_pooling.pad_pooling(onnx_file, folder),
            tools=onnx_pad_pooling.TOOLS,
        )
        try:
            return self.workspace.produce(
                "onnx_tflite",
                {"model": padded},
                lambda folder: onnx_tflite.to_tflite(padded, folder),
                tools=onnx_tflite.TOOLS,
            )
        except (DependencyMissingError, ParityError, StepError) as error:
            if self.source.module is None or flavour != Flavour("tflite"):
                raise
            self.workspace.say(f"onnx_tflite: {error.message}; trying torch_tflite")
            made = self.workspace.produce(
                "torch_tflite",
                {"source": self.source.digest, "input_hw": self.source.input_hw},
                lambda folder: torch_tflite.export_tflite(self.source, folder),
                tools=torch_tflite.TOOLS,
            )
            return made.noting(f"made by litert-torch: {error.message}")

    def layers(self, flavour: Flavour) -> list[Layer]:
        """List the layers with weights of the ONNX graph behind a flavour; () without one."""
        if not self.has_onnx:
            return []
        import onnx

        return onnx_graph.layers(onnx.load(str(self.onnx(flavour).path)))

    def feeds(self, artifact: Artifact) -> Feeds:
        """Return the calibration inputs of a float graph.

        Raises:
            ConversionError: there is no calibration set.
        """
        if self._calibration is None:
            raise ConversionError(
                "quantizing needs calibration images",
                remedy="name images like those that the model is for: --data or --calibration",
            )
        return self._calibration.feeds(
            self._known_spec(), image_input(artifact), artifact.layout, artifact.in_graph
        )

    def _known_spec(self) -> Input:
        if self._spec is None:
            raise ConversionError("how the model is fed is not known yet", where=self.source.name)
        return self._spec


def image_input(artifact: Artifact) -> TensorSpec:
    """Ask the engine for a file's image input."""
    session = load_backend(artifact.backend).open_session(artifact.source(), SessionOptions())
    try:
        return session.inputs[0]
    finally:
        session.close()
