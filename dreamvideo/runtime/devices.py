"""Chooses the device to compute on, moves images to it and back, and sets memory limits for it."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from dreamvideo.errors import SettingsError
from dreamvideo.types import FloatArray

# Shares of a GPU's free memory and of the computer's memory that one network pass may use.
CUDA_MEMORY_SHARE = 0.5
CPU_MEMORY_SHARE = 0.25
# Enough for a pass of the default network over 1920×1080 pixels as a whole: 0.5 s on one thread,
# and 1.2 s in tiles within 2 GiB.
CPU_MAX_BYTES = 3.0 * 2**30


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is the first available one of CUDA, MPS and CPU.

    Raises:
        SettingsError: this machine has no such device; the message lists those that it has.
    """
    available = available_devices()
    if name == "auto":
        return torch.device(available[0])
    if name in available:
        return torch.device(name)
    raise SettingsError(
        f"device {name!r} is not available; this machine has {', '.join(available)}: "
        "choose one of them, or auto for the first"
    )


def available_devices() -> list[str]:
    """Names of this machine's devices, the fastest kind first."""
    cuda_count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cuda = ["cuda", *(f"cuda:{index}" for index in range(cuda_count))] if cuda_count else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def memory_budget_bytes(device: torch.device) -> float:
    """Bytes that one network pass may allocate on a device, in addition to all other data."""
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        return free_bytes * CUDA_MEMORY_SHARE
    if hasattr(os, "sysconf"):  # not on Windows
        total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min(CPU_MAX_BYTES, total_bytes * CPU_MEMORY_SHARE)
    return CPU_MAX_BYTES


def has_avx512() -> bool:
    """Whether the processor computes with AVX-512, so that libraries may do so, too."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def upload(image: FloatArray, device: torch.device) -> Tensor:
    """An image (height, width, 3) as a tensor (1, 3, height, width) on a device.

    Its memory layout is channels last. On the CPU it shares its memory with the array.
    """
    return torch.from_numpy(image).to(device).permute(2, 0, 1)[None]


def download(image: Tensor) -> FloatArray:
    """An image (1, 3, height, width) on any device as a contiguous array (height, width, 3).

    On the CPU an image in channels-last layout shares its memory with the array.
    """
    array: FloatArray = image[0].permute(1, 2, 0).contiguous().cpu().numpy()
    return array
