"""Frames of which much has just come into view: what is fresh, and the steps that it gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamvideo import Settings
from dreamvideo.dream.ascent import ascend
from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.pyramid import Octave
from dreamvideo.motion.warp import (
    FAST_MOTION_SHARE,
    FRESHNESS_DECAY,
    carry,
    carry_freshness,
    carry_map,
)
from dreamvideo.runtime.devices import upload
from dreamvideo.temporal.fast_motion import (
    FRESH_WEIGHT,
    SETTLED_WEIGHT,
    SETTLED_WEIGHT_LARGEST,
    step_weights,
)
from dreamvideo.temporal.level_control import FrameInputs, level_control
from dreamvideo.temporal.refresh import TemporalDreamer
from dreamvideo.temporal.state_files import load_state, save_tensors, target_level_as_json
from dreamvideo.types import FloatArray, Motion, TemporalState
from scripts.coherence import dream, fast_frames
from tests.conftest import CPU
from tests.synthetic_images import blobs

SIZE = HEIGHT, WIDTH = 120, 160
DREAM = Settings(octaves=4, iterations=2, device="cpu")


def pan(confidence: FloatArray, right_px: float = 0.0) -> Motion:
    """A pan by so many pixels, with a confidence (rows, columns)."""
    flow = np.zeros((*confidence.shape, 2), np.float32)
    flow[..., 0] = right_px
    return Motion(flow, confidence)


def trusted_except(columns: int) -> FloatArray:
    """A confidence of 1 but for the last columns."""
    confidence = np.ones(SIZE, np.float32)
    confidence[:, WIDTH - columns :] = 0
    return confidence


FAST_PAN = pan(trusted_except(40))


@pytest.fixture(scope="module")
def image() -> FloatArray:
    return blobs()[:HEIGHT, :WIDTH]


@pytest.fixture
def temporal(dreamer: Dreamer) -> Iterator[TemporalDreamer]:
    with closing(TemporalDreamer(dreamer, DREAM)) as temporal:
        yield temporal


@pytest.fixture
def fast_inputs(temporal: TemporalDreamer, image: FloatArray) -> FrameInputs:
    """A warm frame of which a quarter has no match."""
    return temporal.prepare(upload(image, CPU), 1, 0.04, carry_map(FAST_PAN, SIZE, CPU))


class TestFreshness:
    def test_it_is_one_where_nothing_matches_and_falls_from_frame_to_frame(self) -> None:
        mapping = carry_map(FAST_PAN, SIZE, CPU)
        fresh = carry_freshness(None, mapping)
        assert fresh is not None
        assert fresh.shape == (1, 1, *SIZE)
        assert fresh[..., -40:].eq(1).all() and fresh[..., :-40].eq(0).all()
        # It moves with what it belongs to: 40 columns to the left.
        moved = carry_freshness(fresh, carry_map(pan(trusted_except(40), 40.0), SIZE, CPU))
        assert moved is not None
        torch.testing.assert_close(
            moved[..., -80:-41], torch.full((1, 1, HEIGHT, 39), FRESHNESS_DECAY)
        )
        assert moved[..., -40:].eq(1).all() and moved[..., :-82].eq(0).all()

    def test_frames_of_which_little_is_new_have_none(self) -> None:
        few = pan(trusted_except(round(WIDTH * FAST_MOTION_SHARE) - 1))
        mapping = carry_map(few, SIZE, CPU)
        assert mapping.unmatched is None
        assert carry_freshness(torch.ones(1, 1, *SIZE), mapping) is None

    def test_without_motion_the_residual_stays_where_it_is(self) -> None:
        residual = torch.from_numpy(blobs()).permute(2, 0, 1)[None, :, :HEIGHT, :WIDTH] - 0.5
        mapping = carry_map(FAST_PAN, SIZE, CPU)
        carried = carry(residual, mapping, 1.0)
        trusted = (..., slice(WIDTH - 40))
        torch.testing.assert_close(carried[trusted], residual[trusted], atol=1e-4, rtol=0)

    def test_a_long_pan_keeps_more_detail_than_bilinear_sampling(self) -> None:
        """Twelve frames that move by half a pixel: to the right and back."""
        fine = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)) - 0.5
        fine = torch.nn.functional.avg_pool2d(fine, 3, 1, 1)

        def energy_left(confidence: FloatArray) -> float:
            residual = fine
            for step in range(12):
                mapping = carry_map(pan(confidence, 0.5 if step % 2 else -0.5), SIZE, CPU)
                residual = carry(residual, mapping, 1.0)
            return float(residual[..., 10:-50].square().mean() / fine[..., 10:-50].square().mean())

        calm = trusted_except(2)
        assert energy_left(trusted_except(40)) > 1.5 * energy_left(calm)


class TestSteps:
    def test_every_octave_is_refreshed_and_nothing_is_boosted(
        self, fast_inputs: FrameInputs, temporal: TemporalDreamer, image: FloatArray
    ) -> None:
        assert [octave.number for octave in fast_inputs.octaves] == [0, 1, 2]  # of 48 px and more
        assert fast_inputs.boost is None
        calm = carry_map(pan(np.ones(SIZE, np.float32)), SIZE, CPU)
        calm_inputs = temporal.prepare(upload(image, CPU), 1, 0.04, calm)
        assert [octave.number for octave in calm_inputs.octaves] == [2]
        assert calm_inputs.boost is not None

    def test_warm_octaves_bounds_those_of_fast_motion(
        self, dreamer: Dreamer, image: FloatArray
    ) -> None:
        settings = replace(DREAM, warm_octaves=1)
        with closing(TemporalDreamer(dreamer, settings)) as temporal:
            mapping = carry_map(FAST_PAN, SIZE, CPU)
            inputs = temporal.prepare(upload(image, CPU), 1, 0.04, mapping)
        assert len(inputs.octaves) == 2

    def test_what_is_fresh_gets_longer_steps_than_what_is_settled(
        self, fast_inputs: FrameInputs
    ) -> None:
        freshness = carry_freshness(None, carry_map(FAST_PAN, SIZE, CPU))
        assert freshness is not None
        weights = step_weights(freshness, fast_inputs.octaves)
        settled = [SETTLED_WEIGHT, SETTLED_WEIGHT, SETTLED_WEIGHT_LARGEST]
        for weight, expected in zip(weights, settled, strict=True):
            assert weight[..., -40:].eq(FRESH_WEIGHT).all()
            assert weight[..., :-40].eq(expected).all()
            assert expected < 1 < FRESH_WEIGHT

    def test_weights_multiply_the_steps(self) -> None:
        image = torch.full((1, 3, *SIZE), 0.5)
        octave = Octave(0, image, torch.ones(1, 1, 8, 8))
        gradient = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)) - 0.5
        weight = torch.ones(1, 1, *SIZE)
        weight[..., WIDTH // 2 :] = 0
        arguments = (Conditioning(2.0, 0.0), octave.texture, [(0, 0)], 0.01)
        whole, part = (
            ascend(image, lambda each: (each.sum(), gradient), *arguments, weight=one) - image
            for one in (None, weight)
        )
        torch.testing.assert_close(part[..., : WIDTH // 2 - 4], whole[..., : WIDTH // 2 - 4])
        assert part[..., WIDTH // 2 + 4 :].abs().max() == 0

    def test_each_octave_has_a_level_of_its_own(
        self, temporal: TemporalDreamer, image: FloatArray, fast_inputs: FrameInputs
    ) -> None:
        cold = temporal.prepare(upload(image, CPU), 0, 0.0, None)
        target = temporal.dream(cold, TemporalState())[1].target_level
        assert target is not None
        assert len(target.gains) == len(target.source_values) == len(fast_inputs.octaves)
        control = level_control(target, fast_inputs)
        assert control is not None
        levels = [float(control.level(octave)) for octave in reversed(fast_inputs.octaves)]
        expected = np.add(target.gains, target.source_values)
        assert levels == pytest.approx(expected, rel=1e-5)


def test_a_resumed_run_continues_the_same(
    temporal: TemporalDreamer, image: FloatArray, tmp_path: Path
) -> None:
    """The state goes through its file in the middle of fast motion."""
    cold = temporal.prepare(upload(image, CPU), 0, 0.0, None)
    state = temporal.dream(cold, TemporalState())[1]
    mapping = carry_map(pan(trusted_except(40), 3.0), SIZE, CPU)

    def next_state(state: TemporalState, index: int) -> TemporalState:
        inputs = temporal.prepare(upload(image, CPU), index, index / 25, mapping)
        return temporal.dream(inputs, state)[1]

    state = next_state(state, 1)
    assert state.freshness is not None
    save_tensors(tmp_path / "state.npz", state)
    level = target_level_as_json(state.target_level)
    loaded = load_state(tmp_path / "state.npz", level, CPU)
    assert loaded.target_level == state.target_level
    one, other = (next_state(each, 2) for each in (state, loaded))
    assert one.carried is not None and other.carried is not None
    assert torch.equal(one.carried, other.carried)


def test_fast_motion_is_dreamed_nearly_as_strongly_as_frame_by_frame(dreamer: Dreamer) -> None:
    frames = fast_frames(192, 12)
    settings = Settings(size=192, octaves=3, iterations=6, device="cpu")
    params = TemporalDreamer(dreamer, settings).params(0.0)

    def gain(settings: Settings) -> float:
        dreams = dream(frames, settings)
        pairs = zip(frames[-4:], dreams[-4:], strict=True)
        gains = [
            dreamer.gain(dreamer.upload(frame.image), dreamer.upload(each), params)
            for frame, each in pairs
        ]
        return float(np.mean(gains))

    carried, alone = gain(settings), gain(replace(settings, flow="none"))
    assert carried > 0.85 * alone
