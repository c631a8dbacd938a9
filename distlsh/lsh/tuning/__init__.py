"""Choosing hash functions from a goal, by measuring them on a sample of the real data.

For each kind of hash functions (family, K, width) queries, their exact neighbours and a
sample of rows are hashed once, with the most tables and probes.  In which table and at which
probe a neighbour is first found gives recall and candidates of every smaller number of tables and
probes at once.  Of the settings that reach the goal, the one whose queries cost least is chosen.

Source: the formula L = log(1 - Pq) / log(1 - P1**K) is that of Indyk & Motwani 1998 as Andoni's E2LSH
uses it; it is shown beside what was measured.  Choosing by measured curves: Slaney et al. 2012,
"Optimal parameters for locality-sensitive hashing", and Dong et al. 2008 for multi-probe.
"""

from __future__ import annotations

from distlsh.lsh.tuning.choose import Setting
from distlsh.lsh.tuning.curves import CollisionCurve
from distlsh.lsh.tuning.goal import Goal
from distlsh.lsh.tuning.measure import Measured
from distlsh.lsh.tuning.problem import Problem, pose
from distlsh.lsh.tuning.result import Tuning
from distlsh.lsh.tuning.tune import solve, tune

__all__ = ["CollisionCurve", "Goal", "Measured", "Problem", "Setting", "Tuning", "pose", "solve", "tune"]
