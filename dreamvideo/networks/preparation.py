"""Prepares a network for the layers that are requested of it: checks, notes, and speed."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from itertools import chain

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dreamvideo.errors import DreamVideoWarning, WeightsError
from dreamvideo.networks.fitting import non_finite_value
from dreamvideo.networks.introspection import NetworkSummary
from dreamvideo.networks.model import Model


def check_weights(model: Model, summary: NetworkSummary, requested: Collection[str]) -> None:
    """Check the weights that the requested layers need, and say what else was in their file.

    Raises:
        WeightsError: some are missing, do not fit, or are not finite.
    """
    needed = summary.tensors_needed(requested)
    deepest = summary.layers_until(requested)[-1].name
    if model.fit is not None:
        modules = {layer.name for layer in summary.layers_until(requested)}
        model.fit.check(needed, modules, deepest, summary.last_layer_without(model.fit.faults))
    tensors = dict(chain(model.network.named_parameters(), model.network.named_buffers()))
    for name in needed:
        value = non_finite_value(name, tensors[name]) if name in tensors else ""
        if value:
            origin = f" in {model.fit.origin}" if model.fit is not None else ""
            fitting = summary.last_layer_without([name])
            remedy = f"choose a --layer up to {fitting}, or " if fitting else ""
            raise WeightsError(
                f"the weights of {model.name}{origin} contain {value} in {name}, which {deepest} "
                f"needs; {remedy}give other --weights"
            )
    note = "" if model.fit is None else model.fit.note(needed, deepest)
    if note:
        warnings.warn(note, DreamVideoWarning, stacklevel=2)


def note_peculiarities(model: Model, summary: NetworkSummary, requested: Collection[str]) -> None:
    """Say that requested layers take images of one size only, or are random."""
    layers = summary.layers_until(requested)
    fixed = [layer.name for layer in layers if layer.is_size_fixed]
    if any(name in fixed for name in requested):
        height, width = summary.image.size_px
        warnings.warn(
            f"{layers[-1].name} of {model.name} takes images of {width}x{height} pixels only: at "
            f"every octave, the image is scaled to that; layers before {fixed[0]} take any size",
            DreamVideoWarning,
            stacklevel=2,
        )
    if layers[-1].is_random:
        warnings.warn(
            f"{model.name} draws random numbers in every pass: the same seed does not give the "
            "same frames",
            DreamVideoWarning,
            stacklevel=2,
        )


def to_channels_last(network: nn.Module) -> nn.Module:
    """The network with kernels of 2D convolutions in channels-last memory format."""
    for tensor in chain(network.parameters(), network.buffers()):
        if tensor.ndim == 4:  # `Module.to` refuses networks that also have 3D convolutions
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return network


def fold_batch_norms(
    network: nn.Module, summary: NetworkSummary, requested: Collection[str]
) -> None:
    """Fold batch-norms into the convolutions before them, except in requested layers."""
    for fold in summary.folds:
        if fold.affected.intersection(requested):
            continue
        convolution = network.get_submodule(fold.convolution)
        norm = network.get_submodule(fold.norm)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        network.set_submodule(fold.convolution, fuse_conv_bn_eval(convolution, norm))
        network.set_submodule(fold.norm, nn.Identity())
