"""Flow and trust on motion that is known exactly, for every way to measure flow that is here."""

from __future__ import annotations

from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import numpy.typing as npt
import pytest
import torch

from dreamvideo.motion.confidence import BoolArray, carry_confidence, strict_confidence
from dreamvideo.motion.flow import FarnebackFlow, FlowEstimator, open_flow
from dreamvideo.motion.warp import warp
from dreamvideo.types import FloatArray
from tests.conftest import SAMPLES

Matrix = npt.NDArray[np.float64]

SIZE = WIDTH, HEIGHT = 192, 108
CPU = torch.device("cpu")
# So far within the border nothing of a patch is outside.
BORDER_PX = 16
NONE = np.zeros((HEIGHT, WIDTH, 2), np.float32)


def pan(right: float, down: float = 0) -> Matrix:
    """(3, 3), from places in the previous frame to places in this one."""
    return np.array([[1, 0, right], [0, 1, down], [0, 0, 1]], np.float64)


def turn(degrees: float = 0, zoom: float = 1) -> Matrix:
    """Likewise, about the middle."""
    centre = (WIDTH / 2, HEIGHT / 2)
    return np.vstack([cv2.getRotationMatrix2D(centre, degrees, zoom), (0, 0, 1)])


@pytest.fixture(scope="module")
def photograph() -> FloatArray:
    """Larger than a frame by 64 px all around."""
    cat = (iio.imread(SAMPLES / "cat.png") / 255).astype(np.float32)
    return np.asarray(cv2.resize(cat, (WIDTH + 128, HEIGHT + 128), interpolation=cv2.INTER_AREA))


def seen(picture: FloatArray, motion: Matrix) -> FloatArray:
    """A frame of 8 bits, after a motion from where the picture is seen in the middle."""
    shown = cv2.warpAffine(picture, (motion @ pan(-64, -64))[:2], SIZE, flags=cv2.INTER_CUBIC)
    return eight_bit(np.asarray(shown))


def eight_bit(picture: FloatArray) -> FloatArray:
    return np.asarray(np.rint(picture.clip(0, 1) * 255) / 255, np.float32)


def true_flow(motion: Matrix) -> tuple[FloatArray, BoolArray]:
    """The flow to the previous frame, and what was within it."""
    here = np.dstack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))).astype(np.float64)
    matches = cv2.transform(here, np.linalg.inv(motion)[:2])
    inside = (matches >= 0).all(axis=2) & (matches <= (WIDTH - 1, HEIGHT - 1)).all(axis=2)
    return (matches - here).astype(np.float32), np.asarray(inside)


def disc(x: float, y: float, radius: float) -> FloatArray:
    """(H, W, 1): 1 within it."""
    across, down = np.meshgrid(np.arange(WIDTH) - x, np.arange(HEIGHT) - y)
    covered = (radius - np.hypot(across, down) + 0.5).clip(0, 1)
    return np.asarray(covered[..., None], np.float32)


def sky(right: float, grain: float) -> FloatArray:
    """An even slope with three striped discs on it, that far to the right."""
    slope = np.linspace(0, 1, HEIGHT)[:, None, None] * (0.3, 0.3, 0.1) + (0.3, 0.45, 0.8)
    picture = np.broadcast_to(slope, (HEIGHT, WIDTH, 3)).astype(np.float32)
    stripes = 0.5 + 0.4 * np.sin((np.arange(WIDTH) - right) / 2)[None, :, None]
    for x, y in ((30, 30), (90, 75), (150, 40)):
        cover = disc(x + right, y, 9)
        picture = picture * (1 - cover) + stripes.astype(np.float32) * cover
    return eight_bit(picture + noise(grain, seed=round(right)))


def noise(std: float, seed: int) -> FloatArray:
    random = np.random.default_rng(seed)
    return random.normal(0, std, (HEIGHT, WIDTH, 3)).astype(np.float32)


# Farneback only measures, and loses fast motion; the others carry dreams.
every_flow = pytest.mark.parametrize("flow", ["dis", "farneback", "raft"], indirect=True)
carrying_flow = pytest.mark.parametrize("flow", ["dis", "raft"], indirect=True)


@pytest.fixture(scope="module")
def flow(request: pytest.FixtureRequest) -> FlowEstimator:
    if request.param == "farneback":
        return FarnebackFlow()
    if request.param == "raft":
        from torchvision.models.optical_flow import Raft_Large_Weights

        weights = Path(Raft_Large_Weights.DEFAULT.url).name
        if not (Path(torch.hub.get_dir()) / "checkpoints" / weights).exists():
            pytest.skip("the weights of raft are not here")
    estimator = open_flow(request.param, CPU)
    assert estimator is not None
    return estimator


def miss(found: FloatArray, true: FloatArray) -> float:
    """Mean end-point error inside of the border, px."""
    inner = slice(BORDER_PX, -BORDER_PX)
    return float(np.linalg.norm(found - true, axis=2)[inner, inner].mean())


@every_flow
@pytest.mark.parametrize(
    "motion",
    [pan(0), pan(2), pan(-2.5, 1.5), turn(zoom=1.03), turn(degrees=3)],
    ids=["still", "pan", "part of a pixel", "zoom", "rotation"],
)
def test_a_known_motion_is_found_trusted_and_undone(
    flow: FlowEstimator, photograph: FloatArray, motion: Matrix
) -> None:
    previous, current = seen(photograph, pan(0)), seen(photograph, motion)
    true, inside = true_flow(motion)
    there, back = flow(current, previous), flow(previous, current)
    assert miss(there, true) < 0.3
    assert carry_confidence(current, previous, there, back)[inside].mean() > 0.95
    undone = warp(torch.from_numpy(previous).permute(2, 0, 1)[None], torch.from_numpy(there))
    difference = np.abs(undone[0].permute(1, 2, 0).numpy() - current).mean(axis=2)
    assert difference[inside].mean() < 0.02


@carrying_flow
@pytest.mark.parametrize("length_px", [1, 24], ids=["sharp", "blurred"])
def test_a_fast_pan_is_found(flow: FlowEstimator, photograph: FloatArray, length_px: int) -> None:
    """24 px from one frame to the next, on frames of 384 px."""
    large = np.asarray(cv2.resize(photograph, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    large = eight_bit(np.asarray(cv2.blur(large, (length_px, 1))))
    current, previous = (large[60:276, left : left + 384].copy() for left in (120, 144))
    grain = np.random.default_rng(0).normal(0, 1 / 255, (2, *current.shape)).astype(np.float32)
    error = np.linalg.norm(flow(current + grain[0], previous + grain[1]) - (-24, 0), axis=2)
    assert error[32:-32, 48:-32].mean() < 0.3


class TestTrust:
    @carrying_flow
    def test_a_moving_figure(self, flow: FlowEstimator, photograph: FloatArray) -> None:
        """A disc of 24 px moves by 8 px to the right, what is behind it by 1 px to the left."""
        frames, covers = [], []
        for step in (0, 1):
            cover = disc(70 + 8 * step, 54, 24)
            behind, figure = seen(photograph, pan(-step)), seen(photograph[:, ::-1], pan(8 * step))
            frames.append(eight_bit(behind * (1 - cover) + figure * cover))
            covers.append(cover[..., 0] >= 0.5)
        previous, current = frames
        hidden = np.roll(covers[0], -1, axis=1) & ~covers[1]
        there, back = flow(current, previous), flow(previous, current)
        trusted, strict = (
            carry_confidence(current, previous, there, back),
            strict_confidence(there, back),
        )
        assert trusted[hidden].mean() < 0.2
        assert trusted[~hidden].mean() > 0.9
        # The figure's rim is a motion boundary.
        assert trusted[~hidden].mean() > strict[~hidden].mean() + 0.02

    @carrying_flow
    @pytest.mark.parametrize(("right", "grain"), [(2, 0), (8, 1 / 255)])
    def test_an_even_sky_keeps_its_dream(
        self, flow: FlowEstimator, right: float, grain: float
    ) -> None:
        previous, current = sky(0, grain), sky(right, grain)
        trusted = carry_confidence(
            current, previous, flow(current, previous), flow(previous, current)
        )
        assert trusted.mean() > 0.9

    @carrying_flow
    @pytest.mark.parametrize(("light", "std"), [(0.85, 0), (1, 12 / 255)])
    def test_a_fade_and_noise_keep_theirs(
        self, flow: FlowEstimator, photograph: FloatArray, light: float, std: float
    ) -> None:
        previous = eight_bit(seen(photograph, pan(0)) + noise(std, seed=0))
        current = eight_bit(seen(photograph, pan(2)) * light + noise(std, seed=1))
        trusted = carry_confidence(
            current, previous, flow(current, previous), flow(previous, current)
        )
        assert trusted.mean() > 0.9

    def test_flows_that_disagree_are_trusted_only_between_what_looks_alike(self) -> None:
        alike = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
        astray = NONE + np.float32(4)
        middle = slice(30, -30)
        assert carry_confidence(alike, alike, NONE, astray)[middle, middle].min() > 0.99
        assert carry_confidence(alike, alike + 3 / 255, NONE, astray).max() < 0.01

    def test_flows_that_agree_are_trusted_but_where_all_looks_different(self) -> None:
        image = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
        previous = image.copy()
        previous[40:60, 80:120] += 0.1
        trusted = carry_confidence(image, previous, NONE, NONE)
        assert trusted[46:54, 86:114].max() < 0.01
        assert trusted[:30].min() > 0.99

    def test_what_was_outside_the_frame_is_not_trusted(self) -> None:
        alike = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
        to_the_right = NONE + np.array((6, 0), np.float32)
        trusted = carry_confidence(alike, alike, to_the_right, -to_the_right)
        assert trusted[:, -2:].max() < 0.05
        assert trusted[:, :-16].min() > 0.99
