"""Confidence of flows: where a match is trusted to carry a dream, and where metrics count it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dreamvideo.motion.confidence import carry_confidence, disoccluded, strict_confidence
from dreamvideo.motion.flow import DisFlow
from dreamvideo.types import FloatArray
from tests.synthetic_images import (
    PHOTO_HEIGHT,
    PHOTO_WIDTH,
    blobs,
    disc,
    eight_bit,
    gaussian_noise,
    pan,
    photo_frame,
    photograph,
)

HEIGHT, WIDTH = 120, 160
FLOW = DisFlow()


def constant_flow(right: float, down: float = 0) -> FloatArray:
    return np.full((HEIGHT, WIDTH, 2), (right, down), np.float32)


def grey() -> FloatArray:
    return np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)


@pytest.fixture(scope="module")
def photo(sample_still: Path) -> FloatArray:
    return photograph(sample_still)


def flows_between(current: FloatArray, previous: FloatArray) -> tuple[FloatArray, FloatArray]:
    return FLOW(current, previous), FLOW(previous, current)


def sky(right_px: float, noise_std: float) -> FloatArray:
    """A smooth gradient with three striped discs on it, which moves to the right."""
    gradient = np.linspace(0, 1, PHOTO_HEIGHT)[:, None, None] * (0.3, 0.3, 0.1) + (0.3, 0.45, 0.8)
    image = np.broadcast_to(gradient, (PHOTO_HEIGHT, PHOTO_WIDTH, 3)).astype(np.float32)
    stripes = 0.5 + 0.4 * np.sin((np.arange(PHOTO_WIDTH) - right_px) / 2)[None, :, None]
    for x, y in ((30, 30), (90, 75), (150, 40)):
        cover = disc(x + right_px, y, 9)
        image = image * (1 - cover) + stripes.astype(np.float32) * cover
    return eight_bit(image + gaussian_noise(image, noise_std, seed=round(right_px)))


class TestCarryConfidence:
    def test_what_a_moving_figure_uncovers_is_not_trusted_but_its_outline_is(
        self, photo: FloatArray
    ) -> None:
        """A disc of 24 px moves by 8 px to the right, the background by 1 px to the left."""
        frames, covers = [], []
        for step in (0, 1):
            cover = disc(70 + 8 * step, 54, 24)
            background = photo_frame(photo, pan(-step))
            figure = photo_frame(photo[:, ::-1], pan(8 * step))
            frames.append(eight_bit(background * (1 - cover) + figure * cover))
            covers.append(cover[..., 0] >= 0.5)
        previous, current = frames
        is_uncovered = np.roll(covers[0], -1, axis=1) & ~covers[1]
        flows = flows_between(current, previous)
        confidence = carry_confidence(current, previous, *flows)
        assert confidence[is_uncovered].mean() < 0.2
        assert confidence[~is_uncovered].mean() > 0.9
        # The outline of the figure is a motion boundary.
        strict = strict_confidence(*flows)
        assert confidence[~is_uncovered].mean() > strict[~is_uncovered].mean() + 0.02

    @pytest.mark.parametrize(("right_px", "noise_std"), [(2, 0), (8, 1 / 255)])
    def test_a_smooth_sky_is_trusted(self, right_px: float, noise_std: float) -> None:
        previous, current = sky(0, noise_std), sky(right_px, noise_std)
        flows = flows_between(current, previous)
        assert carry_confidence(current, previous, *flows).mean() > 0.9

    @pytest.mark.parametrize(("light", "noise_std"), [(0.85, 0), (1, 12 / 255)])
    def test_a_fade_and_noise_are_trusted(
        self, photo: FloatArray, light: float, noise_std: float
    ) -> None:
        previous, current = photo_frame(photo, pan(0)), photo_frame(photo, pan(2)) * light
        previous = eight_bit(previous + gaussian_noise(previous, noise_std, seed=0))
        current = eight_bit(current + gaussian_noise(current, noise_std, seed=1))
        flows = flows_between(current, previous)
        assert carry_confidence(current, previous, *flows).mean() > 0.9

    def test_flows_that_disagree_are_trusted_only_where_images_match(self) -> None:
        zero, other = constant_flow(0), constant_flow(4, 4)
        inner = slice(30, -30)
        assert carry_confidence(grey(), grey(), zero, other)[inner, inner].min() > 0.99
        assert carry_confidence(grey(), grey() + 3 / 255, zero, other).max() < 0.01

    def test_flows_that_agree_are_not_trusted_where_images_differ(self) -> None:
        zero, previous = constant_flow(0), grey()
        previous[40:60, 80:120] += 0.1
        confidence = carry_confidence(grey(), previous, zero, zero)
        assert confidence[46:54, 86:114].max() < 0.01
        assert confidence[:30].min() > 0.99

    def test_matches_outside_the_frame_are_not_trusted(self) -> None:
        confidence = carry_confidence(grey(), grey(), constant_flow(6), constant_flow(-6))
        assert confidence[:, -2:].max() < 0.05
        assert confidence[:, :-16].min() > 0.99

    def test_the_background_that_a_square_uncovers_is_not_trusted(self) -> None:
        previous, current = blobs(1), blobs(1)
        figure = blobs(2)[:40, :40]
        previous[40:80, 50:90] = figure
        current[40:80, 62:102] = figure
        confidence = carry_confidence(current, previous, *flows_between(current, previous))
        assert confidence[46:74, 53:59].mean() < 0.35
        assert confidence[90:, 20:140].mean() > 0.9


class TestStrictConfidence:
    def test_a_pan_is_trusted_except_where_it_leaves_the_frame(self) -> None:
        confidence = strict_confidence(constant_flow(-10), constant_flow(10))
        assert confidence.dtype == np.float32
        assert confidence[:, 16:].min() > 0.99
        assert confidence[:, :6].max() < 0.01
        uncovered = disoccluded(constant_flow(-10), constant_flow(10))
        assert uncovered[:, :10].all()
        assert not uncovered[:, 10:].any()

    def test_flows_that_disagree_are_not_trusted(self) -> None:
        assert strict_confidence(constant_flow(4), constant_flow(0)).max() == 0

    def test_motion_boundaries_are_not_trusted(self) -> None:
        flow = constant_flow(0)
        flow[40:80, 60:100] = (2, 0)
        confidence = strict_confidence(flow, -flow)
        assert confidence[60, 59:61].max() < 0.6
        assert confidence[10, 10] > 0.99


@pytest.mark.parametrize("confidence", [carry_confidence, strict_confidence])
def test_a_still_image_is_fully_trusted(confidence: Callable[..., FloatArray]) -> None:
    zero = constant_flow(0)
    images = (grey(), grey()) if confidence is carry_confidence else ()
    result = confidence(*images, zero, zero)
    assert result.shape == (HEIGHT, WIDTH)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, 1, atol=1e-6)
