"""What a dream goes after: layers, their channels, and what of their answers is raised.

Refuses to know which network answers, and how a picture is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import TypeAlias

import torch
from torch import Tensor

from dreamvideo.dream.objectives import (
    MIN_ENERGY,
    Features,
    Objective,
    ObjectiveTerm,
    channel_emphasis,
    channels_by_energy,
    flatten_positions,
    guided_similarity,
    l2_energy,
    log_energy,
    log_probability,
    mean_activation,
)
from dreamvideo.dream.pyramid import shrink_to
from dreamvideo.settings import Settings

LayerWeights: TypeAlias = Sequence[tuple[str, float]]
# Of the guide, whose figures are found at one size: that at which networks know them, or nearly.
GUIDE_MAX_PX = 256
# Which channels answer most hardly depends on the size, and looking takes time.
SUBJECT_MAX_PX = 384
# Layers of fewer places do not tell parts of a picture apart.
MIN_POSITIONS = 4
# Pictures whose facts are at hand: frames that are made ready, and the still of a journey.
CACHED_SUBJECTS = 6


@dataclass(frozen=True, eq=False)
class _SubjectFacts:
    """What is found out on a subject, for one layer."""

    channels: Tensor | None
    """Numbers of those that are raised; None for all."""
    scale: Tensor
    """Root mean square of all channels."""


class ObjectiveFactory:
    """Makes goals out of settings."""

    def __init__(
        self,
        features: Features,
        settings: Settings,
        guide: Tensor | None = None,
        class_channel: int | None = None,
    ) -> None:
        """Args:
        features: the network, for all layers of the settings.
        settings: what to go after.
        guide: (1, 3, H, W), where the settings name one.
        class_channel: of the network's output, where the settings name a class.
        """
        self._features = features
        self._settings = settings
        self._guide = None if guide is None else shrink_to(guide, GUIDE_MAX_PX)
        self._class_channel = class_channel
        self._looked_up = lru_cache(maxsize=CACHED_SUBJECTS)(self._look)
        self._guide_places = cache(self._see_guide)

    def objective(
        self, time_seconds: float, subject: Tensor, layers: LayerWeights | None = None
    ) -> Objective:
        """What is raised at a time: from an image to a scalar.

        Σ shareᵢ · what is raised of layer i.

        Args:
            time_seconds: for settings that change over time.
            subject: (1, 3, H, W), the picture that is dreamed of. It decides, where asked for,
                which channels are the strongest.
            layers: these instead of the settings'.
        """
        return self._goal(
            time_seconds, subject, layers, partial(self._raised, time_seconds=time_seconds)
        )

    def strength(self, time_seconds: float, subject: Tensor) -> Objective:
        """How much is seen of what is raised, as a logarithm: from an image to a scalar.

        Of layers the energy of their channels; of a class its probability.
        """
        return self._goal(time_seconds, subject, None, self._seen)

    def places(
        self, time_seconds: float, subject: Tensor, image: Tensor
    ) -> list[tuple[float, Tensor]]:
        """Where in an image (1, 3, H, W) is seen what is raised.

        Returns:
            The share of each layer, and its energy at each place (rows, columns); nothing of a
            class, and of layers without a place for each part of the picture.
        """
        if self._class_channel is not None:
            return []
        layers = self._settings.layers_at(time_seconds)
        names = tuple(name for name, _ in layers)
        facts = self._facts(subject, names)
        with torch.no_grad():
            activations = self._features(image, names)
        if any(
            activation.dim() != 4 or activation[0, 0].numel() < MIN_POSITIONS
            for activation in activations
        ):
            return []
        return [
            (share, _select_channels(activation, known.channels).square().mean(1)[0])
            for (_, share), activation, known in zip(layers, activations, facts, strict=True)
        ]

    def _goal(
        self,
        time_seconds: float,
        subject: Tensor,
        layers: LayerWeights | None,
        part: Callable[[str, float, _SubjectFacts], ObjectiveTerm],
    ) -> Objective:
        layers = layers or self._settings.layers_at(time_seconds)
        facts = self._facts(subject, tuple(name for name, _ in layers))
        parts = (part(*layer, known) for layer, known in zip(layers, facts, strict=True))
        return Objective(self._features, tuple(parts))

    def _raised(
        self, layer: str, share: float, facts: _SubjectFacts, time_seconds: float
    ) -> ObjectiveTerm:
        if self._class_channel is not None:
            # Scores, not probabilities, which other classes could raise by falling (Simonyan et
            # al. 2013, "Deep inside convolutional networks", section 2).
            channel = torch.tensor([self._class_channel], device=facts.scale.device)
            return ObjectiveTerm(
                layer, share, lambda scores: _select_channels(scores, channel).mean()
            )

        def emphasised(activation: Tensor, power: float = 1.0) -> Tensor:
            chosen, rate = _select_channels(activation, facts.channels), self._settings.evolve
            if rate == 0:
                return chosen
            seed = self._settings.at(0.0).seed
            weights = channel_emphasis(activation, rate, time_seconds, seed, facts.channels)
            return chosen * weights.pow(power)

        if self._guide is not None:
            guide = self._guide_places(layer)
            kept = guide if facts.channels is None else guide[facts.channels]
            return ObjectiveTerm(
                layer,
                share,
                lambda activation: guided_similarity(emphasised(activation), kept, facts.scale),
            )
        if self._settings.objective == "mean":
            return ObjectiveTerm(
                layer,
                share,
                lambda activation: mean_activation(emphasised(activation), facts.scale),
            )
        # Energies are squares.
        return ObjectiveTerm(
            layer, share, lambda activation: l2_energy(emphasised(activation, 0.5)), log_energy
        )

    def _seen(self, layer: str, share: float, facts: _SubjectFacts) -> ObjectiveTerm:
        if self._class_channel is not None:
            return ObjectiveTerm(
                layer, share, partial(log_probability, channel=self._class_channel)
            )
        return ObjectiveTerm(
            layer,
            share,
            lambda activation: l2_energy(_select_channels(activation, facts.channels)),
            log_energy,
        )

    def _facts(self, subject: Tensor, layers: tuple[str, ...]) -> list[_SubjectFacts]:
        if self._is_ranked or self._settings.objective != "l2" or self._guide is not None:
            return self._looked_up(subject, layers)
        # Nothing depends on the subject, which may be large: none is kept.
        one = torch.ones((), device=subject.device)
        return [_SubjectFacts(self._given_channels(subject.device), one)] * len(layers)

    def _look(self, subject: Tensor, layers: tuple[str, ...]) -> list[_SubjectFacts]:
        given = self._given_channels(subject.device)
        with torch.no_grad():
            activations = self._features(shrink_to(subject, SUBJECT_MAX_PX), layers)
            return [
                _SubjectFacts(
                    self._ranked(activation) if self._is_ranked else given, _rms(activation)
                )
                for activation in activations
            ]

    @property
    def _is_ranked(self) -> bool:
        return bool(self._settings.strongest or self._settings.weakest)

    def _given_channels(self, device: torch.device) -> Tensor | None:
        channels = self._settings.channel
        return torch.tensor(channels, device=device) if channels else None

    def _ranked(self, activation: Tensor) -> Tensor | None:
        order = channels_by_energy(activation)
        if len(order) == 0:  # nothing at all is seen, so that none is stronger
            return None
        if self._settings.strongest:
            return order[: self._settings.strongest]
        return order[-(self._settings.weakest or 0) :]

    def _see_guide(self, layer: str) -> Tensor:
        """(channels, places) of the guide, of unit root mean square."""
        assert self._guide is not None
        with torch.no_grad():
            (activation,) = self._features(self._guide, [layer])
            return flatten_positions(activation) / _rms(activation)


def _select_channels(activation: Tensor, channels: Tensor | None) -> Tensor:
    return activation if channels is None else activation.index_select(1, channels)


def _rms(activation: Tensor) -> Tensor:
    return l2_energy(activation).clamp(min=MIN_ENERGY).sqrt()
