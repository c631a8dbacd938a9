"""Imported once by the fork server, so that every child starts with it: see `processes`."""

from __future__ import annotations

import distlsh.runtime.rehasher
import distlsh.runtime.worker

__all__ = ["distlsh"]
