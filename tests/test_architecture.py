"""The floors of the package: imports point down, there is no cycle, and `core` stands on torch alone."""

from __future__ import annotations

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sparsegrad_cli"

# a module may import from its own floor and from those that stand after it
FLOORS = [
    {"cli", "__main__"},
    {"report"},
    {"grid"},
    {"sweep", "bench", "judge", "gradients", "estimate"},
    {"training"},
    {"methods"},
    {"tasks"},
    {"models"},
    {"workers"},
    {"store"},
    {"config", "paper"},
    {"hardware", "settings", "progress", "interrupts", "yaml_lines", "errors", "__init__"},
    {"core", "peft_tuner"},
]
LONGEST = 450  # lines of a file


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below the package."""
    named = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return named


def imports(name: str, top_level: bool = False) -> set[str]:
    """Absolute names that a module imports; of its own package as `sparsegrad_cli.<module>`.

    Args:
        top_level: leave out what is imported inside functions or for type checkers alone.
    """
    path = modules()[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["sparsegrad_cli", *path.relative_to(PACKAGE).parent.parts]
    nodes = tree.body if top_level else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix("sparsegrad_cli.")
                found.add(f"sparsegrad_cli.{inner}" if inner in modules() else base)
    return found


def ours(names: set[str]) -> set[str]:
    inside = {
        name.removeprefix("sparsegrad_cli").lstrip(".") or "__init__"
        for name in names
        if name.startswith("sparsegrad_cli")
    }
    return {name for name in inside if name in modules()}


def floor(name: str) -> int:
    first = name.split(".")[0]
    return next(number for number, floor in enumerate(FLOORS) if first in floor)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_point_down(name: str) -> None:
    upwards = [other for other in ours(imports(name)) if floor(other) < floor(name)]
    assert not upwards, f"{name} imports from above: {upwards}"


def test_no_import_cycle() -> None:
    graph = {name: ours(imports(name, top_level=True)) - {name} for name in modules()}
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_core_imports_torch_alone() -> None:
    allowed = {"torch", "sparsegrad_cli", "__future__", *sys.stdlib_module_names}
    core = [name for name in modules() if name.split(".")[0] == "core"]
    foreign = {name: {other.split(".")[0] for other in imports(name)} - allowed for name in core}
    assert foreign.pop("core.triton_kernels") == {"triton"}  # imported where triton is, and by `optim` alone
    assert not {name: found for name, found in foreign.items() if found}


def test_a_file_is_read_from_top_to_bottom() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert not {name: count for name, count in lines.items() if count > LONGEST}
