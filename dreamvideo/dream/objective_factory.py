"""Builds objectives for a network out of frame parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import TypeAlias

import torch
from torch import Tensor

from dreamvideo.dream.objectives import (
    OBJECTIVES,
    ClassLogProbability,
    EnergyMaps,
    Features,
    L2Energy,
    LayerContext,
    LayerObjective,
    Objective,
    ObjectiveTerm,
    channel_emphasis,
    channels_by_energy,
    flatten_positions,
    root_mean_square,
    select_channels,
)
from dreamvideo.dream.pyramid import shrink_to
from dreamvideo.settings.frame_params import FrameParams, ObjectiveParams

LayerWeights: TypeAlias = Sequence[tuple[str, float]]

# The guide is matched at one size: roughly that at which networks recognize things.
GUIDE_MAX_PX = 256
# Which channels have the most energy hardly depends on the size, and measuring takes time.
SUBJECT_MAX_PX = 384
# Layers with fewer positions do not tell parts of an image apart.
MIN_POSITIONS = 4
# Subjects whose measurements are cached: prefetched frames, and the still of a zoom.
CACHED_SUBJECTS = 6


@dataclass(frozen=True, eq=False)
class _Measurement:
    """What is measured of one layer on a subject."""

    channels: Tensor | None
    """Indices of the channels that are maximized; None for all."""
    rms: Tensor | None
    """Root mean square over all channels; None where it is not needed."""


class ObjectiveFactory:
    """Builds objectives: what to maximize in a frame, given its parameters and its source."""

    def __init__(
        self, features: Features, guide: Tensor | None = None, class_channel: int | None = None
    ) -> None:
        """Prepare for a network.

        Args:
            features: computes the activations of all layers that parameters may name.
            guide: (1, 3, H, W) in [0, 1], the guide image, if the objective is `guide`.
            class_channel: index in the network's output, if the objective is `class`.
        """
        self._features = features
        self._guide = None if guide is None else shrink_to(guide, GUIDE_MAX_PX)
        self._class_channel = class_channel
        self._cached_measurements = lru_cache(maxsize=CACHED_SUBJECTS)(self._measure)
        self._guide_activations = cache(self._compute_guide)

    def build(
        self, params: FrameParams, subject: Tensor, layers: LayerWeights | None = None
    ) -> Objective:
        """The objective of a frame.

        Args:
            params: name the layers, the kind of objective and the channels.
            subject: (1, 3, H, W) in [0, 1], the source: decides, where asked for, which channels
                have the most or least energy.
            layers: instead of those of the parameters.
        """
        kind = OBJECTIVES[params.objective.name]

        def layer_objective(layer: str, measured: _Measurement) -> LayerObjective:
            emphasis, class_channel = None, self._class_channel
            if params.objective.evolves:
                emphasis = partial(_emphasis, params)
            guide = None if self._guide is None else self._guide_activations(layer)
            context = LayerContext(measured.channels, measured.rms, emphasis, guide, class_channel)
            return kind(context)

        return self._sum(params, subject, layers or params.layers, layer_objective)

    def build_response(self, params: FrameParams, subject: Tensor) -> Objective:
        """How strongly the network responds, as a logarithm, whatever the objective.

        Of layers the energy of the chosen channels, of a class its probability.
        """

        def response(layer: str, measured: _Measurement) -> LayerObjective:
            if self._class_channel is not None:
                return ClassLogProbability(LayerContext(class_channel=self._class_channel))
            return L2Energy(LayerContext(measured.channels))

        return self._sum(params, subject, params.layers, response)

    def energy_maps(self, params: FrameParams, subject: Tensor, image: Tensor) -> EnergyMaps:
        """Where in an image (1, 3, H, W) the chosen channels respond.

        Returns:
            The weight of each layer, and its energy at each position (rows, columns); nothing for a
            class, and for layers whose positions do not correspond to parts of the image.
        """
        if self._class_channel is not None:
            return []
        names = tuple(name for name, _ in params.layers)
        measurements = self._measurements(params.objective, subject, names)
        with torch.no_grad():
            activations = self._features(image, names)
        if any(one.dim() != 4 or one[0, 0].numel() < MIN_POSITIONS for one in activations):
            return []
        return [
            (weight, select_channels(one, measured.channels).square().mean(1)[0])
            for (_, weight), one, measured in zip(
                params.layers, activations, measurements, strict=True
            )
        ]

    def _sum(
        self,
        params: FrameParams,
        subject: Tensor,
        layers: LayerWeights,
        make: Callable[[str, _Measurement], LayerObjective],
    ) -> Objective:
        names = tuple(name for name, _ in layers)
        measurements = self._measurements(params.objective, subject, names)
        terms = (
            ObjectiveTerm(name, weight, make(name, measured))
            for (name, weight), measured in zip(layers, measurements, strict=True)
        )
        return Objective(self._features, tuple(terms))

    def _measurements(
        self, objective: ObjectiveParams, subject: Tensor, layers: tuple[str, ...]
    ) -> list[_Measurement]:
        if objective.is_ranked or OBJECTIVES[objective.name].needs_rms:
            return self._cached_measurements(objective, subject, layers)
        # Nothing depends on the subject, which may be large: it is not kept in the cache.
        channels = _given_channels(objective, subject.device)
        return [_Measurement(channels, None)] * len(layers)

    def _measure(
        self, objective: ObjectiveParams, subject: Tensor, layers: tuple[str, ...]
    ) -> list[_Measurement]:
        given = _given_channels(objective, subject.device)
        with torch.no_grad():
            activations = self._features(shrink_to(subject, SUBJECT_MAX_PX), layers)
            return [
                _Measurement(
                    _ranked_channels(objective, one) if objective.is_ranked else given,
                    root_mean_square(one),
                )
                for one in activations
            ]

    def _compute_guide(self, layer: str) -> Tensor:
        """(channels, positions) of the guide, of unit root mean square."""
        assert self._guide is not None
        with torch.no_grad():
            (activations,) = self._features(self._guide, [layer])
            return flatten_positions(activations) / root_mean_square(activations)


def _emphasis(params: FrameParams, activations: Tensor, channels: Tensor | None) -> Tensor:
    return channel_emphasis(
        activations, params.evolution_cycles, params.objective.evolution_seed, channels
    )


def _given_channels(objective: ObjectiveParams, device: torch.device) -> Tensor | None:
    return torch.tensor(objective.channels, device=device) if objective.channels else None


def _ranked_channels(objective: ObjectiveParams, activations: Tensor) -> Tensor | None:
    order = channels_by_energy(activations)
    if len(order) == 0:  # no channel is active, so that none is stronger than another
        return None
    if objective.strongest:
        return order[: objective.strongest]
    return order[-(objective.weakest or 0) :]
