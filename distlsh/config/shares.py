"""Shares of hidden layers that a sample computes, one a layer."""

from __future__ import annotations

from distlsh.config.schema import HiddenLshConfig, ModelConfig


def layer_shares(model: ModelConfig) -> list[float]:
    """Return ``active_share`` of each hidden layer; where it is one number, that of all."""
    share = model.active_share
    given = list(share) if isinstance(share, list) else [share]
    return given * len(model.hidden) if len(given) == 1 else given


def computed_neurons(settings: HiddenLshConfig, n_active: int, width: int) -> int:
    """Return how many neurons a sample computes of a hashed layer, of which ``n_active`` are passed on."""
    if settings.choice == "tables":
        return min(width, round(settings.pool * n_active))
    return width if settings.choice == "exact" else n_active
