"""The word measure: prints, or draws, the figures of a dream beside its source.

Refuses to know how figures come about.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamvideo.cli.arguments import Parser, WriteOptions, build, options_from
from dreamvideo.cli.plot import check_plot, draw_curves
from dreamvideo.cli.progress import ProgressBar
from dreamvideo.errors import SettingsError
from dreamvideo.media.formats import is_address
from dreamvideo.runtime.process import keep_freed_memory
from dreamvideo.settings import Settings, merge_options
from dreamvideo.settings.files import read_settings_json
from dreamvideo.settings.options import flag_name, option

if TYPE_CHECKING:
    from dreamvideo.job.comparison import Comparison
    from dreamvideo.metrics.registry import VideoMetrics


# What the dream's file may say that matters: whose energy the dream's is, and which part of the
# source it is of.
NETWORK_OPTIONS = ("model", "weights", "mean", "std")
LAYER_OPTIONS = ("layer", "class_", "channel", "strongest", "weakest")
RANGE_OPTIONS = ("start", "end", "every", "fps")
STORED_OPTIONS = (*NETWORK_OPTIONS, *LAYER_OPTIONS, *RANGE_OPTIONS)
OPTIONS = (*STORED_OPTIONS, "max_pixels", "max_broken", "allow_network", "device", "tile")
# What is printed: the name of a figure, that of the source's (empty where it has none), how it is
# called and what it means.
TABLE_ROWS = (
    (
        *("warping_error", "source_warping_error", "warping error"),
        "mean square of what changes along the source's motion; 0 is steady",
    ),
    (
        *("long_warping_error", "source_long_warping_error", "… over 8 frames"),
        "the same, to the frame 8 before",
    ),
    ("flow_difference", "", "tOF", "px, how differently the dream moves"),
    ("perceptual_difference", "", "tLP", "how differently it changes to the eye (with --lpips)"),
    ("dream_gain", "", "dream gain", "times the layer's energy in the source"),
    ("new_to_rest", "", "gain, new to rest", "of what came into view within 5 frames, to the rest"),
    ("clipped", "source_clipped", "clipped", "share of values that are black or white"),
    ("luma_drift", "", "luma drift", "change relative to the source, beginning to end"),
    ("saturation_drift", "", "saturation drift", "change relative to the source, beginning to end"),
    ("fine_noise", "", "fine noise", "share of the dream on flat areas that is finest detail"),
)
NO_VALUE = "-"


@dataclass(frozen=True)
class MeasureOptions:
    """What is told of a dream."""

    json: bool = option(
        False, "print the figures and their curves as JSON instead of a table", group="measure"
    )
    plot: str | None = option(
        None, "draw the figures over time into this file: .png, .svg or .pdf", group="measure"
    )
    lpips: bool = option(
        False,
        "measure tLP, too, by LPIPS: it needs pip install 'dreamvideo[lpips]', and downloads the "
        "weights of AlexNet on first use",
        group="measure",
    )


def measure(words: Sequence[str]) -> None:
    """Measure a dream beside its source: two films or folders of frames, whoever made them.

    A film that dreamvideo wrote says by itself which network and layer it was dreamed with, and of
    which part of the source it is; options on the line win over that.
    """
    parser = Parser(
        prog="dreamvideo measure",
        usage="dreamvideo measure SOURCE DREAM [options]",
        description=measure.__doc__,
    )
    for name in ("source", "dream"):
        parser.add_argument(name, metavar=name.upper(), help="a film or a folder of frames")
    parser.add_options(MeasureOptions)
    parser.add_options(Settings, OPTIONS)
    parser.add_options(WriteOptions)
    values = vars(parser.parse_intermixed_args(words))
    told, writing = build(MeasureOptions, values), build(WriteOptions, values)
    source, dream = values["source"], values["dream"]
    plot = None if told.plot is None else Path(told.plot)
    if plot is not None:
        check_plot(plot, (source, dream), writing.overwrite)
    settings = _settings_of(dream, options_from(values))
    from dreamvideo.job.comparison import compare_videos

    keep_freed_memory()
    with closing(ProgressBar("frame", writing.quiet)) as bar:
        found = compare_videos(
            source,
            dream,
            settings,
            lambda done, total, frame: bar.show(
                done, total, f"dream gain {frame.values['dream_gain']:.2f}"
            ),
            with_lpips=told.lpips,
        )
    if plot is not None:
        draw_curves(found.measured.frames, f"{dream} of {source}", plot, writing.overwrite)
    print(_as_json(source, dream, found) if told.json else _as_table(source, dream, found))


def _settings_of(dream: str, given: dict[str, Any]) -> Settings:
    """What a film says of itself, as far as it matters, and what the line gives.

    Another network has other layers, and another layer other channels: those of the film are left
    where the line gives one.
    """
    said, left = _stored_settings(dream), set(given)
    if given.get("model", said.get("model")) != said.get("model"):
        left |= {*NETWORK_OPTIONS, *LAYER_OPTIONS}
    if left & {"layer", "class_"}:
        left |= set(LAYER_OPTIONS)
    kept = {name: value for name, value in said.items() if name not in left}
    line = json.dumps({flag_name(name): value for name, value in kept.items()})
    return Settings(**merge_options(read_settings_json(line, dream), given))


def _stored_settings(dream: str) -> dict[str, Any]:
    """What matters of the settings in a film, as they are written; nothing of others' films."""
    from dreamvideo.media.metadata import read_signature

    if not Path(dream).is_file() or is_address(dream):
        return {}
    try:
        said = json.loads(read_signature(Path(dream)))
    except (SettingsError, ValueError, RecursionError):
        return {}
    return {name: said[flag_name(name)] for name in STORED_OPTIONS if flag_name(name) in said}


def _figures(measured: VideoMetrics) -> dict[str, float | None]:
    """All figures of a film, by name."""
    figures: dict[str, float | None] = {}
    others = {
        "new_to_rest": measured.new_to_rest,
        "luma_drift": measured.drift("luma"),
        "saturation_drift": measured.drift("saturation"),
        "fine_noise": measured.fine_noise,
    }
    for name, of_source, *_ in TABLE_ROWS:
        figures[name] = others[name] if name in others else measured.mean(name)
        if of_source:
            figures[of_source] = measured.mean(of_source)
    return {name: _finite_or_none(value) for name, value in figures.items()}


def _as_json(source: str, dream: str, found: Comparison) -> str:
    measured = found.measured
    return json.dumps(
        {
            "source": source,
            "dream": dream,
            "width": found.width_px,
            "height": found.height_px,
            "model": found.model,
            "layer": found.layer,
            "frames": len(measured.frames),
            "figures": _figures(measured),
            "gains_by_age": [_finite_or_none(value) for value in measured.gains_by_age],
            "curves": {
                name: [_finite_or_none(value) for value in curve]
                for name, curve in measured.curves().items()
            },
        },
        indent=1,
        allow_nan=False,
    )


def _as_table(source: str, dream: str, found: Comparison) -> str:
    figures, frames = _figures(found.measured), len(found.measured.frames)
    lines = [
        f"{dream} beside {source}: {frames} {'frame' if frames == 1 else 'frames'} of "
        f"{found.width_px}x{found.height_px}, {found.layer} of {found.model}",
        f"{'':19}{'dream':>10}{'source':>11}",
    ]
    for name, of_source, called, meaning in TABLE_ROWS:
        there = _format_value(of_source, figures[of_source]) if of_source else ""
        lines.append(f"{called:19}{_format_value(name, figures[name]):>10}{there:>11}  {meaning}")
    return "\n".join(lines)


def _format_value(name: str, value: float | None) -> str:
    if value is None:
        return NO_VALUE
    if name.endswith("drift"):
        return f"{value:+.1%}"
    return f"{value:.2%}" if name.endswith(("clipped", "fine_noise")) else f"{value:.3g}"


def _finite_or_none(value: float | None) -> float | None:
    """JSON knows no number that is infinite or none."""
    return value if value is not None and math.isfinite(value) else None
