"""Third-party networks: those of timm by name, and those that a callable returns."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.optim.swa_utils import AveragedModel

from dreamvideo.errors import UnknownModelError, WeightsError
from dreamvideo.networks.fitting import WeightsFit, load_fitting, load_weights
from dreamvideo.networks.introspection import TRIED_CHANNELS
from dreamvideo.networks.model import DEFAULT_SIDE_PX, RANDOM_WEIGHTS, Model
from dreamvideo.networks.names import suggest_names
from dreamvideo.networks.observation import TorchScript
from dreamvideo.networks.weights import read_weights
from dreamvideo.settings.network_options import TIMM_PREFIX

# Modules that training programs put around a network.
COMPILED_NAME = "_orig_mod"  # what torch.compile calls the network that it was given
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
# Least similarity of a timm name that is suggested (see difflib).
TIMM_SIMILARITY = 0.3


def build_timm(name: str, weights: str | None) -> Model:
    """Build a network of timm.

    Args:
        name: `timm:` and timm's own name.
        weights: a file, `random`, or None for timm's weights, which are downloaded once.

    Raises:
        UnknownModelError: timm is not installed, or has no such network.
        WeightsError: nothing in the file fits, or the weights cannot be downloaded.
    """
    try:
        import timm
    except ImportError as error:
        raise UnknownModelError(
            f"{name} needs timm; run: pip install 'dreamvideo[timm]'"
        ) from error
    timm_name = name.removeprefix(TIMM_PREFIX)
    if not timm.is_model(timm_name):
        known = timm.list_models()
        raise UnknownModelError(
            f"timm has no network {timm_name!r}; "
            f"{suggest_names(timm_name, known, TIMM_SIMILARITY)}"
            f"it has {len(known)}, which timm.list_models() lists"
        )
    network, fit = _with_weights(
        lambda classes: _create_timm(timm, timm_name, classes, is_pretrained=weights is None),
        weights,
        name,
    )
    config = network.pretrained_cfg
    return Model(
        name=name,
        network=network,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        size_px=tuple(config["input_size"][-2:]),
        has_unknown_code=True,
        fit=fit,
    )


def build_from_factory(name: str, weights: str | None) -> Model:
    """Build the network that a callable returns. It is changed, so it must not be used elsewhere.

    Args:
        name: `package.module:factory`, or with plain values as keyword arguments
            `package.module:factory(pretrained="faces")`. The current folder is searched, too.
        weights: a file; None or `random` leaves the network as it is returned.

    Raises:
        UnknownModelError: the callable cannot be imported or called, or returns no network.
        WeightsError: nothing in the file fits.
    """
    module_name, _, call = name.partition(":")
    factory_name, arguments = _parse_factory_call(call, name)
    factory = _import_factory(module_name, factory_name, name)
    try:
        network = factory(**arguments)
    except (Exception, SystemExit) as error:  # third-party code may raise anything
        raise UnknownModelError(
            f"{name} failed: {type(error).__name__}: {error}; it must return a network when "
            "called with these arguments"
        ) from error
    if not isinstance(network, nn.Module):
        raise UnknownModelError(
            f"{name} returned a {type(network).__name__}; it must return a torch.nn.Module"
        )
    network = _unwrapped(network)
    _materialise(network, name)
    network, fit = _with_weights(lambda classes: network, weights, name)
    return Model(name=name, network=network, has_unknown_code=True, fit=fit)


def _unwrapped(network: nn.Module) -> nn.Module:
    """A network without the wrappers of training programs, around it or around parts of it.

    What they do is not needed here, and they hide layers and their names. TorchScript is wrapped.
    """
    if isinstance(network, torch.jit.ScriptModule):
        return TorchScript(network)
    network._compiled_call_impl = None  # of Module.compile: it would run no hooks
    children = dict(network.named_children())
    if COMPILED_NAME in children:
        return _unwrapped(children[COMPILED_NAME])
    if isinstance(network, WRAPPERS):
        return _unwrapped(children["module"])
    for name, child in children.items():
        network.add_module(name, _unwrapped(child))
    return network


def _materialise(network: nn.Module, name: str) -> None:
    """Give lazy modules their shapes, by a first image.

    Raises:
        UnknownModelError: the network does not take an image.
    """
    if not any(isinstance(one, UninitializedParameter) for one in network.parameters()):
        return
    for channels in TRIED_CHANNELS:
        with suppress(Exception), torch.no_grad():  # third-party code may raise anything
            network(torch.zeros(1, channels, DEFAULT_SIDE_PX, DEFAULT_SIDE_PX))
            return
    raise UnknownModelError(
        f"{name} has lazy modules, and does not take an image of {DEFAULT_SIDE_PX}x"
        f"{DEFAULT_SIDE_PX} pixels, which would give them their shapes; run it on an image before "
        "you return it"
    )


def _create_timm(timm: Any, name: str, classes: int | None, *, is_pretrained: bool) -> Any:
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise UnknownModelError(
            f"timm has no network {name!r}: {error}; leave out what follows the dot, or give "
            "another tag"
        ) from error
    origin = (config and (config.url or f"https://huggingface.co/{config.hf_hub_id}")) or "timm"
    try:
        options: dict[str, Any] = {"pretrained": is_pretrained}
        if classes is not None:
            options["num_classes"] = classes
        try:  # transformers take other image sizes with these options only
            return timm.create_model(name, dynamic_img_size=True, dynamic_img_pad=True, **options)
        except TypeError:  # other networks do not have these options
            return timm.create_model(name, **options)
    except Exception as error:  # timm and its downloads raise many types
        raise WeightsError(
            f"cannot get the weights of timm's {name} from {origin}: {error}; go online once, or "
            "give a file with --weights"
        ) from error


def _parse_factory_call(call: str, name: str) -> tuple[str, dict[str, Any]]:
    """The name of a factory and its arguments, without running any of it."""
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
    try:
        with _import_path(Path.cwd()):
            module = importlib.import_module(module_name)
            factory: Callable[..., Any] = getattr(module, factory_name)
    except (Exception, SystemExit) as error:  # third-party code may raise anything
        raise UnknownModelError(
            f"cannot import {name}: {type(error).__name__}: {error}; install its package, or run "
            "in the folder of its file"
        ) from error
    return factory


@contextmanager
def _import_path(folder: Path) -> Iterator[None]:
    """Search a folder for modules, too; last, so that no file in it hides an installed package."""
    if str(folder) in sys.path:
        yield
        return
    # Removed by identity: an imported module may have added an equal entry, or removed this one.
    entry = str(folder)
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path[:] = [one for one in sys.path if one is not entry]


def _with_weights(
    build: Callable[[int | None], Any], weights: str | None, name: str
) -> tuple[Any, WeightsFit | None]:
    """A network with the weights of a file, and how they fit; None without a file.

    Args:
        build: returns the network with some number of outputs, if it can; None for its usual one.
        weights: a file; None or `random` leaves the network as it is built.
        name: of the network, for messages.
    """
    if weights in (None, RANDOM_WEIGHTS):
        return build(None), None
    file = read_weights(Path(str(weights)))
    return load_fitting(build, lambda network: load_weights(network, file, name))
