"""LPIPS, how different two pictures look (Zhang et al. 2018), as its authors' package has it.

Refuses to know which pictures it is asked about, and why.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dreamvideo.errors import UsageError, WeightsError
from dreamvideo.networks.torchvision_models import build_torchvision, weights_download

# The network that the authors advise to compare pictures with.
NETWORK = "alexnet"
# What AlexNet's convolutions and poolings leave one place of, px.
MIN_SIDE_PX = 31


def load_lpips(device: torch.device) -> Callable[[Tensor, Tensor], float]:
    """LPIPS, version 0.1, on AlexNet, whose weights are downloaded on first use.

    Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric",
    equation 1: the squared differences of five layers' answers, each of unit length over its
    channels, weighted by channel, averaged over places and summed over layers.

    Returns:
        From two pictures (1, 3, H, W) in [0, 1] on the device to a number from 0 up. It raises
        UsageError where they have a side of less than 31 px.

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
        # It makes its AlexNet, here without weights, by an old word of torchvision's.
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    for part in network.net.children():
        for place, module in part.named_children():
            module.load_state_dict(features[int(place)].state_dict())
    network = network.to(device).eval()

    def difference(one: Tensor, other: Tensor) -> float:
        height, width = one.shape[-2:]
        if min(height, width) < MIN_SIDE_PX:
            raise UsageError(
                f"--lpips cannot compare pictures of {width}x{height} pixels: allowed is "
                f"{MIN_SIDE_PX} and more on each side; leave it out"
            )
        with torch.inference_mode():
            return float(network(one, other, normalize=True))

    return difference


def _alexnet() -> Any:
    """AlexNet with its weights."""
    try:
        return build_torchvision(NETWORK, None).network
    except WeightsError as error:
        download = weights_download(NETWORK)
        raise WeightsError(
            f"--lpips cannot get the weights of {NETWORK} from {download.address}: "
            f"{error.__cause__ or error}; go online once, or put that file at {download.path} "
            "(delete a damaged one there), or leave --lpips out"
        ) from error
