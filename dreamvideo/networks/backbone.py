"""Hands out the default network, cut at a layer and ready to run.

Refuses to know how the network is built and what its activations are wanted for.
"""

from __future__ import annotations

import difflib

import torch
from torch import nn

from dreamvideo.errors import UnknownLayerError
from dreamvideo.networks.efficientnet_lite import EfficientNetLite0

NEAREST_NAMES = 4


def load_features(layer: str, device: torch.device) -> nn.Module:
    """The default network up to `layer`.

    The module takes images (N, 3, H, W), RGB in [0, 1], and gives the layer's activations
    (N, channels, rows, columns). It runs fastest on channels-last images.

    Raises:
        UnknownLayerError: the network has no such layer; the message names the nearest ones.
        WeightsError: the packaged weights are missing or damaged.
    """
    network = EfficientNetLite0()
    names = network.layer_names()
    if layer not in names:
        nearest = difflib.get_close_matches(layer, names, n=NEAREST_NAMES, cutoff=0.3)
        raise UnknownLayerError(
            f"efficientnet_lite0 has no layer {layer!r}; "
            + (f"nearest are {', '.join(nearest)}; " if nearest else "")
            + f"its {len(names)} layers run from {names[0]} through "
            f"blocks.0 … blocks.15 (each with .expand and .depthwise inside) to {names[-1]}"
        )
    return network.up_to(layer).to(device).to(memory_format=torch.channels_last).eval()
