"""Prints how steady dreamed videos are, against the same dreamed in other ways.

    python scripts/coherence.py                       # samples/clip.mp4 and four other clips
    python scripts/coherence.py --clip VIDEO --size 640 --strip strip.png
    python scripts/coherence.py --clip VIDEO --only carried --long 250 --still 200

Besides `samples/clip.mp4` itself it dreams every fourth frame of it (`fast`), and three clips made
from a photograph: `figure` (a disc in front of a pan), `turning`, and `shaken`, which is filmed by
hand: whip pans, jerks and motion blur.

`alone` dreams every frame on its own; `blended` blends 15 % of the previous dream into the source,
as common tools do; `carried` is the default of dreamvideo. The figures are those of `dreamvideo
measure`. All frames are kept in memory. A clip that is too short is played forward and backward.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np

from dreamvideo import Settings
from dreamvideo.job.image import load_dreamer
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.metrics.registry import FramePair, VideoMetrics
from dreamvideo.metrics.video import measure_frames
from dreamvideo.motion.flow import open_flow
from dreamvideo.runtime.devices import pick_device
from dreamvideo.runtime.process import keep_freed_memory
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.temporal.video import dream_video_frames
from dreamvideo.types import DreamedFrame, FloatArray, Frame, VideoInfo

SAMPLES = Path(__file__).parent.parent / "samples"
BLEND = 0.15
# Synthetic clips: per frame, how far the image moves (px), rotates (degrees) and scales, and how
# far a disc in front of it moves (px).
SYNTHETIC = {
    "figure": ((-2.0, 0.0), 0.0, 1.0, (4.0, 1.0)),
    "turning": ((0.0, 0.0), 1.0, 1.01, None),
}
DISC_RADIUS_PX = 40
# Every so many frames of the sample are in the fast clip.
FAST_STRIDE = 4
# The shaken camera: sines of these periods (frames) and amplitudes, of the speed in px per frame
# and, times `SHAKE_DEGREES`, of the angle.
SHAKES = ((40, 8.0), (17, 3.2), (7, 1.4))
SHAKE_DEGREES = 0.4
# The shutter is open for half of a frame, sampled so often.
SHUTTER_FRAMES, SHUTTER_SAMPLES = 0.5, 4
COLUMNS = (
    "E_warp    ratio   over 8    ratio   gain    ratio   last third  ratio   new, age 5   ratio   "
    "fine noise   "
    "clipped   drift of gain, luma, saturation   ms/frame"
)


class FramesInMemory:
    """A source and a writer without files."""

    frames_lost = 0

    def stop(self) -> None:
        """Nothing waits: all frames are in memory."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = list(frames)
        height, width = frames[0].image.shape[:2]
        self.info = VideoInfo(width, height, len(frames))
        self.dreams: list[FloatArray] = []

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def write(self, dreamed: DreamedFrame) -> None:
        """Keep the image, rounded to 8 bits."""
        self.dreams.append((np.rint(dreamed.frame.image * 255) / 255).astype(np.float32))


def read_frames(clip: Path, size_px: int | None, count: int, every: int = 1) -> list[Frame]:
    """`count` frames of a clip, one in `every`, played forward and backward if it is shorter."""
    with open_source(Location(str(clip)), Settings(size=size_px, every=every)) as source:
        images = [frame.image for frame in islice(source, count)]
    return as_frames(list(islice(cycle(chain(images, images[-2:0:-1])), count)))


def as_frames(images: Sequence[FloatArray]) -> list[Frame]:
    """Images as frames at 25 per second."""
    return [Frame(index, Fraction(index, 25), image) for index, image in enumerate(images)]


def synthetic_frames(name: str, width_px: int, count: int) -> list[Frame]:
    """A synthetic clip: the sample still in known motion, 16:9."""
    pan, degrees, zoom, disc_pan = SYNTHETIC[name]
    size = width_px, round(width_px * 9 / 16)
    still = iio.imread(SAMPLES / "cat.png")[..., :3].astype(np.float32) / 255
    centre = (still.shape[1] / 2, still.shape[0] / 2)
    images = []
    for index in range(count):
        matrix = cv2.getRotationMatrix2D(centre, degrees * index, 1.3 * zoom**index)
        matrix[:, 2] += np.multiply(pan, index) + np.divide(size, 2) - centre
        image = cv2.warpAffine(
            still, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        if disc_pan is not None:
            cover = np.zeros(image.shape[:2], np.float32)
            at = np.rint(np.multiply(size, (0.25, 0.4)) + np.multiply(disc_pan, index)).astype(int)
            cv2.circle(cover, (int(at[0]), int(at[1])), DISC_RADIUS_PX, 1.0, -1, cv2.LINE_AA)
            shift = np.array([[1.0, 0, at[0] - centre[0]], [0, 1.0, at[1] - centre[1]]])
            disc = cv2.warpAffine(still, shift, size, borderMode=cv2.BORDER_REFLECT)
            image = image * (1 - cover[..., None]) + disc * cover[..., None]
        images.append(np.asarray(image, np.float32).clip(0, 1))
    return as_frames(images)


def shaken_frames(width_px: int, count: int) -> list[Frame]:
    """A photograph filmed by hand, 16:9: whip pans, jerks and motion blur."""
    size = width_px, round(width_px * 9 / 16)
    still = iio.imread(SAMPLES / "cat.png")[..., :3].astype(np.float32) / 255
    centre = (still.shape[1] / 2, still.shape[0] / 2)
    phases = np.random.default_rng(0).random((3, len(SHAKES)))

    def camera(time_frames: float) -> tuple[float, float, float]:
        """Where the camera is: x and y in px, and its angle in degrees."""
        angles = 2 * np.pi * (time_frames / np.array([period for period, _ in SHAKES]) + phases)
        speeds = np.array([amplitude for _, amplitude in SHAKES])
        reach = np.array([period * amplitude / (2 * np.pi) for period, amplitude in SHAKES])
        x, y, _ = (np.sin(angles) * reach).sum(1)
        return float(x), float(y) / 2, float((np.sin(angles[2]) * speeds).sum() * SHAKE_DEGREES)

    def seen(time_frames: float) -> FloatArray:
        x, y, degrees = camera(time_frames)
        matrix = cv2.getRotationMatrix2D(centre, degrees, 1.3)
        matrix[:, 2] += np.add((x, y), np.divide(size, 2)) - centre
        return np.asarray(
            cv2.warpAffine(
                still, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
            ),
            np.float32,
        )

    shutter = np.arange(SHUTTER_SAMPLES) / SHUTTER_SAMPLES * SHUTTER_FRAMES
    images = [
        np.mean([seen(index + late) for late in shutter], axis=0).clip(0, 1)
        for index in range(count)
    ]
    return as_frames(images)


def fast_frames(width_px: int, count: int) -> list[Frame]:
    """The sample clip at four times its speed."""
    return read_frames(SAMPLES / "clip.mp4", width_px, count, FAST_STRIDE)


def dream(frames: Sequence[Frame], settings: Settings) -> list[FloatArray]:
    """The dreams of the frames, from the real main loop."""
    video = FramesInMemory(frames)
    dreamer = load_dreamer(settings, pick_device(settings.device))
    flow = open_flow(settings.flow, dreamer.device)
    dream_video_frames(video, video, dreamer, settings, flow)
    return video.dreams


def blended(frames: Sequence[Frame], settings: Settings) -> list[FloatArray]:
    """The dreams of the frames, each with part of the previous dream blended into its source."""
    dreamer = load_dreamer(settings, pick_device(settings.device))
    params = frame_params(settings, 0.0)
    dreams: list[FloatArray] = []
    for frame in frames:
        image = frame.image
        if dreams:
            image = (image * (1 - BLEND) + dreams[-1] * BLEND).astype(np.float32)
        source = dreamer.upload(image)
        residual = dreamer.dream(source, frame.index, params)
        dreamed = dreamer.download((source + residual).clamp(0, 1))
        dreams.append((np.rint(dreamed * 255) / 255).astype(np.float32))
    return dreams


def measure(
    frames: Sequence[Frame], dreams: Sequence[FloatArray], settings: Settings
) -> VideoMetrics:
    """The figures of a dreamed video."""
    pairs = (
        FramePair(float(frame.time_seconds), frame.image, dreamed)
        for frame, dreamed in zip(frames, dreams, strict=True)
    )
    dreamer = load_dreamer(settings, pick_device(settings.device))
    *_, metrics = measure_frames(pairs, dreamer, settings)
    assert isinstance(metrics, VideoMetrics)
    return metrics


def last_third_gain(found: VideoMetrics) -> float:
    """The mean dream gain of the last third of a video."""
    gains = [value for value in found.curve("dream_gain") if value is not None]
    return float(np.mean(gains[-max(1, len(gains) // 3) :]))


def print_row(name: str, found: VideoMetrics, base: VideoMetrics, frame_seconds: float) -> None:
    """One line of the table; ratios are to `base`."""
    figures = []
    for one, other in (
        *((found.mean(name), base.mean(name)) for name in ("warping_error", "long_warping_error")),
        (found.mean("dream_gain"), base.mean("dream_gain")),
        (last_third_gain(found), last_third_gain(base)),
        (found.gains_by_age[5], base.gains_by_age[5]),
    ):
        figures += [one, one / other if one is not None and other else None]
    figures += [found.fine_noise, found.mean("clipped")]
    figures += [found.drift(name) for name in ("dream_gain", "luma", "saturation")]
    shown = "  ".join("   -   " if value is None else f"{value:7.5f}" for value in figures)
    print(f"  {name:10} {shown}  {frame_seconds * 1000:5.0f}", flush=True)


def print_table(
    title: str, frames: Sequence[Frame], settings: Settings, ways: Sequence[str]
) -> list[list[FloatArray]]:
    """Print the figures of a clip, dreamed in each of the ways; return the dreams."""
    print(f"{title}, {len(frames)} frames\n  {'':10} {COLUMNS}")
    base: VideoMetrics | None = None
    videos = []
    for way in ways:
        begin = time.perf_counter()
        if way == "blended":
            videos.append(blended(frames, settings))
        else:
            flow = "none" if way == "alone" else settings.flow
            videos.append(dream(frames, Settings(size=settings.size, flow=flow)))
        frame_seconds = (time.perf_counter() - begin) / len(frames)
        found = measure(frames, videos[-1], settings)
        base = base or found
        print_row(way, found, base, frame_seconds)
    return videos


def write_strip(
    path: Path, frames: Sequence[Frame], videos: Sequence[Sequence[FloatArray]]
) -> None:
    """The source and each dreamed video, a row each, at frames 0, 10, 20 and 30 of 40."""
    shown = range(0, len(frames), max(1, len(frames) // 4))
    sources = [frame.image for frame in frames]
    rows = [np.hstack([video[i] for i in shown]) for video in (sources, *videos)]
    iio.imwrite(path, np.rint(np.vstack(rows) * 255).astype(np.uint8))


def main() -> None:
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, help="instead of the sample and the synthetic clips")
    parser.add_argument("--size", type=int, default=384, help="longest side, px")
    parser.add_argument("--frames", type=int, default=40, help="frames of the comparison")
    parser.add_argument("--only", nargs="+", default=["alone", "blended", "carried"])
    parser.add_argument(
        "--long", type=int, default=0, help="frames of a long run, forward and backward"
    )
    parser.add_argument("--still", type=int, default=0, help="frames of a still shot")
    parser.add_argument(
        "--strip", type=Path, help="write frames of the source and of each way here"
    )
    chosen = parser.parse_args()
    keep_freed_memory()
    settings = Settings(size=chosen.size)
    clip = chosen.clip or SAMPLES / "clip.mp4"
    frames = read_frames(clip, chosen.size, chosen.frames)
    videos = print_table(clip.name, frames, settings, chosen.only)
    if chosen.strip is not None:
        write_strip(chosen.strip, frames, videos)
    if chosen.clip is None:
        clips = {"fast": fast_frames, "shaken": shaken_frames}
        clips |= {name: partial(synthetic_frames, name) for name in SYNTHETIC}
        for name, make in clips.items():
            print_table(name, make(chosen.size, chosen.frames), settings, chosen.only)
    if chosen.long:
        frames = read_frames(clip, chosen.size, chosen.long)
        print_table(f"{clip.name}, forward and backward", frames, settings, ["carried"])
    if chosen.still:
        image = read_frames(clip, chosen.size, 21)[-1].image
        print_table(
            f"one frame of {clip.name}", as_frames([image] * chosen.still), settings, ["carried"]
        )


if __name__ == "__main__":
    main()
