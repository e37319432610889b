"""Prints how steady a dreamed film is, against the same dream made frame by frame.

    python scripts/coherence.py                       # samples/clip.mp4
    python scripts/coherence.py --clip FILM --strip strip.png

Needs memory for all frames. A clip that is too short is played forth and back.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, cycle, islice
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np

from dreamvideo import Settings
from dreamvideo.dream import Dreamer
from dreamvideo.frames import Dreamed, FloatArray, Footage, Frame
from dreamvideo.media.opening import Location
from dreamvideo.motion import open_flow
from dreamvideo.motion.reliability import reliability
from dreamvideo.networks import pick_device
from dreamvideo.pipeline.dreaming import open_dreamer
from dreamvideo.pipeline.film import dream_frames
from dreamvideo.sources import open_source

SAMPLE = Path(__file__).parent.parent / "samples" / "clip.mp4"
# The mask of the measure is hard: a pixel counts where its match is fully trusted.
TRUSTED = 0.999
GAIN_EVERY_FRAMES = 5
# Drift compares this many frames at the start, after the cold one, with as many at the end.
DRIFT_FRAMES = 20


class FramesInMemory:
    """A source and a sink: frames in, frames out, no files."""

    frames_lost = 0

    def stop(self) -> None:
        """Nobody waits for what is there."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = list(frames)
        height, width = frames[0].image.shape[:2]
        self.footage = Footage(width, height, len(frames))
        self.dreams: list[FloatArray] = []

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def write(self, dreamed: Dreamed) -> None:
        """Keep the picture as an 8-bit film would hold it."""
        self.dreams.append((np.rint(dreamed.frame.image * 255) / 255).astype(np.float32))


def read_frames(clip: Path, size_px: int | None, count: int) -> list[Frame]:
    """The first `count` frames of a clip, played forth and back where it is shorter."""
    with open_source(Location(str(clip)), Settings(size=size_px)) as source:
        images = [frame.image for frame in islice(source, count)]
    there_and_back = cycle(chain(images, images[-2:0:-1]))
    return [
        Frame(index, Fraction(index, 25), image)
        for index, image in enumerate(islice(there_and_back, count))
    ]


def dream(frames: Sequence[Frame], settings: Settings) -> list[FloatArray]:
    """The dreams of the frames, through the real main loop."""
    film, dreamer = FramesInMemory(frames), make_dreamer(settings)
    dream_frames(film, film, dreamer, open_flow(settings.flow, dreamer.device))
    return film.dreams


def make_dreamer(settings: Settings) -> Dreamer:
    """For all layers of the settings."""
    device = pick_device(settings.device)
    return open_dreamer(settings, device)


def farneback(image: FloatArray, target: FloatArray) -> FloatArray:
    """Flow from `image` to `target` by another method than the one that warps."""
    before, after = (
        (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) * 255).astype(np.uint8)
        for picture in (image, target)
    )
    flow = np.zeros((*before.shape, 2), np.float32)
    cv2.calcOpticalFlowFarneback(
        before, after, flow, pyr_scale=0.5, levels=5, winsize=15, iterations=5, poly_n=7,
        poly_sigma=1.5, flags=0,
    )  # fmt: skip
    return flow


def warping_error(
    dreams: Sequence[FloatArray],
    sources: Sequence[FloatArray],
    flow: Callable[[FloatArray, FloatArray], FloatArray] = farneback,
) -> float:
    """E_warp (Lai et al. 2018): mean square of dreamₜ − warp(dreamₜ₋₁) where the match is trusted.

    Images in [0, 1]; flow and mask are measured on the sources. The mean over frames of the mean
    over pixels and channels.
    """
    errors = []
    for before, now, dream_before, dream_now in zip(
        sources[:-1], sources[1:], dreams[:-1], dreams[1:], strict=True
    ):
        to_previous = flow(now, before)
        trusted = reliability(to_previous, flow(before, now)) > TRUSTED
        height, width = trusted.shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        warped = cv2.remap(
            dream_before, x + to_previous[..., 0], y + to_previous[..., 1], cv2.INTER_LINEAR
        )
        errors.append(np.square(dream_now - warped)[trusted].mean())
    return float(np.mean(errors))


def dream_gains(
    dreams: Sequence[FloatArray], sources: Sequence[FloatArray], settings: Settings
) -> list[float]:
    """Energy of the layer on each dream over that on its source."""
    dreamer = make_dreamer(settings)
    return [
        dreamer.gain(before, dreamer.upload(after))
        for before, after in zip(map(dreamer.upload, sources), dreams, strict=True)
    ]


def clipped_share(image: FloatArray) -> float:
    """Share of the values that are black or white to the last bit."""
    return float(np.mean((image <= 0) | (image >= 1)))


def drift(values: Sequence[float]) -> tuple[float, float]:
    """Mean near the start, after the first value, and mean at the end."""
    span = min(DRIFT_FRAMES, len(values) // 2)
    return float(np.mean(values[1 : 1 + span])), float(np.mean(values[-span:]))


def print_short(frames: Sequence[Frame], settings: Settings, strip: Path | None) -> None:
    """Coherent against per-frame dreaming."""
    sources = [frame.image for frame in frames]
    films = {
        "frame by frame (--flow none)": Settings(size=settings.size, flow="none"),
        "carried along (default)": settings,
    }
    dreams = {name: dream(frames, chosen) for name, chosen in films.items()}
    errors = [warping_error(film, sources) for film in dreams.values()]
    gains = [
        np.mean(dream_gains(film[::GAIN_EVERY_FRAMES], sources[::GAIN_EVERY_FRAMES], settings))
        for film in dreams.values()
    ]
    print(f"{len(frames)} frames; E_warp of the source {warping_error(sources, sources):.5f}")
    print(f"{'':30}  E_warp   ratio   dream gain  ratio")
    for name, error, gain in zip(films, errors, gains, strict=True):
        print(
            f"{name:30}  {error:.5f}  {error / errors[0]:.3f}   {gain:.2f}        "
            f"{gain / gains[0]:.3f}"
        )
    if strip is not None:
        shown = range(0, len(frames), max(1, len(frames) // 4))
        rows = [np.hstack([film[i] for i in shown]) for film in (sources, *dreams.values())]
        iio.imwrite(strip, np.rint(np.vstack(rows) * 255).astype(np.uint8))


def print_long(frames: Sequence[Frame], settings: Settings) -> None:
    """Drift over a long run."""
    sources = [frame.image for frame in frames]
    dreams = dream(frames, settings)
    figures = {
        "dream gain": dream_gains(dreams, sources, settings),
        "clipped values": [clipped_share(image) for image in dreams],
        "clipped values of the source": [clipped_share(image) for image in sources],
    }
    print(f"\n{len(frames)} frames: mean of the first and last {DRIFT_FRAMES} (less frame 0)")
    for name, values in figures.items():
        first, last = drift(values)
        change = f"{last / first - 1:+.1%}" if first else "-"
        print(f"{name:30}  {first:.4f}  {last:.4f}  {change}  most {max(values):.4f}")


def main() -> None:
    """Read the arguments and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, default=SAMPLE)
    parser.add_argument("--size", type=int, default=384, help="longest side, px")
    parser.add_argument("--frames", type=int, default=40, help="frames of the comparison")
    parser.add_argument("--long", type=int, default=100, help="frames of the drift test")
    parser.add_argument("--strip", type=Path, help="write source, per-frame and coherent here")
    chosen = parser.parse_args()
    settings = Settings(size=chosen.size)
    print_short(read_frames(chosen.clip, chosen.size, chosen.frames), settings, chosen.strip)
    print_long(read_frames(chosen.clip, chosen.size, chosen.long), settings)


if __name__ == "__main__":
    main()
