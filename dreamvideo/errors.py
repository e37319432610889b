"""The exceptions and the warning of dreamvideo.

    DreamVideoError
    ├── UsageError             the request is invalid (exit status 2)
    │   ├── SettingsError      an option has an invalid value
    │   ├── UnknownModelError  there is no network of that name
    │   ├── UnknownLayerError  the network has no layer, channel or class of that name
    │   ├── OutputExistsError  the output exists and overwriting was not requested
    │   └── ResumeError        an unfinished run of the same output has other settings
    ├── InputError             the source cannot be read, or not to its end
    ├── OutputError            the result cannot be written
    │   └── OutputBusyError    another run is writing the same output
    ├── WeightsError           a network's weights are missing, do not fit, or are not finite
    └── MemoryShortError       an image does not fit into memory
    DreamVideoWarning          the run continues, but the user should know something

Every message is one line: what happened, what was received, what is allowed and what to do.
"""

from __future__ import annotations


class DreamVideoError(Exception):
    """Base class: the command line reports it in one line, without a traceback."""


class UsageError(DreamVideoError):
    """The request is invalid."""


class SettingsError(UsageError):
    """An option has an invalid value."""


class UnknownModelError(UsageError):
    """There is no network of the given name, or the given object is not a network."""


class UnknownLayerError(UsageError):
    """The network has no layer, channel or class of the given name."""


class OutputExistsError(UsageError):
    """The output exists and overwriting was not requested."""


class ResumeError(UsageError):
    """An unfinished run of the same output has other settings, another source or version."""


class InputError(DreamVideoError):
    """The source cannot be read, or not to its end."""


class OutputError(DreamVideoError):
    """The result cannot be written."""


class OutputBusyError(OutputError):
    """Another run is writing the same output."""


class WeightsError(DreamVideoError):
    """The weights of a network are missing, do not fit it, or are not finite."""


class MemoryShortError(DreamVideoError):
    """An image does not fit into memory, not even in tiles."""


class DreamVideoWarning(UserWarning):
    """The run continues, but the user should know. The command line shows it in one line."""
