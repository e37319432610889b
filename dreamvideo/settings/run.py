"""How a run works. Refuses to know what it makes."""

from __future__ import annotations

from dataclasses import dataclass

from dreamvideo.errors import SettingsError
from dreamvideo.options import option

TILE_WORDS = ("auto", "none")
# Smaller tiles would be nothing but surroundings.
SMALLEST_TILE_PX = 64


@dataclass(frozen=True)
class RunSettings:
    """Options of safety, and of the machine."""

    segment_frames: int | None = option(
        None,
        "frames after which the work is saved, and that are lost at most (default: two seconds' "
        "worth, at least 50)",
        group="run",
        minimum=1,
    )
    max_pixels: int = option(
        100_000_000,
        "largest picture that is read: width times height",
        group="safety",
        unit="px",
        minimum=1,
        decides_result=False,
    )
    max_broken: float = option(
        0.02,
        "share of a film's frames that may be broken or missing before it is refused; fewer are "
        "left out and counted",
        group="safety",
        minimum=0.0,
        maximum=1.0,
        decides_result=False,
    )
    allow_network: bool = option(
        False,
        "read addresses (https://…) and playlists, which may name any file or host",
        group="safety",
        decides_result=False,
    )

    device: str = option(
        "auto",
        "where to compute: auto (the first of cuda, mps, cpu that is there), cpu, cuda, "
        "cuda:1, mps",
        group="machine",
        decides_result=False,  # which device it comes to is compared instead
    )
    tile: str = option(
        "auto",
        "side of the tiles in which large pictures go through the network: auto (the whole where "
        "memory allows it), a number of pixels, or none; dreams look the same in any",
        group="machine",
        decides_result=False,
    )

    @property
    def tile_px(self) -> int | None:
        """The number that `tile` is; None if it is a word.

        Raises:
            SettingsError: it is neither.
        """
        if self.tile in TILE_WORDS:
            return None
        side_px = int(self.tile) if self.tile.isdecimal() else 0
        if side_px < SMALLEST_TILE_PX:
            raise SettingsError(
                f"tile cannot be {self.tile!r}: allowed is {' or '.join(TILE_WORDS)}, or a whole "
                f"number from {SMALLEST_TILE_PX} up (default auto)"
            )
        return side_px
