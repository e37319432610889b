"""The journey that a still becomes. Refuses to know how the camera moves."""

from __future__ import annotations

from dataclasses import dataclass

from dreamvideo.options import option, pair_of, seconds_of, varying


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
        parse=seconds_of,
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
        parse=pair_of,
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
