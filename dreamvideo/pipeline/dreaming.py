"""Makes a dreamer out of settings: the network, and the guide. Refuses to know what is dreamed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dreamvideo.dream import Dreamer, Evaluation, Reach
from dreamvideo.media.opening import Location
from dreamvideo.networks import Backbone, load_backbone, memory_share
from dreamvideo.settings import Settings
from dreamvideo.sources import still_image


def open_dreamer(settings: Settings, device: torch.device) -> Dreamer:
    """A dreamer with the network, the layers, and the guide or class that the settings name.

    Raises:
        UsageError: there is no such network, layer, channel or class.
        WeightsError: the network's weights are missing or do not fit.
        InputError: the guide cannot be read.
    """
    return make_dreamer(load_backbone(settings, device), settings, device)


def make_dreamer(backbone: Backbone, settings: Settings, device: torch.device) -> Dreamer:
    """A dreamer with a network that is loaded already, for the settings' layers at least.

    Raises: see `open_dreamer`.
    """
    guide = None
    if settings.guide is not None:
        location = Location(settings.guide, settings.allow_network)
        image = torch.from_numpy(still_image(location, settings))
        guide = image.to(device).permute(2, 0, 1)[None]
    channel = None if settings.class_ is None else backbone.class_index(settings.class_)
    return Dreamer(
        backbone, settings, device, guide, channel, _evaluation(backbone, settings, device)
    )


def _evaluation(backbone: Backbone, settings: Settings, device: torch.device) -> Evaluation:
    """How pictures go through the network: the settings say whether in tiles."""
    if settings.tile == "none":
        return Evaluation(lambda layers: None)

    def find_reach(layers: Sequence[str]) -> Reach | None:
        found = backbone.reach(layers)
        return None if found is None else Reach(*found)

    evaluation = Evaluation(find_reach, settings.tile_px, memory_share(device))
    evaluation.check(settings.layers)
    return evaluation
