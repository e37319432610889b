"""The camera takes the same path at any frame rate, and images follow it to the pixel."""

from __future__ import annotations

import cmath
import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from dreamvideo import Settings
from dreamvideo.zoom.camera import Camera, Canvas, Similarity, transform_image
from dreamvideo.zoom.stages import Stage, clamped_smoothstep, stage_at

WIDTH, HEIGHT = 120, 80
FRAME = Canvas(WIDTH, HEIGHT)
CONSTANT: dict[str, Any] = {
    "zoom": 1.3, "rotate": 25.0, "pan_x": 0.1, "pan_y": -0.05, "centre": (0.4, 0.7)
}  # fmt: skip
CHANGING: dict[str, Any] = {
    "zoom": [(0, 1.0), (0.7, 1.8), (2, 0.7, "hold"), (2.5, 1.2)],
    "rotate": [(0, 0.0), (3, 90.0, "smooth")],
    "pan_x": [(0.5, -0.2), (1.5, 0.2)],
    "centre": [(0, (0.5, 0.5)), (2, (0.1, 0.8))],
}


def camera(**options: Any) -> Camera:
    return Camera(Settings(**options), WIDTH, HEIGHT)


def path_in_steps(path: Camera, rate: int, seconds: int) -> Similarity:
    """A whole path, composed of the steps between frames."""
    whole = Similarity()
    for index in range(rate * seconds):
        one = path.between(index / rate, (index + 1) / rate)
        whole = Similarity(one.factor * whole.factor, one(whole.offset))
    return whole


@pytest.mark.parametrize("options", [CONSTANT, CHANGING, {}])
def test_the_path_does_not_depend_on_the_frame_rate(options: dict[str, Any]) -> None:
    path = camera(**options)
    whole = path.between(0, 4)
    for rate in (1, 24, 60):
        steps = path_in_steps(path, rate, 4)
        for position in (0j, 0.5 + 0.3j, -0.4 - 0.2j):
            assert abs(steps(position) - whole(position)) * WIDTH < 0.02


def test_the_largest_step_includes_every_spike() -> None:
    """However long the video and short the spike."""
    spike = [(0, 1.0), (1000, 1.0, "hold"), (1000.02, 10.0, "hold"), (1000.06, 1.0)]
    assert camera(zoom=spike).largest_step(3000, 0.04) == pytest.approx(math.log(10) * 0.04)
    assert camera(zoom=0.5).largest_step(10, 0.1) == pytest.approx(math.log(2) * 0.1)
    assert camera(zoom=1.0, rotate=90.0).largest_step(10, 0.1) == 0


def test_units_and_directions_of_the_options() -> None:
    zoom = camera(zoom=1.5).between(0, 2)
    assert zoom.factor == pytest.approx(2.25)
    assert zoom(0) == 0
    turned = camera(zoom=1.0, rotate=90.0).between(0, 1)
    assert turned(0.2) == pytest.approx(0.2j)  # y points down: from the right to the bottom
    panned = camera(zoom=1.0, pan_x=0.1, pan_y=0.2).between(0, 3)
    assert panned(0) == pytest.approx(-0.3 - 0.6j)  # the camera goes right and down
    centred = camera(zoom=2.0, rotate=40.0, centre=(0.2, 0.9)).between(0, 1)
    fixed = complex(0.2 - 0.5, (0.9 - 0.5) * HEIGHT / WIDTH)
    assert centred(fixed) == pytest.approx(fixed)
    assert camera().between(0, 1).scale == pytest.approx(1.2)
    assert camera(zoom=0.5).between(0, 1).inverse().scale == pytest.approx(2)


def test_zoom_and_pan_together_are_exact() -> None:
    """Against the differential equation, solved in very small steps."""
    path = camera(**CONSTANT)
    turn = math.log(1.3) + 1j * math.radians(25)
    centre = complex(0.4 - 0.5, (0.7 - 0.5) * HEIGHT / WIDTH)
    position, steps = 0.3 - 0.1j, 200_000
    for _ in range(steps):
        position += (turn * (position - centre) - (0.1 - 0.05j)) * 2 / steps
    assert path.between(0, 2)(0.3 - 0.1j) == pytest.approx(position, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "edges"),
    [
        ({}, set()),
        ({"zoom": 0.9}, {"left", "right", "top", "bottom"}),
        ({"zoom": 1.0, "pan_x": 0.1}, {"right"}),
        ({"zoom": 1.0, "pan_y": -0.1}, {"top"}),
        ({"zoom": 1.0, "rotate": 10.0}, {"left", "right", "top", "bottom"}),
        ({"zoom": 1.0}, set()),
    ],
)
def test_where_things_come_into_view(options: dict[str, Any], edges: set[str]) -> None:
    speeds = camera(**options).inflow(1.0)
    assert {edge for edge, speed in speeds.items() if speed > 1e-9} == edges
    if options == {"zoom": 1.0, "pan_x": 0.1}:
        assert speeds["right"] == pytest.approx(0.1)


def test_the_inflow_includes_short_moves_of_long_videos() -> None:
    pan = [(0, 0.0), (61.3, 0.0), (61.8, 0.3), (63, 0.3), (63.4, 0.0)]
    assert camera(zoom=1.0, pan_x=pan).inflow(600.0)["right"] == pytest.approx(0.3)
    jump = [(0, 1.0), (5, 0.5), (6, 1.0, "hold"), (7, 0.7), (8, 1.0)]
    assert camera(zoom=jump).inflow(600.0)["left"] > 0.5 * -math.log(0.5) - 1e-6


def blob(x_px: float, y_px: float) -> Tensor:
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    spot = torch.exp(-((x - x_px) ** 2 + (y - y_px) ** 2) / (2 * 4.0**2))
    return spot.expand(1, 3, -1, -1).contiguous()


def centroid_px(image: Tensor) -> complex:
    weights = image[0, 0].double()
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    total = float(weights.sum())
    return complex(float((weights * x).sum()) / total, float((weights * y).sum()) / total)


@pytest.mark.parametrize("rate", [12, 60])
@pytest.mark.parametrize(
    "options", [{"zoom": 1.25}, {"zoom": 0.85}, {"zoom": 1.0, "rotate": 20.0, "pan_x": 0.05}]
)
def test_things_move_with_the_camera(options: dict[str, Any], rate: int) -> None:
    """Many steps of a fraction of a pixel add up without an error."""
    path, image = camera(**options), blob(68, 44)
    for index in range(2 * rate):
        image = transform_image(image, FRAME, path.between(index / rate, (index + 1) / rate))
    position = path.between(0, 2)(complex((68 - WIDTH / 2) / WIDTH, (44 - HEIGHT / 2) / WIDTH))
    expected = complex(position.real * WIDTH + WIDTH / 2, position.imag * WIDTH + HEIGHT / 2)
    assert abs(centroid_px(image) - expected) < 0.05


def test_no_motion_changes_nothing() -> None:
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    torch.testing.assert_close(
        transform_image(image, FRAME, Similarity()), image, rtol=0, atol=1e-4
    )


def test_a_motion_by_whole_pixels_copies_and_mirrors() -> None:
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    shown = transform_image(image, FRAME, Similarity(1.0, complex(-7 / WIDTH, 3 / WIDTH)))
    torch.testing.assert_close(shown[..., 3:, :-7], image[..., :-3, 7:], rtol=0, atol=1e-3)
    # The outermost line is mirrored as well, so that it appears twice.
    torch.testing.assert_close(
        shown[..., 3:, -7:], image[..., :-3, -7:].flip(-1), rtol=0, atol=1e-3
    )


def test_a_canvas_extends_beyond_the_frame() -> None:
    wide = Canvas(WIDTH, HEIGHT, left_px=4, right_px=10, top_px=2, bottom_px=6)
    assert wide.size == (HEIGHT + 8, WIDTH + 14)
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    seen = transform_image(image, FRAME, Similarity(), wide)
    assert seen.shape == (1, 3, *wide.size)
    torch.testing.assert_close(wide.crop(seen), image, rtol=0, atol=1e-4)
    back = transform_image(seen, wide, Similarity(), FRAME)
    torch.testing.assert_close(back, image, rtol=0, atol=1e-3)
    # A rotation about the centre of the frame, which is not that of the canvas.
    turned = transform_image(seen, wide, Similarity(cmath.rect(1, math.pi)), FRAME)
    torch.testing.assert_close(turned, image.flip(-1, -2), rtol=0, atol=1e-3)


def test_shrinking_gives_no_moire() -> None:
    stripes = (torch.arange(WIDTH) % 2).float().expand(1, 3, HEIGHT, -1).contiguous()
    shown = transform_image(stripes, FRAME, Similarity(0.23))
    inner = shown[..., HEIGHT // 2 - 6 : HEIGHT // 2 + 6, WIDTH // 2 - 10 : WIDTH // 2 + 10]
    assert inner.std() < 0.05
    assert inner.mean() == pytest.approx(0.5, abs=0.02)


def stage(current_still: int, next_still: int | None, begin: float, end: float) -> Stage:
    return Stage(current_still, next_still, Fraction(begin), Fraction(end))


@pytest.mark.parametrize(
    ("time", "stills", "is_loop", "expected"),
    [
        (0, 1, False, stage(0, None, 0, 9)),
        (8.5, 1, True, stage(0, 0, 0, 9)),
        (2.5, 3, False, stage(0, 1, 0, 3)),
        (3, 3, False, stage(1, 2, 3, 6)),
        (8.5, 3, False, stage(2, None, 6, 9)),
        (8.5, 3, True, stage(2, 0, 6, 9)),
        (9, 3, True, stage(2, 0, 6, 9)),
    ],
)
def test_stages(time: float, stills: int, is_loop: bool, expected: Stage) -> None:
    assert stage_at(Fraction(time), stills, Fraction(9), is_loop) == expected


def test_a_stage_begins_with_its_frame() -> None:
    """With floats, nine thirtieths divided by three tenths would not be three."""
    duration = Fraction(24, 30)
    current_stills = [
        stage_at(Fraction(i, 30), 8, duration, False).current_still for i in range(24)
    ]
    assert current_stills == [i // 3 for i in range(24)]


def test_the_dream_grows_and_gives_way() -> None:
    alone, between = stage(0, None, 0, 9), stage(0, 1, 0, 9)
    begin, end, half = Fraction(0), Fraction(9), Fraction(1, 2)
    assert alone.dream_share(begin) == between.dream_share(begin) == between.dream_share(end) == 0
    assert alone.dream_share(Fraction(1)) == between.dream_share(Fraction(1)) == 1
    assert alone.dream_share(end) == 1
    assert 0 < alone.dream_share(half) < 1
    assert stage(0, 1, 0, 1).dream_share(half) == 1
    assert between.next_still_share(end / 2) == 0.5
    assert alone.next_still_share(end / 2) == 0
    assert [clamped_smoothstep(x) for x in (-1, 0, 0.5, 1, 2)] == [0, 0, 0.5, 1, 1]


def test_the_log_growth_of_long_paths_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the growth itself is too large or too small for a float."""
    for zoom in (0.1, 10.0):
        growth = camera(zoom=zoom).log_growth(0, 4000)
        assert growth == pytest.approx(4000 * math.log(zoom))
    keys = camera(zoom=[(0, 1.0), (1, 2.0, "hold"), (3, 1.0)])
    assert keys.log_growth(1, 3) == pytest.approx(2 * math.log(2))
    # Where no rate changes there are no small steps, which these would be too many.
    monkeypatch.setattr("dreamvideo.zoom.camera.STEPS_PER_SECOND", 10**12)
    assert keys.log_growth(1, 3600) == pytest.approx(2 * math.log(2))
