"""Figures of a dreamed video beside its source."""
