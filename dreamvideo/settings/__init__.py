"""The settings: every option, composed of groups, with its value and its checks.

An option's facts (help, unit, bounds, what it applies to) are stated once, where it is defined: in
`network_options`, `dream_options` and `video_options`. Flags, help and settings files are made from
them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dreamvideo.errors import SettingsError
from dreamvideo.settings.dream_options import (
    CoherenceSettings,
    CompositingSettings,
    DreamSettings,
)
from dreamvideo.settings.keyframes import Schedule
from dreamvideo.settings.network_options import (
    OUTPUT_LAYER,
    LayerWeights,
    NetworkSettings,
    ObjectiveSettings,
    blend_layer_weights,
    parse_layer_weights,
)
from dreamvideo.settings.options import conflicting_options, options_of, validate, values_at
from dreamvideo.settings.video_options import (
    CameraSettings,
    ImageSettings,
    RunSettings,
    VideoSettings,
)


# dataclass collects the fields from the last base to the first: this is the order of --help.
@dataclass(frozen=True)
class Settings(
    RunSettings,
    VideoSettings,
    ImageSettings,
    CameraSettings,
    CoherenceSettings,
    CompositingSettings,
    DreamSettings,
    ObjectiveSettings,
    NetworkSettings,
):
    """How to dream. Immutable, and checked when it is made.

    Many options also take keyframes, `dreamvideo.keyframes((seconds, value), …)` or a plain list of
    such pairs; `at` gives the settings of one time.

    Raises:
        SettingsError: a value has the wrong type or is out of bounds, or two options conflict.
    """

    def __post_init__(self) -> None:
        validate(self)
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise SettingsError(
                f"end cannot be {self.end:g} s with start {self.start:g} s: allowed is a later time"
            )
        if self.passes > 1 and (self.flow == "none" or self.independent):
            other = "--independent" if self.independent else "--flow none"
            raise SettingsError(
                f"--passes {self.passes} and {other} cannot be given together: a second pass needs "
                "a dream that is carried from frame to frame; leave one of them out"
            )
        # These parse their texts, and raise where one is malformed.
        _ = self.tile_px
        _ = self.network_size_px
        _ = self.cut_times_seconds
        _ = self.layers

    def at(self, time_seconds: float) -> Settings:
        """The same settings with keyframes interpolated at a time, except those of `layer`.

        `layers_at` gives the layers.
        """
        values = values_at(self, time_seconds)
        return dataclasses.replace(self, **values) if values else self

    def layers_at(self, time_seconds: float) -> LayerWeights:
        """The layers at a time, with weights whose absolute values add up to 1."""
        if self.class_ is not None:
            return ((OUTPUT_LAYER, 1.0),)
        if isinstance(self.layer, Schedule):
            return blend_layer_weights(self.layer.mixture(time_seconds))
        return parse_layer_weights(self.layer)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of all layers that are used at any time."""
        if self.class_ is not None:
            return (OUTPUT_LAYER,)
        schedule = self.layer
        texts = (
            [key.value for key in schedule.keys] if isinstance(schedule, Schedule) else [schedule]
        )
        names = (name for text in texts for name, _ in parse_layer_weights(text))
        return tuple(dict.fromkeys(names))


def merge_options(weaker: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    """Options from two origins; a stronger one replaces a weaker one of the same name.

    A stronger one that is set also removes the weaker ones that cannot be given with it.
    """
    options = options_of(Settings)
    given = {name for name, value in stronger.items() if options[name].is_set(value)}
    merged = dict(weaker)
    for one, other in conflicting_options(Settings):
        if one.name in given:
            merged.pop(other.name, None)
        if other.name in given:
            merged.pop(one.name, None)
    return {**merged, **stronger}
