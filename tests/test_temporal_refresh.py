"""Shots are held as strong as they begin, what is weak is dreamed more, and evolution is slow."""

from __future__ import annotations

from collections.abc import Callable
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
from dreamvideo.motion.warp import CarryMap as Way
from dreamvideo.motion.warp import carry_map
from dreamvideo.networks.extractor import FeatureExtractor, load_extractor
from dreamvideo.runtime.threads import SideWorker
from dreamvideo.temporal.level_control import FrameInputs, uses_level_control
from dreamvideo.temporal.local_boost import BoostInputs, boost_weakest_window, deficit, log_gains
from dreamvideo.temporal.refresh import BOOST_INTERVAL, REMEASURE_INTERVAL, TemporalDreamer
from dreamvideo.types import FloatArray, Frame, Motion, TargetLevel, TemporalState
from scripts.coherence import as_frames, dream, make_dreamer, measure, read_frames

CPU = torch.device("cpu")
FAST = Settings(octaves=2, iterations=4, device="cpu")


@pytest.fixture(scope="module")
def backbone() -> FeatureExtractor:
    return load_extractor(FAST, CPU)


@pytest.fixture(scope="module")
def image(sample_clip: Path) -> FloatArray:
    return read_frames(sample_clip, 192, 1)[0].image


def stay(image: FloatArray) -> Way:
    """The way of a picture that does not move."""
    height, width = image.shape[:2]
    flow = np.zeros((height, width, 2), np.float32)
    return carry_map(Motion(flow, np.ones((height, width), np.float32)), (height, width), CPU)


def begun(temporal_dreamer: TemporalDreamer, dreamer: Dreamer, image: FloatArray) -> TemporalState:
    """What the cold frame of a shot leaves."""
    inputs = temporal_dreamer.prepare(dreamer.upload(image), 0, 0.0, is_warm=False)
    return temporal_dreamer.dream(inputs, 0, 0.0, TemporalState(), None)[1]


def after(
    temporal_dreamer: TemporalDreamer,
    dreamer: Dreamer,
    image: FloatArray,
    state: TemporalState,
    index: int,
) -> TemporalState:
    """What a frame of a still shot leaves."""
    inputs = temporal_dreamer.prepare(dreamer.upload(image), index, 0.0, is_warm=True)
    return temporal_dreamer.dream(inputs, index, 0.0, state, stay(image))[1]


class TestHold:
    def test_a_shot_is_held_at_its_cold_dream(
        self, backbone: FeatureExtractor, image: FloatArray
    ) -> None:
        dreamer = Dreamer(backbone, FAST, CPU)
        temporal_dreamer = TemporalDreamer(dreamer)
        state = begun(temporal_dreamer, dreamer, image)
        assert state.target_level is not None
        picture = dreamer.upload(image)
        objective = dreamer.objectives.objective(0.0, picture)
        assert state.carried is not None
        gain = dreamer.value(picture + state.carried, objective) - dreamer.value(picture, objective)
        assert state.target_level.gains[0] == pytest.approx(float(gain), rel=1e-4)
        assert state.target_level.source_value == pytest.approx(
            float(dreamer.value(picture, objective)), rel=1e-4
        )

    def test_too_strong_a_dream_is_not_raised(
        self, backbone: FeatureExtractor, image: FloatArray
    ) -> None:
        dreamer = Dreamer(backbone, FAST, CPU)
        temporal_dreamer = TemporalDreamer(dreamer)
        state = begun(temporal_dreamer, dreamer, image)
        assert state.target_level is not None and state.carried is not None
        weak = TargetLevel((0.01, 0.01), state.target_level.source_value, None)
        held = after(temporal_dreamer, dreamer, image, TemporalState(state.carried, weak), 1)
        assert held.carried is not None
        persistence = dreamer.settings.persistence
        picture = dreamer.upload(image)
        expected = (picture + persistence * state.carried).clamp(0, 1) - picture
        assert torch.allclose(held.carried, expected, atol=1e-5)
        free = after(temporal_dreamer, dreamer, image, state, 1)
        assert free.carried is not None
        assert not torch.allclose(free.carried, expected, atol=1e-3)

    def test_the_source_is_looked_at_now_and_then(
        self, backbone: FeatureExtractor, image: FloatArray
    ) -> None:
        temporal_dreamer = TemporalDreamer(Dreamer(backbone, FAST, CPU))
        picture = torch.from_numpy(image).permute(2, 0, 1)[None]
        turns = [
            temporal_dreamer.prepare(picture, index, 0.0, is_warm=True)
            for index in range(2 * REMEASURE_INTERVAL)
        ]
        assert [bool(turn.source_values) for turn in turns] == [
            i % REMEASURE_INTERVAL == 0 for i in range(2 * REMEASURE_INTERVAL)
        ]
        assert [turn.boost is not None for turn in turns] == [
            i % BOOST_INTERVAL == 1 for i in range(2 * REMEASURE_INTERVAL)
        ]
        sizes = [turn.boost.octave.size for turn in turns if turn.boost is not None]
        assert len(set(sizes)) == 2  # as many as there are octaves

    def test_a_black_frame_does_not_decide(
        self, backbone: FeatureExtractor, image: FloatArray
    ) -> None:
        dreamer = Dreamer(backbone, FAST, CPU)
        assert begun(TemporalDreamer(dreamer), dreamer, np.zeros_like(image)).target_level is None

    def test_a_shot_that_fades_in_is_held_later(
        self, backbone: FeatureExtractor, image: FloatArray
    ) -> None:
        dreamer = Dreamer(backbone, FAST, CPU)
        temporal_dreamer = TemporalDreamer(dreamer)
        state = begun(temporal_dreamer, dreamer, np.zeros_like(image))
        state = after(temporal_dreamer, dreamer, image, state, REMEASURE_INTERVAL + 1)
        assert state.target_level is None
        state = after(temporal_dreamer, dreamer, image, state, 2 * REMEASURE_INTERVAL)
        direct = begun(temporal_dreamer, dreamer, image).target_level
        assert state.target_level is not None and direct is not None
        # Other jitters lead to another dream of four steps: two differ by up to a fifth.
        assert state.target_level.gains == pytest.approx(direct.gains, rel=0.3)

    def test_without_refresh_nothing_is_changed(
        self, backbone: FeatureExtractor, image: FloatArray
    ) -> None:
        settings = Settings(octaves=2, iterations=2, warm_iterations=0, persistence=1.0)
        dreamer = Dreamer(backbone, settings, CPU)
        temporal_dreamer = TemporalDreamer(dreamer)
        state = begun(temporal_dreamer, dreamer, image)
        later = state
        for index in range(1, 5):
            later = after(temporal_dreamer, dreamer, image, later, index)
        assert later.carried is not None and state.carried is not None
        assert torch.allclose(later.carried, state.carried, atol=1e-5)

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(strength=keyframes((0, 0.0), (2, 1.0)), device="cpu"),
            Settings(layer=keyframes((0, "eyes"), (2, "fur")), device="cpu"),
        ],
    )
    def test_what_shall_change_is_not_held(self, settings: Settings) -> None:
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
    def test_all_kinds_of_dreams_go_on(self, settings: Settings, image: FloatArray) -> None:
        dreamer = make_dreamer(settings)
        temporal_dreamer = TemporalDreamer(dreamer)
        state = begun(temporal_dreamer, dreamer, image)
        for index in range(1, 6):
            state = after(temporal_dreamer, dreamer, image, state, index)
            assert state.carried is not None
            assert torch.isfinite(state.carried).all()
            assert state.carried.abs().mean() > 1e-4

    @pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (17, 5), (33, 70)])
    def test_tiny_pictures(self, size: tuple[int, int], backbone: FeatureExtractor) -> None:
        image = np.random.default_rng(0).random((*size, 3), np.float32)
        shot = [np.roll(image, index, 1) for index in range(6)]
        dreams = dream(as_frames(shot), FAST)
        assert all(np.isfinite(one).all() for one in dreams)


class TestFocus:
    def test_gains_are_those_of_the_places(self) -> None:
        before = [(2.0, torch.ones(4, 6)), (-1.0, torch.full((8, 12), 3.0))]
        after = [(2.0, torch.full((4, 6), 5.0)), (-1.0, torch.full((8, 12), 6.0))]
        gains = log_gains(before, after, (64, 96))
        assert gains.shape == (1, 1, 4, 6)
        wanted = torch.tensor(2 * np.log(5.01 / 1.01) - np.log(6.03 / 3.03)).float()
        assert torch.allclose(gains, wanted, atol=1e-5)

    def test_where_nothing_is_seen_gains_stay_bounded(self) -> None:
        before, after = torch.zeros(4, 6), torch.ones(4, 6)
        before[:2] = 1.0
        gains = log_gains([(1.0, before)], [(1.0, after)], (64, 96))
        assert gains.max() < 6

    def test_what_is_as_usual_is_not_weak(self) -> None:
        gains = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.9])
        found = deficit(gains, 0.6)
        assert found.tolist() == pytest.approx([1, 1, 0.5, 0, 0], abs=1e-6)

    @pytest.fixture
    def weak_part(
        self, backbone: FeatureExtractor, image: FloatArray
    ) -> tuple[Tensor, BoostInputs]:
        """A residual of nothing, and the facts on its source."""
        dreamer = Dreamer(backbone, FAST, CPU)
        picture = dreamer.upload(image)
        boost = TemporalDreamer(dreamer).prepare(picture, 1, 0.0, is_warm=True).boost
        assert boost is not None and boost.octave.size == image.shape[:2]
        return torch.zeros_like(picture), boost

    def test_only_the_weak_place_is_dreamed(self, weak_part: tuple[Tensor, BoostInputs]) -> None:
        weak = torch.zeros(1, 1, 7, 12)
        weak[..., 1:3, 8:11] = 1
        change = boost_weakest_window(
            *weak_part, weak, _rightward, Conditioning(2.0, 0.0), [(0, 0)], 0.01
        )
        assert change is not None
        found = change.abs().mean(1)[0] > 1e-4
        rows, columns = torch.nonzero(found, as_tuple=True)
        assert found.any()
        assert rows.max() < 0.6 * found.shape[0]
        assert columns.min() > 0.5 * found.shape[1]

    def test_what_is_not_seen_at_all_changes_nothing(
        self, weak_part: tuple[Tensor, BoostInputs]
    ) -> None:
        weak = torch.ones(1, 1, 7, 12)
        change = boost_weakest_window(
            *weak_part, weak, _nowhere, Conditioning(2.0, 0.0), [(0, 0)], 0.01
        )
        assert change is not None
        assert torch.equal(change, torch.zeros_like(change))

    def test_where_nothing_is_weak_nothing_is_done(
        self, weak_part: tuple[Tensor, BoostInputs]
    ) -> None:
        weak = torch.zeros(1, 1, 7, 12)
        conditioning = Conditioning(2.0, 0.0)
        assert (
            boost_weakest_window(*weak_part, weak, _rightward, conditioning, [(0, 0)], 0.01) is None
        )

    def test_beside_the_refresh_is_as_in_turn(
        self, backbone: FeatureExtractor, image: FloatArray, of_cores: Callable[[int], None]
    ) -> None:
        of_cores(1)  # how many threads compute decides about rounding
        dreamer = Dreamer(backbone, FAST, CPU)
        temporal_dreamer, picture = TemporalDreamer(dreamer), dreamer.upload(image)
        begin = begun(temporal_dreamer, dreamer, image)
        assert begin.carried is not None
        bare = begin.carried.clone()
        bare[..., bare.shape[-1] // 2 :] = 0
        inputs = temporal_dreamer.prepare(picture, 1, 0.0, is_warm=True)

        def residual(facts: FrameInputs) -> Tensor:
            return temporal_dreamer.dream(
                facts, 1, 0.0, TemporalState(bare, begin.target_level), stay(image)
            )[0]

        beside = residual(inputs)
        temporal_dreamer._beside = SideWorker(
            torch.device("cuda")
        )  # which is not asked to do anything
        assert torch.equal(residual(inputs), beside)
        assert not torch.equal(residual(replace(inputs, boost=None)), beside)
        dreamed = picture + beside
        assert dreamed.min() >= -1e-6 and dreamed.max() <= 1 + 1e-6

    def test_a_newcomer_is_dreamed_within_five_frames(self, sample_clip: Path) -> None:
        """A window of the picture that was not dreamed at all catches up with the rest."""
        image = read_frames(sample_clip, 384, 1)[0].image
        shares = [
            _caught_up(image, make_dreamer(Settings(seed=seed, device="cpu"))) for seed in range(3)
        ]
        focused_share, share = np.mean(shares, 0)
        assert focused_share > 0.65
        assert focused_share > share + 0.04


def _caught_up(image: FloatArray, dreamer: Dreamer) -> tuple[float, float]:
    """How far a bare part of a dream comes up to the rest in six frames, with a focus and without.

    0 is bare, 1 a cold dream.
    """
    temporal_dreamer, picture = TemporalDreamer(dreamer), dreamer.upload(image)
    state = begun(temporal_dreamer, dreamer, image)
    assert state.carried is not None
    bare = state.carried.clone()
    bare[..., 40:140, 60:200] = 0

    def strength(carried: Tensor | None) -> float:
        assert carried is not None
        ((_, energies),) = dreamer.objectives.places(0.0, picture, (picture + carried).clamp(0, 1))
        return float(energies[4:8, 5:11].mean())

    typical_log_gain, none = strength(state.carried), strength(bare)
    held, unheld = TemporalState(bare, state.target_level), TemporalState(bare, None)
    for index in range(1, 7):
        held = after(temporal_dreamer, dreamer, image, held, index)
        unheld = after(temporal_dreamer, dreamer, image, unheld, index)
    focused_share, share = (
        (strength(one.carried) - none) / (typical_log_gain - none) for one in (held, unheld)
    )
    return focused_share, share


class TestEvolution:
    def test_weights_come_round(self) -> None:
        activation = torch.zeros(1, 64, 2, 2)
        weights = [channel_emphasis(activation, 0.5, second, 0) for second in (0.0, 0.5, 1.0, 2.0)]
        assert weights[0].shape == (1, 64, 1, 1)
        assert torch.allclose(weights[0], weights[3], atol=1e-5)
        many = torch.stack([channel_emphasis(activation, 0.5, i / 50, 0) for i in range(100)])
        assert torch.allclose(many.mean(0), torch.tensor(1.0), atol=1e-3)
        assert not torch.allclose(weights[0], weights[1], atol=0.5)
        assert not torch.equal(weights[0], channel_emphasis(activation, 0.5, 0.0, 1))

    def test_figures_turn_into_others_slowly(self, image: FloatArray) -> None:
        """On average: a single dream may change by as much on its own."""
        frames = [Frame(i, Fraction(i, 25), image) for i in range(60)]
        alike, errors = {}, {}
        for rate in (0.0, 0.4):
            found = []
            for seed in range(3):
                settings = Settings(octaves=3, evolve=rate, seed=seed, device="cpu")
                dreams = dream(frames, settings)
                one, other = (dreams[i] - image for i in (10, 59))
                found.append(np.corrcoef(one.ravel(), other.ravel())[0, 1])
            alike[rate] = np.mean(found)
            errors[rate] = measure(frames, dreams, settings).mean("warping_error") or 0
        assert alike[0.0] > alike[0.4] + 0.03
        assert errors[0.4] < 5 * errors[0.0]

    def test_channels_keep_their_phases(self) -> None:
        activation = torch.zeros(1, 8, 2, 2)
        one = channel_emphasis(activation, 0.5, 0.3, 0, torch.tensor([2, 5]))
        other = channel_emphasis(activation, 0.5, 0.3, 0, torch.tensor([5, 2]))
        assert torch.allclose(one.flip(1), other)
        assert one.mean().item() == pytest.approx(1)

    def test_not_of_classes(self) -> None:
        with pytest.raises(SettingsError, match="--class and --evolve"):
            Settings(class_="goldfish", evolve=0.1)


def _rightward(image: Tensor) -> tuple[Tensor, Tensor]:
    """An objective that grows everywhere alike."""
    return image.sum(), torch.ones_like(image)


def _nowhere(image: Tensor) -> tuple[Tensor, Tensor]:
    """An objective that no change of the picture raises, such as that of a channel that sleeps."""
    return image.new_zeros(()), torch.zeros_like(image)
