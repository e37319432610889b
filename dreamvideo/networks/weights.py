"""Reads weights from files, without running what a file contains.

A weights file holds names and numbers. A pickle can hold programs as well: those are refused.
"""

from __future__ import annotations

import copy
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from dreamvideo.errors import WeightsError

StateDict = dict[str, Tensor]

# Weights are searched in dictionaries within dictionaries down to this depth: training programs
# keep them as `checkpoint["ema"]["module"]`.
MAX_DEPTH = 3
# A message names at most this many classes that a pickle would need.
MAX_LISTED_CLASSES = 3
# How a class is named in PyTorch's message about one that it refuses.
REFUSED_CLASS = re.compile(r"(?:GLOBAL|class|function) ([A-Za-z_]\w*(?:\.\w+)+)")
# Messages of PyTorch go on about what may have happened.
FIRST_SENTENCE = re.compile(r"\A.+?(?=\.?\s*$|\. )", re.MULTILINE)
# Classes of these packages in a pickle mean that it holds a whole network.
NETWORK_PACKAGES = ("torch.nn.modules.", "torchvision.models.", "timm.")
# How files of other kinds begin, and what to do about them.
OTHER_KINDS = (
    (b"version https://git-lfs", "is a pointer of Git LFS; run 'git lfs pull' where it comes from"),
    (b"<", "is a web page; download the file that the page offers"),
    (b"\x1f\x8b", "is compressed by gzip; unpack it first"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes; give weights of PyTorch"),
    (b"{", "is a JSON file; give the file of weights that it describes"),
    (b"GGUF", "is a GGUF file; give weights of PyTorch"),
)
ONNX_SUFFIX = ".onnx"
# A safetensors file begins with the length of its header, in so many bytes, and the header with {.
SAFETENSORS_LENGTH_BYTES = 8


@dataclass(frozen=True)
class WeightsFile:
    """All weights in a file: a checkpoint may hold several networks, or one twice."""

    path: Path
    parts: Mapping[str, StateDict]
    """Names and tensors, by where they are in the file: the keys that lead there, joined by dots;
    empty for the file as a whole."""


def read_weights(path: Path) -> WeightsFile:
    """Names and tensors of a `.safetensors` file, or of a file that PyTorch wrote.

    Raises:
        WeightsError: the file is missing or damaged, or contains more than weights.
    """
    if path.is_dir():
        raise WeightsError(
            f"{path} is a folder; --weights takes a file: give the .pth or .safetensors file in it"
        )
    if not path.is_file():
        raise WeightsError(f"{path} is no file; --weights takes a .pth or .safetensors file")
    _refuse_other_kinds(path)
    parts = dict(_parts(_read_content(path)))
    if not parts:
        raise WeightsError(
            f"{path} contains no weights; save the state_dict (names and tensors), by itself or as "
            "an entry of a dictionary"
        )
    return WeightsFile(path, parts)


def _refuse_other_kinds(path: Path) -> None:
    """Raise WeightsError for files that are known to be something else."""
    with path.open("rb") as file:
        beginning = file.read(64)
    kind = next((words for start, words in OTHER_KINDS if beginning.startswith(start)), "")
    if not beginning:
        kind = "is empty; get it again"
    elif path.suffix.lower() == ONNX_SUFFIX:
        kind = "is an ONNX file, which holds a program; give weights of PyTorch"
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            files = {name.rpartition("/")[2] for name in archive.namelist()}
        if "constants.pkl" in files:
            kind = "is a TorchScript program; save the state_dict() of its network"
        elif "data.pkl" not in files:
            kind = "is a zip archive of something else; unpack it, and give the weights in it"
    if kind:
        raise WeightsError(f"{path} {kind} (--weights takes a .pth or .safetensors file)")


def _read_content(path: Path) -> object:
    try:
        if _is_safetensors(path):
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except Exception as error:  # damaged files make PyTorch raise many types
        reason = next(iter(FIRST_SENTENCE.findall(str(error))), "")
        raise WeightsError(
            f"cannot read the weights {path}: it is damaged or incomplete, or no file that PyTorch "
            f"wrote ({type(error).__name__}: {reason}); give another file"
        ) from error


def _is_safetensors(path: Path) -> bool:
    """Whether a file is, by its content or at least by its name, a safetensors file."""
    with path.open("rb") as file:
        beginning = file.read(SAFETENSORS_LENGTH_BYTES + 1)
    length = int.from_bytes(beginning[:SAFETENSORS_LENGTH_BYTES], "little")
    begins_so = beginning[SAFETENSORS_LENGTH_BYTES:] == b"{" and length < path.stat().st_size
    return begins_so or path.suffix.lower() == ".safetensors"


def _refusal(path: Path, error: pickle.UnpicklingError) -> WeightsError:
    """The error for a pickle that is damaged, or would have to run code."""
    try:
        classes = sorted(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # not in the present format; PyTorch's message names the first class
        classes = REFUSED_CLASS.findall(str(error))[:1]
    listed = ", ".join(classes[:MAX_LISTED_CLASSES])
    if len(classes) > MAX_LISTED_CLASSES:
        listed = f"{listed} … ({len(classes)} in all)"
    if any(name.startswith(NETWORK_PACKAGES) for name in classes):
        content = f"it contains a whole network, which is code ({listed})"
    elif classes:
        content = f"besides names and tensors it contains {listed}"
    else:
        content = "it is damaged, or contains more than names and tensors"
    return WeightsError(
        f"{path} is refused, nothing in it was run: {content}; save its state_dict() alone with "
        "torch.save, in a program that trusts the file, or convert it to .safetensors"
    )


def _parts(content: object, key: str = "", depth: int = 0) -> Iterator[tuple[str, StateDict]]:
    """All dictionaries with tensors within the content of a file, and where they are."""
    if not isinstance(content, dict):
        return
    # A copy keeps the versions of modules that a state dict carries: networks translate old names.
    tensors: StateDict = copy.copy(content)
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            del tensors[name]
    if tensors:
        yield key, tensors
    if depth < MAX_DEPTH:
        for name, value in content.items():
            if isinstance(name, str):
                yield from _parts(value, f"{key}.{name}" if key else name, depth + 1)
