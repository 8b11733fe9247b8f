from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.errors import ConfigError, StageError
from curate.stage import Context
from curate.stages.diverse import (
    Diverse,
    deita,
    farthest_first,
    knn_surprisal,
    mean_distance,
    neighbour_distances,
)

POINTS = np.array([(0, 0), (0.1, 0), (0, 0.1), (5, 5), (5, 5.1), (10, 0)])


def rows(vectors, **columns) -> pa.Table:
    kind = pa.list_(pa.float32(), len(vectors[0]))
    return pa.table(
        {"embedding": pa.array([list(map(float, v)) for v in vectors], kind), **columns}
    )


def kept(stage, view) -> list[int]:
    why = stage.apply(view, Context())["drop"].to_pylist()
    return [row for row, reason in enumerate(why) if reason is None]


def test_farthest_first_worked_example():
    chosen, radius = farthest_first(POINTS, 3, start=0)
    assert chosen.tolist() == [0, 5, 4]
    assert radius == pytest.approx(0.1)


def test_farthest_first_takes_the_first_of_equals_and_never_twice():
    assert farthest_first(np.ones((4, 2)), 4, start=2)[0].tolist() == [2, 0, 1, 3]
    chosen, radius = farthest_first(POINTS, 6, start=1)
    assert sorted(chosen.tolist()) == list(range(6))
    assert radius == 0.0


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


def test_entropy_worked_examples():
    assert knn_surprisal(np.array([[0.0], [1.0], [3.0]]), 1).mean() == pytest.approx(
        2.424196, abs=1e-6
    )
    normal = np.random.default_rng(0).normal(size=(20_000, 2))
    assert knn_surprisal(normal, 5).mean() == pytest.approx(2.838, abs=0.03)


def test_entropy_refuses_what_has_none():
    with pytest.raises(StageError, match="dedup"):
        knn_surprisal(np.zeros((4, 2)), 1)
    with pytest.raises(ConfigError, match="below the number of rows"):
        knn_surprisal(np.zeros((4, 2)), 4)


def test_neighbours_equal_brute_force():
    vectors = np.random.default_rng(1).integers(0, 4, size=(60, 3)).astype(float)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert neighbour_distances(vectors, 5) == pytest.approx(np.sort(apart, axis=1)[:, :5])
    assert mean_distance(vectors[:1], 5).tolist() == [0.0]


def test_density_drops_the_crowd_first():
    angle = np.array([0.0, 0.01, 0.02, 0.03, 1.5, 3.0])
    view = rows(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    stage = Diverse(keep=2, method="knn_density", k=2)
    assert kept(stage, view) == [4, 5]
    why = stage.apply(view, Context())["drop"].to_pylist()
    assert why[0] == "not among the 2 most diverse"


def test_starts_at_the_best_row():
    view = rows([(1, 0), (0, 1), (-1, 0), (0, -1)], scores=[[0.1], [0.9], [0.2], None])
    stage = Diverse(keep=2, quality="scores")
    assert kept(stage, view) == [1, 3]
    assert stage.needed() == ("embedding", "scores")
    assert Diverse(keep=1, quality="margin").needed() == ("embedding", "pairs")


def test_deita_as_a_stage():
    view = rows([(1, 0), (1, 0.01), (0, 1)], q=[1.0, 2.0, 0.0])
    assert kept(Diverse(keep=2, method="deita", quality="q"), view) == [1, 2]


def test_share_and_too_many():
    view = rows(POINTS + 1)
    assert len(kept(Diverse(keep=0.5), view)) == 3
    for method in ("farthest_first", "knn_density", "deita"):
        assert kept(Diverse(keep=6, method=method), view) == list(range(6))
    empty = pa.table({"embedding": pa.array([], pa.list_(pa.float32(), 2))})
    assert kept(Diverse(keep=3), empty) == []
    assert kept(Diverse(keep=0.5), empty) == []


@pytest.mark.parametrize("keep", [0, -1, 1.5, 0.0, float("nan")])
def test_keep_is_checked(keep):
    with pytest.raises(ValidationError, match="share between 0 and 1"):
        Diverse(keep=keep)


def test_keep_survives_its_yaml_form():
    for keep in (20, 0.25):
        stage = Diverse(keep=keep)
        assert Diverse.model_validate(stage.to_yaml()["diverse"]) == stage
