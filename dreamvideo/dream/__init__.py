"""Dreams one image: pyramid, ascent, objective."""
