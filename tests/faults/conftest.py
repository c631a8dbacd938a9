"""Small runs, as the integration tests have them."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "integration"):
    sys.path.insert(0, str(folder))

from tests.integration.conftest import cache, config  # noqa: E402

__all__ = ["cache", "config"]
