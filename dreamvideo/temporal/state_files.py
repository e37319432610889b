"""The temporal state on disk: its tensors in one file, its target level as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dreamvideo.media.write.files import flush_to_disk
from dreamvideo.runtime.devices import download, upload
from dreamvideo.types import TargetLevel, TemporalState

STATE_SUFFIX = ".npz"


def save_tensors(file: Path, state: TemporalState) -> None:
    """Write the tensors of a state, and flush them to the disk.

    Raises:
        OSError: the disk is full.
    """
    tensors = {"carried": state.carried, "freshness": state.freshness}
    arrays = {name: download(one) for name, one in tensors.items() if one is not None}
    np.savez(file, allow_pickle=False, **arrays)
    flush_to_disk(file)


def load_state(
    file: Path, target_level: Mapping[str, Any] | None, device: torch.device
) -> TemporalState:
    """The state whose tensors are in a file, on a device; without any if there is no file."""
    tensors = {}
    if file.exists():
        with np.load(file, allow_pickle=False) as arrays:
            tensors = {name: upload(arrays[name], device) for name in arrays.files}
    return TemporalState(
        tensors.get("carried"), target_level_from_json(target_level), tensors.get("freshness")
    )


def target_level_as_json(level: TargetLevel | None) -> dict[str, Any] | None:
    """A target level as values of JSON."""
    return None if level is None else asdict(level)


def target_level_from_json(values: Mapping[str, Any] | None) -> TargetLevel | None:
    """The inverse of `target_level_as_json`."""
    if values is None:
        return None
    gains, source_values = (tuple(values[name]) for name in ("gains", "source_values"))
    return TargetLevel(gains, source_values, values["typical_log_gain"])
