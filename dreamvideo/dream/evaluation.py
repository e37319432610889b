"""The value of a goal and its gradient, of pictures of any size within bounded memory.

Refuses to know how steps are made of gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from dreamvideo.dream.ascent import value_and_gradient
from dreamvideo.dream.goal import Goal
from dreamvideo.dream.tiled import Tiled
from dreamvideo.dream.tiles import Reach, tiles_of
from dreamvideo.errors import MemoryShortError, UnknownLayerError

# From names of layers to how their places lie; None where a part of a picture is not answered as
# the same part of the whole would be.
FindReach = Callable[[Sequence[str]], Reach | None]
# The side of the picture by which the need of memory is measured. Smaller ones need no plan.
PROBE_PX = 256
# What is taken at most, of what a pass keeps for the way back: the largest answers are there twice
# while they are made, and gradients beside them.
NEED_RATIO = 1.5
# Tiles that stand for less would be nothing but surroundings.
SMALLEST_SIDE_PX = 64

Result = TypeVar("Result")


class Evaluation:
    """Evaluates goals: of the whole picture where memory allows it, else in tiles."""

    def __init__(
        self,
        find_reach: FindReach,
        side_px: int | None = None,
        budget_bytes: float = math.inf,
    ) -> None:
        """Args:
        find_reach: how layers' places lie.
        side_px: of what a tile stands for, where it is given.
        budget_bytes: memory that a pass may take, by which tiles are planned where they are not
            given.
        """
        self._find_reach = find_reach
        self._side_px = side_px
        self._budget_bytes = budget_bytes
        self._bytes_per_px: dict[tuple[str, ...], float] = {}
        self._smaller_px: dict[tuple[str, ...], int] = {}

    def check(self, layers: Sequence[str]) -> None:
        """Refuse layers that cannot be dreamed in tiles, where tiles are asked for.

        Raises:
            UnknownLayerError: names them.
        """
        if self._side_px is not None and self._find_reach(layers) is None:
            raise UnknownLayerError(
                f"{' and '.join(layers)} cannot be dreamed in tiles: places of it may see all of "
                "the picture; leave --tile out, or choose an earlier --layer"
            )

    def value(self, image: Tensor, goal: Goal) -> Tensor:
        """The goal of an image (1, 3, H, W), a scalar, without a gradient.

        Raises:
            MemoryShortError: it does not fit into memory, not even in tiles.
        """
        with torch.no_grad():
            return self._within_memory(image, goal, goal, Tiled.value)

    def value_and_gradient(self, image: Tensor, goal: Goal) -> tuple[Tensor, Tensor]:
        """The goal of an image (1, 3, H, W), a scalar, and its gradient, in the image's shape.

        Raises:
            MemoryShortError: it does not fit into memory, not even in tiles.
        """

        def of_whole(picture: Tensor) -> tuple[Tensor, Tensor]:
            return value_and_gradient(picture, goal)

        return self._within_memory(image, goal, of_whole, Tiled.value_and_gradient)

    def _within_memory(
        self,
        image: Tensor,
        goal: Goal,
        of_whole: Callable[[Tensor], Result],
        of_tiles: Callable[[Tiled], Result],
    ) -> Result:
        """What either way comes to; with smaller and smaller tiles while memory is short."""
        while True:
            side_px = self._smaller_px.get(goal.layers)
            try:
                side_px = self._planned_px(image, goal)
                if side_px is None:
                    return of_whole(image)
                reach = self._find_reach(goal.layers)
                assert reach is not None
                size = (image.shape[-2], image.shape[-1])
                return of_tiles(Tiled(image, goal, tiles_of(size, side_px, reach), reach))
            except RuntimeError as error:
                if not _is_memory_short(error):
                    raise
            # Beyond the handler, so that nothing of what was begun is held by the error.
            self._plan_smaller(image, goal, side_px)

    def _planned_px(self, image: Tensor, goal: Goal) -> int | None:
        """The side of what a tile stands for; None for the whole picture."""
        height, width = image.shape[-2:]
        given_px = self._smaller_px.get(goal.layers, self._side_px)
        if given_px is not None:
            return given_px if given_px < max(height, width) else None
        reach = self._find_reach(goal.layers)
        if reach is None or self._budget_bytes == math.inf or height * width <= PROBE_PX**2:
            return None
        most_px = self._budget_bytes / self._need_per_px(image, goal)
        if height * width <= most_px:
            return None
        # Tiles smaller than their margins would save little memory and take much time.
        return max(reach.margin_px, math.isqrt(int(most_px)) - 2 * reach.margin_px)

    def _need_per_px(self, image: Tensor, goal: Goal) -> float:
        """Bytes that a pass takes for each pixel: measured on two corners of the image.

        What does not grow with the picture, such as weights, falls out.
        """
        if goal.layers not in self._bytes_per_px:
            sides_px = (PROBE_PX // 2, PROBE_PX)
            corners = [image[..., :side_px, :side_px] for side_px in sides_px]
            less, more = (_kept_bytes(corner, goal) for corner in corners)
            pixels = corners[1][0, 0].numel() - corners[0][0, 0].numel()
            self._bytes_per_px[goal.layers] = max(1.0, NEED_RATIO * (more - less) / pixels)
        return self._bytes_per_px[goal.layers]

    def _plan_smaller(self, image: Tensor, goal: Goal, failed_px: int | None) -> None:
        """Halve the plan that memory was too short for."""
        if image.is_cuda:
            torch.cuda.empty_cache()
        height, width = image.shape[-2:]
        failed = f"{width}×{height}" if failed_px is None else f"{failed_px}×{failed_px}"
        short = MemoryShortError(
            f"{failed} pixels at once do not fit into memory, and cannot be dreamed in smaller "
            "tiles: give a smaller --size, or an earlier --layer"
        )
        if self._find_reach(goal.layers) is None or (failed_px or math.inf) <= SMALLEST_SIDE_PX:
            raise short
        halved_px = int(failed_px or math.sqrt(height * width)) // 2
        # Another thread may have found out the same.
        known_px = self._smaller_px.get(goal.layers, halved_px)
        self._smaller_px[goal.layers] = max(SMALLEST_SIDE_PX, min(known_px, halved_px))


def _kept_bytes(image: Tensor, goal: Goal) -> int:
    """What a pass keeps for the way back."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    leaf = image.detach().clone().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        _ = goal(leaf)
    return sum(kept.values())


def _is_memory_short(error: RuntimeError) -> bool:
    """Whether PyTorch means that; on CPUs and MPS only the text says so."""
    words = ("not enough memory", "can't allocate memory", "out of memory")
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(word in text for word in words)
