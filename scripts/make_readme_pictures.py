"""Makes the README's pictures, all in samples/ but the sources, with the tool itself.

python scripts/make_readme_pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import numpy.typing as npt

from dreamvideo import Settings, dream_video
from dreamvideo.cli.main import main as dreamvideo
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source

SAMPLES = Path(__file__).parent.parent / "samples"
STRIP_FRAMES = (0, 10, 20, 30)
STRIP_SIZE_PX = 400
# The README's animations: small files.
ANIMATIONS = {
    "dream.webp": ("clip.mp4", Settings(size=400, every=2, quality=60)),
    "loop.webp": (
        "cat.png",
        Settings(size=320, fps=15.0, duration=9.0, zoom=1.3, rotate=10.0, loop=True, quality=60),
    ),
}
# Contact sheets of the cat.
SHEET_LAYERS = (
    *("blocks.2.expand", "blocks.4", "blocks.5.expand", "blocks.6.expand", "blocks.7.expand"),
    *("blocks.8.expand", "blocks.8", "blocks.9", "blocks.10.expand", "blocks.11.expand"),
    *("blocks.14", "head"),
)
SHEETS = {
    "looks.jpg": ["--looks"],
    "layers.jpg": ["--layers", ",".join(SHEET_LAYERS)],
}


def read(video: Path, size_px: int) -> list[npt.NDArray[np.uint8]]:
    """All frames of a video, scaled, as 8-bit RGB."""
    with open_source(Location(str(video)), Settings(size=size_px)) as source:
        return [np.rint(frame.image * 255).astype(np.uint8) for frame in source]


def main() -> None:
    """Dream the samples; put frames dreamed alone and carried along beside each other."""
    clip = SAMPLES / "clip.mp4"
    with tempfile.TemporaryDirectory() as folder:
        alone, carried = Path(folder) / "alone.mp4", Path(folder) / "carried.mp4"
        dream_video(clip, alone, Settings(flow="none"))
        dream_video(clip, carried, Settings())
        rows = [
            np.hstack([read(video, STRIP_SIZE_PX)[index] for index in STRIP_FRAMES])
            for video in (clip, alone, carried)
        ]
        iio.imwrite(SAMPLES / "strip.jpg", np.vstack(rows), quality=85)
    for name, (source, settings) in ANIMATIONS.items():
        dream_video(SAMPLES / source, SAMPLES / name, settings, overwrite=True)
    for name, options in SHEETS.items():
        paths = [str(SAMPLES / "cat.png"), str(SAMPLES / name)]
        dreamvideo(["sheet", *paths, *options, "--quality", "85", "--overwrite", "--quiet"])


if __name__ == "__main__":
    main()
