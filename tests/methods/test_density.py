import numpy as np
import pytest

from curate.errors import ConfigError, StageError
from curate.methods.density import intrinsic_dimension, knn_surprisal
from curate.methods.neighbours import exact_graph


def test_entropy_worked_examples():
    line = exact_graph(np.array([[0.0], [1.0], [3.0]]), 1).distance[:, -1]
    assert knn_surprisal(line, 1, 1).mean() == pytest.approx(2.424196, abs=1e-6)
    normal = np.random.default_rng(0).normal(size=(20_000, 2))
    radius = exact_graph(normal, 5).distance[:, -1]
    assert knn_surprisal(radius, 2, 5).mean() == pytest.approx(2.838, abs=0.02)


def test_entropy_refuses_what_has_none():
    with pytest.raises(StageError, match="dedup"):
        knn_surprisal(np.zeros(4), 2, 1)
    with pytest.raises(ConfigError, match="below the number of rows"):
        knn_surprisal(np.ones(4), 2, 4)


def test_a_plane_in_ten_dimensions_has_about_two():
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    plane = np.column_stack([rng.random((1000, 2)), np.zeros((1000, 8))]) @ turned
    assert intrinsic_dimension(exact_graph(plane, 20).distance) == pytest.approx(1.9, abs=0.05)
    wide = exact_graph(rng.random((1000, 5)), 20).distance
    assert 4 < intrinsic_dimension(wide) < 5


def test_copies_have_no_dimension():
    assert intrinsic_dimension(np.array([[0.0, 1, 2], [1, 2, 4]])) == pytest.approx(
        1 / (np.log(4) + np.log(2))
    )
    for distance in (np.zeros((5, 3)), np.ones((5, 3))):
        with pytest.raises(StageError, match="dedup"):
            intrinsic_dimension(distance)
