"""Every option of dreamvideo, each stated once: name, default, help, unit and bounds.

The command line, its help and the checks are made from the fields of `Settings`.
This module refuses to know who reads the settings and what they do with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from dreamvideo.encoders import ENCODERS
from dreamvideo.errors import SettingsError
from dreamvideo.options import check, option, rate_of, seconds_of


@dataclass(frozen=True)
class Settings:
    """How to dream: immutable, and checked when made.

    Raises:
        SettingsError: a value is of the wrong type or out of its bounds.
    """

    layer: str = option(
        "blocks.10.expand",
        "layer of the network whose answer is strengthened; early layers give strokes, "
        "middle ones eyes, late ones animals",
        group="dream",
    )
    octaves: int = option(
        4, "sizes of the picture that are dreamed on", group="dream", minimum=1, maximum=12
    )
    octave_scale: float = option(
        1.4, "ratio of one octave's size to the next", group="dream", minimum=1.05, maximum=4.0
    )
    iterations: int = option(
        10, "steps of ascent per octave in a cold dream", group="dream", minimum=1, maximum=1000
    )
    step_size: float = option(
        0.015,
        "root mean square change of one step, of the range from black to white",
        group="dream",
        minimum=0.0,
        maximum=1.0,
    )
    strength: float = option(
        1.0,
        "scales the whole ascent; 0 leaves the picture exactly as it is",
        group="dream",
        minimum=0.0,
        maximum=10.0,
    )
    jitter: int = option(
        16,
        "largest random shift before each step",
        group="dream",
        unit="px",
        minimum=0,
        maximum=512,
    )
    smoothing: float = option(
        2.0,
        "standard deviation of the blur on the gradient; less gives finer strokes and more noise",
        group="dream",
        unit="px",
        minimum=0.0,
        maximum=32.0,
    )
    natural_colour: float = option(
        0.8,
        "how far the dream's colours follow those of natural pictures: 0 is neon, 1 muted",
        group="dream",
        minimum=0.0,
        maximum=1.0,
    )
    seed: int = option(
        0,
        "start of the random numbers; the same seed gives the same frames",
        group="dream",
        minimum=0,
    )

    flow: str = option(
        "dis",
        "how motion is measured: dis (fast), raft (a network, downloaded on first use), "
        "none (every frame is dreamed on its own and flickers)",
        group="coherence",
        choices=("dis", "raft", "none"),
    )
    persistence: float = option(
        0.95,
        "share of the last frame's dream that is carried along the motion",
        group="coherence",
        minimum=0.0,
        maximum=1.0,
    )
    warm_iterations: int = option(
        1,
        "steps of ascent per octave that refresh a carried dream",
        group="coherence",
        minimum=0,
        maximum=1000,
    )
    warm_octaves: int = option(
        2,
        "octaves, counted from the largest, that refresh a carried dream",
        group="coherence",
        minimum=1,
        maximum=12,
    )

    size: int | None = option(
        None,
        "longest side of the result, made even; the other side keeps the shape (default: as the "
        "source)",
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
    quality: int = option(
        95, "quality of JPEG and WebP pictures", group="picture", minimum=1, maximum=100
    )

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
        "frames per second: of a folder's pictures (default: 25), or another rate than the "
        "film's, such as 24 or 30000/1001",
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

    def __post_init__(self) -> None:
        check(self)
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise SettingsError(
                f"end cannot be {self.end:g} s with start {self.start:g} s: allowed is a later one"
            )
