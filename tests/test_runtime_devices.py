"""Devices are chosen by name, and images arrive on them and come back unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamvideo.errors import SettingsError
from dreamvideo.runtime.devices import (
    CPU_MAX_BYTES,
    available_devices,
    download,
    memory_budget_bytes,
    pick_device,
    upload,
)
from tests.conftest import CPU


@pytest.fixture(params=[0, 2], ids=["no GPU", "two GPUs"])
def gpu_count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many GPUs the machine pretends to have."""
    count: int = request.param
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    return count


def test_auto_is_the_fastest_device(gpu_count: int) -> None:
    assert pick_device("auto") == torch.device("cuda" if gpu_count else "cpu")
    assert pick_device("cpu") == CPU


def test_each_gpu_has_a_name(gpu_count: int) -> None:
    expected = ["cuda", "cuda:0", "cuda:1", "cpu"] if gpu_count else ["cpu"]
    assert available_devices() == expected
    assert [str(pick_device(name)) for name in expected] == expected


@pytest.mark.usefixtures("gpu_count")
@pytest.mark.parametrize("name", ["gpu", "cuda:2", "mps"])
def test_a_missing_device_is_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"'{name}'.*cpu.*auto"):
        pick_device(name)


def test_a_pass_may_use_some_memory_but_not_all() -> None:
    assert 0 < memory_budget_bytes(CPU) <= CPU_MAX_BYTES


def test_an_image_comes_back_unchanged() -> None:
    image = np.random.default_rng(0).random((5, 7, 3), np.float32)

    tensor = upload(image, CPU)
    back = download(tensor)

    assert tensor.shape == (1, 3, 5, 7)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(tensor[0, :, 2, 4], torch.from_numpy(image[2, 4]))
    assert np.array_equal(back, image)
    assert back.flags.c_contiguous
    assert np.array_equal(download(tensor.contiguous()), image)
