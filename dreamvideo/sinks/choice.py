"""Which encoder a film gets, and how its pictures hold colours. Refuses to encode anything."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import av

from dreamvideo.encoders import DEFAULT_ENCODER, DEFAULT_ENCODERS, ENCODERS, Encoder
from dreamvideo.errors import DreamVideoWarning, OutputError, SettingsError
from dreamvideo.frames import Footage
from dreamvideo.media.kinds import ANIMATED_SUFFIXES
from dreamvideo.settings import Settings

# Every bit counts in the conversion only where the encoder keeps more than these.
SHALLOW_BITS = 8


@dataclass(frozen=True)
class Encoding:
    """How a film is going to be encoded."""

    name: str
    pixel_format: str
    options: tuple[tuple[str, str], ...]
    full_range: bool

    @property
    def facts(self) -> Encoder:
        """What is known of the encoder."""
        return ENCODERS[self.name]


def choose_encoding(suffix: str, settings: Settings, footage: Footage) -> Encoding:
    """What the settings ask for, or what suits the file and the pictures.

    Raises:
        SettingsError: the encoder does not go with the file, the quality, preset or pixel format.
    """
    default = DEFAULT_ENCODERS.get(suffix, DEFAULT_ENCODER)
    name = settings.encoder or default
    facts = ENCODERS[name]
    for option in ("encoder", "crf", "preset", "pixel_format"):
        if suffix in ANIMATED_SUFFIXES and getattr(settings, option) is not None:
            flag = option.replace("_", "-")
            raise SettingsError(
                f"{flag} cannot be {getattr(settings, option)} for a {suffix}, which has none; "
                f"leave --{flag} out"
            )
    if suffix not in ANIMATED_SUFFIXES and suffix not in facts.suffixes:
        raise SettingsError(
            f"encoder {name} cannot be in {suffix}: allowed is {', '.join(facts.suffixes)}; "
            f"{suffix} takes {', '.join(k for k, v in ENCODERS.items() if suffix in v.suffixes)}"
        )
    options = dict(facts.options)
    if facts.quality_option:
        quality = facts.quality if settings.crf is None else settings.crf
        if quality > facts.worst_quality:
            raise SettingsError(
                f"crf cannot be {quality} with {name}: allowed is 0 to {facts.worst_quality}"
            )
        options[facts.quality_option] = str(quality)
    elif settings.crf is not None:
        raise SettingsError(f"crf cannot be {settings.crf} with {name}, which knows no quality")
    if settings.preset is not None and settings.preset not in facts.presets:
        allowed = f"one of {', '.join(facts.presets)}" if facts.presets else "none"
        raise SettingsError(f"preset cannot be {settings.preset} with {name}: allowed is {allowed}")
    if facts.preset_option:
        options[facts.preset_option] = settings.preset or facts.preset
    pixel_format = _pixel_format(name, settings, footage)
    is_rgb = av.VideoFormat(pixel_format).is_rgb
    full_range = is_rgb or (footage.colour.full_range and facts.full_range)
    return Encoding(name, pixel_format, tuple(options.items()), full_range)


def _pixel_format(name: str, settings: Settings, footage: Footage) -> str:
    facts = ENCODERS[name]
    is_odd = footage.width_px % 2 or footage.height_px % 2
    if settings.pixel_format is None:
        if is_odd and not facts.odd_sizes:
            warnings.warn(
                f"{footage.width_px}x{footage.height_px} has an odd side, which {name} keeps as "
                f"{facts.odd_pixel_format}; some players and browsers do not show that: --size "
                "makes it even",
                DreamVideoWarning,
                stacklevel=2,
            )
            return facts.odd_pixel_format
        return facts.pixel_format if footage.bits <= SHALLOW_BITS else facts.deep_pixel_format
    try:
        known = [kind.name for kind in av.Codec(name, "w").video_formats or ()]
    except av.codec.codec.UnknownCodecError as error:
        raise missing_encoder(name) from error
    if settings.pixel_format not in known:
        raise SettingsError(
            f"pixel-format cannot be {settings.pixel_format} with {name}: allowed is one of "
            f"{', '.join(known)}"
        )
    if is_odd and not facts.odd_sizes and "444" not in settings.pixel_format:
        raise SettingsError(
            f"pixel-format cannot be {settings.pixel_format} with {name} at "
            f"{footage.width_px}x{footage.height_px}: odd sides need {facts.odd_pixel_format}, or "
            "give an even --size"
        )
    return settings.pixel_format


def missing_encoder(name: str) -> OutputError:
    """The error that says so, and which encoders are there."""
    return OutputError(
        f"the encoder {name} is not in this build of FFmpeg; there are "
        f"{', '.join(sorted(set(ENCODERS) & av.codecs_available))}"
    )
