"""The options of what is read and written, of zooms, and of the run."""

from __future__ import annotations

from dataclasses import dataclass

from dreamvideo.errors import SettingsError
from dreamvideo.media.formats import ENCODERS
from dreamvideo.settings.options import option, parse_pair, parse_rate, parse_seconds, varying


@dataclass(frozen=True)
class ImageSettings:
    """Options of pictures, in films or by themselves."""

    size: int | None = option(
        None,
        "longest side of the result, made even; the other side keeps the shape (default: as the "
        "source, but at most 1280 for films made of stills and 480 for .gif, .webp and .apng)",
        group="picture",
        unit="px",
        minimum=16,
        maximum=16384,
    )
    independent: bool = option(
        False,
        "the pictures of a folder have nothing to do with each other: dream each on its own, "
        "whatever its size",
        group="picture",
    )
    picture_format: str | None = option(
        None,
        "format of a folder's pictures (default: as the source; png for those of a film)",
        group="picture",
        choices=("png", "jpg", "tiff", "webp", "bmp"),
    )
    quality: int | None = option(
        None,
        "quality of JPEG and WebP pictures, and of .webp films (default: 95; 80 for films)",
        group="picture",
        minimum=1,
        maximum=100,
    )


@dataclass(frozen=True)
class VideoSettings:
    """Options of films."""

    start: float | None = option(
        None,
        "where in the film to begin: seconds, or mm:ss",
        group="film",
        unit="s",
        minimum=0.0,
        parse=parse_seconds,
    )
    end: float | None = option(
        None,
        "where in the film to stop: seconds, or mm:ss",
        group="film",
        unit="s",
        minimum=0.0,
        parse=parse_seconds,
    )
    every: int = option(
        1, "take every Nth frame only; the others' time goes to it", group="film", minimum=1
    )
    fps: float | None = option(
        None,
        "frames per second: of films made of stills (default: 30; 25 for .gif), of a folder's "
        "pictures (default: 25), or another rate than the film's, such as 24 or 30000/1001",
        group="film",
        minimum=0.01,
        maximum=1000.0,
        parse=parse_rate,
    )
    encoder: str | None = option(
        None,
        "how the film is encoded (default: libx264; libvpx-vp9 for .webm)",
        group="film",
        choices=tuple(ENCODERS),
    )
    crf: int | None = option(
        None,
        "quality: 0 is best, with libx264 18 looks lossless and 28 is small (default: looks "
        "lossless)",
        group="film",
        minimum=0,
        maximum=63,
    )
    preset: str | None = option(
        None,
        "the encoder's effort, by its own names: slower makes a smaller file (default: medium, or "
        "the like)",
        group="film",
    )
    pixel_format: str | None = option(
        None,
        "how the film holds colours, by FFmpeg's names, such as yuv444p or yuv420p10le (default: "
        "what players show)",
        group="film",
    )


@dataclass(frozen=True)
class CameraSettings:
    """Options of films that are made of stills; rates are per second of the film."""

    duration: float | None = option(
        None,
        "how long the film is: seconds, or mm:ss (default: 10)",
        group="camera",
        unit="s",
        minimum=0.1,
        maximum=86400.0,
        parse=parse_seconds,
    )
    zoom: float | None = varying(
        None,
        "how many times larger things grow in a second; below 1 the camera draws back, 1 is no "
        "zoom; makes a journey of a folder of pictures (default: 1.2 for stills)",
        group="camera",
        minimum=0.1,
        maximum=10.0,
    )
    rotate: float = varying(
        0.0,
        "how far the picture turns in a second, clockwise",
        group="camera",
        unit="degrees",
        minimum=-720.0,
        maximum=720.0,
    )
    pan_x: float = varying(
        0.0,
        "how far the camera moves to the right in a second",
        group="camera",
        unit="frame widths",
        minimum=-4.0,
        maximum=4.0,
    )
    pan_y: float = varying(
        0.0,
        "how far the camera moves down in a second",
        group="camera",
        unit="frame widths",
        minimum=-4.0,
        maximum=4.0,
    )
    centre: tuple[float, float] = varying(
        (0.5, 0.5),
        "the place X,Y about which the camera zooms and turns: 0,0 is the upper left corner of "
        "the frame, 1,1 the lower right one",
        group="camera",
        minimum=0.0,
        maximum=1.0,
        parse=parse_pair,
        length=2,
    )
    loop: bool = option(
        False,
        "lead the end of the film into its beginning without a seam",
        group="camera",
    )
    colour_anchor: float = varying(
        0.9,
        "how fast the colours are drawn back to those of the still: share of the way in a second",
        group="camera",
        minimum=0.0,
        maximum=1.0,
    )


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
