"""Sources of a conversion: torch modules, programs and model files, and what is wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from edgecv.converters.callables import call, looks_callable
from edgecv.converters.source import Request, Source, open_source
from edgecv.errors import EdgecvError, SourceError, UsageError
from tests import models
from tests.conversion import nets

ROOT = Path(__file__).parents[2]
NETS = Path(nets.__file__)
HW = (32, 32)


def opened(spec: object, **options: object) -> Source:
    return open_source(Request(spec, **options))  # type: ignore[arg-type]


def same(source: Source, net: nn.Module) -> bool:
    image = torch.rand(1, 3, *HW)
    assert source.module is not None
    with torch.no_grad():
        return all(
            torch.allclose(a, b, atol=1e-5)
            for a, b in zip(source.module(image), net.eval()(image), strict=True)
        )


def test_a_module_is_copied_and_brought_into_one_form() -> None:
    net = nets.tiny().double().train()
    source = opened(net, input_hw=HW)
    assert source.module is not None
    assert source.module is not net
    assert not source.module.training
    assert {p.dtype for p in source.module.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in source.module.parameters())
    assert net.training
    assert net.conv.weight.dtype == torch.float64
    assert (source.kind, source.name, source.input_hw) == ("torch_module", "TinyNet", HW)


def test_channels_are_those_of_the_first_convolution() -> None:
    assert opened(nn.Sequential(nn.Conv2d(1, 2, 3)), input_hw=HW).channels == 1
    assert opened(nn.Sequential(nn.Conv2d(3, 2, 3)), input_hw=HW).channels == 3


def test_the_digest_follows_weights_settings_and_size() -> None:
    first = opened(nets.tiny(), input_hw=HW).digest
    assert opened(nets.tiny(), input_hw=HW).digest == first
    assert opened(nets.tiny(), input_hw=(32, 64)).digest != first
    heavier, wider, other_class = nets.tiny(), nets.tiny(), nets.tiny()
    with torch.no_grad():
        heavier.head.bias[0] += 1
    wider.bn.eps = 0.1

    class Doubled(nets.TinyNet):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return super().forward(image * 2)

    other_class.__class__ = Doubled
    for net in (heavier, wider, other_class):
        assert opened(net, input_hw=HW).digest != first


def test_the_digest_follows_the_code(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    text = (
        "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return x"
    )
    file.write_text(text)
    first = opened(f"{file}:Net", input_hw=HW)
    file.write_text(f"{text} * 2")
    second = opened(f"{file}:Net", input_hw=HW)
    assert first.digest != second.digest
    assert second.module is not None
    assert second.module(torch.ones(1)).item() == 2


def test_a_function_by_module_name_and_by_file() -> None:
    for spec in ("tests.conversion.nets:tiny", f"{NETS}:tiny"):
        source = opened(spec, input_hw=HW)
        assert (source.kind, source.name) == ("torch_module", "tiny")
        assert list(source.files) == ["nets.py"]
        assert same(source, nets.tiny())


def test_the_working_folder_and_the_folder_of_a_file_can_be_imported_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "one_net_package"
    package.mkdir()
    (package / "parts.py").write_text("from torch import nn\nlayer = nn.Conv2d(3, 4, 1)\n")
    (package / "net.py").write_text("from parts import layer\ndef make():\n    return layer\n")
    (tmp_path / "two_nets_here.py").write_text("from torch import nn\nmake = lambda: nn.ReLU()\n")
    monkeypatch.chdir(tmp_path)
    assert opened("one_net_package/net.py:make", input_hw=HW).name == "make"
    assert opened("two_nets_here:make", input_hw=HW).module is not None


def test_random_weights_are_the_same_every_time() -> None:
    spec = f"{NETS}:TinyNet"
    before = torch.random.get_rng_state()
    assert opened(spec, input_hw=HW).digest == opened(spec, input_hw=HW).digest
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tests.conversion.nets:nothing", "it has no nothing: expected one of .*tiny"),
        ("tests.conversion.nets:HW.x", "it has no HW.x"),
        ("tests.conversion.nets:__doc__", "not a function"),
        ("no_such_package.nets:tiny", "no such module"),
        ("no/such/file.py:tiny", "no such file"),
        ("tests.conversion.nets:broken", "the call raised ValueError: no weights today"),
        ("tests.conversion.nets:needs_argument", "needs no arguments"),
        ("tests.conversion.nets:not_a_module", "expected torch.nn.Module; got int"),
    ],
)
def test_a_function_that_cannot_be_used(spec: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        opened(spec, input_hw=HW)


def test_an_import_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import not_there_at_all\n")
    with pytest.raises(SourceError, match=r"its import raised ModuleNotFoundError.*not_there"):
        call(f"{tmp_path / 'bad.py'}:make", "--arch")


@pytest.mark.parametrize("text", ["tiny", "a:b:c", "a.b", "some/folder:fn", "3a:fn", ":fn", "a:"])
def test_what_has_not_the_form_of_a_function(text: str) -> None:
    assert not looks_callable(text)


def test_the_input_size_must_be_known_and_possible() -> None:
    with pytest.raises(SourceError, match="--input"):
        opened(nets.tiny())
    with pytest.raises(SourceError, match="input size that cannot be meant"):
        opened(nets.tiny(), input_hw=(0, 32))
    net = nets.tiny()
    net.input_hw = (48, 32)
    assert opened(net).input_hw == (48, 32)


def test_a_module_that_cannot_be_run_is_told_at_once() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(10, 2))
    with pytest.raises(SourceError, match="it cannot be run: RuntimeError"):
        opened(flat, input_hw=HW)

    class Words(nn.Module):
        def forward(self, image: torch.Tensor) -> str:
            return "cat"

    with pytest.raises(SourceError, match="must return tensors, not str"):
        opened(Words(), input_hw=HW)


def test_unknown_specs() -> None:
    with pytest.raises(UsageError, match="no such file, and nothing else"):
        opened("nothing-like-this.onnx")
    with pytest.raises(UsageError, match="nothing that can be converted"):
        opened(ROOT / "README.md")


def test_torchscript_is_told_by_its_content(tmp_path: Path) -> None:
    for i, made in enumerate(
        (torch.jit.script(nets.tiny()), torch.jit.trace(nets.tiny(), torch.rand(1, 3, *HW)))
    ):
        path = tmp_path / f"net{i}.pt"
        torch.jit.save(made, path)
        source = opened(path, input_hw=HW)
        assert (source.kind, source.name) == ("torchscript", f"net{i}")
        assert list(source.files) == [path.name]
        assert same(source, nets.tiny())


def test_a_broken_torchscript_archive(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/constants.pkl", b"")
        archive.writestr("net/code/x.py", b"")
    with pytest.raises(SourceError, match=r"torch\.jit\.load cannot read it"):
        opened(tmp_path / "net.pt", input_hw=HW)


def test_an_exported_program_knows_its_size(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(nets.tiny(), (torch.rand(1, 3, *HW),)), path)
    source = opened(path)
    assert (source.kind, source.input_hw) == ("torch_export", HW)
    assert same(source, nets.tiny())
    with pytest.raises(SourceError, match="exported for another input size: expected 32x32"):
        opened(path, input_hw=(64, 64))


def test_an_exported_program_with_free_sides(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    sides = {2: torch.export.Dim("h", min=8, max=64), 3: torch.export.Dim("w", min=8, max=64)}
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    program = torch.export.export(net, (torch.rand(1, 3, 16, 24),), dynamic_shapes=(sides,))
    torch.export.save(program, path)
    with pytest.raises(SourceError, match="--input"):
        opened(path)
    assert opened(path, input_hw=HW).input_hw == HW


def test_an_exported_program_of_several_inputs(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    path = tmp_path / "two.pt2"
    torch.export.save(torch.export.export(Two(), (torch.rand(1), torch.rand(1))), path)
    with pytest.raises(SourceError, match="does not take one image"):
        opened(path)


def test_an_onnx_file_is_an_artifact(tmp_path: Path) -> None:
    path = models.onnx_detector(tmp_path / "m.onnx")
    source = opened(path)
    assert source.module is None
    assert source.artifact is not None
    assert source.artifact.files == (path,)
    assert (source.artifact.format, source.artifact.precision) == ("onnx", "fp32")
    assert source.artifact.layout == "NCHW"
    assert source.input_hw is not None
    with pytest.raises(SourceError, match="another size than asked for"):
        opened(path, input_hw=(1, 1))


def test_an_openvino_file_comes_with_its_weights(tmp_path: Path) -> None:
    path = models.openvino_detector(tmp_path)
    source = opened(path)
    assert source.artifact is not None
    assert [file.name for file in source.artifact.files] == ["model.xml", "model.bin"]
    assert set(source.files) == {"model.xml", "model.bin"}
    first = source.digest
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(path, other)
    with pytest.raises(EdgecvError, match=r"model\.bin"):
        opened(other / "model.xml")
    weights = bytearray((tmp_path / "model.bin").read_bytes())
    weights[-3] ^= 1
    (tmp_path / "model.bin").write_bytes(weights)
    assert opened(path).digest != first


@pytest.mark.parametrize("name", ["m.onnx", "m.xml", "m.tflite"])
def test_corrupt_model_files_are_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"<?xml broken \x00\x01" * 20)
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(SourceError, match=name):
        opened(path)


def test_an_onnx_file_with_a_free_size_needs_one(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [image], [out])
    opsets = [helper.make_opsetid("", 18)]
    path = tmp_path / "free.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    )
    with pytest.raises(SourceError, match=r"free.*got \?x\?"):
        opened(path)
    assert opened(path, input_hw=HW).input_hw == HW
