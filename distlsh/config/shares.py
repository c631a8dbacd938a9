"""Shares of hidden layers that a sample computes, one a layer."""

from __future__ import annotations

from distlsh.config.schema import ModelConfig


def layer_shares(model: ModelConfig) -> list[float]:
    """Return ``active_share`` of each hidden layer; where it is one number, that of all."""
    share = model.active_share
    given = list(share) if isinstance(share, list) else [share]
    return given * len(model.hidden) if len(given) == 1 else given
