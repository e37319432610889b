"""Optical flow between frames, its confidence, warping and scene cuts."""
