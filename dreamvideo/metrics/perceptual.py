"""LPIPS, the perceptual distance of two images (Zhang et al. 2018), by its authors' package."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dreamvideo.errors import UsageError, WeightsError
from dreamvideo.networks.torchvision_models import build_torchvision, weights_download

# The network that the authors recommend for comparing images.
NETWORK = "alexnet"
# The part of it that is used.
FEATURES = "features"
# The smallest side of which AlexNet's convolutions and poolings leave at least one position.
MIN_SIDE_PX = 31


def load_lpips(device: torch.device) -> Callable[[Tensor, Tensor], float]:
    """LPIPS, version 0.1, on AlexNet, whose weights are downloaded on first use.

    Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric",
    equation 1: squared differences of the activations of five layers, each normalised to unit
    length over its channels, weighted per channel, averaged over positions and summed over layers.

    Returns:
        A function of two images (1, 3, H, W) in [0, 1] on the device; its value is 0 or more. It
        raises UsageError for sides of less than 31 px.

    Raises:
        UsageError: the package lpips is not installed.
        WeightsError: the weights of AlexNet are not in torch's cache and cannot be downloaded.
    """
    try:
        import lpips
    except ImportError as error:
        raise UsageError("--lpips needs lpips; run: pip install 'dreamvideo[lpips]'") from error
    features = _alexnet().features
    with warnings.catch_warnings():
        # The package creates its AlexNet, here without weights, by a deprecated argument.
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for stage in network.net.children():
        for index, module in stage.named_children():
            module.load_state_dict(features[int(index)].state_dict())
    network = network.to(device).eval()

    def distance(first: Tensor, second: Tensor) -> float:
        height, width = first.shape[-2:]
        if min(height, width) < MIN_SIDE_PX:
            raise UsageError(
                f"--lpips cannot compare images of {width}x{height} pixels; each side needs at "
                f"least {MIN_SIDE_PX}: leave --lpips out"
            )
        with torch.inference_mode():
            return float(network(first, second, normalize=True))

    return distance


def _alexnet() -> Any:
    """AlexNet with its weights.

    Raises:
        WeightsError: see `load_lpips`.
    """
    try:
        model = build_torchvision(NETWORK, None)
        assert model.fit is not None
        needed = [name for name in model.network.state_dict() if name.startswith(f"{FEATURES}.")]
        model.fit.check(needed, (), FEATURES, "")
        return model.network
    except WeightsError as error:
        download = weights_download(NETWORK)
        raise WeightsError(
            f"--lpips cannot get the weights of {NETWORK} from {download.url}: "
            f"{error.__cause__ or error}; go online once, or put that file at {download.path} "
            "(delete a damaged one there), or leave --lpips out"
        ) from error
