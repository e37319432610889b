"""Metrics of a dreamed video, compared with its source."""
