"""The export of torch modules to ONNX: what is written, how it is compared, and what stops it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgecv import engines
from edgecv.converters import export_parity
from edgecv.converters.artifact import Artifact
from edgecv.converters.source import Request, Source, open_source
from edgecv.converters.steps import torch_onnx
from edgecv.converters.steps.torch_onnx import export_onnx
from edgecv.errors import ParityError, StepError
from edgecv.types import SessionOptions
from tests.conversion import nets

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples/digits"
HW = (32, 32)


def opened(spec: Any, **options: Any) -> Source:
    return open_source(Request(spec, **{"input_hw": HW, **options}))


def run(artifact: Artifact, image: torch.Tensor) -> dict[str, Any]:
    backend = engines.load_backend("onnxruntime")
    session = backend.open_session(artifact.source(), SessionOptions(threads=1))
    try:
        return session.run({session.inputs[0].name: image.numpy()})
    finally:
        session.close()


def test_the_file_computes_what_the_module_does(tmp_path: Path) -> None:
    artifact = export_onnx(opened(nets.tiny()), tmp_path)
    assert artifact.files == (tmp_path / "TinyNet.onnx",)
    assert (artifact.format, artifact.precision, artifact.layout) == ("onnx", "fp32", "NCHW")
    assert artifact.notes == ()
    image = torch.rand(1, 3, *HW)
    found = run(artifact, image)
    for name, want in zip(("output0", "output1"), nets.tiny()(image), strict=True):
        np.testing.assert_allclose(found[name], want.detach().numpy(), atol=1e-5)


def test_the_file_is_static_folded_and_says_nothing_of_this_machine(tmp_path: Path) -> None:
    artifact = export_onnx(opened(nets.tiny()), tmp_path)
    model = onnx.load(artifact.path)
    assert [o.version for o in model.opset_import if not o.domain] == [18]
    assert model.ir_version <= torch_onnx.IR_VERSION
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 3, *HW]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert str(ROOT).encode() not in artifact.path.read_bytes()
    assert list(tmp_path.iterdir()) == [artifact.path]


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in "ab":
        (tmp_path / name).mkdir()
        files.append(export_onnx(opened(nets.tiny()), tmp_path / name).path.read_bytes())
    assert files[0] == files[1]


def test_names_and_metadata_are_the_source_s(tmp_path: Path) -> None:
    source = opened(nets.tiny())
    named = Source(
        **{
            **{name: getattr(source, name) for name in Source.__slots__},
            "input_name": "picture",
            "output_names": ("logits", "map"),
            "metadata": {"task": "classify", "names": "{0: 'a'}"},
        }
    )
    model = onnx.load(export_onnx(named, tmp_path).path)
    assert [value.name for value in model.graph.input] == ["picture"]
    assert [value.name for value in model.graph.output] == ["logits", "map"]
    props = {entry.key: entry.value for entry in model.metadata_props}
    assert props == {"task": "classify", "names": "{0: 'a'}"}


def test_nested_outputs_are_flattened_in_order(tmp_path: Path) -> None:
    class Nested(nn.Module):
        def forward(self, image: torch.Tensor) -> Any:
            return {"b": image.mean((2, 3)), "a": [image * 2, None]}

    artifact = export_onnx(opened(Nested()), tmp_path)
    image = torch.rand(1, 3, *HW)
    found = run(artifact, image)
    assert list(found) == ["output0", "output1"]
    assert found["output0"].shape == (1, 3)
    np.testing.assert_allclose(found["output1"], image.numpy() * 2)


def test_torchscript_and_exported_programs(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nets.tiny()), tmp_path / "script.pt")
    program = torch.export.export(nets.tiny(), (torch.rand(1, 3, *HW),))
    torch.export.save(program, tmp_path / "program.pt2")
    image = torch.rand(1, 3, *HW)
    want = nets.tiny()(image)[0].detach().numpy()
    for path in (tmp_path / "script.pt", tmp_path / "program.pt2"):
        artifact = export_onnx(opened(path), tmp_path)
        np.testing.assert_allclose(run(artifact, image)["output0"], want, atol=1e-5)


def test_torchscript_keeps_its_branches(tmp_path: Path) -> None:
    class Branch(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if bool(image.sum() > 0):  # noqa: SIM108  # TorchScript keeps the statement
                found = image * 2
            else:
                found = image + 1
            return found

    torch.jit.save(torch.jit.script(Branch()), tmp_path / "branch.pt")
    artifact = export_onnx(opened(tmp_path / "branch.pt"), tmp_path)
    assert run(artifact, torch.ones(1, 3, *HW))["output0"].max() == 2
    assert run(artifact, -torch.ones(1, 3, *HW))["output0"].max() == 0


def test_branches_of_python_are_not_lost_in_silence(tmp_path: Path) -> None:
    class Branch(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * 2 if image.sum() > 0 else image + 1

    with pytest.raises(ParityError, match=r"(?s)something else than torch.*without if"):
        export_onnx(opened(Branch()), tmp_path)


def test_the_older_exporter_steps_in_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("not today")

    monkeypatch.setattr(torch_onnx, "_current", refuse)
    artifact = export_onnx(opened(nets.tiny()), tmp_path)
    assert len(artifact.notes) == 1
    assert "older exporter" in artifact.notes[0]
    assert "not today" in artifact.notes[0]
    assert list(tmp_path.iterdir()) == [artifact.path]


def test_an_all_true_check_is_translated(tmp_path: Path) -> None:
    class Checked(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.where(torch.ops.aten._is_all_true(image >= 0), image, -image)

    artifact = export_onnx(opened(Checked()), tmp_path)
    assert artifact.notes == ()
    image = torch.rand(1, 3, *HW) - 0.5
    np.testing.assert_allclose(run(artifact, image)["output0"], -image.numpy())


def test_a_missing_operator_is_named_with_its_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Bessel(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(image)

    with pytest.raises(StepError, match=r"bessel_j0.*no translation of \w+::(special_)?bessel_j0"):
        export_onnx(opened(Bessel()), tmp_path)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_randomness_in_a_module_is_found(tmp_path: Path) -> None:
    class Noise(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image + torch.rand_like(image)

    with pytest.raises(ParityError, match="output0"):
        export_onnx(opened(Noise()), tmp_path)


def test_constant_outputs_are_noted(tmp_path: Path) -> None:
    class Constant(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * 0

    notes = export_onnx(opened(Constant()), tmp_path).notes
    assert notes == ("output output0 is 0 everywhere for a random image: parity says little",)


def test_large_weights_lie_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_onnx, "_MAX_INSIDE_BYTES", 100)
    net = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU())
    artifact = export_onnx(opened(net), tmp_path)
    assert [path.name for path in artifact.files] == ["Sequential.onnx", "Sequential.onnx.data"]
    image = torch.rand(1, 3, *HW)
    want = opened(net).module(image)  # type: ignore[misc]  # there is a module
    np.testing.assert_allclose(run(artifact, image)["output0"], want.numpy(), atol=1e-5)


def test_the_digits_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its committed ONNX file came from the example's own script: both must agree."""
    source = opened(
        DIGITS / "digits.pt",
        input_hw=(192, 192),
        architecture=f"{DIGITS / 'model.py'}:DigitDetector",
    )
    artifact = export_onnx(source, tmp_path)
    committed = Artifact("onnx", (DIGITS / "digits.onnx",))
    image = torch.rand(1, 3, 192, 192)
    found, want = run(artifact, image), run(committed, image)
    np.testing.assert_allclose(found["output0"], want["output0"], atol=1e-3)
    operators = {node.op_type for node in onnx.load(artifact.path).graph.node}
    assert "BatchNormalization" not in operators


def rows(count: int) -> np.ndarray[Any, Any]:
    """Draw [1, count, 6] rows: boxes in pixels, falling scores, classes."""
    drawn = np.random.default_rng(0).uniform(0, 640, (1, count, 6)).astype(np.float32)
    drawn[..., 4] = np.linspace(0.9, 0.2, count)
    drawn[..., 5] = np.arange(count) % 7
    return drawn


def test_parity_of_rows_in_another_order() -> None:
    want = rows(50)
    got = want[:, np.random.default_rng(1).permutation(50)]
    with pytest.raises(ParityError):
        export_parity.compare(["o"], [want], [got], "net")
    assert export_parity.compare(["o"], [want], [got], "net", unordered_rows=True) == ()
    got = got.copy()
    got[0, 7, 2] += 1
    with pytest.raises(ParityError, match="output o"):
        export_parity.compare(["o"], [want], [got], "net", unordered_rows=True)


def test_parity_of_rows_that_were_just_chosen() -> None:
    want, got = rows(50), rows(50)
    want[0, -5:, 4] = got[0, -5:, 4] = 0.2
    got[0, -1, :4] = 5  # another box with the lowest score
    options: Any = {"unordered_rows": True, "score_column": 4}
    assert export_parity.compare(["o"], [want], [got], "net", **options) == ()
    got[0, 3, :4] = 5  # another box with a high one
    with pytest.raises(ParityError):
        export_parity.compare(["o"], [want], [got], "net", **options)
    want[..., 4] = got[..., 4] = 0.5
    notes = export_parity.compare(["o"], [want], [got], "net", **options)
    assert notes == ("the chosen objects all score alike: only their scores were compared",)


@pytest.mark.parametrize("axis", [1, 2])
def test_parity_does_not_hide_scores_behind_boxes(axis: int) -> None:
    want = np.zeros((1, 8, 100), np.float32)
    want[:, :4] = 320
    want[:, 4:] = 0.02
    got = want.copy()
    got[0, 6, 50] = 0.0203
    export_parity.compare(["o"], [want], [want + np.float32(1e-6)], "net")
    if axis == 2:
        want, got = want.transpose(0, 2, 1), got.transpose(0, 2, 1)
    with pytest.raises(ParityError):
        export_parity.compare(["o"], [want], [got * np.float32(1.2)], "net")


def test_parity_of_shapes_and_of_what_is_not_finite() -> None:
    want = np.ones((1, 4), np.float32)
    with pytest.raises(ParityError, match="another shape"):
        export_parity.compare(["o"], [want], [want[:, :3]], "net")
    got = want.copy()
    got[0, 0] = np.nan
    with pytest.raises(ParityError, match="not finite"):
        export_parity.compare(["o"], [want], [got], "net")


def test_heavy_tools_are_imported_late() -> None:
    assert "torch" not in vars(importlib.reload(torch_onnx))
