"""Energy of the processor packages, where the host lets us read it."""

from __future__ import annotations

from pathlib import Path

_RAPL = Path("/sys/class/powercap")


class EnergyMeter:
    """Reads RAPL's counters (joules, all packages); `joules` is None without them."""

    def __init__(self, root: Path = _RAPL) -> None:
        self._zones = [zone for zone in sorted(root.glob("intel-rapl:?")) if self._read(zone) is not None]
        self._last = {zone: self._read(zone) or 0 for zone in self._zones}
        self._micro_joules = 0

    def sample(self) -> None:
        """Add what was used since the last call; call it often enough that no counter wraps twice."""
        for zone in self._zones:
            now = self._read(zone)
            if now is None:
                continue
            used = now - self._last[zone]
            self._micro_joules += used if used >= 0 else used + self._range(zone)
            self._last[zone] = now

    def joules(self) -> float | None:
        """Return the energy since the start, or None where it cannot be read."""
        if not self._zones:
            return None
        self.sample()
        return self._micro_joules / 1e6

    @staticmethod
    def _read(zone: Path) -> int | None:
        try:
            return int((zone / "energy_uj").read_text())
        except (OSError, ValueError):
            return None

    @staticmethod
    def _range(zone: Path) -> int:
        try:
            return int((zone / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            return 0
