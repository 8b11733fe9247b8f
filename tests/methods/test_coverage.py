from __future__ import annotations

import numpy as np
import pytest

import curate.methods.coverage as coverage
from curate.methods.coverage import (
    Quota,
    facility_location,
    farthest_first,
    mmr,
    shares,
)
from curate.methods.neighbours import exact_graph
from curate.methods.vectors import DIGITS

POINTS = np.array([(0, 0), (0.1, 0), (0, 0.1), (5, 5), (5, 5.1), (10, 0)])


def plain(vectors, keep, start, group=None, room=None):
    """The greedy loop as it is written in textbooks, in float64."""
    wide = vectors.astype(np.float64)
    room = None if room is None else room.copy()
    nearest, chosen, closed = np.full(len(wide), np.inf), [], np.zeros(len(wide), dtype=bool)
    at = start
    while len(chosen) < keep:
        chosen.append(at)
        closed[at] = True
        if room is not None:
            room[group[at]] -= 1
            closed |= room[group] <= 0
        nearest = np.minimum(nearest, np.round(((wide - wide[at]) ** 2).sum(axis=1), DIGITS))
        if closed.all():
            break
        at = int(np.where(closed, -1.0, nearest).argmax())
    return chosen


RNG = np.random.default_rng(0)
SETS = {
    "normal": RNG.normal(size=(700, 12)).astype(np.float32),
    "grid full of ties": RNG.integers(0, 4, size=(700, 3)).astype(np.float32),
    "copies": np.repeat(RNG.normal(size=(30, 8)), 20, axis=0).astype(np.float16),
    "crowd and outliers": RNG.normal(size=(700, 4)) * RNG.exponential(size=(700, 1)) ** 3,
    "zeros": np.zeros((50, 3)),
}


@pytest.mark.parametrize("pool", [(1, 2), (4, 16), (64, 4096)])
@pytest.mark.parametrize("name", SETS)
def test_the_lazy_greedy_picks_what_the_plain_loop_picks(name, pool, monkeypatch):
    monkeypatch.setattr(coverage, "POOL", pool)
    vectors = SETS[name]
    keep = min(len(vectors), 300)
    assert farthest_first(vectors, keep, 7)[0].tolist() == plain(vectors, keep, 7)


def test_the_lazy_greedy_keeps_quotas_as_the_plain_loop_does():
    vectors, group = SETS["normal"], np.arange(700) % 3
    room = np.array([5, 100, 20])
    chosen, _ = farthest_first(vectors, 300, 0, Quota(group, room.copy()))
    assert chosen.tolist() == plain(vectors, 300, 0, group, room)
    assert np.bincount(group[chosen]).tolist() == [5, 100, 20]


def test_farthest_first_worked_example():
    chosen, radius = farthest_first(POINTS, 3, start=0)
    assert chosen.tolist() == [0, 5, 4]
    assert radius == pytest.approx(0.1)


def test_farthest_first_takes_the_first_of_equals_and_never_twice():
    assert farthest_first(np.ones((4, 2)), 4, start=2)[0].tolist() == [2, 0, 1, 3]
    chosen, radius = farthest_first(POINTS, 6, start=1)
    assert sorted(chosen.tolist()) == list(range(6))
    assert radius == 0.0
    assert farthest_first(POINTS, 0, start=0)[0].tolist() == []
    assert farthest_first(np.zeros((0, 2)), 3, start=-1)[0].tolist() == []


def test_mmr_worked_example():
    # Cosines: 0.95 between the first two, 0.1 between the first and the third.
    second = np.array([0.95, np.sqrt(1 - 0.95**2), 0.0])
    third = np.array([0.1, 0.0, np.sqrt(1 - 0.1**2)])
    vectors = np.stack([np.array([1.0, 0.0, 0.0]), second, third])
    relevance = np.array([0.9, 0.85, 0.3])
    assert mmr(vectors, relevance, 2, balance=0.5).tolist() == [0, 2]
    assert mmr(vectors, relevance, 2, balance=0.9).tolist() == [0, 1]
    assert mmr(vectors, relevance, 3).tolist() == [0, 2, 1]


def test_facility_location_worked_example():
    graph = exact_graph(POINTS, 5)
    similarity = np.exp(-(graph.distance**2) / 8)
    chosen, value = facility_location(graph, similarity, 3)
    assert chosen.tolist() == [0, 3, 5]
    assert value == pytest.approx(5.996252, abs=1e-6)


@pytest.mark.parametrize("together", [120, 50, 1])
def test_facility_location_is_the_greedy_one(together, monkeypatch):
    monkeypatch.setattr(coverage, "_ROWS", together)
    vectors = np.random.default_rng(3).normal(size=(120, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    graph = exact_graph(vectors, 8)
    dense = np.eye(120)
    for row in range(120):
        for other, cosine in zip(graph.rows[row], graph.cosine[row], strict=True):
            dense[row, other] = dense[other, row] = max(cosine, 0.0)
    bonus = np.random.default_rng(4).random(120)
    for extra in (None, bonus):
        covers, expected = np.zeros(120), []
        for _ in range(40):
            gain = np.maximum(dense - covers, 0).sum(axis=1) + (0 if extra is None else extra)
            gain[expected] = -1
            expected.append(int(np.round(gain, DIGITS).argmax()))
            covers = np.maximum(covers, dense[expected[-1]])
        chosen, value = facility_location(graph, np.clip(graph.cosine, 0, 1), 40, extra)
        assert chosen.tolist() == expected
        assert value == pytest.approx(covers.sum())


def test_facility_location_keeps_quotas():
    graph = exact_graph(POINTS, 5)
    quota = Quota(np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1]))
    similarity = np.exp(-(graph.distance**2) / 8)
    assert facility_location(graph, similarity, 5, quota=quota)[0].tolist() == [0, 3]


def test_shares():
    sizes = np.array([10, 1, 5])
    assert shares(sizes, 9, equal=True).tolist() == [4, 1, 4]
    assert shares(sizes, 4, equal=True).tolist() == [2, 1, 1]
    assert shares(sizes, 8, equal=False).tolist() == [5, 1, 2]
    assert shares(sizes, 99, equal=True).tolist() == [10, 1, 5]
    assert shares(sizes, 99, equal=False).tolist() == [10, 1, 5]


def test_first_rows_with_room():
    quota = Quota(np.array([0, 0, 0, 1, 1]), np.array([2, 1]))
    assert quota.first(np.array([2, 1, 0, 4, 3]), 4).tolist() == [2, 1, 4]
    assert quota.first(np.array([2, 1, 0, 4, 3]), 2).tolist() == [2, 1]
