"""A goal and its gradient, reckoned tile by tile: the same as of the whole, but for rounding.

Each place of a layer belongs to one tile. A goal is made of means over places, and the gradient of
a sum is the sum of the gradients, so that nothing has to be blended. Refuses to know when it is
worth the cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dreamvideo.dream.goal import Goal
from dreamvideo.dream.tiles import Reach, Tile


class Tiled:
    """An image in tiles, and a goal."""

    def __init__(self, image: Tensor, goal: Goal, tiles: Sequence[Tile], reach: Reach) -> None:
        """Args:
        image: (1, 3, H, W).
        goal: what is raised.
        tiles: of the image.
        reach: of the goal's layers.
        """
        self._image, self._goal, self._tiles, self._reach = image, goal, tiles, reach

    def value(self) -> Tensor:
        """The goal, a scalar."""
        with torch.no_grad():
            return self._total(self._sums(None, [])[0])

    def value_and_gradient(self) -> tuple[Tensor, Tensor]:
        """The goal, a scalar, and its gradient, in the image's shape."""
        gradient = torch.zeros_like(self._image)
        if len(self._goal.parts) > 1:
            with torch.no_grad():
                means, counts = self._sums(None, [])
            self._sums(gradient, self._slopes(means, counts))
            return self._total(means), gradient
        # How much the only mean counts is known at the end, and is the same everywhere.
        means, counts = self._sums(gradient, [torch.ones((), device=gradient.device)])
        return self._total(means), gradient.mul_(self._slopes(means, counts)[0])

    def _slopes(self, means: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
        """How fast the goal grows with what each part adds up to over all places."""
        known = zip(self._goal.parts, means, counts, strict=True)
        return [part.slope(mean) / count for part, mean, count in known]

    def _total(self, means: Sequence[Tensor]) -> Tensor:
        parts = zip(self._goal.parts, means, strict=True)
        return torch.stack([part.value(mean) for part, mean in parts]).sum()

    def _sums(
        self, gradient: Tensor | None, slopes: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[int]]:
        """The mean of each part and its number of places.

        Adds the gradient of Σ slope · sum over the places to `gradient`, if there is one.
        """
        sums = [torch.zeros((), device=self._image.device) for _ in self._goal.parts]
        counts = [0 for _ in self._goal.parts]
        for tile in self._tiles:
            leaf = tile.cut(self._image).contiguous(memory_format=torch.channels_last)
            leaf = leaf.detach().requires_grad_(gradient is not None)
            with torch.set_grad_enabled(gradient is not None):
                added = self._added(tile, leaf)
                if gradient is not None:
                    pairs = zip(slopes, added, strict=True)
                    raised = torch.stack([slope * part for slope, (part, _) in pairs]).sum()
                    tile.cut(gradient).add_(torch.autograd.grad(raised, leaf)[0])
            sums = [total + part.detach() for total, (part, _) in zip(sums, added, strict=True)]
            counts = [count + more for count, (_, more) in zip(counts, added, strict=True)]
        return [total / count for total, count in zip(sums, counts, strict=True)], counts

    def _added(self, tile: Tile, leaf: Tensor) -> list[tuple[Tensor, int]]:
        """What a tile adds to the sum over the places of each part, and to their number."""
        steps = self._reach.steps_px
        parts = zip(self._goal.parts, self._goal.answers(leaf), steps, strict=True)
        own = [(part, tile.own(answer, step_px)) for part, answer, step_px in parts]
        counts = [answer.shape[-2] * answer.shape[-1] for _, answer in own]
        return [
            (part.mean(answer) * count, count)
            for (part, answer), count in zip(own, counts, strict=True)
        ]
