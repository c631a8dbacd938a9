"""The version, in one place: read by the build and the commands."""

__version__ = "0.1.0"
