"""Prints how fast videos pass without a dream, against decoding and encoding alone.

    python scripts/throughput.py                # 2000 frames of 160×90
    python scripts/throughput.py --size 640x360 --seconds 20

Each line is a way from the same clip to the same video, in one run: PyAV's shortest loop without
touching the pixels; the same through RGB arrays, which a program that changes them needs; and
`dreamvideo --strength 0`, which also converts colours exactly and saves its work to the disk.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import imageio_ffmpeg

from dreamvideo import Settings, dream_video
from dreamvideo.runtime.process import keep_freed_memory, limit_openmp_spinning

CRF, PRESET = 18, "medium"


def transcode(clip: Path, out: Path, through_rgb: bool) -> None:
    """Decode and encode, as PyAV's documentation does."""
    with av.open(str(clip)) as source, av.open(str(out), "w") as target:
        video = source.streams.video[0]
        video.thread_type = "AUTO"
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height = video.width, video.height
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(CRF), "preset": PRESET}
        for frame in source.decode(video):
            encoded = frame
            if through_rgb:
                encoded = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"))
                encoded.pts, encoded.time_base = frame.pts, frame.time_base
            target.mux(stream.encode(encoded))
        target.mux(stream.encode(None))


def main() -> None:
    """Make the clip, take each way three times and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="160x90")
    parser.add_argument("--seconds", type=int, default=80)
    chosen = parser.parse_args()
    limit_openmp_spinning()
    keep_freed_memory()
    frames = 25 * chosen.seconds
    settings = Settings(strength=0, crf=CRF, preset=PRESET, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        clip, out = Path(folder) / "clip.mp4", Path(folder) / "out.mp4"
        source = f"testsrc2=s={chosen.size}:r=25:d={chosen.seconds}"
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source]
        subprocess.run([*ffmpeg, "-pix_fmt", "yuv420p", str(clip)], check=True)
        ways: dict[str, Callable[[], object]] = {
            "without touching the pixels": lambda: transcode(clip, out, through_rgb=False),
            "through RGB arrays": lambda: transcode(clip, out, through_rgb=True),
            "dreamvideo": lambda: dream_video(clip, out, settings, overwrite=True),
        }
        best = {name: min(timed(way) for _ in range(3)) for name, way in ways.items()}
    print(f"{frames} frames of {chosen.size}")
    for name, seconds in best.items():
        share = seconds / best["dreamvideo"]
        print(f"{name:30} {frames / seconds:6.0f} frames/s; dreamvideo reaches {share:.0%}")


def timed(way: Callable[[], object]) -> float:
    """The duration of a call in seconds."""
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
