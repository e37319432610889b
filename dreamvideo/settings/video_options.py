"""Options of what is read and written, of zooms, and of the run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dreamvideo.errors import SettingsError
from dreamvideo.media.formats import (
    ANIMATED_SUFFIXES,
    ANIMATED_WEBP_QUALITY,
    ANIMATION_MAX_PX,
    DEFAULT_ENCODER,
    ENCODERS,
    GIF_FRAME_RATE,
    IMAGE_FORMAT_NAMES,
    IMAGE_QUALITY,
    OUTPUT_FORMATS,
)
from dreamvideo.settings.options import (
    SEQUENCES,
    JobKind,
    Selection,
    option,
    varying,
)
from dreamvideo.settings.parsing import parse_pair, parse_rate, parse_seconds

IMAGES = "images"


@dataclass(frozen=True)
class ImageSettings:
    """Options of images, whether frames of a video or by themselves."""

    size: int | None = option(
        None,
        "longest side of the output, rounded to an even number; the aspect ratio is kept",
        group=IMAGES,
        default_text="as the source, but at most 1280 for zooms, "
        f"{ANIMATION_MAX_PX} for {', '.join(ANIMATED_SUFFIXES)}",
        unit="px",
        minimum=16,
        maximum=16384,
    )
    independent: bool = option(
        False,
        "dream each image of a folder by itself; they may have different sizes",
        group=IMAGES,
        applies_to=JobKind.FOLDER,
    )
    picture_format: str | None = option(
        None,
        "format of a folder's images",
        group=IMAGES,
        default_text="as the source; png for the frames of a video",
        choices=IMAGE_FORMAT_NAMES,
    )
    quality: int | None = option(
        None,
        "quality of JPEG and WebP images, and of .webp animations",
        group=IMAGES,
        default_text=f"{IMAGE_QUALITY}; {ANIMATED_WEBP_QUALITY} for animations",
        minimum=1,
        maximum=100,
    )


VIDEO = "video"
# Such as "libx264; libvpx-vp9 for .webm".
DEFAULT_ENCODERS = "; ".join(
    [
        DEFAULT_ENCODER,
        *(
            f"{row.encoders[0]} for {suffix}"
            for suffix, row in OUTPUT_FORMATS.items()
            if row.animation is None and row.encoders[0] != DEFAULT_ENCODER
        ),
    ]
)


@dataclass(frozen=True)
class VideoSettings:
    """Options of videos."""

    stream: int | None = option(
        None,
        "number of the video stream to dream, by FFmpeg, in a file with several",
        group=VIDEO,
        default_text="the one that players show by default; of several, the largest",
        applies_to=JobKind.VIDEO | JobKind.STREAM,
        minimum=0,
        selects=Selection.SOURCE_RANGE,
    )
    start: float | None = option(
        None,
        "start at this time of the video, in seconds or mm:ss",
        group=VIDEO,
        applies_to=SEQUENCES,
        unit="s",
        minimum=0.0,
        parse=parse_seconds,
        selects=Selection.SOURCE_RANGE,
    )
    end: float | None = option(
        None,
        "stop at this time of the video, in seconds or mm:ss",
        group=VIDEO,
        applies_to=SEQUENCES,
        unit="s",
        minimum=0.0,
        parse=parse_seconds,
        selects=Selection.SOURCE_RANGE,
    )
    every: int = option(
        1,
        "use every Nth frame only, and show it N times as long",
        group=VIDEO,
        applies_to=SEQUENCES,
        minimum=1,
        selects=Selection.SOURCE_RANGE,
    )
    fps: float | None = option(
        None,
        "frames per second, such as 24 or 30000/1001; videos are resampled to it",
        group=VIDEO,
        default_text="the video's own; 30 for zooms, or "
        f"{GIF_FRAME_RATE} as .gif; 25 for folders of images",
        minimum=0.01,
        maximum=1000.0,
        parse=parse_rate,
        selects=Selection.SOURCE_RANGE,
    )
    encoder: str | None = option(
        None,
        "video encoder",
        group=VIDEO,
        default_text=DEFAULT_ENCODERS,
        choices=tuple(ENCODERS),
        for_encoder=True,
    )
    crf: int | None = option(
        None,
        "constant rate factor of the encoder, lower is better: with libx264, 18 looks lossless and "
        "28 gives small files",
        group=VIDEO,
        default_text="one that looks lossless",
        minimum=0,
        maximum=63,
        for_encoder=True,
    )
    preset: str | None = option(
        None,
        "speed preset of the encoder, by its own name: slower ones make smaller files",
        group=VIDEO,
        default_text="medium or similar",
        for_encoder=True,
    )
    pixel_format: str | None = option(
        None,
        "pixel format of the video, by FFmpeg's name, such as yuv444p or yuv420p10le",
        group=VIDEO,
        default_text="one that players support",
        for_encoder=True,
    )


CAMERA = "camera of zooms (videos made of still images)"
# The camera decides where the image moves, never how strongly it is dreamed.
_camera_path = partial(
    varying,
    group=CAMERA,
    applies_to=JobKind.ZOOM,
    affects_level=False,
    affects_cold_gain=False,
)


@dataclass(frozen=True)
class CameraSettings:
    """Options of zooms: videos made of still images. Speeds are per second of the video."""

    duration: float | None = option(
        None,
        "length of the video in seconds or mm:ss",
        group=CAMERA,
        default_text="10",
        applies_to=JobKind.ZOOM,
        unit="s",
        minimum=0.1,
        maximum=86400.0,
        parse=parse_seconds,
    )
    zoom: float | None = _camera_path(
        None,
        "magnification per second: above 1 zooms in, below 1 zooms out, 1 does neither; makes a "
        "zoom of a folder of images, too",
        default_text="1.2 for still images",
        minimum=0.1,
        maximum=10.0,
    )
    rotate: float = _camera_path(
        0.0,
        "clockwise rotation of the image per second",
        unit="degrees",
        minimum=-720.0,
        maximum=720.0,
    )
    pan_x: float = _camera_path(
        0.0,
        "camera movement to the right per second",
        unit="frame widths",
        minimum=-4.0,
        maximum=4.0,
    )
    pan_y: float = _camera_path(
        0.0,
        "camera movement down per second",
        unit="frame widths",
        minimum=-4.0,
        maximum=4.0,
    )
    centre: tuple[float, float] = _camera_path(
        (0.5, 0.5),
        "point of the frame about which the camera zooms and rotates: 0,0 is the top left corner, "
        "1,1 the bottom right one",
        minimum=0.0,
        maximum=1.0,
        parse=parse_pair,
        length=2,
    )
    loop: bool = option(
        False,
        "make the end of the video lead back to its beginning without a seam",
        group=CAMERA,
        applies_to=JobKind.ZOOM,
    )
    colour_anchor: float = _camera_path(
        0.9,
        "how fast the colours return to those of the still image: share of the difference removed "
        "per second",
        minimum=0.0,
        maximum=1.0,
    )


TILE_WORDS = ("auto", "none")
# Smaller tiles would consist of little but their margins.
SMALLEST_TILE_PX = 64

RUN = "run"
LIMITS = "safety limits"
HARDWARE = "hardware"


@dataclass(frozen=True)
class RunSettings:
    """Options of the run, its safety limits and the hardware."""

    segment_frames: int | None = option(
        None,
        "frames after which the work is saved: a crash loses at most these",
        group=RUN,
        default_text="two seconds, at least 50 frames",
        minimum=1,
        in_settings_files=False,
    )
    max_pixels: int = option(
        100_000_000,
        "largest image to read, as width times height",
        group=LIMITS,
        unit="px",
        minimum=1,
        decides_result=False,
        in_settings_files=False,
    )
    max_broken: float = option(
        0.02,
        "largest share of broken or missing frames: up to this share they are skipped and counted, "
        "above it the video is refused",
        group=LIMITS,
        minimum=0.0,
        maximum=1.0,
        decides_result=False,
        in_settings_files=False,
    )
    allow_network: bool = option(
        False,
        "read network addresses (https://…) and playlists, which can name any file or host",
        group=LIMITS,
        decides_result=False,
        in_settings_files=False,
    )

    device: str = option(
        "auto",
        "device to compute on: auto (the first available of cuda, mps and cpu), cpu, cuda, cuda:1, "
        "mps",
        group=HARDWARE,
        decides_result=False,  # the run's identity holds the device that is chosen
        in_settings_files=False,
    )
    tile: str = option(
        "auto",
        "side of the tiles in which large images pass through the network: auto (one tile if "
        "memory allows), a number of pixels, or none; does not change how dreams look",
        group=HARDWARE,
        decides_result=False,
        in_settings_files=False,
    )

    @property
    def tile_px(self) -> int | None:
        """The side that `tile` names; None if it is auto or none.

        Raises:
            SettingsError: `tile` is malformed, or too small.
        """
        if self.tile in TILE_WORDS:
            return None
        side_px = int(self.tile) if self.tile.isdecimal() else 0
        if side_px < SMALLEST_TILE_PX:
            raise SettingsError(
                f"tile cannot be {self.tile!r}: allowed is {', '.join(TILE_WORDS)}, or a whole "
                f"number of at least {SMALLEST_TILE_PX} (default auto)"
            )
        return side_px
