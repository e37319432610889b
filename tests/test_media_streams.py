"""Pipes, addresses and playlists: inputs and outputs that are not plain files."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from dreamvideo import dream_video
from dreamvideo.errors import InputError, UsageError
from dreamvideo.job.work_folder import resumable_frames
from dreamvideo.media.opening import Spool, SpoolReader
from tests.conftest import (
    CLOSE_PAIRS,
    UNTOUCHED,
    X264,
    MakeClip,
    frames_of,
    packet_seconds,
    packets_hash,
    times_increase,
)

OPTIONS = ["--strength", "0", "--crf", "1", "--device", "cpu"]


def run_piped(*arguments: str | Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "dreamvideo", *map(str, arguments), *OPTIONS]
    return subprocess.run(command, check=False, capture_output=True, input=data)


CLIP = ("testsrc2=s=160x90:d=1:r=25", *X264, "-c:a", "libmp3lame")


@pytest.fixture(params=[".mp4", ".mkv", ".ts"])
def video(request: pytest.FixtureRequest, encode_clip: MakeClip) -> Path:
    """In MP4 the index is at the end, so the whole stream is read first."""
    return encode_clip(request.param, *CLIP, audio="sine=d=1")


@pytest.fixture
def matroska(encode_clip: MakeClip) -> Path:
    """For tests of the output, where the container of the input does not matter."""
    return encode_clip(".mkv", *CLIP, audio="sine=d=1")


def test_a_stream_becomes_a_stream(video: Path, tmp_path: Path) -> None:
    done = run_piped("-", "-", data=video.read_bytes())
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out.mkv"
    out.write_bytes(done.stdout)
    with av.open(str(out)) as container:
        assert container.format.name == "matroska,webm"
    assert b"frames per second" in done.stderr
    before, after = frames_of(video), frames_of(out)
    start = before[0].time_seconds - after[0].time_seconds
    for one, other in zip(before, after, strict=True):
        assert abs(one.time_seconds - other.time_seconds - start) < 0.001
        assert np.abs(one.image - other.image).mean() < 0.02
    assert packets_hash(out, 0) == packets_hash(video, 0)


def test_a_stream_becomes_a_video(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "o.mp4"
    out.parent.mkdir()
    done = run_piped("-", out, data=video.read_bytes())
    assert done.returncode == 0, done.stderr
    assert len(frames_of(out)) == 25
    assert packets_hash(out, 0) == packets_hash(video, 0)
    assert list(out.parent.iterdir()) == [out]


def test_a_video_becomes_a_stream(matroska: Path, tmp_path: Path) -> None:
    done = run_piped(matroska, "-")
    (tmp_path / "out.mkv").write_bytes(done.stdout)
    assert len(frames_of(tmp_path / "out.mkv")) == 25


@pytest.mark.parametrize("is_piped", [False, True])
def test_aac_of_a_transport_stream_gets_a_header(
    is_piped: bool, make_clip: MakeClip, tmp_path: Path
) -> None:
    """A pipe cannot be written to again at its beginning, when the header is known."""
    audio = "sine=d=1:r=48000"
    clip = make_clip("a.ts", "testsrc2=s=160x90:d=1:r=25", *X264, "-c:a", "aac", audio=audio)
    done = run_piped("-", "-", data=clip.read_bytes()) if is_piped else run_piped(clip, "-")
    assert done.returncode == 0, done.stderr
    (tmp_path / "out.mkv").write_bytes(done.stdout)
    with av.open(str(tmp_path / "out.mkv")) as result:
        assert len(result.streams) == 2
        assert result.streams.audio[0].codec_context.extradata == bytes([0x11, 0x88])  # LC, mono
    assert len(frames_of(tmp_path / "out.mkv")) == 25
    assert sound_of(tmp_path / "out.mkv") == sound_of(clip)


def sound_of(path: Path) -> bytes:
    """The decoded samples of a file's first audio stream."""
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(audio=0))


def test_frames_closer_than_a_tick_get_different_times(make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip("a.mp4", "testsrc2=s=160x90:r=25:d=1", *CLOSE_PAIRS)
    (tmp_path / "o.mkv").write_bytes(run_piped(clip, "-").stdout)
    assert len(packet_seconds(tmp_path / "o.mkv")) == 25
    assert times_increase(tmp_path / "o.mkv")


def test_frames_are_written_before_the_stream_ends(make_clip: MakeClip) -> None:
    """A live stream has no end that a viewer could wait for."""
    data = make_clip("a.mkv", "testsrc2=s=160x90:d=8:r=25", *X264).read_bytes()
    command = [sys.executable, "-m", "dreamvideo", "-", "-", *OPTIONS, "--preset", "ultrafast"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, seen = process.stdin, threading.Event()

        def feed() -> None:
            stdin.write(data[: len(data) * 3 // 4])
            stdin.flush()
            seen.wait()
            stdin.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        received = process.stdout.read(50_000)  # blocks if nothing comes, up to the time limit
        assert received[:4] == b"\x1aE\xdf\xa3"
        seen.set()
        assert process.stdout.read()
        feeder.join()
    assert process.returncode == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_does_not_wait_for_the_stream(
    how: signal.Signals, make_clip: MakeClip, tmp_path: Path
) -> None:
    data = make_clip("a.mkv", "testsrc2=s=160x90:d=8:r=25", *X264).read_bytes()
    out = tmp_path / "o.mp4"
    command = [sys.executable, "-m", "dreamvideo", "-", str(out), *OPTIONS, "--segment-frames", "9"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(how, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        assert process.stdin is not None
        process.stdin.write(data[: len(data) * 3 // 4])
        process.stdin.flush()
        while not resumable_frames(out):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)  # the stream is silent now
        process.send_signal(how)
        assert process.wait(timeout=20) == 130
        assert process.stderr is not None
        assert b"frames are kept" in process.stderr.read()


def test_empty_and_invalid_streams_give_one_line(tmp_path: Path) -> None:
    for data, word in ((b"", b"empty"), (b"invalid!" * 1000, b"cannot read")):
        done = run_piped("-", tmp_path / "o.mp4", data=data)
        assert done.returncode == 1
        assert done.stderr.count(b"\n") == 1
        assert word in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_closes_the_pipe_gives_one_line(matroska: Path) -> None:
    command = [sys.executable, "-m", "dreamvideo", str(matroska), "-", *OPTIONS, "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith("dreamvideo: cannot write standard output")
    assert errors.count(b"\n") == 1


class TestSpool:
    def test_two_readers_read_the_same(self, tmp_path: Path) -> None:
        data = np.random.default_rng(0).bytes(300_000)
        with (tmp_path / "store").open("w+b") as store:
            spool = Spool(BytesIO(data), store)
            one, other = SpoolReader(spool), SpoolReader(spool)
            assert one.read(200_000) + one.read() == data
            assert b"".join(iter(partial(other.read, 7777), b"")) == data
            assert spool.length() == len(data)


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    handler = partial(QuietHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class TestSafety:
    def test_addresses_are_opt_in(self, address: str, make_clip: MakeClip, tmp_path: Path) -> None:
        options = (*X264, "-movflags", "+faststart")  # the server cannot seek
        make_clip("a.mp4", "testsrc2=s=160x90:d=1:r=25", *options, audio="sine=d=1")
        out = tmp_path / "out" / "o.mp4"
        out.parent.mkdir()
        with pytest.raises(UsageError, match="--allow-network"):
            dream_video(f"{address}/a.mp4", out, UNTOUCHED)
        assert list(out.parent.iterdir()) == []
        allowed = replace(UNTOUCHED, allow_network=True)
        assert dream_video(f"{address}/a.mp4", out, allowed).frames == 25
        assert packets_hash(out, 0) == packets_hash(tmp_path / "a.mp4", 0)

    @pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat", "dash.mpd"])
    @pytest.mark.parametrize("where", ["host", "file"])
    def test_lists_are_not_followed(
        self, name: str, where: str, make_clip: MakeClip, tmp_path: Path
    ) -> None:
        """No connection to the host is made, and no other file is dreamed."""
        other_file = make_clip("other.ts", "testsrc2=s=160x90:d=1:r=25", *X264)
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            port = server.getsockname()[1]
            target = f"http://127.0.0.1:{port}/a.ts" if where == "host" else str(other_file)
            text = {
                "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n"
                "#EXT-X-ENDLIST\n",
                "list.mp4": f"ffconcat version 1.0\nfile '{target}'\n",
                "list.ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
                "dash.mpd": '<?xml version="1.0"?><MPD><Period>'
                '<AdaptationSet mimeType="video/mp2t">'
                f'<Representation id="0" bandwidth="1"><BaseURL>{target}</BaseURL>'
                "</Representation></AdaptationSet></Period></MPD>",
            }[name]
            path = tmp_path / name
            path.write_text(text)
            with pytest.raises(InputError, match=rf"{name}") as caught:
                dream_video(path, tmp_path / "o.mp4", UNTOUCHED)
            assert "\n" not in str(caught.value)
            with pytest.raises(BlockingIOError):
                server.accept()
        assert not (tmp_path / "o.mp4").exists()

    def test_lists_are_followed_if_allowed(self, make_clip: MakeClip, tmp_path: Path) -> None:
        make_clip("a.ts", "testsrc2=s=160x90:d=1:r=25", *X264)
        (tmp_path / "list.m3u8").write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n"
        )
        settings = replace(UNTOUCHED, allow_network=True)
        assert dream_video(tmp_path / "list.m3u8", tmp_path / "o.mp4", settings).frames == 25
