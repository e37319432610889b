"""The benchmark measures what it says: its cases run, and its baseline is the same network."""

from __future__ import annotations

import pytest
import torch

from dreamvideo import Settings
from dreamvideo.networks.extractor import FeatureExtractor
from scripts.benchmark import Bench, Textbook
from tests.conftest import CPU, SAMPLES

# Halved repeatedly it stays odd: there, "SAME" padding is symmetric, as in the textbook.
ODD_SIZE = (65, 129)
# The textbook's epsilons of batch-norm, and 1/2 for 127/255, are not those of the weights.
SAME_SHARE = 0.02


def test_the_textbook_is_the_same_network(backbone: FeatureExtractor) -> None:
    settings = Settings()
    textbook = Textbook(settings, CPU)
    image = torch.rand(1, 3, *ODD_SIZE, generator=torch.Generator().manual_seed(3))
    ours = backbone(image, settings.layers)[0]

    with torch.no_grad():
        theirs = textbook.activation(image)

    assert (theirs - ours).abs().max() < SAME_SHARE * ours.abs().max()


@pytest.mark.parametrize("case", ["ascent", "frame", "video", "peer"])
def test_a_case_runs(case: str) -> None:
    bench = Bench(SAMPLES / "clip.mp4", 96, "cpu")

    rows = getattr(bench, case)()

    assert rows
    assert any(isinstance(value, float) for row in rows for value in row.values())
    assert all(value > 0 for row in rows for value in row.values() if isinstance(value, float))
