"""What two runs must have in common for one to resume the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamvideo.errors import ResumeError
from dreamvideo.settings import Settings
from dreamvideo.settings.options import flag_name, options_of

# Of a large file, so much is read in blocks spread over it, in no noticeable time; smaller ones
# are read whole.
SAMPLED_BYTES = 64 << 20
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class RunIdentity:
    """All that decides what a run makes."""

    version: str
    """Of dreamvideo and of the libraries that compute and encode."""
    device: str
    input: str
    """A fingerprint of what is read."""
    settings: Settings

    def entries(self) -> dict[str, str]:
        """Name and value of each part, to be written down."""
        parts = {"version": self.version, "device": self.device, "input": self.input}
        for name, (_, spec, kind) in options_of(Settings).items():
            if spec.decides_result:
                value = getattr(self.settings, name)
                if isinstance(value, (int, float)):
                    value = kind(value)  # 24 and 24.0 are the same
                parts[flag_name(name)] = str(value)
        return parts

    def check(self, earlier: dict[str, str], work: Path) -> None:
        """Refuse to go on with a run that was another one.

        Raises:
            ResumeError: names the first part that differs, and both its values.
        """
        for name, value in self.entries().items():
            if earlier.get(name) != value:
                raise ResumeError(
                    f"{work} holds an unfinished run with {name} {earlier.get(name)}, and this one "
                    f"has {value}; give the same to go on with it, or --restart to begin afresh"
                )


def fingerprint(paths: Sequence[Path]) -> str:
    """Tells files from others by their sizes and contents; of large ones, by samples.

    The names of several count too, since they put them in order; that of one may change.
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
