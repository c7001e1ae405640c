"""Imports go down the floors of the house, never up and never sideways."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "gateway"

FLOORS = {
    "cli": 8,
    "web": 8,
    "service": 7,
    "pipeline": 6,
    "network": 5,
    "retrieval": 4,
    "archive": 3,
    "conversion": 2,
    "objects": 1,
    "standard": 0,
    "errors": 0,
    "clock": 0,
    "observe": 0,
}

MODULES = sorted(ROOT.rglob("*.py"))


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "gateway" and len(parts) > 1 else None


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts == ("__init__",):
        return
    room = parts[0]
    assert room in FLOORS, f"{path} is in no room of the house"
    for name in imports(path):
        target = room_of(name)
        if target is None or target == room:
            continue
        assert FLOORS[target] < FLOORS[room] or FLOORS[target] == FLOORS[room] == 0, f"{path} imports {name}"


def test_only_the_top_floors_read_the_configuration() -> None:
    for path in MODULES:
        room = path.relative_to(ROOT).parts[0]
        if FLOORS.get(room.removesuffix(".py"), 0) < 7:
            assert "gateway.service" not in path.read_text(encoding="utf-8"), path
