"""Networks of others: timm's by name, and any callable that returns one.

Refuses to know what their layers are wanted for.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from dreamvideo.errors import UnknownModelError, WeightsError
from dreamvideo.networks.model import DEFAULT_SIDE_PX, RANDOM_WEIGHTS, Model, suggest_names
from dreamvideo.networks.weights import load_into, read_weights

TIMM_PREFIX = "timm:"


def build_timm(name: str, weights: str | None) -> Model:
    """A network of timm.

    Args:
        name: `timm:` and timm's own name.
        weights: a file, `random`, or None for timm's, which are downloaded once.

    Raises:
        UnknownModelError: timm is not installed, or has no such network.
        WeightsError: the weights do not fit, or cannot be downloaded.
    """
    try:
        import timm
    except ImportError as error:
        raise UnknownModelError(
            f"{name} needs timm; run: pip install 'dreamvideo[timm]'"
        ) from error
    own_name = name.removeprefix(TIMM_PREFIX)
    if not timm.is_model(own_name):
        known = timm.list_models()
        raise UnknownModelError(
            f"timm has no network {own_name!r}; {suggest_names(own_name, known, 0.3)}"
            f"it has {len(known)}, which timm.list_models() lists"
        )
    network = _create_timm(timm, own_name, is_pretrained=weights is None)
    _load_weights_file(network, weights, name)
    facts = network.pretrained_cfg
    return Model(
        name=name,
        network=network,
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        side_px=facts["input_size"][-1],
        has_unknown_code=True,
    )


def _create_timm(timm: Any, name: str, is_pretrained: bool) -> Any:
    try:
        source = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise UnknownModelError(
            f"timm has no network {name!r}: {error}; leave out what follows the dot, or give "
            "another tag"
        ) from error
    place = (source and (source.url or f"https://huggingface.co/{source.hf_hub_id}")) or "timm"
    try:
        try:  # transformers take other sizes only if told so; others do not know the words
            return timm.create_model(
                name, pretrained=is_pretrained, dynamic_img_size=True, dynamic_img_pad=True
            )
        except TypeError:
            return timm.create_model(name, pretrained=is_pretrained)
    except Exception as error:  # timm and the network raise a score of types here
        raise WeightsError(
            f"cannot get the weights of timm's {name} from {place}: {error}; go online once, or "
            "give a file with --weights"
        ) from error


def build_from_factory(name: str, weights: str | None) -> Model:
    """What a callable returns, if it is a network.

    Args:
        name: `package.module:factory`, or with arguments by keyword that are plain values,
            `package.module:factory(pretrained="faces")`. Modules of the current folder count too.
        weights: a file; None or `random` leaves the network as it is made.

    Raises:
        UnknownModelError: it cannot be imported or called, or returns something else.
        WeightsError: the weights do not fit.
    """
    module_name, _, call = name.partition(":")
    factory_name, arguments = _parse_factory_call(call, name)
    factory = _import_factory(module_name, factory_name, name)
    try:
        network = factory(**arguments)
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        raise UnknownModelError(
            f"{name} failed: {type(error).__name__}: {error}; it is to return a network when "
            "called with these arguments"
        ) from error
    if not isinstance(network, nn.Module):
        raise UnknownModelError(
            f"{name} returned a {type(network).__name__}; a torch.nn.Module is wanted"
        )
    # Lazy modules learn their sizes from a picture.
    if any(isinstance(one, UninitializedParameter) for one in network.parameters()):
        with torch.no_grad():
            network(torch.zeros(1, 3, DEFAULT_SIDE_PX, DEFAULT_SIDE_PX))
    _load_weights_file(network, weights, name)
    return Model(name=name, network=network, has_unknown_code=True)


def _parse_factory_call(call: str, name: str) -> tuple[str, dict[str, Any]]:
    """The name of a factory and its arguments, none of which is run."""
    try:
        node = ast.parse(call, mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            values = {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
            return node.func.id, values
    except (SyntaxError, ValueError):
        pass
    raise UnknownModelError(
        f"cannot read {name!r}: allowed is package.module:factory, or with plain values "
        "package.module:factory(width=2, pretrained='faces')"
    )


def _import_factory(module_name: str, factory_name: str, name: str) -> Callable[..., Any]:
    here = str(Path.cwd())
    sys.path.append(here)  # last, so that no file here stands in for what is installed
    try:
        module = importlib.import_module(module_name)
        factory: Callable[..., Any] = getattr(module, factory_name)
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything
        raise UnknownModelError(
            f"cannot import {name}: {type(error).__name__}: {error}; install its package, or run "
            "where its file lies"
        ) from error
    finally:
        sys.path.remove(here)
    return factory


def _load_weights_file(network: nn.Module, weights: str | None, name: str) -> None:
    if weights not in (None, RANDOM_WEIGHTS):
        load_into(network, read_weights(Path(str(weights))), name, str(weights))
