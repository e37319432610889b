"""Plots the metrics of a dreamed video over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dreamvideo.errors import UsageError
from dreamvideo.media.formats import has_suffix

if TYPE_CHECKING:
    from dreamvideo.metrics.registry import FrameMetrics


PLOT_SUFFIXES = (".png", ".svg", ".pdf")
WIDTH_INCHES, PANEL_HEIGHT_INCHES = 8.0, 2.2
DOTS_PER_INCH = 120  # of a .png


@dataclass(frozen=True)
class Curve:
    """One metric over time."""

    label: str
    metric: str
    """A name in `FrameMetrics.values`."""
    relative_to: str = ""
    """The metric that it is divided by; empty for none."""


@dataclass(frozen=True)
class Panel:
    """Curves that share an axis."""

    title: str
    curves: tuple[Curve, ...]


PANELS = (
    Panel(
        "warping error (mean square)",
        (
            Curve("dream", "warping_error"),
            Curve("dream, 8 frames apart", "long_warping_error"),
            Curve("source", "source_warping_error"),
        ),
    ),
    Panel("dream gain", (Curve("", "dream_gain"),)),
    Panel(
        "clipped (share of values)",
        (Curve("dream", "clipped"), Curve("source", "source_clipped")),
    ),
    Panel(
        "relative to the source",
        (
            Curve("luma", "luma", "source_luma"),
            Curve("saturation", "saturation", "source_saturation"),
        ),
    ),
)


def check_plot(path: Path, videos: Sequence[str], overwrite: bool) -> None:
    """Refuse a plot that cannot be written, before the videos are measured.

    Raises:
        UsageError: the suffix is not that of a plot, or matplotlib is not installed.
        OutputExistsError: the file exists, and `overwrite` is false.
        OutputError: the file is one of the videos, or its folder cannot be written to.
    """
    if not has_suffix(path, PLOT_SUFFIXES):
        raise UsageError(
            f"cannot write a plot as {path}: the name has to end in one of "
            f"{', '.join(PLOT_SUFFIXES)}"
        )
    try:
        import matplotlib.figure  # noqa: F401  # checks that it is installed
    except ImportError as error:
        raise UsageError("--plot needs matplotlib; run: pip install 'dreamvideo[plot]'") from error
    from dreamvideo.job.output_paths import check_not_input, check_output

    for video in videos:
        check_not_input(video, str(path))
    check_output(path, overwrite)


def draw_curves(
    frames: Sequence[FrameMetrics], title: str, path: Path, overwrite: bool = False
) -> None:
    """Plot the metrics over seconds, one panel below the other.

    Args:
        frames: the metrics of each frame.
        title: stands above the panels.
        path: ends in .png, .svg or .pdf; the file appears when it is complete.
        overwrite: whether an existing file is replaced.

    Raises: see `check_plot`.
    """
    from matplotlib.figure import Figure

    from dreamvideo.job.output_paths import atomic_output

    # A Figure of its own, unlike one of pyplot, needs no display.
    figure = Figure(figsize=(WIDTH_INCHES, PANEL_HEIGHT_INCHES * len(PANELS)), layout="constrained")
    # File names can contain bytes that are not text, and dollar signs that would start a formula.
    text = title.encode(errors="replace").decode()
    figure.suptitle(text, fontsize="medium", parse_math=False)
    times = [frame.time_seconds for frame in frames]
    axes_of_panels = figure.subplots(len(PANELS), 1, sharex=True)
    for axes, panel in zip(axes_of_panels, PANELS, strict=True):
        axes.set_title(panel.title, fontsize="small", loc="left")
        for curve in panel.curves:
            # A line through a single point is invisible.
            marker = "." if len(times) == 1 else None
            values = _values(frames, curve)
            axes.plot(times, values, label=curve.label, marker=marker, linewidth=1)
        axes.grid(alpha=0.3)
        if len(panel.curves) > 1:
            axes.legend(fontsize="x-small")
    axes_of_panels[-1].set_xlabel("seconds")
    with atomic_output(path, overwrite) as part:
        figure.savefig(part, format=path.suffix[1:].lower(), dpi=DOTS_PER_INCH)


def _values(frames: Sequence[FrameMetrics], curve: Curve) -> list[float]:
    """The curve's value in each frame, NaN where it has none."""
    values = []
    for frame in frames:
        value = frame.values[curve.metric]
        divisor = frame.values[curve.relative_to] if curve.relative_to else 1.0
        values.append(math.nan if value is None or not divisor else value / divisor)
    return values
