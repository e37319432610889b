"""Hashes the frames of seventeen short runs, to tell whether a change of the code changed any.

    python scripts/frame_hashes.py                              # print the hashes
    python scripts/frame_hashes.py --save hashes.json           # before the change
    python scripts/frame_hashes.py --compare hashes.json        # after it: same or DIFFERENT
    python scripts/frame_hashes.py clip zoom --compare hashes.json      # only some runs

With --compare the exit status is 1 if any run differs. Hashes hold for one machine with one set of
installed packages: on another one, save them anew. Only what `dreamvideo` exports is used here, so
that modules can move. While other programs keep the cores busy, GOMP_SPINCOUNT=10000 in the
environment saves time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import av
import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import torch

from dreamvideo import Settings, dream_video, keyframes

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
CLIP, CAT = str(SAMPLES / "clip.mp4"), str(SAMPLES / "cat.png")
# Another number of threads gives another dream.
THREADS = 2

# The inputs that are made: where they lie in the temporary folder, and what FFmpeg makes them of.
TO_160 = "scale=160:90:flags=lanczos"
TWO_SHOTS = f"[0:v]{TO_160},setsar=1,trim=end_frame=5[a];[1:v]trim=end_frame=5[b];[a][b]concat"
# A soft edge that moves to the right.
MOVING_EDGE = "color=s=160x90:r=25:d=1,format=gray,geq=lum='clip(4*(X-40)-16*N,0,255)'"
INPUTS: dict[str, list[str]] = {
    "shots.mkv": [
        *("-i", CLIP, "-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=1"),
        *("-filter_complex", TWO_SHOTS, "-c:v", "ffv1"),
    ],
    "mask.mkv": ["-f", "lavfi", "-i", MOVING_EDGE, "-c:v", "ffv1"],
    "deep/%d.png": ["-i", CLIP, "-frames:v", "3", "-vf", TO_160, "-pix_fmt", "rgb48be"],
}

# What a frame is beside its pixels, and these.
Frame: TypeAlias = tuple[str, npt.NDArray[Any]]
# `frames`, how many there are, and `sha256` of them all.
Result: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A run: names of inputs, the name of the output, and options.

    Names without a folder are those of the temporary one.
    """

    inputs: tuple[str, ...]
    output: str
    options: Mapping[str, Any]


def of_clip(seconds: float, **options: Any) -> Case:
    """A run on the beginning of the sample clip, which has 25 frames per second."""
    return Case((CLIP,), "out.mkv", {"size": 160, "end": seconds, **options})


CASES: dict[str, Case] = {
    # Long enough for the turns: the small octaves are refreshed, and strengths are measured, in
    # every eighth frame; the weakest part is dreamed in every second one.
    "clip": of_clip(0.56),
    "alone": of_clip(0.12, flow="none"),
    "passes": of_clip(0.4, passes=2, iterations=6),
    "shots": Case(("shots.mkv",), "out.mkv", {"iterations": 6}),
    "mask": of_clip(0.24, mask="mask.mkv", iterations=6),
    "guide": of_clip(0.2, guide=CAT, iterations=6),
    "channels": of_clip(0.2, channel=(5, 17), iterations=6),
    "class": of_clip(0.12, class_="tabby", octaves=2, iterations=6),
    "keys": of_clip(
        0.4,
        layer=keyframes((0, "blocks.5.expand"), (0.3, "blocks.9")),
        strength=keyframes((0, 0.5), (0.2, 1.5, "smooth"), (0.4, 1.0)),
        iterations=6,
    ),
    "vgg16": of_clip(
        0.12, size=96, model="vgg16", weights="random", layer="features.8", octaves=2, iterations=4
    ),
    "still": Case((CAT,), "out.png", {"size": 192, "iterations": 6}),
    "deep": Case(("deep",), "out", {"iterations": 6}),
    "zoom": Case(
        (CAT,), "out.mkv", {"size": 128, "duration": 0.5, "fps": 12, "rotate": 20, "pan_x": 0.1}
    ),
    # In the first half the next still grows out of the dream, in the second one it is faded into.
    "loop": Case(
        (CAT, "noise:96x64"),
        "out.mkv",
        {
            **{"size": 96, "duration": 1, "fps": 10, "loop": True, "iterations": 6},
            "zoom": keyframes((0, 6, "hold"), (0.5, 1)),
        },
    ),
    "noise": Case(("noise:96x64",), "out.mkv", {"duration": 0.5, "fps": 12}),
    "blend": of_clip(0.24, evolve=1.0, keep_colour=True, mix=0.6, iterations=6),
    # A place of this layer sees little, so that the tiles are parts of the picture.
    "tile": Case(
        (CAT,),
        "out.tiff",
        {"tile": "64", "layer": "blocks.5.expand", "octaves": 1, "iterations": 2},
    ),
}


def make_inputs(folder: Path) -> None:
    """Make the inputs that are no samples."""
    for name, words in INPUTS.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
        subprocess.run([*ffmpeg, *words, str(path)], check=True)


def hashed_run(case: Case, folder: Path) -> Result:
    """Dream a case into a folder of its own, and hash what comes out."""
    options = {"device": "cpu", **case.options}
    if case.output.endswith(".mkv"):
        options["encoder"] = "ffv1"
    if "mask" in options:
        options["mask"] = str(folder / options["mask"])
    inputs = [name if name.startswith("noise:") else folder / name for name in case.inputs]
    with tempfile.TemporaryDirectory(dir=folder) as own:
        output = Path(own) / case.output
        dream_video(inputs, output, Settings(**options))
        return hash_of(film_frames(output) if output.suffix == ".mkv" else pictures(output))


def film_frames(path: Path) -> Iterator[Frame]:
    """The frames of a film of 8 bits: their times in seconds, pixel formats and values."""
    with av.open(str(path)) as video:
        for frame in video.decode(video=0):
            assert frame.pts is not None and frame.time_base is not None
            label = f"{frame.pts * frame.time_base} {frame.format.name}"
            yield label, frame.to_ndarray(format="rgb24")


def pictures(path: Path) -> Iterator[Frame]:
    """A still, or the pictures of a folder in the order of their names, with all their bits."""
    for picture in sorted(path.iterdir()) if path.is_dir() else [path]:
        # Of imageio's readers this one keeps 16 bits of colour pictures.
        yield picture.name, iio.imread(picture, plugin="opencv", flags=-1)


def hash_of(frames: Iterator[Frame]) -> Result:
    """SHA-256 over all frames: what each is, the type and shape of its pixels, and these."""
    digest, count = hashlib.sha256(), 0
    for label, pixels in frames:
        digest.update(f"{label} {pixels.dtype} {pixels.shape}\n".encode())
        digest.update(np.ascontiguousarray(pixels).tobytes())
        count += 1
    return {"frames": count, "sha256": digest.hexdigest()}


def verdict(result: Result, before: Result | None) -> str:
    """How a result compares with the one that was saved."""
    if before is None:
        return "DIFFERENT: no hash was saved"
    if result["frames"] != before["frames"]:
        return f"DIFFERENT: {result['frames']} frames, not {before['frames']}"
    return "same" if result == before else "DIFFERENT"


def main() -> int:
    """Run the cases, print a line for each, and save or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--save", type=Path, metavar="FILE", help="write the hashes there")
    what.add_argument("--compare", type=Path, metavar="FILE", help="compare with those saved there")
    chosen = parser.parse_args()
    if unknown := set(chosen.cases) - set(CASES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    saved = json.loads(chosen.compare.read_text()) if chosen.compare else None
    torch.set_num_threads(THREADS)
    results, differ = {}, False
    with tempfile.TemporaryDirectory() as name:
        make_inputs(Path(name))
        for case in chosen.cases or CASES:
            started = time.perf_counter()
            result = results[case] = hashed_run(CASES[case], Path(name))
            seconds = time.perf_counter() - started
            said = result["sha256"] if saved is None else verdict(result, saved.get(case))
            print(f"{case:9} {result['frames']:3} frames {seconds:5.1f} s  {said}", flush=True)
            differ |= said.startswith("DIFFERENT")
    if chosen.save:
        chosen.save.write_text(json.dumps(results, indent=2) + "\n")
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
