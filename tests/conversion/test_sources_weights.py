"""State dicts and pickles: what is loaded, what is refused, and that nothing hostile ever runs."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgecv.converters import pickles
from edgecv.converters.source import Request, Source, open_source
from edgecv.errors import SourceError, UntrustedPickleError
from tests.conversion import nets

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples/digits"
ARCH = "tests.conversion.nets:TinyNet"
HW = (32, 32)


def opened(path: Path, **options: Any) -> Source:
    return open_source(Request(path, input_hw=HW, **options))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "boom")


def test_weights_of_all_kinds_give_one_module(tmp_path: Path) -> None:
    state = nets.tiny().state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pt")
    torch.save(state, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "d.ckpt")
    torch.save({"model": state, "ema": {"module": state}}, tmp_path / "e.pt")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "f.pt")
    torch.save({key: v for key, v in state.items() if "tracked" not in key}, tmp_path / "g.pt")
    image = torch.rand(1, 3, *HW)
    expected = nets.tiny()(image)[0]
    for path in sorted(tmp_path.iterdir()):
        source = opened(path, architecture=ARCH)
        assert source.kind == "state_dict"
        assert source.name == path.stem
        assert set(source.files) == {path.name, "nets.py"}
        assert source.module is not None
        assert torch.allclose(source.module(image)[0], expected), path


def test_what_was_taken_from_a_checkpoint_is_noted(tmp_path: Path) -> None:
    state = nets.tiny().state_dict()
    torch.save({"model": state, "ema": state}, tmp_path / "e.pt")
    source = opened(tmp_path / "e.pt", architecture=ARCH)
    assert source.notes == ("weights taken from ema of the checkpoint (there are also: model)",)


def test_an_architecture_is_needed(tmp_path: Path) -> None:
    torch.save(nets.tiny().state_dict(), tmp_path / "a.pt")
    with pytest.raises(SourceError, match=r"needs the architecture.*\n.*--arch"):
        opened(tmp_path / "a.pt")
    with pytest.raises(SourceError, match=r"--arch .*not_a_module: .*got int"):
        opened(tmp_path / "a.pt", architecture="tests.conversion.nets:not_a_module")


def test_keys_and_shapes_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = nets.tiny().state_dict()
    state["extra.weight"] = state.pop("head.weight")
    state["head.bias"] = torch.zeros(9)
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(SourceError) as caught:
        opened(tmp_path / "a.pt", architecture=ARCH)
    got = caught.value.got or ""
    assert "1 missing: head.weight" in got
    assert "1 unexpected: extra.weight" in got
    assert "head.bias: [5] in the architecture, [9] in the file" in got


@pytest.mark.parametrize("content", [{"a": 1}, {"loss": {"b": 2}}, [1, 2], {}])
def test_files_without_weights(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(SourceError, match="no weights in it"):
        opened(tmp_path / "a.pt", architecture=ARCH)


def test_broken_files(tmp_path: Path) -> None:
    torch.save(nets.tiny().state_dict(), tmp_path / "whole.pt")
    save_file(nets.tiny().state_dict(), tmp_path / "whole.safetensors")
    for name in ("whole.pt", "whole.safetensors"):
        data = (tmp_path / name).read_bytes()
        for i, cut in enumerate((0, 7, len(data) // 2)):
            path = tmp_path / f"cut{i}{Path(name).suffix}"
            path.write_bytes(data[:cut])
            with pytest.raises(SourceError):
                opened(path, architecture=ARCH)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".weights"])
def test_a_hostile_pickle_is_never_executed(tmp_path: Path, zipped: bool, suffix: str) -> None:
    target = tmp_path / "boom.txt"
    path = tmp_path / f"evil{suffix}"
    content = {"model": Bomb(target), **nets.tiny().state_dict()}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UntrustedPickleError) as caught:
        opened(path, architecture=ARCH)
    assert not target.exists()
    assert "Path.write_text" in (caught.value.got or "") or "getattr" in (caught.value.got or "")
    assert "--trust-pickle" in (caught.value.remedy or "")
    # The same file does run its code for those who say that it may: the test is not vacuous.
    with pytest.raises(SourceError):
        opened(path, architecture=ARCH, trust_pickle=True)
    assert target.exists()


def test_a_plain_hostile_pickle(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "boom.txt"), protocol=4))
    with pytest.raises(UntrustedPickleError):
        opened(path, architecture=ARCH)
    assert not (tmp_path / "boom.txt").exists()


def test_a_pickled_module_is_opened_if_it_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    torch.save({"model": nets.tiny()}, path)
    with pytest.raises(UntrustedPickleError, match=r"names tests\.conversion\.nets\.TinyNet"):
        opened(path)
    source = opened(path, trust_pickle=True)
    assert type(source.module).__name__ == "TinyNet"


def test_an_ultralytics_pickle_is_refused_without_ultralytics(tmp_path: Path) -> None:
    path = tmp_path / "yolo.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("yolo/data.pkl", b"\x80\x02cultralytics.nn.tasks\nDetectionModel\n.")
    with pytest.raises(UntrustedPickleError, match=r"ultralytics\.nn\.tasks\.DetectionModel"):
        opened(path)


def exported(path: Path) -> Path:
    torch.export.save(torch.export.export(nets.tiny(), (torch.rand(1, 3, *HW),)), path)
    return path


def rewritten(path: Path, change: Any) -> Path:
    """Copy an archive, with `change(name, data)` in place of each member's bytes."""
    target = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_a_pickle_in_an_exported_program_is_never_executed(tmp_path: Path) -> None:
    target = tmp_path / "boom.txt"
    torch.save(((Bomb(target),), {}), tmp_path / "bomb")
    bomb = (tmp_path / "bomb").read_bytes()
    path = rewritten(
        exported(tmp_path / "net.pt2"), lambda n, d: bomb if "sample_inputs" in n else d
    )
    with pytest.raises(SourceError):
        open_source(Request(path))
    assert not target.exists()
    # Trusted, torch falls back to executing it: the test is not vacuous.
    open_source(Request(path, trust_pickle=True))
    assert target.exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("torch.ops.aten.relu.default", "torch.os.system"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default"),
        ('"as_int": 8', '"as_expr": {"expr_str": "__import__(\'os\').getpid()", "hint": null}'),
    ],
)
def test_calls_in_an_exported_program_are_refused(tmp_path: Path, old: str, new: str) -> None:
    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return data
        text = data.decode()
        assert old in text
        return json.dumps(json.loads(text.replace(old, new))).encode()

    path = rewritten(exported(tmp_path / "net.pt2"), change)
    with pytest.raises(UntrustedPickleError, match="--trust-pickle"):
        open_source(Request(path))


def test_compiled_libraries_in_an_exported_program_are_refused(tmp_path: Path) -> None:
    path = exported(tmp_path / "net.pt2")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("net/data/aotinductor/model/lib.so", b"\x7fELF")
    with pytest.raises(UntrustedPickleError, match=r"lib\.so"):
        open_source(Request(path))


def test_names_in_pickles_are_read_without_executing_them(tmp_path: Path) -> None:
    for protocol in (2, 3, 4, 5):
        path = tmp_path / f"p{protocol}.pkl"
        path.write_bytes(pickle.dumps({"a": zipfile.ZipFile, "b": json.loads}, protocol=protocol))
        assert pickles.kind_of(path) == "pickle"
        assert {"zipfile.ZipFile", "json.loads"} <= set(pickles.imports_of(path))


def test_the_digits_example() -> None:
    source = open_source(
        Request(
            DIGITS / "digits.pt",
            input_hw=(192, 192),
            architecture=f"{DIGITS / 'model.py'}:DigitDetector",
        )
    )
    assert source.module is not None
    assert source.module(torch.rand(1, 3, 192, 192)).shape == (1, 14, 720)
    assert set(source.files) == {"digits.pt", "model.py"}
