"""What is read and written. Refuses to know what is dreamed."""

from __future__ import annotations

from dataclasses import dataclass

from dreamvideo.encoders import ENCODERS
from dreamvideo.options import option, rate_of, seconds_of


@dataclass(frozen=True)
class PictureSettings:
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
class FilmSettings:
    """Options of films."""

    start: float | None = option(
        None,
        "where in the film to begin: seconds, or mm:ss",
        group="film",
        unit="s",
        minimum=0.0,
        parse=seconds_of,
    )
    end: float | None = option(
        None,
        "where in the film to stop: seconds, or mm:ss",
        group="film",
        unit="s",
        minimum=0.0,
        parse=seconds_of,
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
        parse=rate_of,
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
