"""A run that is disturbed at random, from outside, and what is left of it: ``distlsh bench chaos``."""
