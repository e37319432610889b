"""Colours: matrices, ranges, encoders, bit depths, HDR, transparency, interlacing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import imageio.v3 as iio
import numpy as np
import pytest

from dreamvideo import Settings, dream_video
from dreamvideo.errors import DreamVideoWarning
from dreamvideo.media.opening import Location
from dreamvideo.media.read import open_source
from dreamvideo.types import ColourTags
from tests.conftest import (
    UNTOUCHED,
    X264,
    MakeClip,
    ffmpeg,
    frames_of,
    mean_error,
    psnr,
    smooth_colours,
)

pytestmark = pytest.mark.usefixtures("shared_network")

COLOUR_CLIPS = {
    "bt709": ("bt709", "tv", "480x270"),
    "bt601": ("smpte170m", "tv", "480x270"),
    "full range": ("bt709", "pc", "480x270"),
    "bt2020": ("bt2020nc", "tv", "480x270"),
    "untagged small": ("", "tv", "480x270"),
    "untagged hd": ("", "tv", "1280x720"),
}


@pytest.mark.parametrize("name", COLOUR_CLIPS)
def test_colours_are_exact(name: str, make_clip: MakeClip, tmp_path: Path) -> None:
    """Smooth RGB colours, encoded by ffmpeg, are decoded to the same RGB."""
    matrix, colour_range, size = COLOUR_CLIPS[name]
    encoded_as = matrix or ("bt709" if size == "1280x720" else "bt601")
    source, truth = smooth_colours(size, tmp_path)
    scale = (
        f"scale=out_color_matrix={encoded_as}:out_range={colour_range}"
        ":flags=bicubic+accurate_rnd+full_chroma_int,format=yuv420p"
    )
    tags = f",setparams=colorspace={matrix or 'unknown'}:range={colour_range}"
    clip = make_clip("clip.mp4", source, "-vf", scale + tags, *X264)
    before = frames_of(clip)[0].image
    # FFmpeg itself is 0.9 off when it encodes full-range videos.
    assert mean_error(before, truth) < (1.2 if colour_range == "pc" else 0.8)
    out = tmp_path / "out.mp4"
    dream_video(clip, out, UNTOUCHED)
    after = frames_of(out)[0].image
    assert mean_error(after, before) < 0.8
    assert np.abs((after - before).mean((0, 1)) * 255).max() < 0.1
    with av.open(str(out)) as video:
        tagged = video.streams.video[0].codec_context
        expected = {"bt709": 1, "smpte170m": 6, "bt2020nc": 9, "bt601": 6}[encoded_as]
        assert int(tagged.colorspace) == expected


def test_five_generations_do_not_darken(make_clip: MakeClip, tmp_path: Path) -> None:
    first = video = make_clip("a.mp4", smooth_colours("160x90", tmp_path)[0], *X264)
    for generation in range(5):
        following = tmp_path / f"{generation}.mp4"
        dream_video(video, following, UNTOUCHED)
        video = following
    drift = (frames_of(video)[0].image - frames_of(first)[0].image).mean((0, 1)) * 255
    assert np.abs(drift).max() < 0.5


def test_encoding_keeps_the_image(sample_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    dream_video(sample_clip, out, Settings(strength=0, flow="none", device="cpu", size=320))
    for before, after in zip(
        frames_of(sample_clip, Settings(size=320)), frames_of(out), strict=True
    ):
        assert psnr(before.image, after.image) > 34


@pytest.mark.parametrize(
    ("suffix", "encoder", "max_error"),
    [(".mkv", "ffv1", 0.6), (".mp4", "libx265", 0.8), (".mov", "prores_ks", 0.8),
     (".mp4", "libsvtav1", 1.6), (".webm", "libvpx-vp9", 1.2), (".mkv", "libx264", 0.8)],
)  # fmt: skip
def test_every_encoder_keeps_colours(
    suffix: str, encoder: str, max_error: float, gradient: Path, tmp_path: Path
) -> None:
    """Smooth colours; AV1 and VP9 have no setting as fine as x264's 1."""
    out = tmp_path / f"out{suffix}"
    crf = None if encoder in ("ffv1", "prores_ks") else 1
    dream_video(gradient, out, replace(UNTOUCHED, encoder=encoder, crf=crf, segment_frames=3))
    before, after = frames_of(gradient), frames_of(out)
    assert [frame.time_seconds for frame in after] == [frame.time_seconds for frame in before]
    for one, other in zip(before, after, strict=True):
        assert mean_error(one.image, other.image) < max_error
        assert np.abs((other.image - one.image).mean((0, 1)) * 255).max() < 0.12


@pytest.mark.parametrize(("pixel_format", "bits"), [("yuv420p10le", 10), ("yuv444p12le", 12)])
def test_videos_of_more_bits_keep_them(
    pixel_format: str, bits: int, gradient: Path, tmp_path: Path
) -> None:
    deep = tmp_path / "deep.mkv"
    encoder = ("-c:v", "libx265", "-x265-params", "lossless=1:log-level=error")
    ffmpeg("-i", gradient, "-pix_fmt", pixel_format, *encoder, deep)
    out = tmp_path / "out.mkv"
    settings = replace(UNTOUCHED, encoder="libx265", crf=1, pixel_format=pixel_format)
    dream_video(deep, out, settings)
    before, after = frames_of(deep), frames_of(out)
    assert mean_error(before[0].image, after[0].image) < 0.5  # 8 bits: 0.8
    assert np.abs((after[0].image - before[0].image).mean((0, 1)) * 255).max() < 0.1
    with av.open(str(out)) as container:
        written = container.streams.video[0].codec_context.format
        assert written is not None
        assert written.components[0].bits == bits


class TestToneMapping:
    def reference(
        self, clip: Path, folder: Path
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Tone-mapped by the filters of the bundled ffmpeg."""
        chain = (
            "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,"
            "zscale=t=bt709:m=bt709:r=tv,format=yuv444p,"
            "scale=in_color_matrix=bt709:flags=accurate_rnd+full_chroma_int,format=rgb24"
        )
        ffmpeg("-i", clip, "-frames:v", "1", "-vf", chain, folder / "reference.png")
        return np.asarray(iio.imread(folder / "reference.png")) / 255

    @pytest.mark.parametrize(("transfer", "max_error"), [("smpte2084", 3.0), ("arib-std-b67", 2.0)])
    def test_high_dynamic_range_is_tone_mapped(
        self, transfer: str, max_error: float, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        """The reference is exact for PQ; its curve for HLG is exact for grey only."""
        source = "testsrc2=s=320x180:r=25:d=0.2"
        if transfer == "arib-std-b67":
            source = "color=black:s=256x64:r=25:d=0.2,format=gray16le,geq=lum='X*257'"
        chain = (
            f"format=gbrpf32le,zscale=tin=bt709:pin=bt709:min=gbr:t={transfer}:p=bt2020:m=bt2020nc"
            ":r=tv:npl=400,format=yuv444p10le"
        )
        clip = make_clip(
            "hdr.mkv", source, "-vf", chain, "-c:v", "libx265", "-x265-params",
            "log-level=error:lossless=1", "-color_primaries", "bt2020", "-color_trc", transfer,
            "-colorspace", "bt2020nc",
        )  # fmt: skip
        expected = self.reference(clip, tmp_path)
        with (
            pytest.warns(DreamVideoWarning, match="high dynamic range") as caught,
            open_source(Location(str(clip)), Settings()) as opened,
        ):
            image = next(iter(opened)).image
            assert opened.info.colour == ColourTags(1, 1, 1)
        assert len(caught) == 1
        assert np.abs(image - expected).mean((0, 1)).max() * 255 < max_error
        with pytest.warns(DreamVideoWarning):
            dream_video(clip, tmp_path / "o.mp4", UNTOUCHED)
        with av.open(str(tmp_path / "o.mp4")) as video:
            assert int(video.streams.video[0].codec_context.color_trc) == 1

    @pytest.mark.parametrize("codec", ["libvpx-vp9", "png", "prores_ks"])
    def test_transparent_videos(self, codec: str, make_clip: MakeClip, tmp_path: Path) -> None:
        fade = "color=red:s=96x64:r=25:d=0.2,format=rgba,geq=r=255:g=0:b=0:a='255*X/95'"
        suffix, options = {
            "libvpx-vp9": (".webm", ("-pix_fmt", "yuva420p")),
            "png": (".mov", ()),
            "prores_ks": (".mov", ("-pix_fmt", "yuva444p10le")),
        }[codec]
        clip = make_clip(f"a{suffix}", fade, "-c:v", codec, *options)
        dream_video(clip, tmp_path / "out", UNTOUCHED)
        pixels = iio.imread(tmp_path / "out" / "000001.png")
        assert pixels.shape == (64, 96, 4)
        assert np.abs(pixels[32, :, 3] - np.linspace(0, 255, 96)).max() < 12
        with pytest.warns(DreamVideoWarning, match="transparent") as caught:
            dream_video(clip, tmp_path / "o.mp4", replace(UNTOUCHED, segment_frames=2))
        assert len(caught) == 1
        shown = frames_of(tmp_path / "o.mp4")[0].image
        assert shown[32, 2].max() < 0.1
        assert shown[32, 90, 0] > 0.85

    def test_interlaced_videos_are_deinterlaced(self, make_clip: MakeClip, tmp_path: Path) -> None:
        """A bar moves sideways: without deinterlacing every other line of its edge is displaced."""
        source = "color=black:s=320x180:r=50:d=0.6[b];color=white:s=40x180:r=50:d=0.6[w];"
        moving = f"{source}[b][w]overlay=x='n*8'"
        options = (
            "-vf",
            "interlace=lowpass=off",
            "-flags",
            "+ildct+ilme",
            *X264,
            "-x264opts",
            "tff=1",
        )
        clip = make_clip("a.mp4", moving, *options)
        ffmpeg("-i", clip, "-vf", "setfield=prog", *X264, tmp_path / "woven.mp4")
        combs = []
        for path in (tmp_path / "woven.mp4", clip):
            image = frames_of(path)[8].image[..., 0]
            between = (image[:-2:2] + image[2::2]) / 2
            combs.append(np.abs(image[1:-1:2] - between).mean())
        assert combs[1] < 0.25 * combs[0]
        dream_video(clip, tmp_path / "o.mp4", UNTOUCHED)
        before = frames_of(clip)
        assert [f.time_seconds for f in frames_of(tmp_path / "o.mp4")] == [
            f.time_seconds for f in before
        ]
