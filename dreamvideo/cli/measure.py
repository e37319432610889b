"""The command `measure`: prints, or plots, metrics of a dreamed video compared with its source."""

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
from dreamvideo.cli.progress import ProgressDisplay
from dreamvideo.errors import SettingsError
from dreamvideo.media.opening import is_address
from dreamvideo.runtime.process import keep_freed_memory
from dreamvideo.settings import Settings, merge_options
from dreamvideo.settings.files import read_settings_json
from dreamvideo.settings.options import Option, Selection, option, options_of

if TYPE_CHECKING:
    from dreamvideo.job.comparison import Comparison


NO_VALUE = "-"
MEASURE = "output"


@dataclass(frozen=True)
class MeasureOptions:
    """What `measure` prints and computes."""

    json: bool = option(
        False, "print all figures, and their values in each frame, as JSON", group=MEASURE
    )
    plot: str | None = option(
        None,
        "plot the figures over time into this file (.png, .svg or .pdf)",
        group=MEASURE,
        names_file=True,
    )
    lpips: bool = option(
        False,
        "compute tLP, too, with LPIPS (needs pip install 'dreamvideo[lpips]'; downloads the "
        "weights of AlexNet on first use)",
        group=MEASURE,
    )


def measure(words: Sequence[str]) -> None:
    """Compare a dreamed video with its source: two videos or folders of images of one length.

    A video that dreamvideo wrote carries its settings: network, layer and the range of the source
    are read from it; options on the command line override them.
    """
    parser = Parser(
        prog="dreamvideo measure",
        usage="dreamvideo measure SOURCE DREAM [options]",
        description=measure.__doc__,
    )
    for name in ("source", "dream"):
        parser.add_argument(name, metavar=name.upper(), help="a video or a folder of images")
    parser.add_options(MeasureOptions)
    parser.add_options(
        Settings, [option.name for option in options_of(Settings).values() if _is_used(option)]
    )
    parser.add_options(WriteOptions)
    values = parser.values(words)
    options, writing = build(MeasureOptions, values), build(WriteOptions, values)
    source, dream = values["source"], values["dream"]
    plot = None if options.plot is None else Path(options.plot)
    if plot is not None:
        check_plot(plot, (source, dream), writing.overwrite)
    settings = _settings_for(dream, options_from(values))
    from dreamvideo.job.comparison import compare_videos

    keep_freed_memory()
    with closing(ProgressDisplay("frame", writing.quiet)) as display:
        comparison = compare_videos(
            source,
            dream,
            settings,
            lambda done, total, frame: display.update(
                done, total, f"dream gain {frame.values['dream_gain']:.2f}"
            ),
            with_lpips=options.lpips,
        )
    if plot is not None:
        frames = comparison.measured.frames
        draw_curves(frames, f"{dream} of {source}", plot, writing.overwrite)
    report = _as_json if options.json else _as_table
    print(report(source, dream, comparison))


def _is_used(option: Option) -> bool:
    """Whether `measure` has an option: it selects what is measured, or concerns the machine."""
    return option.selects is not None or not option.decides_result


def _settings_for(dream: str, given: dict[str, Any]) -> Settings:
    """The settings that a dreamed video carries, as far as they are used, and the options given.

    Layers belong to a network, and channels to a layer: if the command line names another network
    or layer, those of the video are left out.
    """
    stored = _stored_settings(dream)
    left_out: set[Selection | None] = set()
    if given.get("model", stored.get("model")) != stored.get("model"):
        left_out = {Selection.NETWORK, Selection.LAYER}
    if "layer" in given or "class_" in given:
        left_out.add(Selection.LAYER)
    kept = {
        option.key: stored[name]
        for name, option in options_of(Settings).items()
        if name in stored and name not in given and option.selects not in left_out
    }
    return Settings(**merge_options(read_settings_json(json.dumps(kept), dream), given))


def _stored_settings(dream: str) -> dict[str, Any]:
    """The unparsed settings in a video's metadata that `measure` uses; none of other videos."""
    from dreamvideo.media.metadata import read_signature

    if not Path(dream).is_file() or is_address(dream):
        return {}
    try:
        stored = json.loads(read_signature(Path(dream)))
    except (SettingsError, ValueError, RecursionError):
        return {}
    return {
        name: stored[option.key]
        for name, option in options_of(Settings).items()
        if option.selects is not None and option.key in stored
    }


def _as_json(source: str, dream: str, comparison: Comparison) -> str:
    measured = comparison.measured
    return json.dumps(
        {
            "source": source,
            "dream": dream,
            "width": comparison.width_px,
            "height": comparison.height_px,
            "model": comparison.model,
            "layer": comparison.layer,
            "frames": len(measured.frames),
            "figures": {name: _finite_or_none(value) for name, value in measured.figures().items()},
            "gains_by_age": [_finite_or_none(value) for value in measured.gains_by_age],
            "curves": {
                name: [_finite_or_none(value) for value in curve]
                for name, curve in measured.curves().items()
            },
        },
        indent=1,
        allow_nan=False,
    )


def _as_table(source: str, dream: str, comparison: Comparison) -> str:
    from dreamvideo.metrics.registry import VIDEO_METRICS, source_name

    figures, frames = comparison.measured.figures(), len(comparison.measured.frames)
    size = f"{comparison.width_px}x{comparison.height_px}"
    lines = [
        f"{dream} compared with {source}: {frames} {'frame' if frames == 1 else 'frames'} of "
        f"{size}, {comparison.layer} of {comparison.model}",
        f"{'':19}{'dream':>10}{'source':>11}",
    ]
    for name, metric in VIDEO_METRICS.items():
        value = _format_value(figures[name], metric.number_format)
        of_source = (
            _format_value(figures[source_name(name)], metric.number_format)
            if metric.has_source
            else ""
        )
        lines.append(f"{metric.label:19}{value:>10}{of_source:>11}  {metric.meaning}")
    return "\n".join(lines)


def _format_value(value: float | None, number_format: str) -> str:
    value = _finite_or_none(value)
    return NO_VALUE if value is None else format(value, number_format)


def _finite_or_none(value: float | None) -> float | None:
    """JSON has no NaN or infinity: they become null."""
    return value if value is not None and math.isfinite(value) else None
