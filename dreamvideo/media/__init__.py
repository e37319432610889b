"""Files and streams: formats, opening, metadata."""
