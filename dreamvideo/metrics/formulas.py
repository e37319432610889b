"""The formulas of the metrics.

Images are tensors (1, 3, H, W), RGB in [0, 1]; flows are arrays (H, W, 2) in px, x then y.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dreamvideo.dream.objectives import EnergyMaps
from dreamvideo.dream.pyramid import texture_map
from dreamvideo.motion.confidence import BoolArray, disoccluded, pixel_positions, strict_confidence
from dreamvideo.motion.flow import FlowEstimator
from dreamvideo.motion.warp import warp
from dreamvideo.types import LUMA_BT709, FloatArray

# Areas of the source with less texture than this, in [0, 1], are flat.
FLAT_TEXTURE = 0.5
# Cycles per pixel: half of the Nyquist frequency.
FINE_FREQUENCY = 0.25
# The warping error counts a pixel only if its match is fully trusted.
MIN_STRICT_CONFIDENCE = 0.999
# A match that is outside the frame by less than this is moved onto the border: with a still camera,
# noise in the flow puts the matches of half of the border pixels outside.
OUTSIDE_TOLERANCE_PX = 0.5
# Pixels that came into view up to this many frames ago are new.
NEW_FRAMES = 5
# Ages up to this are counted separately, all others together as `OLDER`.
OLDEST_FRAMES = 8
OLDER = OLDEST_FRAMES + 1
# A gain by age needs at least this many positions of a layer, over all frames.
MIN_POSITIONS = 4.0


def clipped_share(image: Tensor) -> float:
    """Share of the values that are black or white when rounded to 8 bits."""
    values = (image * 255).round()
    return float(((values <= 0) | (values >= 255)).float().mean())


def luma(image: Tensor) -> float:
    """Mean luma (ITU-R BT.709, section 3.2), in [0, 1]."""
    weights = torch.tensor(LUMA_BT709, device=image.device).view(1, 3, 1, 1)
    return float((image * weights).sum(1).mean())


def saturation(image: Tensor) -> float:
    """Mean over pixels of the largest minus the smallest channel (chroma of HSV), in [0, 1]."""
    return float((image.amax(1) - image.amin(1)).mean())


def residual_energies(source: Tensor, dream: Tensor) -> tuple[float, float]:
    """Energy of the residual on flat areas: above half the Nyquist frequency, and in total.

    The residual r is dream minus source, less its mean; h is the part of r with frequencies
    √(fx² + fy²) above 0.25 cycles per pixel. Flat areas are those of `texture_map(source)`.

    Returns:
        Σ h² and Σ r² over the flat pixels, divided by the number of all pixels.
    """
    residual = dream - source
    residual = residual - residual.mean((2, 3), keepdim=True)
    height, width = residual.shape[-2:]
    # Mirrored at the edges, it continues there: a jump would have energy at all frequencies.
    residual = torch.cat([residual, residual.flip(2)], 2)
    residual = torch.cat([residual, residual.flip(3)], 3)
    down = torch.fft.fftfreq(2 * height, device=residual.device)[:, None]
    across = torch.fft.rfftfreq(2 * width, device=residual.device)
    is_fine = down.square() + across.square() > FINE_FREQUENCY**2
    fine = torch.fft.irfft2(torch.fft.rfft2(residual) * is_fine, s=(2 * height, 2 * width))
    residual, fine = residual[..., :height, :width], fine[..., :height, :width]
    flat = (texture_map(source) < FLAT_TEXTURE).float()
    flat = nn.functional.interpolate(flat, size=(height, width), mode="nearest")
    return float((fine.square() * flat).mean()), float((residual.square() * flat).mean())


@dataclass(frozen=True, eq=False)
class Matches:
    """The positions of a source frame's pixels in an earlier frame."""

    flow: FloatArray
    """(H, W, 2) px, to the earlier frame."""
    is_trusted: BoolArray
    """(H, W): where the flow can be relied on."""
    is_uncovered: BoolArray
    """(H, W): what was hidden in the earlier frame, or outside of it."""


def match_to_earlier(current: FloatArray, earlier: FloatArray, flow: FlowEstimator) -> Matches:
    """Match a frame with an earlier one, both arrays (H, W, 3) in [0, 1]."""
    flow_to_earlier, flow_from_earlier = flow(current, earlier), flow(earlier, current)
    confidence = strict_confidence(flow_to_earlier, flow_from_earlier)
    is_uncovered = disoccluded(_moved_inside(flow_to_earlier), flow_from_earlier)
    return Matches(flow_to_earlier, confidence > MIN_STRICT_CONFIDENCE, is_uncovered)


def warping_error(current: Tensor, earlier: Tensor, matches: Matches) -> float | None:
    """E_warp (Lai et al. 2018, "Learning blind video temporal consistency", section 4.2).

    The mean square of current − warp(earlier) over the channels of the pixels whose match is
    trusted; None if there are none. The earlier frame may be any number of frames before.
    """
    if not matches.is_trusted.any():
        return None
    change = current - warp(earlier, torch.from_numpy(matches.flow).to(current.device))
    is_trusted = torch.from_numpy(matches.is_trusted).to(current.device)
    return float(change.square().mean(1)[0][is_trusted].mean())


def flow_difference(source_flow: FloatArray, dream_flow: FloatArray) -> float:
    """tOF (Chu et al. 2020, "Learning temporal coherence via self-supervision", section 5), px.

    The mean over pixels of |Δx| + |Δy| between two flows.
    """
    return float(np.abs(source_flow - dream_flow).sum(-1).mean())


def frames_since_visible(ages: Tensor | None, matches: Matches) -> Tensor:
    """How many frames ago each pixel came into view.

    Args:
        ages: (H, W), the result for the previous frame; None for the first one.
        matches: with the previous frame.

    Returns:
        (H, W): 0 for this frame, infinity for pixels in view since the first frame.
    """
    is_new = torch.from_numpy(matches.is_uncovered)
    if ages is None:
        ages = torch.full(is_new.shape, torch.inf)
    # Nearest neighbour, since bilinear sampling would mix ages.
    nearest = _match_positions(matches.flow).round().clip(0, _last_position(matches.flow))
    x, y = torch.from_numpy(nearest.astype(int)).unbind(-1)
    return torch.where(is_new, 0.0, ages[y, x] + 1)


class GainByAge:
    """Dream gain of pixels by the number of frames for which they have been in view.

    Sums energies over all frames of a video.
    """

    def __init__(self) -> None:
        self._frames = 0
        self._weights: Counter[str] = Counter()
        # Per layer, a row per age: sums of the dream's energies, the source's, and the positions.
        self._sums: dict[str, Tensor] = {}

    def add(
        self, layers: Sequence[str], source: EnergyMaps, dream: EnergyMaps, ages: Tensor
    ) -> None:
        """Add a frame to the sums.

        Args:
            layers: names of the layers, which may differ between frames.
            source: weights and energies of the layers on the source.
            dream: weights and energies of the layers on the dream.
            ages: (H, W), see `frames_since_visible`.
        """
        self._frames += 1
        masks = torch.stack([*(ages == age for age in range(OLDER)), ages > OLDEST_FRAMES]).float()
        for layer, (weight, before), (_, after) in zip(layers, source, dream, strict=True):
            self._weights[layer] += weight  # type: ignore[assignment]  # counters count any number
            # At each position, the share of its pixels that are of each age.
            size = (before.shape[0], before.shape[1])
            shares = nn.functional.adaptive_avg_pool2d(masks, size).to(before.device)
            sums = [(energies * shares).sum((1, 2)) for energies in (after, before)]
            rows = torch.stack([*sums, shares.sum((1, 2))], dim=1).double().cpu()
            self._sums[layer] = self._sums.get(layer, torch.zeros_like(rows)) + rows

    def gain(self, ages: Sequence[int]) -> float | None:
        """Dream gain of the pixels of the given ages; None if there are too few of them.

        Π over layers of (Σ energies of the dream / Σ energies of the source) ^ weight. The sums are
        over all frames and positions, each position weighted by its share of such pixels. The
        weight of a layer is its mean over all frames.
        """
        log_gain = 0.0
        for layer, rows in self._sums.items():
            dream, source, positions = rows[list(ages)].sum(0).tolist()
            if positions < MIN_POSITIONS or dream <= 0 or source <= 0:
                return None
            log_gain += self._weights[layer] / self._frames * (math.log(dream) - math.log(source))
        return math.exp(log_gain) if self._sums else None

    def gains_by_age(self) -> list[float | None]:
        """Dream gains of the pixels that came into view 0, 1, … `OLDEST_FRAMES` frames ago."""
        return [self.gain([age]) for age in range(OLDER)]

    def new_to_rest(self) -> float | None:
        """Dream gain of new pixels divided by that of the rest; None if either is unknown."""
        new = self.gain(range(NEW_FRAMES + 1))
        rest = self.gain(range(NEW_FRAMES + 1, OLDER + 1))
        return None if new is None or rest is None else new / rest


def frame_gain(source: EnergyMaps, dream: EnergyMaps) -> float:
    """Dream gain of a frame: Π over layers of (mean energy on the dream / on the source) ^ weight.

    Args:
        source: weights and energies of the layers on the source.
        dream: weights and energies of the layers on the dream.
    """
    tiny = torch.finfo(torch.float32).tiny
    return math.exp(
        sum(
            weight * float((after.mean().clamp(min=tiny) / before.mean().clamp(min=tiny)).log())
            for (weight, before), (_, after) in zip(source, dream, strict=True)
        )
    )


def _moved_inside(flow: FloatArray) -> FloatArray:
    """The flow, with matches that are barely outside the frame moved onto its border."""
    matches = _match_positions(flow)
    inside = matches.clip(0, _last_position(flow))
    is_close = np.abs(matches - inside) < OUTSIDE_TOLERANCE_PX
    moved = np.where(is_close, inside, matches) - pixel_positions(*flow.shape[:2])
    return moved.astype(np.float32)


def _match_positions(flow: FloatArray) -> FloatArray:
    return pixel_positions(*flow.shape[:2]) + flow


def _last_position(flow: FloatArray) -> tuple[int, int]:
    """x and y of the last pixel."""
    return flow.shape[1] - 1, flow.shape[0] - 1
