"""RAFT optical flow (Teed and Deng 2020) as torchvision has it, with its weights.

Refuses to know which pictures it is asked about, and why.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dreamvideo.errors import WeightsError

# RAFT correlates features at an eighth of the size over four halvings, and so needs sides that
# are multiples of 8 and at least 128 pixels.
SIDE_MULTIPLE_PX = 8
SMALLEST_SIDE_PX = 128


class Raft(nn.Module):
    """Flow between pictures of any size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Flow (N, 2, H, W) in pixels, x then y, from each pixel of `image` to its match.

        Both pictures are (N, 3, H, W), RGB in [0, 1].
        """
        height, width = image.shape[-2:]
        padding = (0, _missing(width), 0, _missing(height))
        padded = [
            nn.functional.pad(picture * 2 - 1, padding, mode="replicate")
            for picture in (image, target)
        ]
        flow: Tensor = self.network(*padded)[-1]
        return flow[..., :height, :width]


def load_raft(device: torch.device) -> Raft:
    """RAFT with torchvision's default weights, downloaded on first use into torch's cache.

    Raises:
        WeightsError: the weights are not in the cache and cannot be downloaded.
    """
    from torchvision.models.optical_flow import Raft_Large_Weights, raft_large

    weights = Raft_Large_Weights.DEFAULT
    try:
        network = raft_large(weights=weights, progress=False)
    except Exception as error:  # torch and the network raise a score of types here
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        raise WeightsError(
            f"cannot get the weights of raft from {weights.url}: {error}; "
            f"go online once, or put that file into {cache} (delete a damaged one there), "
            "or use flow dis"
        ) from error
    return Raft(network.to(device).eval())


def _missing(side_px: int) -> int:
    wanted = max(SMALLEST_SIDE_PX, -(-side_px // SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX)
    return wanted - side_px
