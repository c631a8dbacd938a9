"""Processes: coordinator, workers, rehasher, and who starts and stops them."""
