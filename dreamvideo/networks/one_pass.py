"""What is known of a pass through a network while it is under way.

Refuses to know the network.
"""

from __future__ import annotations

import threading
from collections import Counter

from torch import Tensor

from dreamvideo.networks.layers import Layer


class Reached(Exception):  # noqa: N818
    """The deepest layer has answered: ends the pass."""


class OnePass(threading.local):
    """The answers of a pass; each thread has one of its own."""

    def __init__(self) -> None:
        self.wanted: dict[str, Tensor] = {}
        self.deepest = ""
        self._calls: Counter[str] = Counter()

    def begin(self, deepest: str) -> None:
        """Make ready for a pass that ends with a layer."""
        self.deepest = deepest
        self._calls.clear()

    def keep(self, layer: Layer, answer: Tensor) -> None:
        """Take a layer's answer.

        Raises:
            Reached: nothing more is wanted.
        """
        self._calls[layer.name] += 1
        is_end = layer.name == self.deepest and self._calls[layer.name] == layer.calls
        # What follows may change the answer in place.
        self.wanted[layer.name] = answer if is_end else answer.clone()
        if is_end:
            raise Reached
