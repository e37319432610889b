"""Finds the cut between two shots, past flashes and fades. Refuses to know what follows from it.

All is read off the two frames and those after them: a run that goes on decides as if it had not
stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from dreamvideo.types import FloatArray

# Measured on 739 frames of joined shots with fast pans and 5 cuts of a real film of streets: cuts
# are 0.45 or more apart, every other pair 0.20 or less; on 353 others, with noise, 0.27 or less.
CUT_DISTANCE = 0.3
# Those further apart may still be one scene in another light. Measured on these: cuts are 0.31
# alike or less, of 600 pairs of frames of different shots 1 in 100 more than 0.36; flashed frames
# and those beside them 0.47 or more, unless hardly anything but white is left.
SAME_SCENE_SIMILARITY = 0.42
# So many columns tell the colours of a picture as well as all of them.
HISTOGRAM_MAX_PX = 256
HISTOGRAM_BINS = (8, 4, 8)
# OpenCV's ranges for float pictures in [0, 1]: hue in degrees, saturation and value as shares.
# The ends are open, hence the little more than 1.
HSV_RANGES = (0.0, 360.0, 0.0, 1.001, 0.0, 1.001)
# Scenes are compared on grey pictures of this size, shifted by a sixth of it at most: the fastest
# pans measured take an eighth of the width in a frame.
THUMBNAIL_PX = (64, 36)
MAX_SHIFT_PX = (10, 6)
# What is large on them is the light; this takes it away.
LIGHT_BLUR_PX = 4.0
# Where hardly anything is to be seen: dark to bright spans less than this, or white is all but
# this share. Frames of the films above span 0.42 or more, and are 10 % white at most.
BLANK_SPREAD = 0.06
WHITE = 0.98
WHITE_SHARE = 0.75
# Both frames this flat are the dark of a fade, where colours are noise.
DIM_SPREAD = 0.12
# More than a fade changes brightness or spread in one frame: those of 5 frames or more are slower.
LIGHT_JUMP = 0.25


@dataclass(frozen=True, eq=False)
class FrameStats:
    """What is compared of a frame."""

    image: FloatArray
    """(H, W, 3) in [0, 1]; no more of it than needed."""

    @classmethod
    def of(cls, image: FloatArray) -> FrameStats:
        """Of an image (H, W, 3) in [0, 1]."""
        apart = -(-max(image.shape) // HISTOGRAM_MAX_PX)
        return cls(np.ascontiguousarray(image[::apart, ::apart]))

    @cached_property
    def histogram(self) -> FloatArray:
        """Counts of hue, saturation and value."""
        hsv = cv2.cvtColor(self.image, cv2.COLOR_RGB2HSV)
        counts = cv2.calcHist([hsv], [0, 1, 2], None, list(HISTOGRAM_BINS), list(HSV_RANGES))
        return np.asarray(counts, np.float32)

    @cached_property
    def thumb(self) -> FloatArray:
        """(36, 64), grey, in [0, 1]."""
        grey = cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.resize(grey, THUMBNAIL_PX, interpolation=cv2.INTER_AREA), np.float32)

    @cached_property
    def brightness(self) -> float:
        """The mean, in [0, 1]."""
        return float(self.thumb.mean())

    @cached_property
    def spread(self) -> float:
        """From dark to bright, in [0, 1], less a fiftieth of the picture at both ends."""
        values = np.sort(self.thumb, axis=None)
        end = values.size // 50
        return float(values[-1 - end] - values[end])

    @cached_property
    def is_blank(self) -> bool:
        """Whether the picture is all but one colour, or white."""
        return self.spread < BLANK_SPREAD or bool((self.thumb > WHITE).mean() > WHITE_SHARE)

    @cached_property
    def is_bright(self) -> bool:
        """Whether the picture is rather white than black."""
        return self.brightness > 0.5

    def jumps_to(self, other: FrameStats) -> bool:
        """Whether the light changes by more than in a fade."""
        changes = other.brightness - self.brightness, other.spread - self.spread
        return max(map(abs, changes)) > LIGHT_JUMP


def is_cut(previous: FloatArray, current: FloatArray, following: Sequence[FloatArray] = ()) -> bool:
    """Whether a new shot begins between two frames (H, W, 3) in [0, 1]; see `is_cut_between`."""
    return is_cut_between(
        FrameStats.of(previous), FrameStats.of(current), map(FrameStats.of, following)
    )


def is_cut_between(
    before: FrameStats, now: FrameStats, following: Iterable[FrameStats] = ()
) -> bool:
    """Whether a new shot begins between two frames, given up to three frames that follow.

    It does where colours differ and the picture does too, whatever the light: Bhattacharyya
    distance of the colour histograms (Kailath 1967, as in cv2.compareHist), then `alikeness`.
    A fade's steps are none. White is left without a cut, since it may be a flash; it is entered
    with one unless the scene before comes back in a following frame.
    """
    if _histogram_distance(before, now) <= CUT_DISTANCE:
        return False
    jumps = before.jumps_to(now)
    if before.is_blank:
        return jumps and not before.is_bright
    if now.is_blank:
        after = next((look for look in following if not look.is_blank), None)
        return jumps and (after is None or not is_same_scene(before, after))
    if max(before.spread, now.spread) < DIM_SPREAD and not jumps:
        return False
    return scene_similarity(before, now) <= SAME_SCENE_SIMILARITY


def is_same_scene(one: FrameStats, other: FrameStats) -> bool:
    """Whether two frames that are not blank show the same, by colour or in another light."""
    return (
        _histogram_distance(one, other) <= CUT_DISTANCE
        or scene_similarity(one, other) > SAME_SCENE_SIMILARITY
    )


def scene_similarity(one: FrameStats, other: FrameStats) -> float:
    """How far two looks show the same in whatever light, up to 1.

    Normalised cross-correlation of the ranks of brightness, less what is large, at the shift where
    it is greatest; the richer picture is first given the tones of the poorer one.
    """
    details = [_details(thumb) for thumb in match_tones(one, other, (one.thumb, other.thumb))]
    right, down = MAX_SHIFT_PX
    best = 0.0
    for whole, part in (details, details[::-1]):
        inner = np.ascontiguousarray(part[down:-down, right:-right])
        if inner.any():
            scores = cv2.matchTemplate(whole, inner, cv2.TM_CCOEFF_NORMED)
            best = max(best, float(np.nan_to_num(scores, posinf=0, neginf=0).max()))
    return best


def match_tones(
    one: FrameStats, other: FrameStats, pictures: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Two grey pictures (H, W) in [0, 1], the richer in the tones of the poorer one.

    What is white in a flash then is white in both. The tones are matched by their ranks
    (histogram specification: Gonzalez and Woods, section 3.3).

    Args:
        one: the look of the first picture.
        other: the look of the second.
        pictures: both, in any size.
    """
    richer = int(_ranks(one.thumb).std() < _ranks(other.thumb).std())
    looks = (one, other) if richer == 0 else (other, one)
    given, wanted = (np.sort(look.thumb, axis=None) for look in looks)
    curve = np.interp(np.arange(256) / 255, given, wanted)
    toned = curve[np.rint(pictures[richer] * 255).astype(np.uint8)].astype(np.float32)
    return (toned, pictures[1]) if richer == 0 else (pictures[0], toned)


def _histogram_distance(one: FrameStats, other: FrameStats) -> float:
    return cv2.compareHist(one.histogram, other.histogram, cv2.HISTCMP_BHATTACHARYYA)


def _details(thumb: FloatArray) -> FloatArray:
    ranks = _ranks(thumb)
    return np.asarray(ranks - cv2.GaussianBlur(ranks, (0, 0), LIGHT_BLUR_PX), np.float32)


def _ranks(thumb: FloatArray) -> FloatArray:
    """The share of the picture that is darker; of 256 levels."""
    levels = np.rint(thumb * 255).astype(np.uint8)
    counts = np.bincount(levels.ravel(), minlength=256)
    ranks = (np.cumsum(counts) - counts / 2) / levels.size
    return np.asarray(ranks[levels], np.float32)
