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

from dreamvideo.dream.evolution import emphasis
from dreamvideo.dream.goal import Features, Goal, Part
from dreamvideo.dream.objective import (
    SMALLEST_ENERGY,
    by_channel,
    by_energy,
    guided_answer,
    l2_energy,
    log_probability,
    logarithm,
    mean_answer,
)
from dreamvideo.dream.pyramid import at_most
from dreamvideo.settings import Settings

Shares: TypeAlias = Sequence[tuple[str, float]]
# Of the guide, whose figures are found at one size: that at which networks know them, or nearly.
GUIDE_MOST_PX = 256
# Which channels answer most hardly depends on the size, and looking takes time.
SUBJECT_MOST_PX = 384
# Layers of fewer places do not tell parts of a picture apart.
FEWEST_PLACES = 4
# Pictures whose facts are at hand: frames that are made ready, and the still of a journey.
SUBJECTS_AT_HAND = 6


@dataclass(frozen=True, eq=False)
class _Facts:
    """What is found out on a subject, for one layer."""

    channels: Tensor | None
    """Numbers of those that are raised; None for all."""
    scale: Tensor
    """Root mean square of all channels."""


class Aim:
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
        self._guide = None if guide is None else at_most(guide, GUIDE_MOST_PX)
        self._class_channel = class_channel
        self._looked_up = lru_cache(maxsize=SUBJECTS_AT_HAND)(self._look)
        self._guide_places = cache(self._see_guide)

    def goal(self, time_seconds: float, subject: Tensor, layers: Shares | None = None) -> Goal:
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

    def strength(self, time_seconds: float, subject: Tensor) -> Goal:
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
            answers = self._features(image, names)
        if any(answer.dim() != 4 or answer[0, 0].numel() < FEWEST_PLACES for answer in answers):
            return []
        return [
            (share, _chosen(answer, known.channels).square().mean(1)[0])
            for (_, share), answer, known in zip(layers, answers, facts, strict=True)
        ]

    def _goal(
        self,
        time_seconds: float,
        subject: Tensor,
        layers: Shares | None,
        part: Callable[[str, float, _Facts], Part],
    ) -> Goal:
        layers = layers or self._settings.layers_at(time_seconds)
        facts = self._facts(subject, tuple(name for name, _ in layers))
        parts = (part(*layer, known) for layer, known in zip(layers, facts, strict=True))
        return Goal(self._features, tuple(parts))

    def _raised(self, layer: str, share: float, facts: _Facts, time_seconds: float) -> Part:
        if self._class_channel is not None:
            # Scores, not probabilities, which other classes could raise by falling (Simonyan et
            # al. 2013, "Deep inside convolutional networks", section 2).
            channel = torch.tensor([self._class_channel], device=facts.scale.device)
            return Part(layer, share, lambda scores: _chosen(scores, channel).mean())

        def emphasised(answer: Tensor, power: float = 1.0) -> Tensor:
            chosen, rate = _chosen(answer, facts.channels), self._settings.evolve
            if rate == 0:
                return chosen
            seed = self._settings.at(0.0).seed
            weights = emphasis(answer, rate, time_seconds, seed, facts.channels)
            return chosen * weights.pow(power)

        if self._guide is not None:
            guide = self._guide_places(layer)
            kept = guide if facts.channels is None else guide[facts.channels]
            return Part(
                layer,
                share,
                lambda answer: guided_answer(emphasised(answer), kept, facts.scale),
            )
        if self._settings.objective == "mean":
            return Part(layer, share, lambda answer: mean_answer(emphasised(answer), facts.scale))
        # Energies are squares.
        return Part(layer, share, lambda answer: l2_energy(emphasised(answer, 0.5)), logarithm)

    def _seen(self, layer: str, share: float, facts: _Facts) -> Part:
        if self._class_channel is not None:
            return Part(layer, share, partial(log_probability, channel=self._class_channel))
        return Part(
            layer, share, lambda answer: l2_energy(_chosen(answer, facts.channels)), logarithm
        )

    def _facts(self, subject: Tensor, layers: tuple[str, ...]) -> list[_Facts]:
        if self._is_ranked or self._settings.objective != "l2" or self._guide is not None:
            return self._looked_up(subject, layers)
        # Nothing depends on the subject, which may be large: none is kept.
        one = torch.ones((), device=subject.device)
        return [_Facts(self._given_channels(subject.device), one)] * len(layers)

    def _look(self, subject: Tensor, layers: tuple[str, ...]) -> list[_Facts]:
        given = self._given_channels(subject.device)
        with torch.no_grad():
            answers = self._features(at_most(subject, SUBJECT_MOST_PX), layers)
            return [
                _Facts(self._ranked(answer) if self._is_ranked else given, _scale(answer))
                for answer in answers
            ]

    @property
    def _is_ranked(self) -> bool:
        return bool(self._settings.strongest or self._settings.weakest)

    def _given_channels(self, device: torch.device) -> Tensor | None:
        channels = self._settings.channel
        return torch.tensor(channels, device=device) if channels else None

    def _ranked(self, answer: Tensor) -> Tensor | None:
        order = by_energy(answer)
        if len(order) == 0:  # nothing at all is seen, so that none is stronger
            return None
        if self._settings.strongest:
            return order[: self._settings.strongest]
        return order[-(self._settings.weakest or 0) :]

    def _see_guide(self, layer: str) -> Tensor:
        """(channels, places) of the guide, of unit root mean square."""
        assert self._guide is not None
        with torch.no_grad():
            (answer,) = self._features(self._guide, [layer])
            return by_channel(answer) / _scale(answer)


def _chosen(answer: Tensor, channels: Tensor | None) -> Tensor:
    return answer if channels is None else answer.index_select(1, channels)


def _scale(answer: Tensor) -> Tensor:
    return l2_energy(answer).clamp(min=SMALLEST_ENERGY).sqrt()
