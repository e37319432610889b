"""Draws the figures of a film over time. Refuses to know how they come about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dreamvideo.errors import UsageError
from dreamvideo.media.formats import has_suffix

if TYPE_CHECKING:
    from dreamvideo.metrics.registry import FrameMetrics


PLOT_SUFFIXES = (".png", ".svg", ".pdf")
# Inches, and dots for each of them in a .png.
WIDTH, PANEL_HEIGHT = 8.0, 2.2
DOTS_PER_INCH = 120
# Of each panel: its title, and the curves with their labels. What a curve is taken relative to
# follows the slash.
PANELS = (
    (
        "warping error (mean square)",
        {
            "dream": "warping_error",
            "dream, 8 frames apart": "long_warping_error",
            "source": "source_warping_error",
        },
    ),
    ("dream gain", {"": "dream_gain"}),
    ("clipped (share of values)", {"dream": "clipped", "source": "source_clipped"}),
    (
        "relative to the source",
        {"luma": "luma/source_luma", "saturation": "saturation/source_saturation"},
    ),
)


def check_plot(path: Path, videos: Sequence[str], overwrite: bool) -> None:
    """Refuse a drawing that cannot be made, before the long work.

    Raises:
        UsageError: the name is none of a drawing, or matplotlib is not installed.
        OutputExistsError: it is there already, and `overwrite` is false.
        OutputError: it is one of the films, or nothing can be written there.
    """
    if not has_suffix(path, PLOT_SUFFIXES):
        raise UsageError(
            f"cannot draw {path}: the name has to end in one of {', '.join(PLOT_SUFFIXES)}"
        )
    try:
        import matplotlib.figure  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise UsageError("--plot needs matplotlib; run: pip install 'dreamvideo[plot]'") from error
    from dreamvideo.job.output_paths import check_not_input, check_output

    for video in videos:
        check_not_input(video, str(path))
    check_output(path, overwrite)


def draw_curves(
    frames: Sequence[FrameMetrics], title: str, path: Path, overwrite: bool = False
) -> None:
    """Draw a panel for each kind of figure, over seconds.

    Args:
        frames: of the film.
        title: above the panels.
        path: ends in .png, .svg or .pdf; appears when it is whole.
        overwrite: whether what is there is replaced.

    Raises: see `check_plot`.
    """
    from matplotlib.figure import Figure

    from dreamvideo.job.output_paths import atomic_output

    # Figures by themselves, without pyplot, need no display.
    figure = Figure(figsize=(WIDTH, PANEL_HEIGHT * len(PANELS)), layout="constrained")
    # Names of files may hold bytes that are no text, and dollar signs that begin no formula.
    text = title.encode(errors="replace").decode()
    figure.suptitle(text, fontsize="medium", parse_math=False)
    times = [frame.time_seconds for frame in frames]
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    for panel, (heading, curves) in zip(panels, PANELS, strict=True):
        panel.set_title(heading, fontsize="small", loc="left")
        for label, names in curves.items():
            # A single frame is a point, which a line does not show.
            marker = "." if len(times) == 1 else None
            panel.plot(times, _values(frames, names), label=label, marker=marker, linewidth=1)
        panel.grid(alpha=0.3)
        if len(curves) > 1:
            panel.legend(fontsize="x-small")
    panels[-1].set_xlabel("seconds")
    with atomic_output(path, overwrite) as part:
        figure.savefig(part, format=path.suffix[1:].lower(), dpi=DOTS_PER_INCH)


def _values(frames: Sequence[FrameMetrics], names: str) -> list[float]:
    """A curve, with gaps where there is no figure."""
    name, _, below = names.partition("/")
    values = []
    for frame in frames:
        value, unit = frame.values[name], frame.values[below] if below else 1.0
        values.append(math.nan if value is None or not unit else value / unit)
    return values
