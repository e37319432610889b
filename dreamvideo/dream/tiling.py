"""The value of an objective and its gradient for images of any size, within bounded memory.

A large image goes through the network in tiles. Each position of a layer belongs to one tile; an
objective is made of means over positions, and the gradient of a sum is the sum of the gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import torch
from torch import Tensor

from dreamvideo.dream.ascent import value_and_gradient
from dreamvideo.dream.objectives import Objective
from dreamvideo.dream.pyramid import Size
from dreamvideo.errors import MemoryShortError, UnknownLayerError


@dataclass(frozen=True)
class ReceptiveField:
    """How the places of some layers lie on a picture."""

    receptive_field_px: int
    """How wide a part of the picture each place sees."""
    strides_px: tuple[int, ...]
    """Of each layer, how far apart its places are."""

    @property
    def margin_px(self) -> int:
        """How far around what it stands for a tile has to see, a multiple of every step.

        Half of the field; and one step, since the middle of a field lies anywhere within it.
        """
        stride_px = self.stride_px
        return (math.ceil(self.receptive_field_px / 2 / stride_px) + 1) * stride_px

    @property
    def stride_px(self) -> int:
        """What the corners of tiles are multiples of, so that all places stay where they are."""
        return math.lcm(*self.strides_px)


@dataclass(frozen=True)
class TileSpan:
    """A tile along one side of a picture, px."""

    begin: int
    """Of what the network is shown."""
    end: int
    core_begin: int
    """Of what the tile stands for."""
    core_end: int | None
    """None for the end of the picture."""

    def places(self, stride_px: int) -> slice:
        """Those of a layer's places, out of its answer to the tile, that the tile stands for."""
        first = (self.core_begin - self.begin) // stride_px
        return slice(first, self.core_end and (self.core_end - self.begin) // stride_px)


@dataclass(frozen=True)
class Tile:
    """A part of a picture."""

    rows: TileSpan
    columns: TileSpan

    def cut(self, picture: Tensor) -> Tensor:
        """What the network is shown, a view of (1, C, H, W)."""
        rows, columns = self.rows, self.columns
        return picture[..., rows.begin : rows.end, columns.begin : columns.end]

    def own(self, activation: Tensor, stride_px: int) -> Tensor:
        """Of a layer's answer to the tile the places that it stands for."""
        return activation[..., self.rows.places(stride_px), self.columns.places(stride_px)]


def plan_tiles(size: Size, side_px: int, reach: ReceptiveField) -> list[Tile]:
    """Tiles that together stand for every place once.

    Args:
        size: (height, width) of the picture, px.
        side_px: of what a tile stands for, at most; at least one step.
        reach: of the layers that are asked for.
    """
    rows, columns = (list(_tile_spans(length_px, side_px, reach)) for length_px in size)
    return [Tile(*both) for both in product(rows, columns)]


def _tile_spans(length_px: int, side_px: int, reach: ReceptiveField) -> Iterator[TileSpan]:
    """All of one length, so that memory that one took is right for the next."""
    stride_px, margin_px = reach.stride_px, reach.margin_px
    count = math.ceil(length_px / max(stride_px, side_px // stride_px * stride_px))
    core_px = math.ceil(length_px / count / stride_px) * stride_px
    # Networks pad by whether sides are even, at each size that halving leads to: so the rest of the
    # division by the step has to be that of the whole.
    shown_px = min(length_px, core_px + 2 * margin_px + length_px % stride_px)
    # Less than a step need not hold a place.
    begins = range(0, max(1, length_px - stride_px + 1), core_px)
    for begin, following in zip(begins, [*begins[1:], None], strict=True):
        first = min(max(0, begin - margin_px), length_px - shown_px)
        yield TileSpan(first, first + shown_px, begin, following)


class TiledObjective:
    """An image in tiles, and a goal."""

    def __init__(
        self, image: Tensor, objective: Objective, tiles: Sequence[Tile], reach: ReceptiveField
    ) -> None:
        """Args:
        image: (1, 3, H, W).
        goal: what is raised.
        tiles: of the image.
        reach: of the goal's layers.
        """
        self._image, self._goal, self._tiles, self._reach = image, objective, tiles, reach

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
        steps = self._reach.strides_px
        parts = zip(self._goal.parts, self._goal.activations(leaf), steps, strict=True)
        own = [(part, tile.own(activation, stride_px)) for part, activation, stride_px in parts]
        counts = [activation.shape[-2] * activation.shape[-1] for _, activation in own]
        return [
            (part.mean(activation) * count, count)
            for (part, activation), count in zip(own, counts, strict=True)
        ]


# From names of layers to how their places lie; None where a part of a picture is not answered as
# the same part of the whole would be.
FindReceptiveField = Callable[[Sequence[str]], ReceptiveField | None]
# The side of the picture by which the need of memory is measured. Smaller ones need no plan.
PROBE_PX = 256
# What is taken at most, of what a pass keeps for the way back: the largest answers are there twice
# while they are made, and gradients beside them.
MEMORY_SAFETY_RATIO = 1.5
# Tiles that stand for less would be nothing but surroundings.
MIN_TILE_PX = 64

Result = TypeVar("Result")


class Evaluator:
    """Evaluates goals: of the whole picture where memory allows it, else in tiles."""

    def __init__(
        self,
        find_reach: FindReceptiveField,
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

    def value(self, image: Tensor, objective: Objective) -> Tensor:
        """The goal of an image (1, 3, H, W), a scalar, without a gradient.

        Raises:
            MemoryShortError: it does not fit into memory, not even in tiles.
        """
        with torch.no_grad():
            return self._within_memory(image, objective, objective, TiledObjective.value)

    def value_and_gradient(self, image: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
        """The goal of an image (1, 3, H, W), a scalar, and its gradient, in the image's shape.

        Raises:
            MemoryShortError: it does not fit into memory, not even in tiles.
        """

        def of_whole(picture: Tensor) -> tuple[Tensor, Tensor]:
            return value_and_gradient(picture, objective)

        return self._within_memory(image, objective, of_whole, TiledObjective.value_and_gradient)

    def _within_memory(
        self,
        image: Tensor,
        objective: Objective,
        of_whole: Callable[[Tensor], Result],
        of_tiles: Callable[[TiledObjective], Result],
    ) -> Result:
        """What either way comes to; with smaller and smaller tiles while memory is short."""
        while True:
            side_px = self._smaller_px.get(objective.layers)
            try:
                side_px = self._planned_px(image, objective)
                if side_px is None:
                    return of_whole(image)
                reach = self._find_reach(objective.layers)
                assert reach is not None
                size = (image.shape[-2], image.shape[-1])
                return of_tiles(
                    TiledObjective(image, objective, plan_tiles(size, side_px, reach), reach)
                )
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
            # Beyond the handler, so that nothing of what was begun is held by the error.
            self._plan_smaller(image, objective, side_px)

    def _planned_px(self, image: Tensor, objective: Objective) -> int | None:
        """The side of what a tile stands for; None for the whole picture."""
        height, width = image.shape[-2:]
        given_px = self._smaller_px.get(objective.layers, self._side_px)
        if given_px is not None:
            return given_px if given_px < max(height, width) else None
        reach = self._find_reach(objective.layers)
        if reach is None or self._budget_bytes == math.inf or height * width <= PROBE_PX**2:
            return None
        max_px = self._budget_bytes / self._need_per_px(image, objective)
        if height * width <= max_px:
            return None
        # Tiles smaller than their margins would save little memory and take much time.
        return max(reach.margin_px, math.isqrt(int(max_px)) - 2 * reach.margin_px)

    def _need_per_px(self, image: Tensor, objective: Objective) -> float:
        """Bytes that a pass takes for each pixel: measured on two corners of the image.

        What does not grow with the picture, such as weights, falls out.
        """
        if objective.layers not in self._bytes_per_px:
            sides_px = (PROBE_PX // 2, PROBE_PX)
            corners = [image[..., :side_px, :side_px] for side_px in sides_px]
            less, more = (_saved_bytes(corner, objective) for corner in corners)
            pixels = corners[1][0, 0].numel() - corners[0][0, 0].numel()
            self._bytes_per_px[objective.layers] = max(
                1.0, MEMORY_SAFETY_RATIO * (more - less) / pixels
            )
        return self._bytes_per_px[objective.layers]

    def _plan_smaller(self, image: Tensor, objective: Objective, failed_px: int | None) -> None:
        """Halve the plan that memory was too short for."""
        if image.is_cuda:
            torch.cuda.empty_cache()
        height, width = image.shape[-2:]
        failed = f"{width}×{height}" if failed_px is None else f"{failed_px}×{failed_px}"
        short = MemoryShortError(
            f"{failed} pixels at once do not fit into memory, and cannot be dreamed in smaller "
            "tiles: give a smaller --size, or an earlier --layer"
        )
        if self._find_reach(objective.layers) is None or (failed_px or math.inf) <= MIN_TILE_PX:
            raise short
        halved_px = int(failed_px or math.sqrt(height * width)) // 2
        # Another thread may have found out the same.
        known_px = self._smaller_px.get(objective.layers, halved_px)
        self._smaller_px[objective.layers] = max(MIN_TILE_PX, min(known_px, halved_px))


def _saved_bytes(image: Tensor, objective: Objective) -> int:
    """What a pass keeps for the way back."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    leaf = image.detach().clone().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        _ = objective(leaf)
    return sum(kept.values())


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch means that; on CPUs and MPS only the text says so."""
    words = ("not enough memory", "can't allocate memory", "out of memory")
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(word in text for word in words)
