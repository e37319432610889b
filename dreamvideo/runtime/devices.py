"""Chooses the processor to compute on. Refuses to know what is computed."""

from __future__ import annotations

import os

import torch

from dreamvideo.errors import SettingsError

# Shares of a GPU's free memory and of a computer's memory that one pass through a network may take.
CUDA_MEMORY_SHARE = 0.5
CPU_MEMORY_SHARE = 0.25
# More would not make it faster.
CPU_MAX_BYTES = 1.0 * 2**30


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


def memory_budget_bytes(device: torch.device) -> float:
    """Bytes that one pass through a network may take there, beside everything else."""
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
        return free_bytes * CUDA_MEMORY_SHARE
    if hasattr(os, "sysconf"):  # Windows has none
        total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min(CPU_MAX_BYTES, total_bytes * CPU_MEMORY_SHARE)
    return CPU_MAX_BYTES
