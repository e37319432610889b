"""Torchvision's classification networks by their own names, and the download of their weights.

Torchvision is imported late: that takes seconds, and the default network does not need it.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dreamvideo.errors import DreamVideoWarning, WeightsError
from dreamvideo.networks.fitting import WeightsFit, load_fitting, load_weights
from dreamvideo.networks.model import RANDOM_WEIGHTS, Model
from dreamvideo.networks.weights import WeightsFile, read_weights

if TYPE_CHECKING:
    from torchvision.models import VisionTransformer

# The layers of the first DeepDream (Mordvintsev et al. 2015) and of the VGG dreams after it.
DEFAULT_LAYERS = {"googlenet": "inception4c", "vgg16": "features.22"}
# Torchvision's file names contain the beginning of the file's SHA-256.
HASH_IN_FILE_NAME = re.compile(r"-([a-f0-9]{8,})\.")
# With published weights, which were trained in TensorFlow, these networks normalise their input
# once more themselves. Their own random initialisation takes minutes.
INCEPTIONS = ("googlenet", "inception_v3")
# Names of vision transformers, which must be built for the image size of their weights.
TRANSFORMER_PREFIX = "vit_"


@dataclass(frozen=True)
class Download:
    """Where the weights of a network come from and where they are stored."""

    url: str
    path: Path
    megabytes: float

    @property
    def is_downloaded(self) -> bool:
        """Whether the file exists."""
        return self.path.is_file()


def torchvision_names() -> list[str]:
    """The names of torchvision's classification networks."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def weights_download(name: str) -> Download:
    """The download of torchvision's best weights of a network."""
    weights = _best_weights(name)
    url = weights.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", maxsplit=1)[-1]
    return Download(url, path, float(weights.meta["_file_size"]))


def build_torchvision(name: str, weights: str | None) -> Model:
    """Build a network of torchvision.

    Args:
        name: one of `torchvision_names`.
        weights: a file, `random`, or None for torchvision's best, which are downloaded once.

    Raises:
        WeightsError: nothing in the file fits, or the weights cannot be downloaded.
    """
    from torchvision import models

    network, fit = _build_with_weights(name, weights)
    if isinstance(network, models.VisionTransformer):
        network = AnySizeVisionTransformer(network)
    best = _best_weights(name)
    transforms, categories = best.transforms(), best.meta["categories"]
    return Model(
        name=name,
        network=network,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        size_px=(transforms.crop_size[0], transforms.crop_size[0]),
        default_layer=DEFAULT_LAYERS.get(name),
        categories=lambda: categories,
        fit=fit,
    )


def build_untrained(name: str, classes: int | None = None) -> Any:
    """A network of torchvision with random weights, of the shapes of its best weights.

    Args:
        name: one of `torchvision_names`.
        classes: how many outputs it has; None for those of its best weights.
    """
    from torchvision import models

    options: dict[str, Any] = {"init_weights": False} if name in INCEPTIONS else {}
    if classes is not None:
        options["num_classes"] = classes
    if name.startswith(TRANSFORMER_PREFIX):
        options["image_size"] = _best_weights(name).meta["min_size"][0]
    return models.get_model(name, weights=None, **options)


class AnySizeVisionTransformer(nn.Module):
    """A vision transformer for images of any size, with the layers of torchvision's.

    The position embeddings are interpolated to the image's grid of patches (Dosovitskiy et al.
    2021, "An image is worth 16x16 words", section 3.2). They are added to the patches before the
    encoder, whose own, of one fixed size, are set to zero.
    """

    grid: Tensor

    def __init__(self, network: VisionTransformer) -> None:
        """Take over the modules and weights of a network, which is changed."""
        super().__init__()
        self.patch_size: int = network.patch_size
        self.conv_proj, self.encoder = network.conv_proj, network.encoder
        self.heads = network.heads
        positions = network.encoder.pos_embedding.detach()
        side = round((positions.shape[1] - 1) ** 0.5)
        grid = positions[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        self.register_buffer("grid", grid, persistent=False)
        token = network.class_token.detach() + positions[:, :1]
        self.class_token = nn.Parameter(token, requires_grad=False)
        zeros = torch.zeros_like(positions[:, :1])
        self.encoder.pos_embedding = nn.Parameter(zeros, requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to class scores (N, classes)."""
        patches = self._patches(image)
        tokens = torch.cat([self.class_token.expand(len(image), -1, -1), patches], dim=1)
        scores: Tensor = self.heads(self.encoder(tokens)[:, 0])
        return scores

    def _patches(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) to patches with position embeddings (N, patches, channels)."""
        height, width = image.shape[-2:]
        right, bottom = -width % self.patch_size, -height % self.patch_size
        features = self.conv_proj(nn.functional.pad(image, (0, right, 0, bottom), mode="replicate"))
        grid, size = self.grid, features.shape[-2:]
        if grid.shape[-2:] != size:
            grid = nn.functional.interpolate(grid, size, mode="bicubic", align_corners=True)
        patches: Tensor = (features + grid).flatten(2).transpose(1, 2)
        return patches


def _build_with_weights(name: str, weights: str | None) -> tuple[Any, WeightsFit | None]:
    """A network, and how the weights of the file fit it; None for random weights."""
    if weights == RANDOM_WEIGHTS:
        return build_untrained(name), None
    file = _read_downloaded(name) if weights is None else read_weights(Path(weights))
    network, fit = load_fitting(
        lambda classes: build_untrained(name, classes),
        lambda network: load_weights(network, file, name),
    )
    if name in INCEPTIONS:
        network.transform_input = True
    return network, fit


def _read_downloaded(name: str) -> WeightsFile:
    """The published weights of a network, from PyTorch's cache.

    Raises:
        WeightsError: they cannot be downloaded, or the file in the cache is damaged.
    """
    path = _ensure_downloaded(name)
    try:
        return read_weights(path)
    except WeightsError as error:
        raise WeightsError(
            f"{error}; this is PyTorch's cache: delete {path}, and it is downloaded again"
        ) from error


def _best_weights(name: str) -> Any:
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def _ensure_downloaded(name: str) -> Path:
    """The file with the weights of a network, after downloading it if necessary."""
    download = weights_download(name)
    if download.is_downloaded:
        return download.path
    warnings.warn(
        f"downloading the weights of {name} ({download.megabytes:.0f} MB) from "
        f"{download.url} to {download.path}, once",
        DreamVideoWarning,
        stacklevel=2,
    )
    hash_prefix = HASH_IN_FILE_NAME.search(download.path.name)
    try:
        download.path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            download.url, str(download.path), hash_prefix and hash_prefix[1], progress=True
        )
    except Exception as error:  # downloads raise many types
        raise WeightsError(
            f"cannot get the weights of {name} from {download.url}: {error}; go online once, "
            f"put that file at {download.path}, or give another one with --weights"
        ) from error
    return download.path
