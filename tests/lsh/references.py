"""Slow, obvious tables and choices, for the tests to compare with."""

from __future__ import annotations

import math
from collections import Counter

from tests.lsh.splitmix import mix


class Bucket:
    """One bucket as a Python list; ``place`` is its table and code."""

    def __init__(self, place, capacity, policy, seed, weights=None):
        self.place, self.capacity, self.policy, self.seed = place, capacity, policy, seed
        self.weights = weights
        self.ids, self.seen, self.unpaired, self.bound = [], 0, 0, math.inf

    def draw(self, id_, n):
        place = mix(self.seed ^ mix(self.place[0] << 32 | self.place[1]))
        return (mix(place ^ mix(self.seen << 32 | id_)) >> 32) * n >> 32

    def rank(self, id_):
        bits = mix(self.seed ^ mix(self.place[0] << 32 | id_))
        return -math.log(((bits >> 11) + 0.5) / 2**53) / self.weights[id_]

    def insert(self, id_):
        getattr(self, f"_insert_{self.policy}")(id_)
        self.seen += 1

    def _insert_fifo(self, id_):
        self.ids = [*self.ids, id_][-self.capacity :]

    def _insert_reservoir(self, id_):
        if self.unpaired:
            free = min(self.capacity, self.seen + self.unpaired) - len(self.ids)
            if self.draw(id_, self.unpaired) < free:
                self.ids.append(id_)
            self.unpaired -= 1
        elif len(self.ids) < self.capacity:
            self.ids.append(id_)
        elif (place := self.draw(id_, self.seen + 1)) < self.capacity:
            self.ids[place] = id_

    def _insert_bottom_k(self, id_):
        if self.rank(id_) >= self.bound:
            return
        ranked = sorted([*self.ids, id_], key=self.rank)
        self.ids = ranked[: self.capacity]
        for dropped in ranked[self.capacity :]:
            self.bound = min(self.bound, self.rank(dropped))

    def remove(self, id_):
        if id_ in self.ids:
            self.ids.remove(id_)
        self.seen -= 1
        self.unpaired += self.policy == "reservoir"
        if self.seen == len(self.ids):
            self.bound = math.inf


def hits_of(tables, codes):
    """Return how many of one query's buckets (codes [n_tables, n_codes]) hold each id."""
    hits = Counter()
    for table, row in enumerate(codes):
        for code in row:
            if code >= 0:
                hits.update(tables.ids[table, code, : tables.sizes[table, code]].tolist())
    return hits
