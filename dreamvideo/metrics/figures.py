"""The figures of dreamed frames beside their source.

Pictures are (1, 3, H, W) in [0, 1], flows (H, W, 2) px, x then y."""

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

# Where a patch of the source has less texture than this, in [0, 1], it is flat.
FLAT_TEXTURE = 0.5
# Cycles per pixel: half of the highest frequency that a picture can hold.
FINE_FREQUENCY = 0.25


def clipped_share(picture: Tensor) -> float:
    """Share of the values that are black or white to the last bit of 8."""
    values = (picture * 255).round()
    return float(((values <= 0) | (values >= 255)).float().mean())


def luma(picture: Tensor) -> float:
    """Mean brightness, weighted as in ITU-R BT.709, section 3.2, in [0, 1]."""
    weights = torch.tensor(LUMA_BT709, device=picture.device).view(1, 3, 1, 1)
    return float((picture * weights).sum(1).mean())


def saturation(picture: Tensor) -> float:
    """Mean over pixels of the largest minus the smallest channel (chroma of HSV), in [0, 1]."""
    return float((picture.amax(1) - picture.amin(1)).mean())


def fine_noise(source: Tensor, dream: Tensor) -> tuple[float, float]:
    """Energy of the residual on flat areas, above half the Nyquist frequency and in all.

    The residual r is dream minus source, less its mean; h is that part of it whose frequency
    √(fx² + fy²) is above 0.25 cycles per pixel. What is flat in the source, `dream.texture` says.

    Returns:
        Σ h² and Σ r² over the flat pixels, by the number of all pixels.
    """
    residual = dream - source
    residual = residual - residual.mean((2, 3), keepdim=True)
    height, width = residual.shape[-2:]
    # Beside its mirror image it goes on at its edges, where a jump would be of all frequencies.
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


# The mask of the warping error is hard: a pixel counts where its match is fully trusted.
MIN_STRICT_CONFIDENCE = 0.999
# A match that lies outside by less came from no motion: of a still camera, noise in the flow sends
# the matches of half of the border there.
OUTSIDE_PX = 0.5


@dataclass(frozen=True, eq=False)
class Matches:
    """Where the pixels of a source's frame were in an earlier one."""

    flow: FloatArray
    """To the earlier frame."""
    trusted: BoolArray
    """(H, W), where that can be relied on."""
    uncovered: BoolArray
    """(H, W), what was not to be seen in the earlier frame: hidden, or outside."""


def match_to_earlier(now: FloatArray, before: FloatArray, flow: FlowEstimator) -> Matches:
    """Those of a frame with an earlier one, both (H, W, 3) in [0, 1]."""
    there, back = flow(now, before), flow(before, now)
    new = disoccluded(_kept_inside(there), back)
    return Matches(there, strict_confidence(there, back) > MIN_STRICT_CONFIDENCE, new)


def warping_error(now: Tensor, before: Tensor, found: Matches) -> float | None:
    """E_warp (Lai et al. 2018, "Learning blind video temporal consistency", section 4.2).

    The mean square of now − warp(before) over pixels and channels, where the match is trusted, at
    any lag; None where it is trusted nowhere.
    """
    if not found.trusted.any():
        return None
    change = now - warp(before, torch.from_numpy(found.flow).to(now.device))
    trusted = torch.from_numpy(found.trusted).to(now.device)
    return float(change.square().mean(1)[0][trusted].mean())


def flow_difference(source_flow: FloatArray, dream_flow: FloatArray) -> float:
    """tOF (Chu et al. 2020, "Learning temporal coherence via self-supervision", section 5).

    The mean over pixels of |Δx| + |Δy| between two flows, px.
    """
    return float(np.abs(source_flow - dream_flow).sum(-1).mean())


def frames_since_visible(ages: Tensor | None, found: Matches) -> Tensor:
    """How many frames ago each pixel came into view: (H, W), 0 for now, infinity for ever.

    Args:
        ages: those of the frame before; None for the first one.
        found: matches with the frame before.
    """
    new = torch.from_numpy(found.uncovered)
    if ages is None:
        ages = torch.full(new.shape, torch.inf)
    # Bilinear sampling would mix ages; of its four neighbours, each pixel takes the nearest one.
    nearest = (
        (pixel_positions(*found.flow.shape[:2]) + found.flow).round().clip(0, _corner(found.flow))
    )
    x, y = torch.from_numpy(nearest.astype(int)).unbind(-1)
    return torch.where(new, 0.0, ages[y, x] + 1)


def _kept_inside(flow: FloatArray) -> FloatArray:
    """The flow, ending on the border where it leads barely beyond."""
    ends = pixel_positions(*flow.shape[:2]) + flow
    inside = ends.clip(0, _corner(flow))
    moved = np.where(np.abs(ends - inside) < OUTSIDE_PX, inside, ends) - pixel_positions(
        *flow.shape[:2]
    )
    return moved.astype(np.float32)


def _corner(flow: FloatArray) -> tuple[int, int]:
    """x and y of the last pixel."""
    return flow.shape[1] - 1, flow.shape[0] - 1


# What came into view up to so many frames ago is new.
NEW_FRAMES = 5
# Ages up to this are told apart; all older ones are the next.
OLDEST_FRAMES = 8
OLDER = OLDEST_FRAMES + 1
# A part that is seen by fewer places of a layer, in all frames together, tells nothing.
MIN_POSITIONS = 4.0


class GainByAge:
    """Sums of energies, over frames, of what came into view at the same age."""

    def __init__(self) -> None:
        self._frames = 0
        self._shares: Counter[str] = Counter()
        # Of each layer: for each age a row with the sums of the dream, the source and the places.
        self._sums: dict[str, Tensor] = {}

    def add(
        self, layers: Sequence[str], source: EnergyMaps, dream: EnergyMaps, ages: Tensor
    ) -> None:
        """Count a frame in.

        Args:
            layers: names of the layers, which may change from frame to frame.
            source: energies of the source.
            dream: energies of the dream.
            ages: (H, W), frames since each pixel came into view.
        """
        self._frames += 1
        whose = [*(ages == age for age in range(OLDER)), ages > OLDEST_FRAMES]
        masks = torch.stack(whose).float()
        for layer, (share, before), (_, after) in zip(layers, source, dream, strict=True):
            self._shares[layer] += share  # type: ignore[assignment]  # counters count anything
            # The share of each place's pixels that are of each age.
            size = (before.shape[0], before.shape[1])
            shares = nn.functional.adaptive_avg_pool2d(masks, size).to(before.device)
            sums = [(values * shares).sum((1, 2)) for values in (after, before)]
            rows = torch.stack([*sums, shares.sum((1, 2))], dim=1).double().cpu()
            self._sums[layer] = self._sums.get(layer, torch.zeros_like(rows)) + rows

    def gain(self, ages: Sequence[int]) -> float | None:
        """The dream gain of what is of one of the ages; None where there is too little of it.

        Π over layers of (Σ energies of the dream / Σ energies of the source) ^ share, the sums over
        all places and frames, each place weighted by the share of its pixels that is of the age;
        the share of a layer that comes and goes is the mean of that in all frames.
        """
        gain = 0.0
        for layer, rows in self._sums.items():
            dream, source, places = rows[list(ages)].sum(0).tolist()
            if places < MIN_POSITIONS or dream <= 0 or source <= 0:
                return None
            gain += self._shares[layer] / self._frames * (math.log(dream) - math.log(source))
        return math.exp(gain) if self._sums else None

    def gains_by_age(self) -> list[float | None]:
        """Dream gains of what came into view 0, 1, … frames ago."""
        return [self.gain([age]) for age in range(OLDER)]

    def new_to_rest(self) -> float | None:
        """The dream gain of what came into view within five frames, by that of all the rest."""
        new = self.gain(range(NEW_FRAMES + 1))
        rest = self.gain(range(NEW_FRAMES + 1, OLDER + 1))
        return None if new is None or rest is None else new / rest


def frame_gain(source: EnergyMaps, dream: EnergyMaps) -> float:
    """The dream gain of a frame: Π over layers of (mean energy after / before) ^ share."""
    tiny = torch.finfo(torch.float32).tiny
    return math.exp(
        sum(
            share * float((after.mean().clamp(min=tiny) / before.mean().clamp(min=tiny)).log())
            for (share, before), (_, after) in zip(source, dream, strict=True)
        )
    )
