"""Chooses the processor to compute on. Refuses to know what is computed."""

from __future__ import annotations

import torch

from dreamvideo.errors import SettingsError


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is the first of CUDA, MPS and CPU that is there.

    Raises:
        SettingsError: no such device is here; the message names those that are.
    """
    available = available_devices()
    if name == "auto":
        return torch.device(available[0])
    if name in available:
        return torch.device(name)
    raise SettingsError(
        f"device cannot be {name!r}: here are {', '.join(available)}; "
        "use one of them, or auto for the first"
    )


def available_devices() -> list[str]:
    """Names of the devices of this machine, fastest kind first."""
    cuda_count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cuda = ["cuda", *(f"cuda:{index}" for index in range(cuda_count))] if cuda_count else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]
