"""Torchvision's classification networks by their own names, their weights downloaded when needed.

Torchvision is imported late: it takes seconds, and the default network does without.
Refuses to know what their layers are wanted for.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dreamvideo.errors import DreamVideoWarning, WeightsError
from dreamvideo.networks.any_size import at_any_size
from dreamvideo.networks.model import RANDOM_WEIGHTS, Model
from dreamvideo.networks.weights import put_weights, read_weights

# The layers that made them known: those of the first DeepDream (Mordvintsev et al. 2015) and of
# the VGG dreams that followed. Others are dreamed with at a depth.
DEFAULT_LAYERS = {"googlenet": "inception4c", "vgg16": "features.22"}
# How torchvision's files say the beginning of their own hash.
HASH_IN_NAME = re.compile(r"-([a-f0-9]{8,})\.")
# These prepare their input themselves, when they have the weights that came from TensorFlow.
TRANSFORMING = ("googlenet", "inception_v3")
# Vision transformers are as large as the pictures that their weights were trained on.
TRANSFORMERS = "vit_"


@dataclass(frozen=True)
class Download:
    """Where a network's weights come from and where they lie."""

    address: str
    path: Path
    megabytes: float

    @property
    def is_here(self) -> bool:
        """Whether nothing needs to be downloaded."""
        return self.path.is_file()


def zoo_names() -> list[str]:
    """Every classification network of torchvision."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def download_of(name: str) -> Download:
    """The download of a network's weights."""
    weights = _published(name)
    address = weights.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", maxsplit=1)[-1]
    return Download(address, path, float(weights.meta["_file_size"]))


def build_zoo(name: str, weights: str | None) -> Model:
    """A network of torchvision.

    Args:
        name: one of `zoo_names`.
        weights: a file, `random`, or None for torchvision's best, which are downloaded once.

    Raises:
        WeightsError: the weights do not fit, or cannot be downloaded.
    """
    from torchvision import models

    published, network = _published(name), _without_weights(name)
    if weights != RANDOM_WEIGHTS:
        file = _published_weights(name) if weights is None else Path(weights)
        put_weights(network, read_weights(file), name, str(file))
        if name in TRANSFORMING:
            network.transform_input = True
    if isinstance(network, models.VisionTransformer):
        at_any_size(network)
    preparation, categories = published.transforms(), published.meta["categories"]
    return Model(
        name=name,
        network=network,
        mean=tuple(preparation.mean),
        deviation=tuple(preparation.std),
        side_px=preparation.crop_size[0],
        default_layer=DEFAULT_LAYERS.get(name),
        categories=lambda: categories,
    )


def _published(name: str) -> Any:
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _without_weights(name: str) -> Any:
    from torchvision import models

    # Their own way to begin at random takes minutes.
    options: dict[str, Any] = {"init_weights": False} if name in TRANSFORMING else {}
    if name.startswith(TRANSFORMERS):
        options["image_size"] = _published(name).meta["min_size"][0]
    return models.get_model(name, weights=None, **options)


def _published_weights(name: str) -> Path:
    """The file with a network's weights, downloaded where it is not there yet."""
    download = download_of(name)
    if download.is_here:
        return download.path
    warnings.warn(
        f"downloading the weights of {name} ({download.megabytes:.0f} MB) from "
        f"{download.address} to {download.path}, once",
        DreamVideoWarning,
        stacklevel=2,
    )
    hash_found = HASH_IN_NAME.search(download.path.name)
    try:
        download.path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            download.address, str(download.path), hash_found and hash_found[1], progress=True
        )
    except Exception as error:  # the network raises a score of types here
        raise WeightsError(
            f"cannot get the weights of {name} from {download.address}: {error}; go online once, "
            f"or put that file at {download.path}, or give another with --weights"
        ) from error
    return download.path
