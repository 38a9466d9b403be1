"""What a bundle will do on a board: plans worked out by hand from the board's file."""

from __future__ import annotations

from typing import Any

import pytest

from edgecv import targets
from edgecv.errors import UsageError
from edgecv.manifest import FileEntry, HeadSpec, Input, Manifest, Tensor, Variant
from edgecv.targets import planning
from edgecv.targets.memory import estimate
from edgecv.targets.planning import Deployment, find_system, plan
from edgecv.targets.target import System

SHA = "0" * 64


def variant(
    name: str, backend: str, precision: Any = "fp32", size: int = 2**20, **more: Any
) -> Any:
    shape = more.pop("shape", (1, 3, 64, 96))
    return Variant(
        id=name,
        backend=backend,
        precision=precision,
        files=(FileEntry(path=f"{name}.bin", sha256=SHA, bytes=size),),
        inputs=(Tensor(name="x", shape=shape, dtype="float32"),),
        outputs=(Tensor(name="y", shape=(1, 3), dtype="float32"),),
        layout="NCHW",
        **more,
    )


def manifest(*variants: Variant) -> Manifest:
    return Manifest(
        name="m",
        task="classify",
        input=Input(size_hw=(64, 96), resize="stretch"),
        head=HeadSpec(name="softmax"),
        variants=variants,
    )


ALL = manifest(
    variant("ov-bf16", "openvino", "bf16"),
    variant("ov-fp16", "openvino", "fp16"),
    variant("ov-int8", "openvino", "int8", engine_options={"INFERENCE_PRECISION_HINT": "bf16"}),
    variant("ort-int8", "onnxruntime", "int8"),
    variant("lite-fp16", "litert", "fp16"),
    variant("ort-fp32", "onnxruntime"),
)


def runs(made: Deployment) -> dict[str, bool]:
    return {each.id: each.runs for each in made.variants}


def about(made: Deployment, name: str) -> Any:
    return next(each for each in made.variants if each.id == name)


@pytest.mark.parametrize(
    ("target", "refused", "chosen"),
    [
        ("rpi4", {"ov-bf16", "ov-fp16"}, "ov-int8"),
        ("rpi5", {"ov-bf16"}, "ov-fp16"),
        ("n100", {"ov-bf16", "ov-fp16"}, "ov-int8"),
        ("x86-vnni", {"ov-bf16", "ov-fp16"}, "ov-int8"),
        ("x86-bf16", {"ov-fp16"}, "ov-bf16"),
        ("cloud-vm", {"ov-bf16", "ov-fp16"}, "ov-int8"),
    ],
)
def test_what_runs_and_what_is_chosen(target: str, refused: set[str], chosen: str) -> None:
    made = plan(ALL, targets.load(target))
    assert {name for name, fine in runs(made).items() if not fine} == refused
    assert made.chosen == chosen
    assert made.chosen_base == "ort-int8"
    assert all(each.reasons for each in made.variants if not each.runs)


def test_the_board_chooses_as_edgecv_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan says what `choose_variant` does on a machine with the target's CPU features."""
    from edgecv import host
    from edgecv.variants import choose_variant

    for name in targets.names():
        target = targets.load(name)
        monkeypatch.setattr(host, "cpu_features", lambda f=target.cpu.features: f)
        assert plan(ALL, target).chosen == choose_variant(ALL)[0].id


def test_warnings_on_a_core_without_a_dot_product() -> None:
    made = plan(ALL, targets.load("rpi4"))
    dot = "the CPU has no 8-bit dot product: int8 may be no faster than fp32"
    assert about(made, "ort-int8").warnings == (dot,)
    assert about(made, "ov-int8").warnings == (
        dot,
        "the layers that it leaves in bf16 run in fp32 there",
    )
    assert about(made, "lite-fp16").warnings == (
        "slower: The core has no half-precision arithmetic: values are widened to fp32 and back.",
    )
    assert about(made, "ort-fp32").warnings == ()
    assert about(plan(ALL, targets.load("rpi5")), "ort-int8").warnings == ()
    assert about(plan(ALL, targets.load("x86-bf16")), "ov-int8").warnings == ()
    risky = about(plan(ALL, targets.load("cloud-vm")), "ort-int8").warnings[0]
    assert risky.startswith("risky: Without VNNI")


def test_an_engine_without_a_wheel_is_refused_with_the_reason() -> None:
    target = targets.load("aarch64")
    made = plan(ALL, target, find_system(target, "BULLSEYE"))
    assert about(made, "ov-int8").reasons == (
        "openvino cannot be installed: needs glibc 2.35, and there is 2.31",
    )
    assert made.chosen == "ort-int8"
    package = next(p for p in made.packages if p.project == "openvino")
    assert (package.version, package.megabytes) == (None, None)
    assert package.reason == "needs glibc 2.35, and there is 2.31"


def test_without_the_base_nothing_runs() -> None:
    made = plan(ALL, targets.load("rpi4"), System(os="ancient", python="3.9", glibc="2.17"))
    assert made.chosen is None
    assert made.chosen_base is None
    assert "numpy cannot be installed: not for Python 3.9" in about(made, "ort-fp32").reasons


def test_engines_that_nobody_knows() -> None:
    made = plan(manifest(variant("a", "magic"), variant("b", "null")), targets.load("rpi-zero-2w"))
    assert about(made, "a").reasons == ("this edgecv has no backend magic",)
    assert about(made, "a").memory.peak_mib is None
    assert about(made, "a").memory.basis == "nothing was measured for magic"
    assert runs(made) == {"a": False, "b": True}
    assert made.chosen == "b"


def test_memory_by_hand() -> None:
    # 80 MiB for ONNX Runtime, 3 x 10 MiB of weights, 48 bytes for each of 3 x 64 x 96 values.
    bundle = manifest(variant("a", "onnxruntime", size=10 * 2**20))
    assert estimate(bundle, bundle.variants[0]).peak_mib == 80 + 30 + 1
    free = manifest(variant("a", "litert", size=0, shape=(None, 3, None, None)))
    assert estimate(free, free.variants[0]).peak_mib == 66 + 1
    batch = manifest(variant("a", "litert", size=0, shape=(64, 3, 64, 96)))
    assert estimate(batch, batch.variants[0]).peak_mib == 66 + 54


@pytest.mark.parametrize(
    ("model_mib", "fine", "words"),
    [
        (1, True, ""),
        (100, True, "needs about 381 MiB, more than half of 512"),
        (200, False, "needs about 681 MiB; there are at most 512"),
    ],
)
def test_memory_of_a_small_board(model_mib: int, fine: bool, words: str) -> None:
    bundle = manifest(variant("a", "onnxruntime", size=model_mib * 2**20))
    made = about(plan(bundle, targets.load("rpi-zero-2w")), "a")
    assert made.runs == fine
    assert words in "; ".join((*made.reasons, *made.warnings))


def test_memory_that_only_larger_boards_have() -> None:
    bundle = manifest(variant("a", "onnxruntime", size=500 * 2**20))
    made = about(plan(bundle, targets.load("rpi4")), "a")
    assert made.runs
    assert made.warnings == ("needs about 1581 MiB: not for those with 1024",)


def test_wheels_of_the_engines_in_the_bundle_and_no_other() -> None:
    base = plan(manifest(variant("a", "onnxruntime")), targets.load("rpi4"))
    assert set(base.megabytes) == {"base"}
    known = [p.megabytes for p in base.packages if p.megabytes is not None]
    assert base.megabytes["base"] == pytest.approx(sum(known), abs=0.05)
    assert 70 < base.megabytes["base"] < 100
    own = base.packages[0]
    assert own.project == "edgecv"
    assert own.megabytes is None
    assert own.reason
    both = plan(ALL, targets.load("rpi4"))
    assert list(both.megabytes) == ["base", "openvino", "litert"]
    assert all(p.reason for p in both.packages if p.megabytes is None)


def test_what_is_installed_here_is_told_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "numpy":
            return "1.2.3"
        raise planning.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(planning.metadata, "version", version)
    made = plan(ALL, targets.load("rpi4"))
    here = {p.project: p.here for p in made.packages}
    assert here["numpy"] == "1.2.3"
    assert here["openvino"] is None


def test_systems_by_a_part_of_their_name() -> None:
    target = targets.load("rpi5")
    assert find_system(target) is target.systems[0]
    assert find_system(target, "Trixie").python == "3.13"
    with pytest.raises(UsageError, match=r"no such system: expected a part of one of: .*bookworm"):
        find_system(target, "windows")
