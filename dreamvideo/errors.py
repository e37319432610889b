"""The exception tree: what can go wrong, in one picture.

    DreamVideoError
    ├── UsageError             the request itself cannot be met as written (exit status 2)
    │   ├── SettingsError      an option has a value that is not allowed
    │   ├── UnknownModelError  there is no network of that name
    │   ├── UnknownLayerError  the network has no layer, channel or class of that name
    │   ├── OutputExistsError  the output is already there and was not to be overwritten
    │   └── ResumeError        an unfinished run is there, and it is another one
    ├── InputError             the source cannot be read, or not to its end
    ├── OutputError            the result cannot be written
    │   └── OutputBusyError    another run is writing it
    ├── WeightsError           the weights of a network are missing or do not fit
    └── MemoryShortError       a picture does not fit into memory
    DreamVideoWarning          what is done all the same, and should be known

Every message says what happened, what was received, what is allowed and what to do.
This module refuses to know how errors are shown.
"""

from __future__ import annotations


class DreamVideoError(Exception):
    """Anything that dreamvideo reports in one line instead of a traceback."""


class UsageError(DreamVideoError):
    """The request cannot be met as it is written."""


class SettingsError(UsageError):
    """An option has a value that is not allowed."""


class UnknownModelError(UsageError):
    """There is no network of the name asked for, or what is there is none."""


class UnknownLayerError(UsageError):
    """The network has no layer, channel or class of the name asked for."""


class OutputExistsError(UsageError):
    """The output is already there and was not to be overwritten."""


class ResumeError(UsageError):
    """An unfinished run of the same output has other settings, another input or version."""


class InputError(DreamVideoError):
    """The source cannot be read, or not to its end."""


class OutputError(DreamVideoError):
    """The result cannot be written."""


class OutputBusyError(OutputError):
    """Another run is writing the same output."""


class WeightsError(DreamVideoError):
    """The weights of a network are missing or do not fit it."""


class MemoryShortError(DreamVideoError):
    """A picture does not fit into memory, not even in tiles."""


class DreamVideoWarning(UserWarning):
    """What is done all the same, and should be known. The command line shows it in one line."""
