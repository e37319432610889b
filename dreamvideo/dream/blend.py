"""How a dream is shown over its source. Refuses to know how it was dreamed."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamvideo.colour import LUMA_BT709
from dreamvideo.dream.pyramid import resize
from dreamvideo.settings import Settings


def blended(source: Tensor, residual: Tensor, mask: Tensor | None, now: Settings) -> Tensor:
    """The picture to show, (1, 3, H, W): source + mask · mix · (dream − source).

    With `keep_colour` the dream's brightness changes only: the difference of lumas is added to all
    three channels, which leaves the chroma of BT.709 as it is (clipped where no colour is left).

    Args:
        source: (1, 3, H, W) in [0, 1].
        residual: (1, 3, H, W), dream minus source.
        mask: (1, 1, rows, columns) in [0, 1], of any size; where it is 0 the source stays exactly.
        now: says what is mixed and kept.
    """
    shown = source + residual
    if now.keep_colour:
        weights = torch.tensor(LUMA_BT709, device=source.device).view(1, 3, 1, 1)
        shown = source + ((shown.clamp(0, 1) - source) * weights).sum(1, keepdim=True)
    if mask is not None:
        height, width = source.shape[-2:]
        share = resize(mask, (height, width)).clamp(0, 1) * now.mix
        return torch.lerp(source, shown, share)
    return shown if now.mix == 1 else torch.lerp(source, shown, now.mix)
