"""Small runs, as the integration tests have them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from tests.integration.conftest import cache, config

__all__ = ["cache", "config"]
