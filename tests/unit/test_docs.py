"""The documentation is true: its commands run, its tables are complete, its links lead on."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgecv import plugins
from edgecv.hints import Hints
from edgecv.packing import pack
from edgecv.record import Record
from scripts import schemas

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that the pages are about."""
    digits = ROOT / "examples/digits"
    labels = tuple((digits / "labels.txt").read_text().split())
    return pack(
        [digits / "digits.onnx"],
        tmp_path_factory.mktemp("docs") / "digits.edgecv",
        hints=Hints(head="yolo", labels=labels),
        trusted=True,
    )


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder in which the commands of a page are run, as a reader would in a checkout."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_programs_run(page: Path, desk: Path, bundle: Path) -> None:
    if "edgecv pack" not in page.read_text():
        shutil.copy(bundle, desk / "digits.edgecv")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for block in blocks(page, "console"):
        for line in block.splitlines():
            if not line.startswith("$ edgecv "):
                continue
            words = shlex.split(line[2:].split(" #")[0])
            done = subprocess.run(
                [sys.executable, "-m", *words], cwd=desk, env=env, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    for program in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=desk, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{program}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_head_is_in_the_table() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/bare-models.md").read_text(), re.MULTILINE)
    assert sorted(listed) == list(plugins.names("heads"))


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for command in plugins.names("cli.commands"):
        assert f"edgecv {command.replace('_', '-')}" in readme


@pytest.mark.parametrize("cls", schemas.PUBLISHED, ids=lambda cls: str(cls.__name__))
def test_published_schemas_are_current(cls: type[Record]) -> None:
    """``python scripts/schemas.py`` writes them anew."""
    published = json.loads(schemas.PUBLISHED[cls].read_text())
    assert published == json.loads(json.dumps(schemas.json_schema(cls)))
