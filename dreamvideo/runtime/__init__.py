"""Devices and threads."""
