"""Dreams a video over time."""
