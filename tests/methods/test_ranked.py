from __future__ import annotations

import numpy as np
import pytest

import curate.methods.ranked as ranked
from curate.methods.coverage import Quota
from curate.methods.ranked import clusters, deita, in_turn
from curate.methods.vectors import DIGITS


def plain(order, vectors, threshold, budget):
    wide = vectors.astype(np.float64)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    wide = wide / np.where(norm > 0, norm, 1)
    taken = []
    for row in order:
        if len(taken) < budget and (
            not taken or np.round(wide[taken] @ wide[row], DIGITS).max() <= threshold
        ):
            taken.append(row)
    return taken


def test_deita_worked_example():
    c, q = np.array([2, 3, 4, 1]), np.array([5, 5, 2, 6])
    order = np.argsort(-(c * q), kind="stable")
    assert order.tolist() == [1, 0, 2, 3]
    vectors = np.eye(4)
    vectors[1] = [0.98, np.sqrt(1 - 0.98**2), 0, 0]
    vectors[2], vectors[3] = [0, 0, 1, 0], [0, 0, 0, 1]
    assert deita(order, vectors).tolist() == [1, 2, 3]
    assert deita(order, vectors, threshold=0.99).tolist() == [1, 0, 2, 3]
    assert deita(order, vectors, budget=2).tolist() == [1, 2]


RNG = np.random.default_rng(0)
SETS = {
    "crowded": RNG.normal(size=(900, 3)).astype(np.float32),
    "grid full of ties": RNG.integers(0, 4, size=(900, 3)).astype(np.float32),
    "copies": np.repeat(RNG.normal(size=(30, 8)), 30, axis=0).astype(np.float16),
    "zeros": np.zeros((50, 3)),
}


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("name", SETS)
def test_deita_takes_what_the_plain_loop_takes(name, threshold, monkeypatch):
    monkeypatch.setattr(ranked, "BLOCK", 64)
    monkeypatch.setattr(ranked, "HELD", 50)
    vectors = SETS[name]
    order = np.random.default_rng(1).permutation(len(vectors))
    for budget in (40, 10_000):
        found = deita(order, vectors, threshold, budget).tolist()
        assert found == plain(order.tolist(), vectors, threshold, budget)


def test_deita_keeps_quotas():
    quota = Quota(np.array([0, 0, 0, 1]), np.array([2, 1]))
    assert deita(np.arange(4), np.eye(4), quota=quota).tolist() == [0, 1, 3]
    assert deita(np.arange(0), np.eye(4)).tolist() == []


def test_clusters_are_found_and_taken_in_turn():
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    middles = 10.0 * np.eye(4)
    truth = np.repeat(np.arange(4), [50, 3, 20, 5])
    vectors = (middles[truth] + rng.normal(size=(78, 4)) * 0.1).astype(np.float32)
    number, away = clusters(vectors, 4)
    assert number.tolist() == truth.tolist()  # numbered by first row
    assert away.max() < 1.0
    assert (clusters(vectors, 4)[0] == number).all()
    assert sorted(truth[in_turn(number, -away)[:8]].tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert clusters(vectors[:2], 9)[0].tolist() == [0, 1]
    assert clusters(vectors[:0], 9)[0].tolist() == []


def test_better_rows_go_first_within_a_turn():
    group, better = np.array([0, 0, 1, 1, 2]), np.array([1.0, 5.0, 2.0, 2.0, 9.0])
    assert in_turn(group, better).tolist() == [4, 1, 2, 3, 0]
