"""The shape of the boards' side: what it may import, and how long its files get."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgecv.targets

ROOT = Path(edgecv.targets.__file__).parent
MODULES = sorted(ROOT.glob("*.py"))
HEAVY = {
    "onnxruntime", "openvino", "ai_edge_litert", "torch", "rich", "click", "edgecv.converters",
    "edgecv.cli", "edgecv.model",
}  # fmt: skip
MAX_LINES = 350

names = pytest.mark.parametrize("module", MODULES, ids=lambda m: m.name)


@names
def test_it_knows_neither_the_command_line_nor_the_workstation(module: Path) -> None:
    text = module.read_text()
    for word in ("edgecv.cli", "edgecv.converters", "subprocess", "urllib", "socket", "print("):
        assert word not in text


@names
def test_files_can_be_read_in_one_sitting(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MAX_LINES


@names
def test_public_names_are_documented(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert ast.get_docstring(tree)
    missing = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not missing


def test_a_plan_loads_no_engine() -> None:
    code = (
        "import sys, edgecv.targets as t, edgecv.targets.planning, edgecv.targets.narrowing\n"
        "[t.load(name) for name in t.names()]; t.detect(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY
