"""The shape of the workstation side: what it may import, and how long its files get."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgecv.converters
from edgecv import plugins

ROOT = Path(edgecv.converters.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
FOLDERS = ("sources", "steps", "quantizers", "calibrators")
HEAVY = {
    "torch", "onnx", "onnxruntime", "openvino", "nncf", "ai_edge_litert", "ai_edge_quantizer",
    "litert_torch", "onnx2tf", "matplotlib", "jinja2", "transformers", "timm", "ultralytics",
}  # fmt: skip
MAX_LINES = 350

names = pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))


def at_import(module: Path) -> set[str]:
    """List what a module imports when it is itself imported, outside of functions and checks."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                found.update(f"{child.module}.{alias.name}" for alias in child.names)
            visit(child)

    visit(ast.parse(module.read_text()))
    return found


@names
def test_heavy_libraries_load_when_they_are_used(module: Path) -> None:
    loaded = {name.partition(".")[0] for name in at_import(module)}
    assert not loaded & HEAVY


@names
def test_plugins_do_not_import_their_neighbours(module: Path) -> None:
    folder = module.parent.name
    if folder not in FOLDERS or module.name == "__init__.py":
        return
    inside = f"edgecv.converters.{folder}."
    text = ast.unparse(ast.parse(module.read_text()))
    assert inside not in text.replace(f"{inside}{module.stem}", "")


@names
def test_nothing_below_the_command_line_imports_it(module: Path) -> None:
    assert "edgecv.cli" not in module.read_text()


@names
def test_files_can_be_read_in_one_sitting(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MAX_LINES


@names
def test_public_names_are_documented(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert ast.get_docstring(tree)
    missing = [
        child.name
        for child in tree.body
        if isinstance(child, ast.FunctionDef | ast.ClassDef)
        and not child.name.startswith("_")
        and not ast.get_docstring(child)
    ]
    assert not missing


@pytest.mark.parametrize("folder", FOLDERS)
def test_plugins_are_the_files_of_their_folder(folder: str) -> None:
    files = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    assert files
    assert set(plugins.names(f"converters.{folder}")) == files
    for name in files:
        assert plugins.load(f"converters.{folder}", name).__doc__


@pytest.mark.parametrize("name", plugins.names("converters.steps"))
def test_a_step_says_on_which_tools_its_result_depends(name: str) -> None:
    tools = plugins.load("converters.steps", name).TOOLS
    assert tools
    assert all(isinstance(tool, str) for tool in tools)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import edgecv.converters, edgecv.converters.conversion, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY
