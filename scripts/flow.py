"""Prints how true, how steady and how dear optical flow is, on motion that is known exactly.

    python scripts/flow.py                      # at 384×216
    python scripts/flow.py --width 640 --only dis fast medium

The clips are made of samples/cat.png and of a frame of samples/clip.mp4, each seen through a moving
camera, eight pairs of frames long; their motion is given for 384 px and grows with the width. `dis`
is the program's own, and of the others the numbers are finest halving, stride, descent steps and
refinement steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import numpy.typing as npt

from dreamvideo import Settings
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.motion.confidence import (
    EDGE_SOFTNESS_PX,
    BoolArray,
    carry_confidence,
    disoccluded,
    strict_confidence,
)
from dreamvideo.motion.flow import DisFlow, FarnebackFlow, FlowEstimator, single_threaded_opencv
from dreamvideo.types import FloatArray

SAMPLES = Path(__file__).parent.parent / "samples"
PAIRS = 8
REAL_FRAMES = 40
# Speeds are given for this width.
NOMINAL_WIDTH_PX = 384
NOISE, GRAIN = 5 / 255, 1 / 255
PATTERN_BLUR_PX = 2.0
# The mask of the warping error is hard: a pixel counts where its match is fully trusted.
TRUSTED = 0.999
FAST, MEDIUM = cv2.DISOPTICAL_FLOW_PRESET_FAST, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
ULTRAFAST = cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST
TIMED_WIDTHS_PX = (384, 640)

Grey = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """A moving camera and, if it has a radius, a disc that moves before it, in nominal px."""

    pan: tuple[float, float] = (0, 0)
    zoom: float = 1
    degrees: float = 0
    disc_radius: float = 0
    disc_pan: tuple[float, float] = (0, 0)
    noise: float = 0
    blurred: bool = False
    """The shutter is open from one frame to the next, along the pan."""
    sky: bool = False
    """A gradient with a few discs of the picture, in place of the picture."""


SCENES = {
    "still": Scene(noise=GRAIN),
    "pan 2": Scene(pan=(2, 0)),
    "pan 24": Scene(pan=(24, 4)),
    "zoom": Scene(zoom=1.03),
    "rotation": Scene(degrees=3),
    "figure": Scene(pan=(-2, 0), disc_radius=40, disc_pan=(6, 2)),
    "fast fig": Scene(pan=(-2, 0), disc_radius=40, disc_pan=(18, 3)),
    "sky 2": Scene(pan=(2, 0), sky=True),
    "sky 12": Scene(pan=(12, 2), sky=True, noise=GRAIN),
    "blur 24": Scene(pan=(24, 0), blurred=True),
    "noise": Scene(pan=(5, 2), noise=NOISE),
}


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames (H, W, 3) in [0, 1], and for all but the first their true flow and visibility."""

    frames: list[FloatArray]
    flows: list[FloatArray]
    visible: list[BoolArray]


def camera(scene: Scene, frame: float, size: tuple[int, int]) -> Matrix:
    """(3, 3), from a place on the canvas to one in a frame of (width, height)."""
    width, height = size
    turn = cv2.getRotationMatrix2D(
        (width / 2, height / 2), scene.degrees * frame, scene.zoom**frame
    )
    matrix = np.vstack([turn, (0, 0, 1)])
    matrix[:2, 2] += np.multiply(scene.pan, frame * width / NOMINAL_WIDTH_PX)
    return matrix


def disc_centre(scene: Scene, frame: float, size: tuple[int, int]) -> Matrix:
    """(2,), px: begins left of the middle."""
    start = np.multiply(size, (0.3, 0.45))
    return np.asarray(start + np.multiply(scene.disc_pan, frame * size[0] / NOMINAL_WIDTH_PX))


def positions(size: tuple[int, int]) -> FloatArray:
    """(H, W, 2): x and y of each pixel."""
    return np.dstack(np.meshgrid(*map(np.arange, size))).astype(np.float32)


def disc(scene: Scene, frame: float, size: tuple[int, int]) -> FloatArray:
    """(H, W) in [0, 1]: how much of each pixel the disc covers."""
    distance = np.linalg.norm(positions(size) - disc_centre(scene, frame, size), axis=2)
    radius = scene.disc_radius * size[0] / NOMINAL_WIDTH_PX
    return np.asarray((radius - distance + 0.5).clip(0, 1), np.float32) * (radius > 0)


def through(canvas: FloatArray, matrix: Matrix, size: tuple[int, int]) -> FloatArray:
    """The canvas, mirrored at its edges, as the camera sees it."""
    return np.asarray(
        cv2.warpAffine(
            canvas, matrix[:2], size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
    )


def picture(
    scene: Scene, canvases: Sequence[FloatArray], frame: int, size: tuple[int, int]
) -> FloatArray:
    """One frame, of 8 bits as a video has them."""
    back = through(canvases[0], camera(scene, frame, size), size)
    if scene.blurred:
        length = round(scene.pan[0] * size[0] / NOMINAL_WIDTH_PX)
        back[:] = cv2.blur(back, (length, 1))
    place = np.eye(3)
    middle = np.divide(canvases[1].shape[1::-1], 2)
    place[:2, 2] = disc_centre(scene, frame, size) - middle
    cover = disc(scene, frame, size)[..., None]
    seen = back * (1 - cover) + through(canvases[1], place, size) * cover
    grain = np.random.default_rng(frame).normal(0, scene.noise, seen.shape)
    return np.asarray(np.rint((seen + grain).clip(0, 1) * 255) / 255, np.float32)


def truth(scene: Scene, frame: int, size: tuple[int, int]) -> tuple[FloatArray, BoolArray]:
    """Flow to the frame before, (H, W, 2), and what could be seen in it."""
    here = positions(size)
    back = camera(scene, frame - 1, size) @ np.linalg.inv(camera(scene, frame, size))
    matches = cv2.transform(here, back[:2]).astype(np.float32)
    on_disc, was_disc = (disc(scene, index, size) >= 0.5 for index in (frame, frame - 1))
    step = disc_centre(scene, frame - 1, size) - disc_centre(scene, frame, size)
    matches[on_disc] = here[on_disc] + step.astype(np.float32)
    column, row = (matches[..., i].round().astype(int) for i in (0, 1))
    width, height = size
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    was_hidden = was_disc[row.clip(0, height - 1), column.clip(0, width - 1)] & ~on_disc
    return matches - here, inside & ~was_hidden


def sky(canvas: FloatArray) -> FloatArray:
    """A blue gradient with five textured discs."""
    height, width = canvas.shape[:2]
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    smooth = np.broadcast_to((1 - ramp) * (0.25, 0.45, 0.8) + ramp * (0.6, 0.75, 0.9), canvas.shape)
    cover = np.zeros((height, width), np.float32)
    for x, y in ((0.1, 0.2), (0.3, 0.6), (0.5, 0.3), (0.75, 0.55), (0.9, 0.15)):
        centre = (round(x * width), round(y * height))
        cv2.circle(cover, centre, round(0.05 * width), 1, -1, cv2.LINE_AA)
    soft = np.asarray(cv2.GaussianBlur(cover, (0, 0), 0.7))[..., None]
    return np.asarray(smooth * (1 - soft) + canvas * soft, np.float32)


def make_clip(scene: Scene, canvases: Sequence[FloatArray], size: tuple[int, int]) -> Clip:
    """A scene on a canvas, with the other canvas on the disc."""
    if scene.sky:
        canvases = [sky(canvases[0]), canvases[1]]
    frames = [picture(scene, canvases, frame, size) for frame in range(PAIRS + 1)]
    true = [truth(scene, frame, size) for frame in range(1, PAIRS + 1)]
    return Clip(frames, *(list(values) for values in zip(*true, strict=True)))


def unchanged(grey: Grey) -> Grey:
    """Luma as it is."""
    return grey


def blurred(grey: Grey) -> Grey:
    """Luma less its finest grain."""
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0), np.uint8)


def equalised(grey: Grey) -> Grey:
    """Luma with its contrast raised place by place (CLAHE)."""
    return np.asarray(cv2.createCLAHE(2.0, (8, 8)).apply(grey), np.uint8)


class Variant:
    """DIS set up by OpenCV's own names, on luma that is shrunk and prepared."""

    def __init__(
        self,
        preset: int = FAST,
        scale: float = 1,
        prepare: Callable[[Grey], Grey] = unchanged,
        **options: float,
    ) -> None:
        self._scale, self._prepare = scale, prepare
        self._estimator = cv2.DISOpticalFlow.create(preset)
        for name, value in options.items():
            getattr(self._estimator, f"set{name}")(value)

    def __call__(self, image: FloatArray, target: FloatArray) -> FloatArray:
        """See `FlowEstimator`."""
        pair = (self._luma(picture) for picture in (image, target))
        flow = self._estimator.calc(*pair, None)  # type: ignore[call-overload]
        return np.asarray(cv2.resize(flow, image.shape[1::-1]) / np.float32(self._scale))

    def _luma(self, image: FloatArray) -> Grey:
        size = [round(side * self._scale) for side in image.shape[1::-1]]
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        shrunk = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        return self._prepare(np.rint(shrunk * 255).astype(np.uint8))


def dis(finest: int, stride: int, descent: int, refinement: int, scale: float = 1) -> Variant:
    """The fast preset with its four numbers changed."""
    return Variant(
        scale=scale,
        FinestScale=finest,
        PatchStride=stride,
        GradientDescentIterations=descent,
        VariationalRefinementIterations=refinement,
    )


def softened(mask: BoolArray) -> FloatArray:
    """The mask as the program's own masks are softened."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), EDGE_SOFTNESS_PX)
    return np.asarray(soft, np.float32)


VARIANTS: dict[str, FlowEstimator] = {
    "dis": DisFlow(),
    "farneback": FarnebackFlow(),
    "ultrafast": Variant(ULTRAFAST),
    "fast": Variant(),
    "medium": Variant(MEDIUM),
    "2 4 16 0": dis(2, 4, 16, 0),
    "2 4 16 1": dis(2, 4, 16, 1),
    "2 3 16 5": dis(2, 3, 16, 5),
    "2 6 16 5": dis(2, 6, 16, 5),
    "1 4 16 0": dis(1, 4, 16, 0),
    "1 4 16 1": dis(1, 4, 16, 1),
    "1 4 16 5": dis(1, 4, 16, 5),
    "1 4 12 2": dis(1, 4, 12, 2),
    "1 5 12 2": dis(1, 5, 12, 2),
    "0 4 16 1": dis(0, 4, 16, 1),
    "1 4 12 2 at 3/4": dis(1, 4, 12, 2, scale=0.75),
    "fast, patches of 12 px": Variant(PatchSize=12),
    "fast at half size": Variant(scale=0.5),
    "medium at half size": Variant(MEDIUM, scale=0.5),
    "fast, blurred": Variant(prepare=blurred),
    "fast, equalised": Variant(prepare=equalised),
    "fast, means kept": Variant(UseMeanNormalization=False),
    "fast, nothing passed on": Variant(UseSpatialPropagation=False),
}
MASKS: dict[str, Callable[[FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "trust": carry_confidence,
    "reliability": lambda _now, _before, there, back: strict_confidence(there, back),
    "not uncovered": lambda _now, _before, *flows: softened(~disoccluded(*flows)),
}


def warped(values: FloatArray, flow: FloatArray) -> FloatArray:
    """What (H, W) or (H, W, C) holds at each pixel's match."""
    matches = positions((values.shape[1], values.shape[0])) + flow
    return np.asarray(
        cv2.remap(values, matches, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    )


def errors(flow: FlowEstimator, clip: Clip) -> list[float]:
    """End-point error px, warping error of the source ·10⁴, and how far a pattern strays.

    Over what is truly visible. A low-passed pattern is carried through the whole clip, along the
    flow and along the truth: their mean square difference, in % of the pattern's variance.
    """
    shape = clip.frames[0].shape[:2]
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    carried = kept = np.asarray(cv2.GaussianBlur(noise, (0, 0), PATTERN_BLUR_PX), np.float32)
    seen, found = np.ones(shape, np.float32), []
    pairs = zip(pairwise(clip.frames), clip.flows, clip.visible, strict=True)
    for (before, now), true, visible in pairs:
        there = flow(now, before)
        square = np.square(warped(before, there) - now)[visible]
        distance = np.linalg.norm(there - true, axis=2)[visible]
        found.append((distance.mean(), 1e4 * square.mean()))
        carried, kept = warped(carried, there), warped(kept, true)
        seen = warped(seen, true) * visible
    strayed = np.square(carried - kept)[seen > TRUSTED].mean() / kept.var()
    return [*np.mean(found, axis=0), 100 * strayed]


def shares(flow: FlowEstimator, clip: Clip, mask: str) -> list[float]:
    """Lost: what is visible and not trusted. Ghosts: what is hidden and trusted. Both in %."""
    found = []
    for (before, now), visible in zip(pairwise(clip.frames), clip.visible, strict=True):
        trusted = MASKS[mask](now, before, flow(now, before), flow(before, now))
        hidden = ~visible
        ghosts = trusted[hidden].mean() if hidden.any() else 0
        found.append((100 - 100 * trusted[visible].mean(), 100 * ghosts))
    return list(np.mean(found, axis=0))


def real(flow: FlowEstimator, frames: Sequence[FloatArray]) -> list[float]:
    """Warping error ·10⁴ where the strict mask trusts, that share in %, ms for there and back."""
    found = []
    for before, now in pairwise(frames):
        # This thread's time: what else the machine does would count otherwise.
        started = time.thread_time()
        flows = flow(now, before), flow(before, now)
        spent = time.thread_time() - started
        strict = strict_confidence(*flows) > TRUSTED
        square = np.square(warped(before, flows[0]) - now)[strict]
        found.append((1e4 * square.mean(), 100 * strict.mean(), 1e3 * spent))
    return list(np.mean(found, axis=0))


def read_frames(width: int, count: int) -> list[FloatArray]:
    """The first frames of the sample clip."""
    with open_source(Location(str(SAMPLES / "clip.mp4")), Settings(size=width)) as source:
        return [frame.image for frame in islice(source, count)]


def make_clips(width: int) -> dict[str, list[Clip]]:
    """Each scene twice, once with either picture before the other."""
    cat = np.asarray(iio.imread(SAMPLES / "cat.png") / 255, np.float32)
    # Half as large again as a frame, so that little of the mirror is seen.
    sides = (width * 3 // 2, width)
    canvases = [
        np.asarray(cv2.resize(picture, sides, interpolation=cv2.INTER_CUBIC)).clip(0, 1)
        for picture in (cat, read_frames(640, 1)[0])
    ]
    return {
        name: [
            make_clip(scene, order, (width, width * 9 // 16))
            for order in (canvases, canvases[::-1])
        ]
        for name, scene in SCENES.items()
    }


def print_table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[float]]) -> None:
    """One line for each row."""
    print(f"\n{title}\n{'':24}" + "".join(f"{column:>9}" for column in columns))
    for name, values in rows.items():
        print(f"{name:24}" + "".join(f"{value:9.2f}" for value in values))


def main() -> None:
    """Read the arguments and print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=NOMINAL_WIDTH_PX, help="of the clips, px")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    chosen = parser.parse_args()
    # As in a run, where OpenCV has one thread.
    with single_threaded_opencv():
        print_tables(chosen.width, chosen.only)


def print_tables(width: int, only: Sequence[str]) -> None:
    """Every table, of the variants called `only`, on clips of a width in px."""
    clips = make_clips(width)
    flows = {name: VARIANTS[name] for name in only}
    measured = {
        name: np.array(
            [
                np.mean([errors(flow, clip) + shares(flow, clip, "trust") for clip in both], axis=0)
                for both in clips.values()
            ]
        )
        for name, flow in flows.items()
    }
    titles = ("end-point error, px", "warping error of the source, ·10⁴",
              "a pattern strayed in eight frames, %", "lost, %", "ghosts, %")  # fmt: skip
    for index, title in enumerate(titles):
        rows = {name: [*row[:, index], row[:, index].mean()] for name, row in measured.items()}
        print_table(title, [*clips, "mean"], rows)
    for index, title in enumerate(("lost, %", "ghosts, %")):
        rows = {
            mask: [
                np.mean([shares(DisFlow(), c, mask)[index] for c in both])
                for both in clips.values()
            ]
            for mask in MASKS
        }
        print_table(f"dis, {title}", list(clips), rows)
    videos = [read_frames(timed_width, REAL_FRAMES) for timed_width in TIMED_WIDTHS_PX]
    rows = {
        name: list(chain.from_iterable(real(flow, video) for video in videos))
        for name, flow in flows.items()
    }
    columns = [f"{what} {width}" for width in TIMED_WIDTHS_PX for what in ("E", "%", "ms")]
    print_table("samples/clip.mp4: E_warp ·10⁴, trusted, time there and back", columns, rows)


if __name__ == "__main__":
    main()
