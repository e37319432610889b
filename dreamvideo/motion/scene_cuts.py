"""Detects the cut between two shots, but not flashes and fades.

A decision depends only on the two frames and on those that follow, so a resumed run decides as an
uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from dreamvideo.types import FloatArray

# Distance of the colour histograms above which two frames may belong to different shots. Measured
# on 739 frames of joined shots with fast pans and 5 cuts of real street footage: frames across a
# cut are 0.45 or more apart, all other pairs 0.20 or less; on 353 others, with noise, 0.27 or less.
CUT_DISTANCE = 0.3
# Frames that are further apart may still be the same scene in other light; their similarity then
# exceeds this. Measured on the same frames: across a cut it is 0.31 or less, of 600 pairs of frames
# of different shots 1 in 100 exceeds 0.36; a flash and the frames around it have 0.47 or more,
# unless hardly anything but white is left.
SAME_SCENE_SIMILARITY = 0.42
# The histogram counts pixels of a subsampled image, of at most this longest side.
HISTOGRAM_MAX_PX = 256
HISTOGRAM_BINS = (8, 4, 8)
# OpenCV's ranges for float images in [0, 1]: hue in degrees, saturation and value in [0, 1]. The
# upper ends are exclusive, hence the little more than 1.
HSV_RANGES = (0.0, 360.0, 0.0, 1.001, 0.0, 1.001)
# Scenes are compared on grey thumbnails of this width and height, shifted by at most a sixth of
# it: the fastest pans measured move by an eighth of the width per frame.
THUMBNAIL_PX = (64, 36)
MAX_SHIFT_PX = (10, 6)
# Structures larger than this on a thumbnail are those of the light; they are removed.
LIGHT_BLUR_PX = 4.0
# A frame is blank if its contrast is below this, or if more than this share of it is white.
# Frames of the videos above have a contrast of 0.42 or more and are at most 10 % white.
BLANK_CONTRAST = 0.06
WHITE = 0.98
WHITE_SHARE = 0.75
# If both frames have less contrast than this, they are the dark of a fade, where colours are noise.
DIM_CONTRAST = 0.12
# Brightness or contrast change by less than this per frame in fades of 5 frames or more.
LIGHT_JUMP = 0.25
# Contrast ignores this share of the darkest and of the brightest pixels.
CONTRAST_OUTLIERS = 1 / 50
GREY_LEVELS = 256


@dataclass(frozen=True, eq=False)
class FrameStats:
    """Statistics of a frame, each computed when it is first used."""

    image: FloatArray
    """(H, W, 3) in [0, 1], subsampled."""

    @classmethod
    def of(cls, image: FloatArray) -> FrameStats:
        """Statistics of an image (H, W, 3) in [0, 1]."""
        stride = -(-max(image.shape) // HISTOGRAM_MAX_PX)
        return cls(np.ascontiguousarray(image[::stride, ::stride]))

    @cached_property
    def histogram(self) -> FloatArray:
        """Joint counts of hue, saturation and value, of shape `HISTOGRAM_BINS`."""
        hsv = cv2.cvtColor(self.image, cv2.COLOR_RGB2HSV)
        counts = cv2.calcHist([hsv], [0, 1, 2], None, list(HISTOGRAM_BINS), list(HSV_RANGES))
        return np.asarray(counts, np.float32)

    @cached_property
    def thumbnail(self) -> FloatArray:
        """(36, 64), grey, in [0, 1]."""
        grey = cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.resize(grey, THUMBNAIL_PX, interpolation=cv2.INTER_AREA), np.float32)

    @cached_property
    def brightness(self) -> float:
        """Mean of the thumbnail, in [0, 1]."""
        return float(self.thumbnail.mean())

    @cached_property
    def contrast(self) -> float:
        """Difference between the brightest and the darkest pixels, in [0, 1], without outliers."""
        values = np.sort(self.thumbnail, axis=None)
        outliers = int(values.size * CONTRAST_OUTLIERS)
        return float(values[-1 - outliers] - values[outliers])

    @cached_property
    def is_blank(self) -> bool:
        """Whether the image is nearly one colour, or nearly white."""
        white_share = (self.thumbnail > WHITE).mean()
        return self.contrast < BLANK_CONTRAST or bool(white_share > WHITE_SHARE)

    @cached_property
    def is_bright(self) -> bool:
        """Whether the image is closer to white than to black."""
        return self.brightness > 0.5

    def light_change(self, other: FrameStats) -> float:
        """Largest of the changes of brightness and of contrast to another frame, in [0, 1]."""
        return max(
            abs(other.brightness - self.brightness),
            abs(other.contrast - self.contrast),
        )

    def jumps_to(self, other: FrameStats) -> bool:
        """Whether the light changes by more than in a fade."""
        return self.light_change(other) > LIGHT_JUMP


def is_cut(previous: FloatArray, current: FloatArray, following: Sequence[FloatArray] = ()) -> bool:
    """Whether a new shot begins between two images (H, W, 3) in [0, 1]; see `is_cut_between`."""
    return is_cut_between(
        FrameStats.of(previous), FrameStats.of(current), map(FrameStats.of, following)
    )


def is_cut_between(
    previous: FrameStats, current: FrameStats, following: Iterable[FrameStats] = ()
) -> bool:
    """Whether a new shot begins between two frames.

    It does where both the colours and the scene differ: the Bhattacharyya distance of the colour
    histograms (Kailath 1967, as in cv2.compareHist), and `scene_similarity`, which does not depend
    on the light. The frames of a fade are no cuts. The end of a white frame is no cut, since it may
    be a flash; its beginning is one unless a following frame shows the scene before it again.

    Args:
        previous: the frame before.
        current: the frame.
        following: up to three frames after it, which distinguish a flash from a cut.
    """
    if _histogram_distance(previous, current) <= CUT_DISTANCE:
        return False
    jumps = previous.jumps_to(current)
    if previous.is_blank:
        return jumps and not previous.is_bright
    if current.is_blank:
        after = next((stats for stats in following if not stats.is_blank), None)
        return jumps and (after is None or not is_same_scene(previous, after))
    if max(previous.contrast, current.contrast) < DIM_CONTRAST and not jumps:
        return False
    return scene_similarity(previous, current) <= SAME_SCENE_SIMILARITY


def is_same_scene(first: FrameStats, second: FrameStats) -> bool:
    """Whether two frames that are not blank show the same scene, perhaps in other light."""
    return (
        _histogram_distance(first, second) <= CUT_DISTANCE
        or scene_similarity(first, second) > SAME_SCENE_SIMILARITY
    )


def scene_similarity(first: FrameStats, second: FrameStats) -> float:
    """How similar two scenes are whatever the light, in [0, 1].

    Normalised cross-correlation of the high-pass filtered brightness ranks of two thumbnails with
    matched tones, at the shift where it is greatest.
    """
    thumbnails = match_tones(first, second, (first.thumbnail, second.thumbnail))
    details = [_rank_details(thumbnail) for thumbnail in thumbnails]
    right, down = MAX_SHIFT_PX
    best = 0.0
    for whole, part in (details, details[::-1]):
        inner = np.ascontiguousarray(part[down:-down, right:-right])
        if inner.any():
            scores = cv2.matchTemplate(whole, inner, cv2.TM_CCOEFF_NORMED)
            best = max(best, float(np.nan_to_num(scores, posinf=0, neginf=0).max()))
    return best


def match_tones(
    first: FrameStats, second: FrameStats, images: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Give the image that has more tones the tones of the other one.

    What a flash turns white in one image is then white in both. Tones are matched by their ranks
    (histogram specification: Gonzalez and Woods, section 3.3).

    Args:
        first: statistics of the first image.
        second: statistics of the second image.
        images: both, grey (H, W) in [0, 1], of any size.

    Returns:
        Both, in the same order; one of them unchanged.
    """
    first_has_more = _ranks(first.thumbnail).std() >= _ranks(second.thumbnail).std()
    richer, poorer = (first, second) if first_has_more else (second, first)
    given, target = (np.sort(stats.thumbnail, axis=None) for stats in (richer, poorer))
    curve = np.interp(np.arange(GREY_LEVELS) / (GREY_LEVELS - 1), given, target)
    matched = curve[_grey_levels(images[0 if first_has_more else 1])].astype(np.float32)
    return (matched, images[1]) if first_has_more else (images[0], matched)


def _histogram_distance(first: FrameStats, second: FrameStats) -> float:
    return cv2.compareHist(first.histogram, second.histogram, cv2.HISTCMP_BHATTACHARYYA)


def _rank_details(thumbnail: FloatArray) -> FloatArray:
    ranks = _ranks(thumbnail)
    return np.asarray(ranks - cv2.GaussianBlur(ranks, (0, 0), LIGHT_BLUR_PX), np.float32)


def _ranks(thumbnail: FloatArray) -> FloatArray:
    """The share of the pixels that are darker than each pixel; ties count half."""
    levels = _grey_levels(thumbnail)
    counts = np.bincount(levels.ravel(), minlength=GREY_LEVELS)
    ranks = (np.cumsum(counts) - counts / 2) / levels.size
    return np.asarray(ranks[levels], np.float32)


def _grey_levels(image: FloatArray) -> npt.NDArray[np.uint8]:
    return np.rint(image * (GREY_LEVELS - 1)).astype(np.uint8)
