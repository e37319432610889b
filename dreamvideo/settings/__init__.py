"""Every option of dreamvideo, each stated once: name, default, help, unit and bounds.

The command line, its help and the checks are made from the fields of `Settings`.
This room refuses to know who reads the settings and what they do with them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

from dreamvideo.errors import SettingsError
from dreamvideo.settings.dream_options import (
    OUTPUT_LAYER,
    CoherenceSettings,
    CompositingSettings,
    DreamSettings,
    LayerWeights,
    NetworkSettings,
    ObjectiveSettings,
    blend_layer_weights,
    parse_layer_weights,
)
from dreamvideo.settings.keyframes import Schedule
from dreamvideo.settings.options import flag_name, options_of, validate, values_at
from dreamvideo.settings.video_options import (
    CameraSettings,
    ImageSettings,
    RunSettings,
    VideoSettings,
)

# Of these, each says by itself what is raised.
ALTERNATIVES = (("channel", "strongest", "weakest"), ("objective", "guide"))
# What `class_`, which is about the output alone, leaves no room for.
NOT_WITH_CLASS = ("layer", "objective", "channel", "strongest", "weakest", "guide", "evolve")

# Pairs that cannot be given together.
EXCLUSIVE_PAIRS = (
    *(("class_", name) for name in NOT_WITH_CLASS),
    *chain.from_iterable(combinations(names, 2) for names in ALTERNATIVES),
)


# The fields of the last base come first.
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
    """How to dream: immutable, and checked when made.

    Options of the dream and the camera also take keyframes (`dreamvideo.keyframes`, or a plain
    list of them); whoever uses such an option asks for its number by `at`.

    Raises:
        SettingsError: a value is of the wrong type or out of its bounds.
    """

    def __post_init__(self) -> None:
        validate(self)
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise SettingsError(
                f"end cannot be {self.end:g} s with start {self.start:g} s: allowed is a later one"
            )
        _ = self.tile_px
        _ = self.cut_times_seconds
        for text in self._layer_texts():
            parse_layer_weights(text)
        if self.passes > 1 and (self.flow == "none" or self.independent):
            other = "--independent" if self.independent else "--flow none"
            raise SettingsError(
                f"--passes {self.passes} and {other} cannot be given together: a second pass is "
                "for dreams that are carried from frame to frame; leave one of them out"
            )
        for one, other in EXCLUSIVE_PAIRS:
            if is_set(one, getattr(self, one)) and is_set(other, getattr(self, other)):
                raise SettingsError(
                    f"--{flag_name(one)} and --{flag_name(other)} cannot be given together: each "
                    "says what is raised; leave one of them out"
                )

    def at(self, time_seconds: float) -> Settings:
        """The same with the numbers of one time in place of keyframes, but for the layer's."""
        values = values_at(self, time_seconds)
        return dataclasses.replace(self, **values) if values else self

    def layers_at(self, time_seconds: float) -> LayerWeights:
        """The layers that are strengthened at a time, with shares whose sizes add up to 1."""
        if self.class_ is not None:
            return ((OUTPUT_LAYER, 1.0),)
        if isinstance(self.layer, Schedule):
            return blend_layer_weights(self.layer.mixture(time_seconds))
        return parse_layer_weights(self.layer)

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that are strengthened at some time."""
        if self.class_ is not None:
            return (OUTPUT_LAYER,)
        names = (name for text in self._layer_texts() for name, _ in parse_layer_weights(text))
        return tuple(dict.fromkeys(names))

    def _layer_texts(self) -> list[str]:
        if isinstance(self.layer, Schedule):
            return [key.value for key in self.layer.keys]
        return [self.layer]


def is_set(name: str, value: Any) -> bool:
    """Whether an option has another value than the usual one."""
    plain = tuple(value) if isinstance(value, list) else value  # as files have it
    return bool(plain != options_of(Settings)[name][0].default)


def merge_options(values: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    """Options out of two places: the stronger ones win, also over what they leave no room for."""
    kept = dict(values)
    for one, other in EXCLUSIVE_PAIRS:
        for winner, loser in ((one, other), (other, one)):
            if winner in stronger and is_set(winner, stronger[winner]):
                kept.pop(loser, None)
    return {**kept, **stronger}
