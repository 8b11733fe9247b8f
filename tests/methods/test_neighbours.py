from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import curate.methods.neighbours as neighbours
import curate.methods.tiles as tiles
from curate.methods.neighbours import exact_graph, graph_of, ivf_graph
from curate.methods.vectors import unit

pytest.importorskip("faiss")


def brute_force(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    wide = vectors.astype(np.float64)
    square = np.round(((wide[:, None] - wide[None]) ** 2).sum(axis=2), neighbours.DIGITS)
    np.fill_diagonal(square, np.inf)
    order = np.argsort(square, axis=1, kind="stable")[:, : min(k, len(wide) - 1)]
    return order, np.sqrt(np.take_along_axis(square, order, 1))


RNG = np.random.default_rng(0)
SETS = {
    "normal": RNG.normal(size=(150, 5)).astype(np.float32),
    "grid full of ties": RNG.integers(0, 3, size=(150, 3)).astype(np.float32),
    "copies": np.repeat(RNG.normal(size=(5, 8)), 20, axis=0).astype(np.float16),
    "zeros": np.zeros((40, 3), dtype=np.float32),
    "near copies": (1 + 1e-7 * RNG.normal(size=(60, 4))).astype(np.float64),
    "far from zero": (1e3 + RNG.normal(size=(80, 4))).astype(np.float32),
    "three rows": RNG.normal(size=(3, 4)),
    "one row": np.ones((1, 2)),
}


@pytest.mark.parametrize("tile", [7, 64, 2048])
@pytest.mark.parametrize("name", SETS)
def test_the_graph_equals_brute_force(name, tile, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", tile)
    monkeypatch.setattr(neighbours, "TILE", tile)
    graph = exact_graph(SETS[name], 5)
    rows, distance = brute_force(SETS[name], 5)
    assert graph.rows.tolist() == rows.tolist()
    assert graph.distance == pytest.approx(distance, abs=1e-6)
    cuts = [min(cut, len(SETS[name])) for cut in (0, 1, 30, 30, 999)]
    parts = [graph_of(SETS[name], slice(*ends), 5) for ends in pairwise(cuts)]
    assert (np.concatenate([part.rows for part in parts]) == graph.rows).all()
    assert (np.concatenate([part.distance for part in parts]) == graph.distance).all()


def test_cosine_of_unit_vectors():
    angle = np.array([0.0, 0.5, 2.0])
    graph = exact_graph(np.stack([np.cos(angle), np.sin(angle)], axis=1), 1)
    assert graph.rows[:, 0].tolist() == [1, 0, 1]
    assert graph.cosine[:, 0] == pytest.approx(np.cos([0.5, 0.5, 1.5]))


def test_no_rows():
    assert exact_graph(np.zeros((0, 3)), 4).rows.shape == (0, 0)
    assert exact_graph(np.zeros((4, 3)), 0).rows.shape == (4, 0)


def test_an_approximate_graph_knows_its_recall():
    vectors = np.random.default_rng(1).normal(size=(3000, 16)).astype(np.float32)
    truth = exact_graph(vectors, 5)
    for probes in (1, 8):
        graph, recall = ivf_graph(vectors, 5, probes=probes, sample=3000)
        hits = (graph.rows[:, :, None] == truth.rows[:, None, :]).any(axis=2)
        assert recall == pytest.approx(hits.mean(), abs=1e-4)
        again, _ = ivf_graph(vectors, 5, probes=probes, sample=10)
        assert (again.rows == graph.rows).all()
    assert ivf_graph(vectors, 5, probes=1, sample=3000)[1] < 0.7
    assert ivf_graph(vectors, 5, probes=10_000, sample=500)[1] == 1.0


def unit_rows(rng: np.random.Generator, n: int, spread: float) -> np.ndarray:
    """Rows around a few centres, some of them copies of others."""
    around = rng.normal(size=(max(1, n // 20), 24))[rng.integers(0, max(1, n // 20), n)]
    rows = unit((around + spread * rng.normal(size=(n, 24))).astype(np.float32))
    rows[rng.integers(0, n, n // 8)] = rows[rng.integers(0, n, n // 8)]
    return rows


@pytest.mark.parametrize("spread", [1.0, 0.05, 1e-3, 0.0])
@pytest.mark.parametrize("again", [0.1, 1.0])  # a search of all rows in float32, or of some
@pytest.mark.parametrize("seed", range(3))
def test_products_in_half_precision_find_the_same(spread, again, seed, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(neighbours, "MOST_AGAIN", again)
    monkeypatch.setattr(tiles, "TILE", 32)
    monkeypatch.setattr(neighbours, "TILE", 32)
    monkeypatch.setattr(tiles, "_seconds", lambda way, a, b: isinstance(way, tiles.SingleProducts))
    monkeypatch.setattr(tiles, "SPARE", 4)
    rng = np.random.default_rng(seed)
    vectors = unit_rows(rng, 300, spread)
    assert tiles.half_products(tiles.SingleProducts(vectors)) is not None
    graph = exact_graph(vectors, 5)
    rows, distance = brute_force(vectors, 5)
    assert graph.rows.tolist() == rows.tolist()
    assert graph.distance == pytest.approx(distance, abs=1e-6)


@pytest.mark.parametrize("rows", ["unit", "copies", "far from zero"])
def test_scores_are_within_their_error(rows):
    pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    vectors = {
        "unit": unit(rng.normal(size=(200, 384)).astype(np.float32)),
        "copies": np.repeat(unit(rng.normal(size=(20, 384)).astype(np.float32)), 10, axis=0),
        "far from zero": (1e3 + rng.normal(size=(200, 384))).astype(np.float32),
    }[rows]
    wide = vectors.astype(np.float64)
    truth = -0.5 * ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    single = tiles.SingleProducts(vectors)
    ways = [single, *([tiles.HalfProducts(single)] if single.alike else [])]
    assert len(ways) == (1 if rows == "far from zero" else 2)
    for way in ways:
        score = way.dense(way.tile(slice(0, 200), slice(0, 200))).astype(np.float64) - way.shift
        off = np.abs(score - truth)
        assert (off <= way.error[:, None]).all()
        assert off.max() > way.error.max() / 1000  # the bound is no empty one


def test_floors_are_rounded_down():
    values = np.array([0.7, -0.7, 0.0, -0.0, 1.0, -1.0, 1e-30, -np.inf, 3e38], dtype=np.float32)
    values = np.concatenate([values, np.random.default_rng(0).normal(size=500).astype(np.float32)])
    lower = tiles.round_down(values)
    assert (lower <= values).all()
    assert (lower.view(np.uint32) & 0xFFFF == 0).all()
    finite = np.isfinite(values)
    assert (values[finite] - lower[finite] <= np.abs(values[finite]) / 64).all()
    assert (lower[[2, 4, 5]] == values[[2, 4, 5]]).all()
