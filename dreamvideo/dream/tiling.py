"""The value of an objective and its gradient for images of any size, within bounded memory.

A large image goes through the network in tiles. Each position of a layer belongs to one tile. An
objective is made of means over positions, and the gradient of a sum is the sum of the gradients, so
that the result is that of the whole image up to rounding, and nothing has to be blended.
"""

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

# The side of the image on which memory use is measured. Smaller images need no plan.
PROBE_PX = 256
# Peak memory relative to what a pass saves for backward: the largest activations exist twice while
# they are computed, in addition to gradients.
MEMORY_SAFETY_RATIO = 1.5
# Smaller tiles would consist of margins only.
MIN_TILE_PX = 64

Result = TypeVar("Result")


@dataclass(frozen=True)
class ReceptiveField:
    """How the positions of some layers relate to an image."""

    size_px: int
    """The side of the receptive field of a position, the largest of all layers."""
    strides_px: tuple[int, ...]
    """Of each layer, the distance of neighbouring positions."""

    @property
    def margin_px(self) -> int:
        """How far a tile has to extend beyond its core, a multiple of every stride.

        Half of the receptive field; and one stride, since the centre of the field lies anywhere
        within it.
        """
        stride_px = self.stride_px
        return (math.ceil(self.size_px / 2 / stride_px) + 1) * stride_px

    @property
    def stride_px(self) -> int:
        """The corners of tiles are multiples of this, so that all positions stay where they are."""
        return math.lcm(*self.strides_px)


# From layer names to how their positions relate to an image; None where a part of an image does not
# give the activations that the whole image gives there.
FindReceptiveField = Callable[[Sequence[str]], ReceptiveField | None]


class Evaluator:
    """Evaluates objectives: of the whole image where memory allows it, otherwise in tiles."""

    def __init__(
        self,
        find_receptive_field: FindReceptiveField,
        tile_px: int | None = None,
        budget_bytes: float = math.inf,
    ) -> None:
        """Prepare for a network.

        Args:
            find_receptive_field: describes layers.
            tile_px: the side of a tile's core, if it is fixed.
            budget_bytes: memory that a pass may take, by which tiles are planned if `tile_px` is
                not given.
        """
        self._find_receptive_field = find_receptive_field
        self._tile_px = tile_px
        self._budget_bytes = budget_bytes
        self._bytes_per_px: dict[tuple[str, ...], float] = {}
        self._reduced_tile_px: dict[tuple[str, ...], int] = {}

    def check(self, layers: Sequence[str]) -> None:
        """Refuse layers that cannot be dreamed in tiles, if tiles are asked for.

        Raises:
            UnknownLayerError: names them.
        """
        if self._tile_px is not None and self._find_receptive_field(layers) is None:
            raise UnknownLayerError(
                f"{' and '.join(layers)} cannot be dreamed in tiles: their receptive field may be "
                "the whole image; leave --tile out, or choose an earlier --layer"
            )

    def value(self, image: Tensor, objective: Objective) -> Tensor:
        """The objective of an image (1, 3, H, W), a scalar, without a gradient.

        Raises:
            MemoryShortError: the image does not fit into memory, not even in tiles.
        """
        with torch.no_grad():
            return self._within_memory(image, objective, objective, TiledObjective.value)

    def value_and_gradient(self, image: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
        """The objective of an image (1, 3, H, W), a scalar, and its gradient, in the image's shape.

        Raises:
            MemoryShortError: the image does not fit into memory, not even in tiles.
        """

        def of_whole(whole: Tensor) -> tuple[Tensor, Tensor]:
            return value_and_gradient(whole, objective)

        return self._within_memory(image, objective, of_whole, TiledObjective.value_and_gradient)

    def _within_memory(
        self,
        image: Tensor,
        objective: Objective,
        of_whole: Callable[[Tensor], Result],
        of_tiles: Callable[[TiledObjective], Result],
    ) -> Result:
        """Either way's result; with smaller and smaller tiles while memory is short."""
        while True:
            tile_px = self._reduced_tile_px.get(objective.layers)
            try:
                tile_px = self._plan_tile_px(image, objective)
                if tile_px is None:
                    return of_whole(image)
                field = self._find_receptive_field(objective.layers)
                assert field is not None
                size = (image.shape[-2], image.shape[-1])
                tiles = plan_tiles(size, tile_px, field)
                return of_tiles(TiledObjective(image, objective, tiles, field))
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
            # Outside of the handler, so that the error no longer holds what the pass allocated.
            self._reduce_tiles(image, objective, tile_px)

    def _plan_tile_px(self, image: Tensor, objective: Objective) -> int | None:
        """The side of a tile's core; None for the whole image."""
        height, width = image.shape[-2:]
        given_px = self._reduced_tile_px.get(objective.layers, self._tile_px)
        if given_px is not None:
            return given_px if given_px < max(height, width) else None
        field = self._find_receptive_field(objective.layers)
        if field is None or self._budget_bytes == math.inf or height * width <= PROBE_PX**2:
            return None
        max_pixels = self._budget_bytes / self._measure_bytes_per_px(image, objective)
        if height * width <= max_pixels:
            return None
        # Tiles smaller than their margins would save little memory and take much time.
        return max(field.margin_px, math.isqrt(int(max_pixels)) - 2 * field.margin_px)

    def _measure_bytes_per_px(self, image: Tensor, objective: Objective) -> float:
        """Memory that a pass takes per pixel, measured on two corners of the image.

        What does not grow with the image, such as weights, cancels out.
        """
        if objective.layers not in self._bytes_per_px:
            sides_px = (PROBE_PX // 2, PROBE_PX)
            corners = [image[..., :side_px, :side_px] for side_px in sides_px]
            small_bytes, large_bytes = (_saved_bytes(corner, objective) for corner in corners)
            pixels = corners[1][0, 0].numel() - corners[0][0, 0].numel()
            per_px = MEMORY_SAFETY_RATIO * (large_bytes - small_bytes) / pixels
            self._bytes_per_px[objective.layers] = max(1.0, per_px)
        return self._bytes_per_px[objective.layers]

    def _reduce_tiles(self, image: Tensor, objective: Objective, failed_px: int | None) -> None:
        """Halve the tile size that memory was too short for."""
        if image.is_cuda:
            torch.cuda.empty_cache()
        height, width = image.shape[-2:]
        failed = f"{width}×{height}" if failed_px is None else f"{failed_px}×{failed_px}"
        is_smallest = (failed_px or math.inf) <= MIN_TILE_PX
        if self._find_receptive_field(objective.layers) is None or is_smallest:
            raise MemoryShortError(
                f"{failed} pixels at once do not fit into memory, and cannot be dreamed in smaller "
                "tiles: give a smaller --size, or an earlier --layer"
            )
        halved_px = int(failed_px or math.sqrt(height * width)) // 2
        # Another thread may have reduced it meanwhile.
        known_px = self._reduced_tile_px.get(objective.layers, halved_px)
        self._reduced_tile_px[objective.layers] = max(MIN_TILE_PX, min(known_px, halved_px))


class TiledObjective:
    """An objective of an image, computed tile by tile."""

    def __init__(
        self, image: Tensor, objective: Objective, tiles: Sequence[Tile], field: ReceptiveField
    ) -> None:
        """Prepare.

        Args:
            image: (1, 3, H, W).
            objective: what is maximized.
            tiles: of the image.
            field: of the objective's layers.
        """
        self._image, self._objective, self._tiles, self._field = image, objective, tiles, field

    def value(self) -> Tensor:
        """The objective, a scalar."""
        with torch.no_grad():
            return self._total(self._means(None, [])[0])

    def value_and_gradient(self) -> tuple[Tensor, Tensor]:
        """The objective, a scalar, and its gradient, in the image's shape."""
        gradient = torch.zeros_like(self._image)
        if len(self._objective.terms) > 1:
            with torch.no_grad():
                means, counts = self._means(None, [])
            self._means(gradient, self._slopes(means, counts))
            return self._total(means), gradient
        # The slope of the only mean is known at the end, and is the same everywhere.
        means, counts = self._means(gradient, [torch.ones((), device=gradient.device)])
        return self._total(means), gradient.mul_(self._slopes(means, counts)[0])

    def _slopes(self, means: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
        """The derivative of the objective with respect to each term's sum over positions."""
        terms = zip(self._objective.terms, means, counts, strict=True)
        return [term.slope(mean) / count for term, mean, count in terms]

    def _total(self, means: Sequence[Tensor]) -> Tensor:
        terms = zip(self._objective.terms, means, strict=True)
        return torch.stack([term.value(mean) for term, mean in terms]).sum()

    def _means(
        self, gradient: Tensor | None, slopes: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[int]]:
        """The mean of each term over all positions, and how many positions there are.

        Adds the gradient of Σ slope · sum over positions to `gradient`, if it is given.
        """
        sums = [torch.zeros((), device=self._image.device) for _ in self._objective.terms]
        counts = [0 for _ in self._objective.terms]
        for tile in self._tiles:
            leaf = tile.crop(self._image).contiguous(memory_format=torch.channels_last)
            leaf = leaf.detach().requires_grad_(gradient is not None)
            with torch.set_grad_enabled(gradient is not None):
                tile_sums, tile_counts = self._tile_sums(tile, leaf)
                if gradient is not None:
                    pairs = zip(slopes, tile_sums, strict=True)
                    raised = torch.stack([slope * part for slope, part in pairs]).sum()
                    tile.crop(gradient).add_(torch.autograd.grad(raised, leaf)[0])
            sums = [total + part.detach() for total, part in zip(sums, tile_sums, strict=True)]
            counts = [count + more for count, more in zip(counts, tile_counts, strict=True)]
        return [total / count for total, count in zip(sums, counts, strict=True)], counts

    def _tile_sums(self, tile: Tile, leaf: Tensor) -> tuple[list[Tensor], list[int]]:
        """Of each term, the sum over the positions of one tile, and their number."""
        sums, counts = [], []
        for term, activations, stride_px in zip(
            self._objective.terms,
            self._objective.activations(leaf),
            self._field.strides_px,
            strict=True,
        ):
            core = tile.core_of(activations, stride_px)
            counts.append(core.shape[-2] * core.shape[-1])
            sums.append(term.objective.mean(core) * counts[-1])
        return sums, counts


@dataclass(frozen=True)
class TileSpan:
    """A tile along one side of an image, in px."""

    begin: int
    """Of what the network gets."""
    end: int
    core_begin: int
    """Of the part whose positions belong to the tile."""
    core_end: int | None
    """None for the end of the image."""

    def core_positions(self, stride_px: int) -> slice:
        """Which of a layer's positions for the tile belong to its core."""
        first = (self.core_begin - self.begin) // stride_px
        return slice(first, self.core_end and (self.core_end - self.begin) // stride_px)


@dataclass(frozen=True)
class Tile:
    """A part of an image: a core and a margin around it."""

    rows: TileSpan
    columns: TileSpan

    def crop(self, image: Tensor) -> Tensor:
        """What the network gets, a view of (1, C, H, W)."""
        rows, columns = self.rows, self.columns
        return image[..., rows.begin : rows.end, columns.begin : columns.end]

    def core_of(self, activations: Tensor, stride_px: int) -> Tensor:
        """Of a layer's activations for the tile those that belong to its core."""
        return activations[
            ..., self.rows.core_positions(stride_px), self.columns.core_positions(stride_px)
        ]


def plan_tiles(size: Size, tile_px: int, field: ReceptiveField) -> list[Tile]:
    """Tiles whose cores cover every position once.

    Args:
        size: (height, width) of the image in px.
        tile_px: the largest side of a tile's core; at least one stride.
        field: of the layers that are evaluated.
    """
    rows, columns = (list(_tile_spans(length_px, tile_px, field)) for length_px in size)
    return [Tile(*pair) for pair in product(rows, columns)]


def _tile_spans(length_px: int, tile_px: int, field: ReceptiveField) -> Iterator[TileSpan]:
    """All of one length, so that memory allocated for one fits the next."""
    stride_px, margin_px = field.stride_px, field.margin_px
    count = math.ceil(length_px / max(stride_px, tile_px // stride_px * stride_px))
    core_px = math.ceil(length_px / count / stride_px) * stride_px
    # Networks pad depending on whether sides are even, at each size that halving leads to: the
    # remainder of the division by the stride has to be that of the whole image.
    span_px = min(length_px, core_px + 2 * margin_px + length_px % stride_px)
    # Less than a stride need not contain a position.
    begins = range(0, max(1, length_px - stride_px + 1), core_px)
    for begin, next_begin in zip(begins, [*begins[1:], None], strict=True):
        first = min(max(0, begin - margin_px), length_px - span_px)
        yield TileSpan(first, first + span_px, begin, next_begin)


def _saved_bytes(image: Tensor, objective: Objective) -> int:
    """What a pass saves for backward."""
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    leaf = image.detach().clone().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        _ = objective(leaf)
    return sum(saved.values())


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of PyTorch means that; on CPUs and MPS only the text tells."""
    phrases = ("not enough memory", "can't allocate memory", "out of memory")
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(phrase in text for phrase in phrases)
