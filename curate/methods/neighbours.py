"""Nearest neighbours: the exact k-NN graph, and an approximate one with its recall.

The exact graph multiplies every pair of rows once, in bfloat16 where the processor is faster at
that and else in float32 (`tiles`). The few rows that can be among the k nearest are measured again
in float64, and where rounding could have hidden one, that row is searched again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Bools, Floats, Ints
from curate.methods.tiles import SPARE, TILE, Matrix, Pools, Products, SingleProducts, half_products
from curate.methods.vectors import DIGITS, load_faiss
from curate.threads import in_order

MOST_AGAIN = 0.1  # share of rows searched once more; above, all are, with finer products


class Graph(NamedTuple):
    """The k nearest other rows of each row, nearest first, equally near ones by row.

    `rows` is (n, k) int64, `distance` (n, k) float64, Euclidean. Of unit vectors the cosine is
    1 - distance**2 / 2.
    """

    rows: Ints
    distance: Floats

    @property
    def cosine(self) -> Floats:
        """Cosine similarity (n, k), if the vectors were of unit length."""
        return 1.0 - self.distance**2 / 2.0


def exact_graph(vectors: Matrix, k: int) -> Graph:
    """Return the graph of the true k nearest other rows of `vectors` (n, d).

    `k` is cut to n - 1. Takes n * n * d / 2 multiplications, and memory for k + 22 pairs a row.
    """
    n = len(vectors)
    k = max(min(k, n - 1), 0)
    if k == 0:
        return Graph(np.zeros((n, 0), dtype=np.int64), np.zeros((n, 0)))
    single = SingleProducts(vectors)
    half = half_products(single)
    if half is not None:
        found, square, again = _search(vectors, half, k)
    if half is None or len(again) > MOST_AGAIN * n:
        found, square, again = _search(vectors, single, k)
    for search in (_search_flat, _search_wide) if half is not None else (_search_wide,):
        if len(again):
            found[again], square[again], hidden = search(vectors, single, again, k)
            again = again[hidden]
    return Graph(found, np.sqrt(square))


def graph_of(vectors: Matrix, among: slice, k: int) -> Graph:
    """Return the part of `exact_graph` for the rows `among` all `vectors` (n, d).

    The vectors are read tile by tile, so that they may lie in a file; float32 products only.
    """
    n, size = len(vectors), among.stop - among.start
    k = max(min(k, n - 1), 0)
    if k == 0 or size == 0:
        return Graph(np.zeros((size, k), dtype=np.int64), np.zeros((size, k)))
    single = SingleProducts(vectors)
    found, square = np.empty((size, k), dtype=np.int64), np.empty((size, k))
    for start in range(among.start, among.stop, TILE):
        rows = np.arange(start, min(start + TILE, among.stop))
        at = slice(start - among.start, int(rows[-1]) + 1 - among.start)
        best, last = _best_of(single, rows, n, min(k + SPARE, n - 1))
        found[at], square[at] = _measure(vectors, rows, best, k)
        hidden = -0.5 * square[at, -1] <= last - single.shift + single.error[rows]
        if best.shape[1] < n - 1 and hidden.any():
            again = np.flatnonzero(hidden) + at.start
            found[again], square[again], _ = _search_wide(vectors, single, rows[hidden], k)
    return Graph(found, np.sqrt(square))


def _best_of(single: SingleProducts, rows: Ints, n: int, pool: int) -> tuple[Ints, Floats]:
    """Return the `pool` others of highest score of successive `rows`, and the last one's score."""
    best = np.zeros((len(rows), 0), dtype=np.int64)
    held = np.zeros((len(rows), 0), dtype=np.float32)
    for first in range(0, n, 4 * TILE):
        score = single.tile(slice(rows[0], rows[-1] + 1), slice(first, min(first + 4 * TILE, n)))
        mine = rows - first
        inside = (mine >= 0) & (mine < score.shape[1])
        score[np.flatnonzero(inside), mine[inside]] = -np.inf
        some = min(pool, score.shape[1])
        top = np.argpartition(score, score.shape[1] - some, axis=1)[:, -some:]
        held = np.concatenate([held, np.take_along_axis(score, top, axis=1)], axis=1)
        best = np.concatenate([best, top + first], axis=1)
        if held.shape[1] > pool:
            top = np.argpartition(held, held.shape[1] - pool, axis=1)[:, -pool:]
            held = np.take_along_axis(held, top, axis=1)
            best = np.take_along_axis(best, top, axis=1)
    return best, held.min(axis=1).astype(np.float64)


def _search(vectors: Matrix, products: Products, k: int) -> tuple[Ints, Floats, Ints]:
    """Return the k nearest of each row, the squared distances, and the rows that are not sure."""
    n = len(vectors)
    pools = Pools(products, n, k)
    pools.run()
    found, square, hidden = np.empty((n, k), dtype=np.int64), np.empty((n, k)), np.zeros(n, bool)

    def settle(start: int) -> None:
        at = slice(start, min(start + TILE, n))
        found[at], square[at] = _measure(vectors, np.arange(start, at.stop), pools.rows[at], k)
        if pools.rows.shape[1] < n - 1:
            # Whatever a pool left out is no nearer than the last it holds, give or take rounding.
            beyond = pools.score[at, -1].astype(np.float64) - products.shift + pools.error_of(at)
            hidden[at] = -0.5 * square[at, -1] <= beyond

    for _ in in_order(settle, range(0, n, TILE), 2, 4):
        pass
    return found, square, np.flatnonzero(hidden)


def _measure(vectors: Matrix, rows: Ints, others: Ints, k: int) -> tuple[Ints, Floats]:
    """Return the k nearest of `others` (m, c) to `rows` (m), and the squared distances.

    Measured in float64, nearest first, equally near ones by row; -1 stands for none.
    """
    away = np.empty(others.shape)
    for start in range(0, len(rows), 128):
        at = slice(start, start + 128)
        apart = vectors[others[at]].astype(np.float64)
        apart -= vectors[rows[at], None].astype(np.float64)
        away[at] = np.round(np.einsum("ijd,ijd->ij", apart, apart), DIGITS)
    away[others < 0] = np.inf
    order = np.lexsort((others, away))[:, :k]
    return np.take_along_axis(others, order, 1), np.take_along_axis(away, order, 1)


def _search_flat(
    vectors: Matrix, single: SingleProducts, rows: Ints, k: int
) -> tuple[Ints, Floats, Bools]:
    """Return the k nearest others of some `rows` (m) by float32 products with all rows.

    Then the squared distances, and which of the `rows` are not sure.
    """
    n = len(vectors)
    found, square = np.empty((len(rows), k), dtype=np.int64), np.empty((len(rows), k))
    hidden = np.zeros(len(rows), dtype=bool)
    pool = min(k + SPARE, n - 1)
    for start in range(0, len(rows), 64):
        at = slice(start, start + 64)
        score = single.tile(rows[at], slice(0, n))
        score[np.arange(len(score)), rows[at]] = -np.inf
        best = np.argpartition(score, n - pool, axis=1)[:, -pool:]
        found[at], square[at] = _measure(vectors, rows[at], best, k)
        last = np.take_along_axis(score, best, 1).min(axis=1).astype(np.float64)
        beyond = last - single.shift + single.error[rows[at]]
        hidden[at] = (-0.5 * square[at, -1] <= beyond) & (pool < n - 1)
    return found, square, hidden


def _search_wide(
    vectors: Matrix, single: SingleProducts, rows: Ints, k: int
) -> tuple[Ints, Floats, Bools]:
    """Return the same, measured against all rows in float64: none is left unsure."""
    # Copies of one vector share their neighbours, themselves left out: each is searched once.
    wide = np.ascontiguousarray(vectors[rows].astype(np.float64)) + 0.0  # no -0.0
    distinct, number = np.unique(wide.view(f"V{wide.shape[1] * 8}").ravel(), return_inverse=True)
    asked = distinct.view(np.float64).reshape(len(distinct), wide.shape[1])
    found, square = np.empty((len(rows), k), dtype=np.int64), np.empty((len(rows), k))
    for at, vector in enumerate(asked):
        away = np.empty(len(vectors))
        for start in range(0, len(vectors), 8192):
            apart = vectors[start : start + 8192].astype(np.float64) - vector
            away[start : start + 8192] = np.round(np.einsum("ij,ij->i", apart, apart), DIGITS)
        near = np.flatnonzero(away <= np.partition(away, k)[k])
        near = near[np.argsort(away[near], kind="stable")][: k + 1]
        for mine in np.flatnonzero(number == at).tolist():
            others = near[near != rows[mine]][:k]
            found[mine], square[mine] = others, away[others]
    return found, square, np.zeros(len(rows), dtype=bool)


def ivf_graph(
    vectors: Matrix, k: int, probes: int = 16, sample: int = 1000, seed: int = 0
) -> tuple[Graph, float]:
    """Return an approximate graph and its recall: the share of true neighbours it found.

    faiss's inverted file over about 4 sqrt(n) cells, `probes` of them searched for each row;
    vectors are held in float16 and what is found is measured in float64. The recall is that of
    `sample` rows drawn by `seed`, against an exact search: an approximate index can lose most
    neighbours without a sign of it. A row with fewer than k finds has -1 at distance infinity.
    Raises MissingExtra without faiss.
    """
    faiss = load_faiss()
    n, d = vectors.shape
    k = max(min(k, n - 1), 0)
    cells = max(1, min(int(4 * math.sqrt(n)), n // 39))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatL2(d), d, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2
    )
    index.own_fields = False
    index.nprobe = min(probes, cells)
    rng = np.random.default_rng(seed)
    trained = np.sort(rng.choice(n, min(n, 64 * cells), replace=False))
    index.train(_block(vectors, trained))
    for start in range(0, n, TILE):
        index.add(_block(vectors, slice(start, start + TILE)))
    found, square = np.empty((n, k), dtype=np.int64), np.empty((n, k))
    for start in range(0, n if k else 0, TILE):
        rows = np.arange(start, min(start + TILE, n))
        near = index.search(_block(vectors, rows), k + 1 + SPARE)[1].astype(np.int64)
        near[near == rows[:, None]] = -1
        found[rows], square[rows] = _measure(vectors, rows, near, k)
    found[np.isinf(square)] = -1
    asked = np.sort(rng.choice(n, min(sample, n), replace=False))
    return Graph(found, np.sqrt(square)), _recall(vectors, asked, found[asked])


def _recall(vectors: Matrix, asked: Ints, found: Ints) -> float:
    """Return the share of the true neighbours of rows `asked` that are as near as those found."""
    k = found.shape[1]
    if not found.size:
        return 1.0
    index = load_faiss().IndexFlatL2(vectors.shape[1])
    best = np.full((len(asked), k), -1, dtype=np.int64)
    for start in range(0, len(vectors), 1 << 16):
        index.reset()
        index.add(_block(vectors, slice(start, start + (1 << 16))))
        near = index.search(_block(vectors, asked), k + 1)[1].astype(np.int64)
        near = np.where(near < 0, -1, near + start)
        near[near == asked[:, None]] = -1
        best = _measure(vectors, asked, np.concatenate([best, near], axis=1), k)[0]
    hits = (found[:, :, None] == best[:, None, :]) & (found[:, :, None] >= 0)
    return float(hits.any(axis=2).mean())


def _block(vectors: Matrix, at: Ints | slice) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(vectors[at], dtype=np.float32)
