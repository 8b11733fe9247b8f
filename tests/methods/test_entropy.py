from __future__ import annotations

import numpy as np
import pytest

from curate.methods.density import knn_surprisal
from curate.methods.entropy import FLOOR, entropy_greedy
from curate.methods.neighbours import exact_graph
from curate.methods.row_scores import row_scores
from curate.methods.vectors import DIGITS

pytest.importorskip("faiss")

LINE = np.array([[0.0], [0.1], [0.2], [5.0]])
MARGIN, QUALITY = np.array([2.0, 1.9, 0.1, 1.0]), np.array([0.8, 0.2, 0.9, 0.8])


def test_the_fifa_card():
    distance = exact_graph(LINE, 1).distance[:, 0]
    assert distance == pytest.approx([0.1, 0.1, 0.1, 4.8])
    rare = knn_surprisal(distance, 1, 1)  # log distance and a constant
    score = row_scores([MARGIN, QUALITY, rare], "sum", [1, 0.5, 0.5], standardise=True)
    assert score == pytest.approx([0.911, -0.301, -1.377, 0.767], abs=5e-4)
    assert sorted(np.argsort(-score)[:2].tolist()) == [0, 3]
    good = row_scores([MARGIN, QUALITY], "sum", [1, 0.5], standardise=True)
    assert sorted(entropy_greedy(LINE, good, distance, 2).tolist()) == [0, 3]
    assert sorted(np.argsort(-MARGIN)[:2].tolist()) == [0, 1]


def test_scoring_again_follows_the_plain_loop():
    rng = np.random.default_rng(0)
    vectors, quality = rng.normal(size=(200, 4)), rng.normal(size=200)
    distance = exact_graph(vectors, 3).distance[:, -1]
    logs = np.log(distance + FLOOR)
    nearest, expected = np.full(200, np.inf), []
    for _ in range(60):
        near = np.log(np.minimum(distance, np.sqrt(np.round(nearest, DIGITS))) + FLOOR)
        value = quality + 2.0 * (near - logs.mean()) / logs.std()
        value[expected] = -np.inf
        expected.append(int(value.argmax()))
        nearest = np.minimum(nearest, ((vectors - vectors[expected[-1]]) ** 2).sum(axis=1))
    assert entropy_greedy(vectors, quality, distance, 60, 2.0).tolist() == expected


def test_twins_are_not_both_taken():
    # The last two rows lie far from all others and close together.
    vectors = np.array([[0.0], [0.4], [0.8], [1.2], [9.0], [9.01]])
    distance = exact_graph(vectors, 2).distance[:, -1]
    assert np.argsort(-distance)[:2].tolist() == [5, 4]
    assert 4 not in entropy_greedy(vectors, np.zeros(6), distance, 3, 1.0).tolist()
