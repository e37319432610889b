"""Loads weights into a network, and says how they fit.

Only what a layer needs has to fit: heads of other sizes, auxiliary branches, and what training
programs put around a network, do not matter to the layers before them.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dreamvideo.errors import WeightsError
from dreamvideo.networks.weights import StateDict, WeightsFile

# Parts of names that wrappers of PyTorch add, anywhere: DataParallel, torch.compile, FSDP,
# activation checkpointing.
WRAPPER_PARTS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# Words in the names of weights that are averaged over training. Of two that fit as well, these are
# taken: they are those that their authors evaluate (DINO, timm).
AVERAGED = re.compile(r"(?:^|[._])(?:ema|teacher)(?:$|[._])")
# Names that are no weights: counters, what profilers leave, and what networks compute themselves.
NO_WEIGHTS = re.compile(
    r"(?:^|\.)(?:num_batches_tracked|total_ops|total_params|relative_position_index|attn_mask)$"
)
# Torchvision's DenseNet files have names with one dot more than the modules.
DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
# The statistics of a batch-norm; other buffers may be infinite on purpose, such as masks.
STATISTICS = ("running_mean", "running_var")
# A message lists at most this many names.
MAX_LISTED_NAMES = 3


@dataclass(frozen=True)
class Fault:
    """What is wrong with one tensor of a file."""

    kind: str
    """In words that the name of the tensor follows, such as `missing`."""
    text: str
    """The tensor's name, and what was received instead of what."""


@dataclass(frozen=True)
class WeightsFit:
    """How the weights of a file fit a network."""

    model: str
    """The network's name."""
    origin: str
    """The file."""
    found: str
    """Where the weights were in the file, in words; empty if they were all of it."""
    faults: Mapping[str, Fault]
    """By names of the network's parameters and buffers."""
    surplus: tuple[str, ...]
    """Names in the file that the network does not have."""
    classes: int | None = None
    """How many outputs the file has, where the network has another number of them."""

    def check(
        self,
        needed: Collection[str],
        modules: Collection[str],
        layer: str,
        fits_up_to: str,
    ) -> None:
        """Check that the weights which some layers need are in the file, and fit.

        Args:
            needed: names of the parameters and buffers that they need.
            modules: names of the modules that run before the last of them finishes.
            layer: the name of this last one, for the message.
            fits_up_to: the deepest layer that has all it needs, for the message; may be empty.

        Raises:
            WeightsError: names what does not fit, and how much does.
        """
        faults = {name: fault for name, fault in self.faults.items() if name in needed}
        unexpected = [name for name in self.surplus if _would_change(name, needed, modules)]
        if not faults and not unexpected:
            return
        parts = [*_by_kind(faults.values()), *_listed("unexpected", unexpected)]
        if faults:  # others explain what is missing
            others = [name for name in self.surplus if name not in unexpected]
            parts += _listed("unexpected", [] if unexpected else others)
        count = len(weight_names(needed))
        remedy = f"layers up to {fits_up_to} fit; " if fits_up_to else ""
        raise WeightsError(
            f"the weights in {self.origin} do not fit {self.model}: {'; '.join(parts)}; "
            f"{count - len(faults)} of the {count} tensors that {layer} needs fit; {remedy}give "
            "weights of this network, or another --model"
        )

    def note(self, needed: Collection[str], layer: str) -> str:
        """One line about what was unwrapped and ignored; empty if there was nothing of the kind.

        Args: see `check`.
        """
        ignored = [fault for name, fault in self.faults.items() if name not in needed]
        parts = [*_by_kind(ignored), *_listed("no use for", self.surplus)]
        remarks = [self.found] if self.found else []
        if parts:
            remarks.append(f"ignored beyond {layer}: {'; '.join(parts)}")
        return f"the weights in {self.origin}: {'; '.join(remarks)}" if remarks else ""


@dataclass(frozen=True)
class _Place:
    """Where weights are in a file, and where they belong in a network."""

    part: str
    """See `WeightsFile.parts`."""
    prefix: str = ""
    """Of names in the file; the network's names lack it."""
    own_prefix: str = ""
    """Of the network's names, if those in the file lack it."""

    @property
    def path(self) -> str:
        """The way to the weights in the file."""
        return f"{self.part}.{self.prefix}".strip(".")

    def own_name(self, name: str) -> str | None:
        """The network's name for a name in the file; None for one without the prefix."""
        is_inside = name.startswith(self.prefix)
        return self.own_prefix + name.removeprefix(self.prefix) if is_inside else None


def load_fitting(
    build: Callable[[int | None], Any], load: Callable[[Any], WeightsFit]
) -> tuple[Any, WeightsFit]:
    """A network with the weights of a file, built with as many outputs as these have.

    Args:
        build: returns the network with some number of outputs; None for its usual number.
        load: loads the weights into it.
    """
    network = build(None)
    fit = load(network)
    if fit.classes is not None:
        other = build(fit.classes)
        other_fit = load(other)
        if len(other_fit.faults) < len(fit.faults):
            found = f"{other_fit.found}, " if other_fit.found else ""
            return other, replace(other_fit, found=f"{found}with {fit.classes} outputs")
    return network, fit


def load_weights(network: nn.Module, file: WeightsFile, name: str) -> WeightsFit:
    """Load those weights of a file that fit into a network.

    Args:
        network: receives the weights.
        file: names and tensors.
        name: of the network, for messages.

    Raises:
        WeightsError: the network's own conversion of old names fails.
    """
    own = network.state_dict()
    weights, found = find_state_dict(file, own)
    if not hasattr(weights, "_metadata"):  # no versions of modules: they are those of this one
        weights._metadata = own._metadata  # type: ignore[attr-defined]
    for key in list(weights):
        weights[DENSE_LAYER.sub(r"\1\2", key)] = weights.pop(key)
    faults, classes = find_faults(own, weights), common_class_count(own, weights)
    for key in faults:
        weights.pop(key, None)
    try:
        result = network.load_state_dict(weights, strict=False)
    except (RuntimeError, ValueError) as error:  # raised by a network's own conversion of names
        raise WeightsError(
            f"the weights in {file.path} do not fit {name}: {error}; give other --weights"
        ) from error
    # Networks translate old names: what seemed to be missing may be there.
    missing = {key for key in result.missing_keys if key in faults}
    return WeightsFit(
        name,
        str(file.path),
        found,
        {key: fault for key, fault in faults.items() if key in missing},
        weight_names(result.unexpected_keys),
        classes,
    )


def find_state_dict(file: WeightsFile, expected: Mapping[str, Tensor]) -> tuple[StateDict, str]:
    """The part of a file that fits best, under the names that are expected.

    Args:
        file: names and tensors.
        expected: tensors of the expected shapes, by their names.

    Returns:
        Names and tensors, and where they were in the file, in words.
    """
    own_parts = {part for name in expected for part in name.split(".")}
    wrappers = [part for part in WRAPPER_PARTS if part not in own_parts]
    endings: dict[str, list[str]] = {}
    for name in expected:
        for prefix in _prefixes(name):
            endings.setdefault(name.removeprefix(prefix), []).append(prefix)
    fitting = Counter[_Place]()
    for part, weights in file.parts.items():
        fitting[_Place(part)] += 0
        for name, tensor in weights.items():
            plain = _without(wrappers, name)
            places = [_Place(part, prefix) for prefix in _prefixes(plain)]
            places += [_Place(part, "", own) for own in endings.get(plain, ()) if own]
            for place in places:
                own_tensor = expected.get(place.own_name(plain) or "")
                if own_tensor is not None and own_tensor.shape == tensor.shape:
                    fitting[place] += 1

    def preference(place: _Place) -> tuple[int, bool, int]:
        return fitting[place], bool(AVERAGED.search(place.path)), len(file.parts[place.part])

    best = max(fitting, key=preference)
    weights = file.parts[best.part]
    given_parts = {part for name in weights for part in name.split(".")}
    removed = [f"{wrapper}." for wrapper in wrappers if wrapper in given_parts]
    removed += [best.prefix] if best.prefix else []
    rivals = [place for place in fitting if place != best and fitting[place] == fitting[best] > 0]
    found = [f"taken from {best.part}"] if best.part else []
    found += [f"without {' and '.join(removed)} in the names"] if removed else []
    found += [f"with {best.own_prefix} before the names"] if best.own_prefix else []
    found += [
        f"and not from {place.path}, which fits as well"
        for place in rivals
        if place.path != best.path
    ]
    return _renamed(weights, wrappers, best), ", ".join(found)


def find_faults(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Fault]:
    """What is wrong with the tensors of a file: missing ones, shapes and types.

    Args:
        expected: tensors of the right shapes and kinds of numbers.
        given: the tensors in the file.
    """
    faults = {}
    for name, own in expected.items():
        tensor = given.get(name)
        if tensor is None:
            if own.is_floating_point() and weight_names([name]):
                faults[name] = Fault("missing", name)
        elif tensor.shape != own.shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(own.shape)}"
            faults[name] = Fault("shape", f"{name} {shapes}")
        elif own.is_floating_point() and not tensor.is_floating_point():
            faults[name] = Fault("no floats in", f"{name} ({tensor.dtype})")
    return faults


def common_class_count(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> int | None:
    """How many outputs a file has, if that is all in which the shapes of tensors differ.

    Args: as in `find_faults`.
    """
    counts: set[tuple[int, int]] = set()
    for name in expected.keys() & given.keys():
        own, tensor = expected[name].shape, given[name].shape
        if own == tensor:
            continue
        if len(own) != len(tensor) or own[1:] != tensor[1:]:
            return None
        counts.add((own[0], tensor[0]))
    return counts.pop()[1] if len(counts) == 1 else None


def weight_names(names: Iterable[str]) -> tuple[str, ...]:
    """Those names that are names of weights."""
    return tuple(name for name in names if not NO_WEIGHTS.search(name))


def non_finite_value(name: str, tensor: Tensor) -> str:
    """`NaN` or `infinity` if a tensor of a network contains it and must not; else empty."""
    if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
        return ""
    if bool(tensor.isnan().any()):
        return "NaN"
    is_weight = isinstance(tensor, nn.Parameter) or name.rpartition(".")[2] in STATISTICS
    return "infinity" if is_weight else ""


def _prefixes(name: str) -> Iterator[str]:
    """`a.b.c`: ``, `a.`, `a.b.`."""
    yield ""
    for dot in re.finditer(r"\.", name):
        yield name[: dot.end()]


def _without(parts: Collection[str], name: str) -> str:
    """A name without some of its parts."""
    return ".".join(part for part in name.split(".") if part not in parts)


def _renamed(weights: StateDict, wrappers: Collection[str], place: _Place) -> StateDict:
    """The weights at a place under the network's own names.

    The versions of modules, which PyTorch keeps as an attribute, are renamed as well.
    """
    renamed: StateDict = OrderedDict()
    for name, tensor in weights.items():
        own_name = place.own_name(_without(wrappers, name))
        if own_name is not None:
            renamed[own_name] = tensor.dequantize() if tensor.is_quantized else tensor
    if hasattr(weights, "_metadata"):
        versions: dict[str, Any] = {}
        for module, version in weights._metadata.items():
            own_name = place.own_name(f"{_without(wrappers, module)}.".lstrip("."))
            if own_name is not None:  # of a wrapper and what is in it, the latter comes later
                versions[own_name.strip(".")] = version
        renamed._metadata = versions  # type: ignore[attr-defined]
    return renamed


def _would_change(name: str, needed: Collection[str], modules: Collection[str]) -> bool:
    """Whether a name that only a file has would change what layers compute.

    Auxiliary branches do not: they start where all that is needed starts, too.
    """
    module = name.rpartition(".")[0]
    if module in modules:  # such as a bias that the network does not have
        return True
    while module:
        inside = [one.startswith(f"{module}.") for one in needed]
        if any(inside):
            return not all(inside)  # such as a further block of a stage
        module = module.rpartition(".")[0]
    return False


def _by_kind(faults: Iterable[Fault]) -> list[str]:
    """Faults in words, one text for each kind."""
    kinds: dict[str, dict[str, None]] = {}  # a tensor of a file may stand for several
    for fault in faults:
        kinds.setdefault(fault.kind, {})[fault.text] = None
    return [text for kind, texts in kinds.items() for text in _listed(kind, list(texts))]


def _listed(kind: str, names: Sequence[str]) -> list[str]:
    some = ", ".join(names[:MAX_LISTED_NAMES])
    if len(names) > MAX_LISTED_NAMES:
        some = f"{some} … ({len(names)} in all)"
    return [f"{kind} {some}"] if names else []
