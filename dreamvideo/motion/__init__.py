"""Optical flow between frames, its confidence, warping along it, and scene cuts."""
