"""Makes a video out of still images."""
