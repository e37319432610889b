"""Prints accuracy, steadiness and cost of optical flow on motion that is known exactly.

    python scripts/flow.py                      # at 384×216
    python scripts/flow.py --width 640 --only dis fast medium

The clips are eight pairs of frames of samples/cat.png and of a frame of samples/clip.mp4, each seen
through a moving camera; their motion is given for a width of 384 px and grows with the width. `dis`
is the estimator of dreamvideo. The numbers in the names of variants are finest halving, patch
stride, descent iterations and refinement iterations.
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
# Motion is given in px of a frame of this width.
NOMINAL_WIDTH_PX = 384
STRONG_NOISE_STD, WEAK_NOISE_STD = 5 / 255, 1 / 255
PATTERN_BLUR_PX = 2.0
# A pixel counts in the errors only if its match is fully trusted.
MIN_CONFIDENCE = 0.999
FAST, MEDIUM = cv2.DISOPTICAL_FLOW_PRESET_FAST, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
ULTRAFAST = cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST
TIMED_WIDTHS_PX = (384, 640)

Grey = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """A moving camera and a disc that moves in front of it; lengths in px at the nominal width."""

    pan: tuple[float, float] = (0, 0)
    """Of the camera, x and y per frame."""
    zoom: float = 1
    """Per frame."""
    degrees: float = 0
    """Per frame."""
    disc_radius: float = 0
    """0 for no disc."""
    disc_pan: tuple[float, float] = (0, 0)
    """Of the disc, x and y per frame."""
    noise_std: float = 0
    has_motion_blur: bool = False
    """The shutter is open from one frame to the next, along the pan."""
    is_sky: bool = False
    """A gradient with a few discs of the image, in place of the image."""


SCENES = {
    "still": Scene(noise_std=WEAK_NOISE_STD),
    "pan 2": Scene(pan=(2, 0)),
    "pan 24": Scene(pan=(24, 4)),
    "zoom": Scene(zoom=1.03),
    "rotation": Scene(degrees=3),
    "figure": Scene(pan=(-2, 0), disc_radius=40, disc_pan=(6, 2)),
    "fast fig": Scene(pan=(-2, 0), disc_radius=40, disc_pan=(18, 3)),
    "sky 2": Scene(pan=(2, 0), is_sky=True),
    "sky 12": Scene(pan=(12, 2), is_sky=True, noise_std=WEAK_NOISE_STD),
    "blur 24": Scene(pan=(24, 0), has_motion_blur=True),
    "noise": Scene(pan=(5, 2), noise_std=STRONG_NOISE_STD),
}


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames and the truth about them."""

    frames: list[FloatArray]
    """(H, W, 3) in [0, 1]."""
    true_flows: list[FloatArray]
    """(H, W, 2) px to the previous frame, for all frames but the first."""
    was_visible: list[BoolArray]
    """(H, W): what was visible in the previous frame, for all frames but the first."""


def camera(scene: Scene, frame: float, size: tuple[int, int]) -> Matrix:
    """(3, 3), from a position on the canvas to one in a frame of (width, height)."""
    width, height = size
    rotation = cv2.getRotationMatrix2D(
        (width / 2, height / 2), scene.degrees * frame, scene.zoom**frame
    )
    matrix = np.vstack([rotation, (0, 0, 1)])
    matrix[:2, 2] += np.multiply(scene.pan, frame * width / NOMINAL_WIDTH_PX)
    return matrix


def disc_centre(scene: Scene, frame: float, size: tuple[int, int]) -> Matrix:
    """(2,) px; it starts left of the centre."""
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


def seen_by_camera(canvas: FloatArray, matrix: Matrix, size: tuple[int, int]) -> FloatArray:
    """A frame of the canvas, which is mirrored at its edges."""
    return np.asarray(
        cv2.warpAffine(
            canvas, matrix[:2], size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
    )


def render(
    scene: Scene, canvases: Sequence[FloatArray], frame: int, size: tuple[int, int]
) -> FloatArray:
    """One frame, rounded to 8 bits as in a video."""
    background = seen_by_camera(canvases[0], camera(scene, frame, size), size)
    if scene.has_motion_blur:
        length_px = round(scene.pan[0] * size[0] / NOMINAL_WIDTH_PX)
        background[:] = cv2.blur(background, (length_px, 1))
    offset = np.eye(3)
    centre = np.divide(canvases[1].shape[1::-1], 2)
    offset[:2, 2] = disc_centre(scene, frame, size) - centre
    cover = disc(scene, frame, size)[..., None]
    image = background * (1 - cover) + seen_by_camera(canvases[1], offset, size) * cover
    noise = np.random.default_rng(frame).normal(0, scene.noise_std, image.shape)
    return np.asarray(np.rint((image + noise).clip(0, 1) * 255) / 255, np.float32)


def truth(scene: Scene, frame: int, size: tuple[int, int]) -> tuple[FloatArray, BoolArray]:
    """The flow to the previous frame, (H, W, 2) px, and what was visible in it, (H, W)."""
    pixels = positions(size)
    to_previous = camera(scene, frame - 1, size) @ np.linalg.inv(camera(scene, frame, size))
    matches = cv2.transform(pixels, to_previous[:2]).astype(np.float32)
    is_disc, was_disc = (disc(scene, index, size) >= 0.5 for index in (frame, frame - 1))
    disc_motion = disc_centre(scene, frame - 1, size) - disc_centre(scene, frame, size)
    matches[is_disc] = pixels[is_disc] + disc_motion.astype(np.float32)
    column, row = (matches[..., i].round().astype(int) for i in (0, 1))
    width, height = size
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    was_hidden = was_disc[row.clip(0, height - 1), column.clip(0, width - 1)] & ~is_disc
    return matches - pixels, inside & ~was_hidden


def sky(canvas: FloatArray) -> FloatArray:
    """A blue gradient with five textured discs."""
    height, width = canvas.shape[:2]
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    colours = (1 - ramp) * (0.25, 0.45, 0.8) + ramp * (0.6, 0.75, 0.9)
    gradient = np.broadcast_to(colours, canvas.shape)
    cover = np.zeros((height, width), np.float32)
    for x, y in ((0.1, 0.2), (0.3, 0.6), (0.5, 0.3), (0.75, 0.55), (0.9, 0.15)):
        centre = (round(x * width), round(y * height))
        cv2.circle(cover, centre, round(0.05 * width), 1, -1, cv2.LINE_AA)
    soft = np.asarray(cv2.GaussianBlur(cover, (0, 0), 0.7))[..., None]
    return np.asarray(gradient * (1 - soft) + canvas * soft, np.float32)


def make_clip(scene: Scene, canvases: Sequence[FloatArray], size: tuple[int, int]) -> Clip:
    """The frames of a scene: the first canvas is the background, the second one is on the disc."""
    if scene.is_sky:
        canvases = [sky(canvases[0]), canvases[1]]
    frames = [render(scene, canvases, frame, size) for frame in range(PAIRS + 1)]
    truths = [truth(scene, frame, size) for frame in range(1, PAIRS + 1)]
    return Clip(frames, *(list(values) for values in zip(*truths, strict=True)))


def unchanged(grey: Grey) -> Grey:
    """Luma as it is."""
    return grey


def blurred(grey: Grey) -> Grey:
    """Luma without its finest noise."""
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0), np.uint8)


def equalised(grey: Grey) -> Grey:
    """Luma with its local contrast raised (CLAHE)."""
    return np.asarray(cv2.createCLAHE(2.0, (8, 8)).apply(grey), np.uint8)


class Variant:
    """DIS with options by their names in OpenCV, on luma that is shrunk and preprocessed."""

    def __init__(
        self,
        preset: int = FAST,
        scale: float = 1,
        preprocess: Callable[[Grey], Grey] = unchanged,
        **options: float,
    ) -> None:
        self._scale, self._preprocess = scale, preprocess
        self._estimator = cv2.DISOpticalFlow.create(preset)
        for name, value in options.items():
            getattr(self._estimator, f"set{name}")(value)

    def __call__(self, image: FloatArray, target: FloatArray) -> FloatArray:
        """See `FlowEstimator`."""
        pair = (self._luma(pixels) for pixels in (image, target))
        flow = self._estimator.calc(*pair, None)  # type: ignore[call-overload]
        return np.asarray(cv2.resize(flow, image.shape[1::-1]) / np.float32(self._scale))

    def _luma(self, image: FloatArray) -> Grey:
        size = [round(side * self._scale) for side in image.shape[1::-1]]
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        shrunk = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        return self._preprocess(np.rint(shrunk * 255).astype(np.uint8))


def dis(finest: int, stride: int, descent: int, refinement: int, scale: float = 1) -> Variant:
    """The fast preset with four options changed."""
    return Variant(
        scale=scale,
        FinestScale=finest,
        PatchStride=stride,
        GradientDescentIterations=descent,
        VariationalRefinementIterations=refinement,
    )


def softened(mask: BoolArray) -> FloatArray:
    """A mask with softened edges, like those of a confidence."""
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
    "fast, blurred": Variant(preprocess=blurred),
    "fast, equalised": Variant(preprocess=equalised),
    "fast, no mean normalization": Variant(UseMeanNormalization=False),
    "fast, no propagation": Variant(UseSpatialPropagation=False),
}
MASKS: dict[str, Callable[[FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "carry confidence": carry_confidence,
    "strict confidence": lambda _current, _previous, *flows: strict_confidence(*flows),
    "not disoccluded": lambda _current, _previous, *flows: softened(~disoccluded(*flows)),
}


def warped(values: FloatArray, flow: FloatArray) -> FloatArray:
    """The values (H, W) or (H, W, C) at each pixel's match."""
    matches = positions((values.shape[1], values.shape[0])) + flow
    return np.asarray(
        cv2.remap(values, matches, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    )


def errors(flow: FlowEstimator, clip: Clip) -> list[float]:
    """End-point error px, warping error of the source ·10⁴, and drift of a carried pattern in %.

    Over what was visible. A low-pass filtered pattern is carried through the whole clip, along the
    flow and along the true flow: its drift is their mean square difference as a share of the
    pattern's variance.
    """
    shape = clip.frames[0].shape[:2]
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    pattern = np.asarray(cv2.GaussianBlur(noise, (0, 0), PATTERN_BLUR_PX), np.float32)
    along_flow = along_truth = pattern
    visible_share, results = np.ones(shape, np.float32), []
    pairs = zip(pairwise(clip.frames), clip.true_flows, clip.was_visible, strict=True)
    for (previous, current), true_flow, was_visible in pairs:
        flow_to_previous = flow(current, previous)
        square = np.square(warped(previous, flow_to_previous) - current)[was_visible]
        distance = np.linalg.norm(flow_to_previous - true_flow, axis=2)[was_visible]
        results.append((distance.mean(), 1e4 * square.mean()))
        along_flow = warped(along_flow, flow_to_previous)
        along_truth = warped(along_truth, true_flow)
        visible_share = warped(visible_share, true_flow) * was_visible
    difference = np.square(along_flow - along_truth)[visible_share > MIN_CONFIDENCE]
    return [*np.mean(results, axis=0), 100 * difference.mean() / along_truth.var()]


def shares(flow: FlowEstimator, clip: Clip, mask: str) -> list[float]:
    """In %: what was visible and is not trusted (lost), what was hidden and is trusted (ghosts)."""
    results = []
    for (previous, current), was_visible in zip(
        pairwise(clip.frames), clip.was_visible, strict=True
    ):
        flows = flow(current, previous), flow(previous, current)
        confidence = MASKS[mask](current, previous, *flows)
        was_hidden = ~was_visible
        ghosts = confidence[was_hidden].mean() if was_hidden.any() else 0
        results.append((100 - 100 * confidence[was_visible].mean(), 100 * ghosts))
    return list(np.mean(results, axis=0))


def measure_video(flow: FlowEstimator, frames: Sequence[FloatArray]) -> list[float]:
    """Warping error ·10⁴ where the flow is strictly trusted, that share in %, and ms per pair.

    The time is that of both directions.
    """
    results = []
    for previous, current in pairwise(frames):
        # CPU time of this thread: other processes do not count.
        started_seconds = time.thread_time()
        flows = flow(current, previous), flow(previous, current)
        elapsed_seconds = time.thread_time() - started_seconds
        is_trusted = strict_confidence(*flows) > MIN_CONFIDENCE
        square = np.square(warped(previous, flows[0]) - current)[is_trusted]
        results.append((1e4 * square.mean(), 100 * is_trusted.mean(), 1e3 * elapsed_seconds))
    return list(np.mean(results, axis=0))


def read_frames(width: int, count: int) -> list[FloatArray]:
    """The first frames of the sample clip."""
    with open_source(Location(str(SAMPLES / "clip.mp4")), Settings(size=width)) as source:
        return [frame.image for frame in islice(source, count)]


def make_clips(width: int) -> dict[str, list[Clip]]:
    """Each scene twice, with either image as the background."""
    cat = np.asarray(iio.imread(SAMPLES / "cat.png") / 255, np.float32)
    # Half as large again as a frame, so that little of the mirrored part is seen.
    sides = (width * 3 // 2, width)
    canvases = [
        np.asarray(cv2.resize(image, sides, interpolation=cv2.INTER_CUBIC)).clip(0, 1)
        for image in (cat, read_frames(640, 1)[0])
    ]
    return {
        name: [
            make_clip(scene, order, (width, width * 9 // 16))
            for order in (canvases, canvases[::-1])
        ]
        for name, scene in SCENES.items()
    }


def print_table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[float]]) -> None:
    """Print one line for each row."""
    print(f"\n{title}\n{'':24}" + "".join(f"{column:>9}" for column in columns))
    for name, values in rows.items():
        print(f"{name:24}" + "".join(f"{value:9.2f}" for value in values))


def main() -> None:
    """Read the arguments and print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=NOMINAL_WIDTH_PX, help="of the clips, px")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    chosen = parser.parse_args()
    # As in a run.
    with single_threaded_opencv():
        print_tables(chosen.width, chosen.only)


def print_tables(width_px: int, only: Sequence[str]) -> None:
    """Print all tables, of the named variants, on clips of a width in px."""
    clips = make_clips(width_px)
    flows = {name: VARIANTS[name] for name in only}

    def measure(flow: FlowEstimator, clip: Clip) -> list[float]:
        return errors(flow, clip) + shares(flow, clip, "carry confidence")

    measured = {
        name: np.array(
            [np.mean([measure(flow, clip) for clip in both], axis=0) for both in clips.values()]
        )
        for name, flow in flows.items()
    }
    titles = ("end-point error, px", "warping error of the source, ·10⁴",
              "drift of a pattern in eight frames, %", "lost, %", "ghosts, %")  # fmt: skip
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
        name: list(chain.from_iterable(measure_video(flow, video) for video in videos))
        for name, flow in flows.items()
    }
    columns = [f"{unit} {width}" for width in TIMED_WIDTHS_PX for unit in ("E", "%", "ms")]
    print_table(
        "samples/clip.mp4: warping error ·10⁴, trusted, time of both directions", columns, rows
    )


if __name__ == "__main__":
    main()
