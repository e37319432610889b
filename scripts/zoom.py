"""Prints the figures of zooms: sharpness, colours, loop seam, warping error, speed.

    python scripts/zoom.py                       # the sample still and the default camera
    python scripts/zoom.py --still photo.jpg --size 640 --layer blocks.8

The speed is that of the whole command on noise of 640×360, at 30 frames per second.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

from dreamvideo import Settings
from dreamvideo.job.image import load_dreamer
from dreamvideo.job.request import ZOOM_MAX_PX, ZOOM_RATE
from dreamvideo.media.opening import Location
from dreamvideo.media.read.still import StillImages
from dreamvideo.metrics.formulas import clipped_share, luma, saturation
from dreamvideo.runtime.devices import download, pick_device, upload
from dreamvideo.runtime.process import keep_freed_memory
from dreamvideo.settings.frame_params import frame_params
from dreamvideo.types import LUMA_BT709, DreamedFrame, FloatArray
from dreamvideo.zoom.camera import Camera, Canvas, Similarity, transform_image
from dreamvideo.zoom.zoom import dream_zoom, zoom_settings

CPU = torch.device("cpu")
SAMPLE = Path(__file__).parent.parent / "samples" / "cat.png"
# How many frames are dreamed one by one for comparison: they take long.
ALONE_FRAMES = 5


@dataclass
class FramesInMemory:
    """A writer that keeps the frames."""

    frames: list[FloatArray] = field(default_factory=list)

    def write(self, dreamed: DreamedFrame) -> None:
        """Keep a frame."""
        self.frames.append(dreamed.frame.image)


def zoom_frames(stills: Sequence[str | Path], settings: Settings) -> list[FloatArray]:
    """The frames of a zoom, from the real main loop."""
    video, dreamer = FramesInMemory(), load_dreamer(settings, pick_device(settings.device))
    dream_zoom(open_stills(stills, settings), video, dreamer, settings)
    return video.frames


def open_stills(stills: Sequence[str | Path], settings: Settings) -> StillImages:
    """Open still images as the command does."""
    locations = [Location(str(still)) for still in stills]
    return StillImages(locations, settings, ZOOM_RATE, ZOOM_MAX_PX)


def after(image: FloatArray, motion: Similarity) -> FloatArray:
    """An image (height, width, 3) after a motion of the camera."""
    canvas = Canvas(image.shape[1], image.shape[0])
    return download(transform_image(upload(image, CPU), canvas, motion))


def sharpness(image: FloatArray) -> float:
    """Energy of luma above half of the Nyquist frequency, per pixel, times 10⁶."""
    luma = image @ np.array(LUMA_BT709)
    window = np.outer(*(np.hanning(side) for side in luma.shape))
    spectrum = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2
    down, across = (np.fft.fftfreq(side) for side in luma.shape)
    high = np.hypot(down[:, None], across[None]) > 0.25
    return float(spectrum[high].sum() / luma.size**2 * 1e6)


def camera_of(settings: Settings, image: FloatArray) -> Camera:
    """The camera for frames of the size of `image`."""
    return Camera(settings, image.shape[1], image.shape[0])


def steps(frames: Sequence[FloatArray], camera: Camera, rate: float) -> list[float]:
    """Mean square difference of each frame from the previous one, moved by the camera.

    Pixels whose match lies outside of the previous frame are left out.
    """
    differences = []
    for index, (before, now) in enumerate(pairwise(frames)):
        motion = camera.between(index / rate, (index + 1) / rate)
        differences.append(step(before, now, motion))
    return differences


def step(before: FloatArray, now: FloatArray, motion: Similarity) -> float:
    """Mean square difference of two frames after a motion, where both show the same."""
    height, width = before.shape[:2]
    back = motion.inverse()
    y, x = np.mgrid[:height, :width] + 0.5
    position = (x - width / 2) / width + 1j * (y - height / 2) / width
    source = back(position)
    inside = (np.abs(source.real) < 0.5) & (np.abs(source.imag) < 0.5 * height / width)
    return float(np.square(now - after(before, motion))[inside].mean())


def seam(frames: Sequence[FloatArray], camera: Camera, rate: float) -> float:
    """The step from the last frame to the first, divided by the median step."""
    count = len(frames)
    last = camera.between((count - 1) / rate, count / rate)
    return step(frames[-1], frames[0], last) / float(np.median(steps(frames, camera, rate)))


def coherence(stills: Sequence[str | Path], settings: Settings, frames: list[FloatArray]) -> float:
    """Warping error of a zoom under the exact camera, divided by that of frames dreamed one by one.

    The latter are the still, transformed by the camera and dreamed cold, in the third second.
    """
    rate = settings.fps or ZOOM_RATE
    camera = camera_of(settings, frames[0])
    first = round(2.5 * rate)
    still = open_stills(stills, settings)[0]
    dreamer = load_dreamer(settings, pick_device(settings.device))
    params = frame_params(zoom_settings(settings), 0.0)
    alone = []
    for index in range(first, first + ALONE_FRAMES):
        source = dreamer.upload(after(still, camera.between(0, index / rate)))
        alone.append(dreamer.download(source + dreamer.dream(source, index, params)))
    own = [
        step(before, now, camera.between((first + i) / rate, (first + i + 1) / rate))
        for i, (before, now) in enumerate(pairwise(alone))
    ]
    carried = steps(frames, camera, rate)[first : first + ALONE_FRAMES - 1]
    return float(np.mean(carried) / np.mean(own))


def displacement_px(still: FloatArray, frame: FloatArray, motion: Similarity) -> float:
    """How far the centre of a frame is off, in pixels of the still.

    The motion of the camera is undone, and the frame is registered with the still.
    """
    undone = after(frame, motion.inverse())
    height, width = still.shape[:2]
    half_height, half_width = (int(side / motion.scale / 2.2) for side in (height, width))
    middle = np.s_[
        height // 2 - half_height : height // 2 + half_height,
        width // 2 - half_width : width // 2 + half_width,
    ]
    grey = [
        cv2.cvtColor(np.ascontiguousarray(image[middle]), cv2.COLOR_RGB2GRAY)
        for image in (still, undone)
    ]
    window = cv2.createHanningWindow(grey[0].shape[::-1], cv2.CV_32F)
    shift, _ = cv2.phaseCorrelate(grey[0], grey[1], window)
    return math.hypot(shift[0], shift[1])


def print_figures(still: Path, settings: Settings) -> None:
    """Everything but the speed."""
    frames = zoom_frames([still], settings)
    rate = round(settings.fps or ZOOM_RATE)
    camera = camera_of(settings, frames[0])

    images = [upload(frame, CPU) for frame in frames]

    def growth(values: list[float]) -> float:
        """The ratio of means over one second: single frames differ by a third."""
        early, late = (
            np.mean(values[middle - rate // 2 : middle + rate // 2])
            for middle in (2 * rate, 9 * rate)
        )
        return float(late / early)

    print(f"sharpness at 9 s, relative to 2 s        {growth(list(map(sharpness, frames))):.2f}")
    print(f"luma at 9 s, relative to 2 s             {growth(list(map(luma, images))) - 1:+.1%}")
    print(
        f"saturation at 9 s, relative to 2 s       {growth(list(map(saturation, images))) - 1:+.1%}"
    )
    print(f"clipped values, largest share of a frame {max(map(clipped_share, images)):.2%}")
    print(f"warping error, relative to frame by frame {coherence([still], settings, frames):.3f}")
    dreamer = load_dreamer(settings, pick_device(settings.device))
    params = frame_params(settings, 0.0)
    gains = [
        dreamer.gain(dreamer.upload(frames[0]), dreamer.upload(frames[second * rate]), params)
        for second in (2, 9)
    ]
    print(f"dream gain at 2 s and at 9 s             {gains[0]:.2f}, {gains[1]:.2f}")
    looped = zoom_frames([still], replace(settings, loop=True))
    print(f"--loop: last to first frame, relative to median step {seam(looped, camera, rate):.2f}")
    for fps in (24, 60):
        plain = zoom_frames([still], replace(settings, strength=0.0, fps=float(fps), duration=3.1))
        error_px = displacement_px(plain[0], plain[3 * fps], camera.between(0, 3))
        print(f"{fps} frames/s: camera off after 3 s by  {error_px:.3f} px")


def print_speed(device: str) -> None:
    """Run the whole command and print its summary."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["noise:640x360", f"{folder}/o.mp4", "--device", device]
        done = subprocess.run(
            [sys.executable, "-m", "dreamvideo", *arguments],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        print(done.stdout.strip().replace(f"{folder}/o.mp4", "640x360, 10 s, whole command"))


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--still", type=Path, default=SAMPLE)
    parser.add_argument("--size", type=int, help="longest side, px")
    parser.add_argument("--layer", default=Settings().layer)
    parser.add_argument("--zoom", type=float)
    parser.add_argument("--device", default="auto")
    chosen = parser.parse_args()
    keep_freed_memory()
    settings = Settings(
        size=chosen.size, layer=chosen.layer, zoom=chosen.zoom, device=chosen.device
    )
    print_figures(chosen.still, settings)
    print_speed(chosen.device)


if __name__ == "__main__":
    main()
