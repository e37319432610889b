"""Level control, the local boost of weak windows, and the evolution of the objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamvideo import Settings, keyframes
from dreamvideo.dream.conditioning import Conditioning
from dreamvideo.dream.dreamer import Dreamer
from dreamvideo.dream.objectives import channel_emphasis
from dreamvideo.errors import SettingsError
from dreamvideo.job.image import load_dreamer
from dreamvideo.motion.warp import CarryMap, carry_map
from dreamvideo.runtime.devices import upload
from dreamvideo.runtime.threads import SideWorker
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.temporal.level_control import REMEASURE_INTERVAL, FrameInputs, uses_level_control
from dreamvideo.temporal.local_boost import (
    BOOST_INTERVAL,
    BoostInputs,
    boost_weakest_window,
    deficit,
    log_gains,
)
from dreamvideo.temporal.refresh import TemporalDreamer
from dreamvideo.types import FloatArray, Frame, Motion, TargetLevel, TemporalState
from scripts.coherence import as_frames, dream, measure, read_frames

CPU = torch.device("cpu")
FAST = Settings(octaves=2, iterations=4, device="cpu")
FAST_PARAMS = frame_params(FAST, 0.0)


@pytest.fixture
def temporal(dreamer: Dreamer) -> Iterator[TemporalDreamer]:
    with closing(TemporalDreamer(dreamer, FAST)) as temporal:
        yield temporal


@pytest.fixture(scope="module")
def image(sample_clip: Path) -> FloatArray:
    return read_frames(sample_clip, 192, 1)[0].image


def no_motion(image: FloatArray) -> CarryMap:
    """The carry map of an image that does not move."""
    height, width = image.shape[:2]
    flow = np.zeros((height, width, 2), np.float32)
    return carry_map(Motion(flow, np.ones((height, width), np.float32)), (height, width), CPU)


def first_frame(temporal: TemporalDreamer, image: FloatArray, index: int = 0) -> TemporalState:
    """The state after the cold frame of a shot."""
    inputs = temporal.prepare(upload(image, CPU), index, 0.0, None)
    return temporal.dream(inputs, TemporalState())[1]


def next_frame(
    temporal: TemporalDreamer, image: FloatArray, state: TemporalState, index: int
) -> TemporalState:
    """The state after a warm frame of a shot without motion."""
    inputs = temporal.prepare(upload(image, CPU), index, 0.0, no_motion(image))
    return temporal.dream(inputs, state)[1]


class TestLevelControl:
    def test_the_target_level_is_that_of_the_cold_dream(
        self, temporal: TemporalDreamer, dreamer: Dreamer, image: FloatArray
    ) -> None:
        state = first_frame(temporal, image)
        assert state.target_level is not None and state.carried is not None
        source = dreamer.upload(image)
        objective = dreamer.objectives.build(FAST_PARAMS, source)
        before, after = (
            float(dreamer.value(each, objective)) for each in (source, source + state.carried)
        )
        assert state.target_level.gains[0] == pytest.approx(after - before, rel=1e-4)
        assert state.target_level.source_values[0] == pytest.approx(before, rel=1e-4)

    def test_a_dream_above_its_level_gets_no_steps(
        self, temporal: TemporalDreamer, dreamer: Dreamer, image: FloatArray
    ) -> None:
        state = first_frame(temporal, image)
        assert state.target_level is not None and state.carried is not None
        low = TargetLevel((0.01, 0.01), state.target_level.source_values, None)
        controlled = next_frame(temporal, image, TemporalState(state.carried, low), 1)
        assert controlled.carried is not None
        source = dreamer.upload(image)
        expected = (source + FAST_PARAMS.persistence * state.carried).clamp(0, 1) - source
        assert torch.allclose(controlled.carried, expected, atol=1e-5)
        refreshed = next_frame(temporal, image, state, 1)
        assert refreshed.carried is not None
        assert not torch.allclose(refreshed.carried, expected, atol=1e-3)

    def test_the_source_is_measured_at_intervals(
        self, temporal: TemporalDreamer, image: FloatArray
    ) -> None:
        source = upload(image, CPU)
        frames = [
            temporal.prepare(source, index, 0.0, no_motion(image))
            for index in range(2 * REMEASURE_INTERVAL)
        ]
        assert [bool(inputs.source_values) for inputs in frames] == [
            index % REMEASURE_INTERVAL == 0 for index in range(2 * REMEASURE_INTERVAL)
        ]
        assert [inputs.boost is not None for inputs in frames] == [
            index % BOOST_INTERVAL == 1 for index in range(2 * REMEASURE_INTERVAL)
        ]
        sizes = {inputs.boost.octave.size for inputs in frames if inputs.boost is not None}
        assert len(sizes) == FAST_PARAMS.octaves

    def test_a_black_frame_sets_no_target_level(
        self, temporal: TemporalDreamer, image: FloatArray
    ) -> None:
        assert first_frame(temporal, np.zeros_like(image)).target_level is None

    def test_a_shot_that_fades_in_gets_its_target_level_later(
        self, temporal: TemporalDreamer, image: FloatArray
    ) -> None:
        state = first_frame(temporal, np.zeros_like(image))
        state = next_frame(temporal, image, state, REMEASURE_INTERVAL + 1)
        assert state.target_level is None
        state = next_frame(temporal, image, state, 2 * REMEASURE_INTERVAL)
        cold = first_frame(temporal, image, 2 * REMEASURE_INTERVAL)
        assert state.target_level is not None and cold.target_level is not None
        assert state.target_level.gains == pytest.approx(cold.target_level.gains, rel=1e-4)

    def test_without_refresh_the_residual_stays(self, dreamer: Dreamer, image: FloatArray) -> None:
        settings = Settings(octaves=2, iterations=2, warm_iterations=0, persistence=1.0)
        with closing(TemporalDreamer(dreamer, settings)) as temporal:
            state = later = first_frame(temporal, image)
            for index in range(1, 5):
                later = next_frame(temporal, image, later, index)
        assert later.carried is not None and state.carried is not None
        assert torch.allclose(later.carried, state.carried, atol=1e-5)

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(strength=keyframes((0, 0.0), (2, 1.0)), device="cpu"),
            Settings(layer=keyframes((0, "eyes"), (2, "fur")), device="cpu"),
        ],
    )
    def test_settings_that_change_the_strength_turn_it_off(self, settings: Settings) -> None:
        assert not uses_level_control(settings)
        assert uses_level_control(FAST)

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(octaves=1, iterations=2, device="cpu"),
            Settings(warm_octaves=12, iterations=2, device="cpu"),
            Settings(warm_iterations=0, iterations=2, device="cpu"),
            Settings(class_="goldfish", iterations=2, octaves=2, device="cpu"),
            Settings(layer="blocks.1", iterations=2, octaves=2, device="cpu"),
            Settings(layer="blocks.9=-1", iterations=2, octaves=2, device="cpu"),
            Settings(objective="mean", strongest=3, iterations=2, octaves=2, device="cpu"),
            Settings(evolve=0.5, iterations=2, octaves=2, device="cpu"),
        ],
        ids=str,
    )
    def test_all_kinds_of_dreams_persist(self, settings: Settings, image: FloatArray) -> None:
        with closing(TemporalDreamer(load_dreamer(settings, CPU), settings)) as temporal:
            state = first_frame(temporal, image)
            for index in range(1, 6):
                state = next_frame(temporal, image, state, index)
                assert state.carried is not None
                assert torch.isfinite(state.carried).all()
                assert state.carried.abs().mean() > 1e-4

    @pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (17, 5), (33, 70)])
    def test_tiny_images(self, size: tuple[int, int]) -> None:
        image = np.random.default_rng(0).random((*size, 3), np.float32)
        shot = as_frames([np.roll(image, index, 1) for index in range(6)])
        dreams = dream(shot, FAST)
        assert all(np.isfinite(one).all() for one in dreams)


class TestLocalBoost:
    def test_log_gains_of_known_energies(self) -> None:
        before = [(2.0, torch.ones(4, 6)), (-1.0, torch.full((8, 12), 3.0))]
        after = [(2.0, torch.full((4, 6), 5.0)), (-1.0, torch.full((8, 12), 6.0))]
        gains = log_gains(before, after, (64, 96))
        assert gains.shape == (1, 1, 4, 6)
        expected = torch.tensor(2 * np.log(5.01 / 1.01) - np.log(6.03 / 3.03)).float()
        assert torch.allclose(gains, expected, atol=1e-5)

    def test_log_gains_are_bounded_where_the_source_has_no_energy(self) -> None:
        before, after = torch.zeros(4, 6), torch.ones(4, 6)
        before[:2] = 1.0
        gains = log_gains([(1.0, before)], [(1.0, after)], (64, 96))
        assert gains.max() < 6

    def test_the_deficit_is_zero_where_the_gain_is_typical(self) -> None:
        gains = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.9])
        assert deficit(gains, 0.6).tolist() == pytest.approx([1, 1, 0.5, 0, 0], abs=1e-6)

    @pytest.fixture
    def undreamed(self, temporal: TemporalDreamer, image: FloatArray) -> tuple[Tensor, BoostInputs]:
        """A residual of zeros, and what is measured on its source."""
        source = upload(image, CPU)
        boost = temporal.prepare(source, 1, 0.0, no_motion(image)).boost
        assert boost is not None and boost.octave.size == image.shape[:2]
        return torch.zeros_like(source), boost

    def test_only_the_weak_window_is_dreamed(self, undreamed: tuple[Tensor, BoostInputs]) -> None:
        deficits = torch.zeros(1, 1, 7, 12)
        deficits[..., 1:3, 8:11] = 1
        change = boost_weakest_window(
            *undreamed, deficits, _constant_gradient, Conditioning(2.0, 0.0), [(0, 0)], 0.01
        )
        assert change is not None
        is_changed = change.abs().mean(1)[0] > 1e-4
        rows, columns = torch.nonzero(is_changed, as_tuple=True)
        assert is_changed.any()
        assert rows.max() < 0.6 * is_changed.shape[0]
        assert columns.min() > 0.5 * is_changed.shape[1]

    def test_a_gradient_of_zero_changes_nothing(
        self, undreamed: tuple[Tensor, BoostInputs]
    ) -> None:
        deficits = torch.ones(1, 1, 7, 12)
        change = boost_weakest_window(
            *undreamed, deficits, _zero_gradient, Conditioning(2.0, 0.0), [(0, 0)], 0.01
        )
        assert change is not None
        assert torch.equal(change, torch.zeros_like(change))

    def test_without_a_deficit_there_is_no_boost(
        self, undreamed: tuple[Tensor, BoostInputs]
    ) -> None:
        change = boost_weakest_window(
            *undreamed,
            torch.zeros(1, 1, 7, 12),
            _constant_gradient,
            Conditioning(2.0, 0.0),
            [(0, 0)],
            0.01,
        )
        assert change is None

    def test_a_boost_beside_the_refresh_equals_one_after_it(
        self,
        dreamer: Dreamer,
        image: FloatArray,
        of_cores: Callable[[int], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        of_cores(1)  # rounding depends on the number of threads
        source = dreamer.upload(image)
        with closing(TemporalDreamer(dreamer, FAST)) as temporal:
            begin = first_frame(temporal, image)
            assert begin.carried is not None
            half = begin.carried.clone()
            half[..., half.shape[-1] // 2 :] = 0
            state = TemporalState(half, begin.target_level)
            inputs = temporal.prepare(source, 1, 0.0, no_motion(image))

            def residual(temporal: TemporalDreamer, inputs: FrameInputs) -> Tensor:
                return temporal.dream(inputs, state)[0]

            beside = residual(temporal, inputs)
            without_boost = residual(temporal, replace(inputs, boost=None))
        # The side worker of a GPU has no thread of its own.
        gpu_worker = SideWorker(torch.device("cuda"))
        monkeypatch.setattr("dreamvideo.temporal.refresh.SideWorker", lambda device: gpu_worker)
        with closing(TemporalDreamer(dreamer, FAST)) as in_turn:
            assert torch.equal(residual(in_turn, inputs), beside)
        assert not torch.equal(without_boost, beside)
        dreamed = source + beside
        assert dreamed.min() >= -1e-6 and dreamed.max() <= 1 + 1e-6

    def test_an_undreamed_window_catches_up_within_six_frames(
        self, dreamer: Dreamer, sample_clip: Path
    ) -> None:
        image = read_frames(sample_clip, 384, 1)[0].image
        shares = [_caught_up_shares(image, dreamer, seed) for seed in range(3)]
        with_boost, without_boost = np.mean(shares, 0)
        assert with_boost > 0.65
        assert with_boost > without_boost + 0.04


def _caught_up_shares(image: FloatArray, dreamer: Dreamer, seed: int) -> tuple[float, float]:
    """How far an undreamed window catches up in six frames, with a boost and without.

    0 is undreamed, 1 as strong as in a cold dream.
    """
    settings, source = Settings(seed=seed, device="cpu"), dreamer.upload(image)

    def energy(carried: Tensor | None) -> float:
        assert carried is not None
        dreamed = (source + carried).clamp(0, 1)
        frame = frame_params(settings, 0.0)
        ((_, energies),) = dreamer.objectives.energy_maps(frame, source, dreamed)
        return float(energies[4:8, 5:11].mean())

    with closing(TemporalDreamer(dreamer, settings)) as temporal:
        state = first_frame(temporal, image)
        assert state.carried is not None
        undreamed = state.carried.clone()
        undreamed[..., 40:140, 60:200] = 0
        # Without a target level there is no boost.
        boosted, plain = (TemporalState(undreamed, each) for each in (state.target_level, None))
        for index in range(1, 7):
            boosted = next_frame(temporal, image, boosted, index)
            plain = next_frame(temporal, image, plain, index)
    least, most = energy(undreamed), energy(state.carried)
    with_boost, without_boost = (
        (energy(each.carried) - least) / (most - least) for each in (boosted, plain)
    )
    return with_boost, without_boost


class TestEvolution:
    def test_the_emphasis_returns_after_a_cycle(self) -> None:
        activations = torch.zeros(1, 64, 2, 2)
        weights = [channel_emphasis(activations, cycles, 0) for cycles in (0.0, 0.25, 0.5, 1.0)]
        assert weights[0].shape == (1, 64, 1, 1)
        assert torch.allclose(weights[0], weights[3], atol=1e-5)
        cycle = torch.stack([channel_emphasis(activations, i / 100, 0) for i in range(100)])
        assert torch.allclose(cycle.mean(0), torch.tensor(1.0), atol=1e-3)
        assert not torch.allclose(weights[0], weights[1], atol=0.5)
        assert not torch.equal(weights[0], channel_emphasis(activations, 0.0, 1))

    def test_figures_turn_into_others_slowly(self, image: FloatArray) -> None:
        """On average over seeds: single dreams change by as much without evolution."""
        frames = [Frame(i, Fraction(i, 25), image) for i in range(60)]
        correlations, errors = {}, {}
        for rate in (0.0, 0.4):
            of_seeds = []
            for seed in range(3):
                settings = Settings(octaves=3, evolve=rate, seed=seed, device="cpu")
                dreams = dream(frames, settings)
                one, other = (dreams[i] - image for i in (10, 59))
                of_seeds.append(np.corrcoef(one.ravel(), other.ravel())[0, 1])
            correlations[rate] = np.mean(of_seeds)
            errors[rate] = measure(frames, dreams, settings).mean("warping_error") or 0
        assert correlations[0.0] > correlations[0.4] + 0.03
        assert errors[0.4] < 5 * errors[0.0]

    def test_channels_keep_their_phases(self) -> None:
        activations = torch.zeros(1, 8, 2, 2)
        one = channel_emphasis(activations, 0.15, 0, torch.tensor([2, 5]))
        other = channel_emphasis(activations, 0.15, 0, torch.tensor([5, 2]))
        assert torch.allclose(one.flip(1), other)
        assert one.mean().item() == pytest.approx(1)

    def test_classes_do_not_evolve(self) -> None:
        with pytest.raises(SettingsError, match="--class and --evolve"):
            Settings(class_="goldfish", evolve=0.1)


def _constant_gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """An objective that every pixel raises equally."""
    return image.sum(), torch.ones_like(image)


def _zero_gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """An objective that no change of the image raises, such as that of an inactive channel."""
    return image.new_zeros(()), torch.zeros_like(image)
