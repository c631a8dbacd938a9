"""Hash families: one class each, in a module that is imported when the family is asked for."""

from __future__ import annotations

from distlsh.lsh.families.base import FAMILIES, Family, FamilyInfo, create, describe

__all__ = ["FAMILIES", "Family", "FamilyInfo", "create", "describe"]
