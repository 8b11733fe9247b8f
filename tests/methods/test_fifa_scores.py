from __future__ import annotations

import numpy as np
import pytest

from curate.methods.fifa import FLOOR, fifa_greedy, fifa_scores, standardised
from curate.methods.neighbours import DIGITS, exact_graph

pytest.importorskip("faiss")

LINE = np.array([[0.0], [0.1], [0.2], [5.0]])
MARGIN, QUALITY = np.array([2.0, 1.9, 0.1, 1.0]), np.array([0.8, 0.2, 0.9, 0.8])


def test_worked_example():
    distance = exact_graph(LINE, 1).distance[:, 0]
    assert distance == pytest.approx([0.1, 0.1, 0.1, 4.8])
    score = fifa_scores(MARGIN, QUALITY, distance)
    assert score == pytest.approx([0.911, -0.301, -1.377, 0.767], abs=5e-4)
    assert sorted(np.argsort(-score)[:2].tolist()) == [0, 3]


def test_rescoring_follows_the_plain_loop():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 4))
    margin, quality = rng.normal(size=200), rng.normal(size=200)
    distance = exact_graph(vectors, 3).distance[:, -1]
    logs = np.log(distance + FLOOR)
    fixed = standardised(margin) + 0.5 * standardised(quality)
    nearest, expected = np.full(200, np.inf), []
    for _ in range(60):
        near = np.log(np.minimum(distance, np.sqrt(np.round(nearest, DIGITS))) + FLOOR)
        value = fixed + 2.0 * (near - logs.mean()) / logs.std()
        value[expected] = -np.inf
        expected.append(int(value.argmax()))
        nearest = np.minimum(nearest, ((vectors - vectors[expected[-1]]) ** 2).sum(axis=1))
    found = fifa_greedy(vectors, margin, quality, distance, 60, 0.5, 2.0)
    assert found.tolist() == expected


def test_rescoring_does_not_take_twins():
    # The last two rows lie far from all others and close together.
    vectors = np.array([[0.0], [0.4], [0.8], [1.2], [9.0], [9.01]])
    distance = exact_graph(vectors, 2).distance[:, -1]
    alike = np.zeros(6)
    assert np.argsort(-fifa_scores(alike, alike, distance))[:2].tolist() == [5, 4]
    assert 4 not in fifa_greedy(vectors, alike, alike, distance, 3, entropy_weight=1.0).tolist()
