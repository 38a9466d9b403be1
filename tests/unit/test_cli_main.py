"""The command line as a whole: exit statuses, streams, and what ends a command early."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import edgecv
from edgecv import plugins
from edgecv.cli import output
from edgecv.cli.main import cli
from edgecv.cli.options import parse_floats, parse_size
from edgecv.errors import UsageError
from tests import models
from tests.models import command

ROOT = Path(edgecv.__file__).parent.parent
COMMANDS = tuple(name.replace("_", "-") for name in plugins.names("cli.commands"))
EDGECV = [sys.executable, "-m", "edgecv"]


def test_the_commands_are_those_of_the_folder() -> None:
    assert set(COMMANDS) == {
        "bench", "bench-report", "bundle-wheels", "calibrate-energy", "convert", "doctor", "eval",
        "export-metadata", "gallery", "info", "pack", "plan", "predict", "race", "report", "stream",
        "targets", "tune", "verify",
    }  # fmt: skip
    assert tuple(cli.list_commands(None)) == COMMANDS  # type: ignore[arg-type]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert f"Usage: cli {name}" in result.output
    module = plugins.load("cli.commands", name.replace("-", "_"))
    assert module.command.name == name
    for parameter in module.command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{name} {parameter.name}: no help"


def test_help_and_version() -> None:
    for option in ("--help", "-h"):
        result = CliRunner().invoke(cli, [option])
        assert result.exit_code == 0
        assert all(name in result.output for name in COMMANDS)
    assert command("--version").out == f"edgecv, version {edgecv.__version__}\n"


def test_no_arguments_show_the_help_and_are_bad_use() -> None:
    ran = command()
    assert ran.status == 2
    assert "Commands:" in ran.out + ran.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nope"], "No such command 'nope'"),
        (["predict"], "Missing argument 'MODEL'"),
        (["predict", "m.onnx"], "Missing argument 'SOURCES...'"),
        (["predict", "m.onnx", "a.png", "--conf", "2"], "'--conf'"),
        (["predict", "m.onnx", "a.png", "--nope"], "--nope"),
        (["predict", "m.onnx", "a.png", "--head", "nope"], "'nope' is not one of '"),
        (["predict", "m.onnx", "a.png", "--backend", "nope"], "'--backend'"),
        (["predict", "m.onnx", "a.png", "--size", "0x5"], "expected HEIGHTxWIDTH"),
        (["predict", "m.onnx", "a.png", "--mean", "1,2"], "expected one number or three"),
        (["predict", "m.onnx", "a.png", "--threads", "0"], "'--threads'"),
        (["pack", "m.onnx"], "Missing option '-o'"),
        (["eval", "m.onnx"], "Missing option '--data'"),
        (["eval", "m.onnx", "--data", "no/such/file"], "does not exist"),
        (["verify"], "Missing argument 'BUNDLE|FILE'"),
    ],
)
def test_bad_use_is_status_2_and_says_why_on_stderr(args: list[str], message: str) -> None:
    ran = command(*args)
    assert ran.status == 2
    assert message in ran.err
    assert ran.out == ""


@pytest.mark.parametrize("name", ["predict", "info", "eval", "bench", "pack"])
def test_a_missing_model_is_bad_use_everywhere(name: str, tmp_path: Path) -> None:
    image = models.write_image(tmp_path / "a.png")
    extra: dict[str, list[object]] = {
        "predict": [image], "eval": ["--data", tmp_path], "pack": ["-o", tmp_path / "o"],
    }  # fmt: skip
    for model in ("nope.onnx", "nope.edgecv"):
        ran = command(name, tmp_path / model, *extra.get(name, []))
        assert ran.status == 2
        assert f"{model}: no such file or folder" in ran.err
        assert ran.out == ""


@pytest.mark.parametrize(
    ("text", "size"), [("640", (640, 640)), ("480x640", (480, 640)), ("1X2", (1, 2))]
)
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "1x2x3", "1x", "a", "1.5"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(Exception, match="expected HEIGHTxWIDTH"):
        parse_size(text)


def test_numbers() -> None:
    assert parse_floats("127.5") == (127.5,)
    assert parse_floats("1, 2,3e1") == (1, 2, 30)
    for text in ("", "1,2", "a", "1,2,3,4", "nan", "1,inf,2"):
        with pytest.raises(Exception, match="expected one number or three"):
            parse_floats(text)


def test_head_options_are_json_or_text(tmp_path: Path) -> None:
    model = models.null_detector(tmp_path / "d.null.json")
    image = models.write_image(tmp_path / "a.png", hw=models.SIZE_HW)
    base = ["predict", model, image, "--trusted", "--head", "end2end", "--json", "-"]
    assert len(command(*base).lines[0]["detections"]) == 2
    ran = command(*base, "--head-option", "confidence=0.7")
    assert len(ran.lines[0]["detections"]) == 1
    for wrong, message in (
        ("confidence", "expected KEY=VALUE; got 'confidence'"),
        ("confidence=high", "expected a number; got 'high'"),
        ("nope=1", "unknown option"),
    ):
        ran = command(*base, "--head-option", wrong)
        assert ran.status == 2
        assert message in ran.err


def test_labels_from_a_file(tmp_path: Path) -> None:
    model = models.null_classifier(tmp_path / "c.null.json")
    image = models.write_image(tmp_path / "a.png")
    base = ["predict", model, image, "--trusted", "--head", "softmax", "--json", "-"]
    labels = tmp_path / "labels.txt"
    # A mark at the start, spaces, an empty name in the middle, and empty lines at the end.
    labels.write_bytes("\ufeff  zwölf \n\nthree\r\n\n\n".encode())
    found = command(*base, "--labels", labels).lines[0]["classes"]
    assert {c["class_id"]: c["label"] for c in found} == {0: "zwölf", 1: "", 2: "three"}
    labels.write_text("a\nb\n")
    ran = command(*base, "--labels", labels)
    assert ran.status == 2
    assert "2 labels do not fit the model's outputs" in ran.err
    labels.write_bytes(b"\xff\xfe\xff")
    for path, message in (
        (labels, "it is not UTF-8 text"),
        (tmp_path / "nope", "No such file"),
        (tmp_path, "Is a directory"),
    ):
        ran = command(*base, "--labels", path)
        assert ran.status == 2
        assert ran.err == f"error: --labels {path}: cannot be read: {message}\n" or (
            message in ran.err and f"--labels {path}" in ran.err
        )


def test_a_full_disk_is_a_failure_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output, "write_json", full)
    ran = command("doctor", "--json", tmp_path / "x.json")
    assert (ran.status, ran.err) == (1, "error: No space left on device\n")


@pytest.mark.parametrize("target", ["missing/x.json", "."])
def test_json_that_cannot_be_written_is_found_before_the_work(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"--json .*cannot be written"):
        output.check_target(target)
    output.check_target("fine.json")
    output.check_target("-")
    output.check_target(None)
    model = models.null_classifier(tmp_path / "c.null.json")
    models.write_image(tmp_path / "a.png")
    for args in (
        ["info", model, "--head", "softmax", "--trusted"],
        ["predict", model, "a.png", "--head", "softmax", "--trusted"],
        ["bench", model, "--data", "a.png"],
        ["eval", model, "--data", "a.png"],
        ["doctor"],
    ):
        ran = command(*args, "--json", target)
        assert ran.status == 2, args
        assert "cannot be written" in ran.err


def test_tables_print_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    screen = output.console()
    table = output.table("[bold]title[/nope] :bird:", "[a]", "n>")
    table.add_row("[red]x[/y] " + "long " * 100, ":cat:")
    screen.print(table)
    screen.print("note: [/] :dog:")
    out = capsys.readouterr().out
    for text in ("[bold]title[/nope] :bird:", "[red]x[/y] " + "long " * 99, ":cat:", "[/] :dog:"):
        assert text in out


@pytest.fixture
def slow_model(tmp_path: Path) -> Path:
    return models.null_classifier(tmp_path / "c.null.json")


def test_in_a_process_of_its_own(slow_model: Path, tmp_path: Path) -> None:
    """One round trip through the real entry point: statuses, and what goes to which stream."""
    good, bad = models.write_image(tmp_path / "a.png"), tmp_path / "b.png"
    bad.write_text("nothing")
    done = subprocess.run(
        [*EDGECV, "predict", slow_model, good, bad,
         "--head", "softmax", "--trusted", "--json", "-"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.startswith(f"error: {bad}: ")
    assert "Traceback" not in done.stderr
    done = subprocess.run([*EDGECV, "nope"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 2
    done = subprocess.run([*EDGECV, "doctor"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0


def test_a_closed_pipe_ends_quietly(slow_model: Path, tmp_path: Path) -> None:
    image = models.write_image(tmp_path / "a.png")
    images = []
    for i in range(3000):
        (tmp_path / f"{i}.png").symlink_to(image)
        images.append(f"{i}.png")
    args = [*EDGECV, "predict", str(slow_model), str(tmp_path), "--head", "softmax", "--trusted"]
    with subprocess.Popen(
        [*args, "--json", "-"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        said = child.stderr.read().decode()
        child.wait(30)
    assert child.returncode == 1
    assert said == ""


def test_an_interrupt_is_status_130(slow_model: Path, tmp_path: Path) -> None:
    image = models.write_image(tmp_path / "a.png", hw=(1500, 1500))
    for i in range(2000):
        (tmp_path / f"{i}.png").symlink_to(image)
    with subprocess.Popen(
        [*EDGECV, "predict", str(slow_model), str(tmp_path), "--head", "softmax", "--trusted"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell lets what it runs in the background ignore interrupts, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        child.stdout.read()
        said = child.stderr.read().decode()
        child.wait(30)
    assert child.returncode == 130
    assert "Traceback" not in said
