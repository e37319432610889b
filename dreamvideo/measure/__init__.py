"""How good a dreamed film is, in figures, against its source: whoever made it."""

from dreamvideo.measure.film import FrameFigures, Measured, Pair, measure_pairs

__all__ = ["FrameFigures", "Measured", "Pair", "measure_pairs"]
