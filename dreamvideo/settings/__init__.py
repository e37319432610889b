"""Every option of dreamvideo, each stated once: name, default, help, unit and bounds.

The command line, its help and the checks are made from the fields of `Settings`.
This room refuses to know who reads the settings and what they do with them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from dreamvideo.errors import SettingsError
from dreamvideo.options import check, values_at
from dreamvideo.schedule import Schedule
from dreamvideo.settings.camera import CameraSettings
from dreamvideo.settings.dream import CoherenceSettings, DreamSettings
from dreamvideo.settings.output import FilmSettings, PictureSettings
from dreamvideo.settings.run import RunSettings

__all__ = ["Settings"]


# The fields of the last base come first.
@dataclass(frozen=True)
class Settings(
    RunSettings, FilmSettings, PictureSettings, CameraSettings, CoherenceSettings, DreamSettings
):
    """How to dream: immutable, and checked when made.

    Options of the dream and the camera also take keyframes (`dreamvideo.keyframes`, or a plain
    list of them); whoever uses such an option asks for its number by `at`.

    Raises:
        SettingsError: a value is of the wrong type or out of its bounds.
    """

    def __post_init__(self) -> None:
        check(self)
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise SettingsError(
                f"end cannot be {self.end:g} s with start {self.start:g} s: allowed is a later one"
            )

    def at(self, time_seconds: float) -> Settings:
        """The same with the numbers of one time in place of keyframes, but for the layer's."""
        values = values_at(self, time_seconds)
        return dataclasses.replace(self, **values) if values else self

    def layers_at(self, time_seconds: float) -> tuple[tuple[str, float], ...]:
        """The layers that are strengthened at a time, with their shares, which add up to 1."""
        if isinstance(self.layer, Schedule):
            return self.layer.mixture(time_seconds)
        return ((self.layer, 1.0),)

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that are strengthened at some time."""
        if isinstance(self.layer, Schedule):
            return tuple(dict.fromkeys(key.value for key in self.layer.keys))
        return (self.layer,)
