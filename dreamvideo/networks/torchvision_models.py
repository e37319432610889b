"""Torchvision's classification networks by their own names; weights are downloaded when needed.

Torchvision is imported late: it takes seconds, and the default network does without."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dreamvideo.errors import DreamVideoWarning, WeightsError
from dreamvideo.networks.model import RANDOM_WEIGHTS, Model
from dreamvideo.networks.weights import load_into, read_weights

if TYPE_CHECKING:
    from torchvision.models import VisionTransformer


def accept_any_size(network: VisionTransformer) -> None:
    """Let a vision transformer take pictures of any size, as it took those of its own.

    What it learned of places is stretched over the picture (Dosovitskiy et al. 2021, "An image is
    worth 16x16 words", section 3.2). It is added to the patches as they come in, instead of later,
    so that the network need not be told the size.
    """
    positions = network.encoder.pos_embedding.detach()
    grid_side = round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].transpose(1, 2).unflatten(2, (grid_side, grid_side))
    network.register_buffer("grid_of_positions", grid, persistent=False)
    token = network.class_token + positions[:, :1]
    network.class_token = nn.Parameter(token.detach(), requires_grad=False)
    nothing = positions[:, :1] * 0
    network.encoder.pos_embedding = nn.Parameter(nothing, requires_grad=False)
    network._process_input = MethodType(_patch_tokens, network)


def _patch_tokens(network: VisionTransformer, image: Tensor) -> Tensor:
    """(N, 3, H, W) to (N, patches, width of the network)."""
    height, width = image.shape[-2:]
    missing = (-width % network.patch_size, -height % network.patch_size)
    padded = nn.functional.pad(image, (0, missing[0], 0, missing[1]), mode="replicate")
    features = network.conv_proj(padded)
    grid = network.get_buffer("grid_of_positions")
    if grid.shape[-2:] != features.shape[-2:]:
        grid = nn.functional.interpolate(
            grid, features.shape[-2:], mode="bicubic", align_corners=True
        )
    tokens: Tensor = (features + grid).flatten(2).transpose(1, 2)
    return tokens


# The layers that made them known: those of the first DeepDream (Mordvintsev et al. 2015) and of
# the VGG dreams that followed. Others are dreamed with at a depth.
DEFAULT_LAYERS = {"googlenet": "inception4c", "vgg16": "features.22"}
# How torchvision's files say the beginning of their own hash.
HASH_IN_NAME = re.compile(r"-([a-f0-9]{8,})\.")
# These prepare their input themselves, when they have the weights that came from TensorFlow.
INPUT_TRANSFORMING = ("googlenet", "inception_v3")
# Vision transformers are as large as the pictures that their weights were trained on.
TRANSFORMER_PREFIX = "vit_"


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


def torchvision_names() -> list[str]:
    """Every classification network of torchvision."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def weights_download(name: str) -> Download:
    """The download of a network's weights."""
    weights = _default_weights(name)
    address = weights.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / address.rsplit("/", maxsplit=1)[-1]
    return Download(address, path, float(weights.meta["_file_size"]))


def build_torchvision(name: str, weights: str | None) -> Model:
    """A network of torchvision.

    Args:
        name: one of `zoo_names`.
        weights: a file, `random`, or None for torchvision's best, which are downloaded once.

    Raises:
        WeightsError: the weights do not fit, or cannot be downloaded.
    """
    from torchvision import models

    published, network = _default_weights(name), _build_untrained(name)
    if weights != RANDOM_WEIGHTS:
        file = _ensure_downloaded(name) if weights is None else Path(weights)
        load_into(network, read_weights(file), name, str(file))
        if name in INPUT_TRANSFORMING:
            network.transform_input = True
    if isinstance(network, models.VisionTransformer):
        accept_any_size(network)
    preparation, categories = published.transforms(), published.meta["categories"]
    return Model(
        name=name,
        network=network,
        mean=tuple(preparation.mean),
        std=tuple(preparation.std),
        side_px=preparation.crop_size[0],
        default_layer=DEFAULT_LAYERS.get(name),
        categories=lambda: categories,
    )


def _default_weights(name: str) -> Any:
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _build_untrained(name: str) -> Any:
    from torchvision import models

    # Their own way to begin at random takes minutes.
    options: dict[str, Any] = {"init_weights": False} if name in INPUT_TRANSFORMING else {}
    if name.startswith(TRANSFORMER_PREFIX):
        options["image_size"] = _default_weights(name).meta["min_size"][0]
    return models.get_model(name, weights=None, **options)


def _ensure_downloaded(name: str) -> Path:
    """The file with a network's weights, downloaded where it is not there yet."""
    download = weights_download(name)
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
