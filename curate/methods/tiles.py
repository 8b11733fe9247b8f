"""The candidates for each row's nearest others: every pair is multiplied once, in tiles.

Similarity is symmetric, so each tile of the n x n matrix serves its rows and its columns. The
products are rounded. How far each can be off is bounded beforehand, so the pools that come out
hold every true neighbour, or are known not to.
"""

from __future__ import annotations

import math
import time
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats, Ints, starts_of
from curate.threads import in_order

Matrix = npt.NDArray[Any]
Singles: TypeAlias = npt.NDArray[np.float32]
Hits: TypeAlias = tuple[Ints, Ints, Singles]  # rows within a block, others, scores

TILE = 2048  # rows and columns of one matrix product
AHEAD = 4  # tiles in work at once
SPARE = 22  # neighbours held beyond k, so that the k-th is told apart from those left out
TIE = 1e-11  # squared distances that round to one number are at most so far apart


class Products(Protocol):
    """Scores of pairs of rows: x.y - |x|^2/2 - |y|^2/2, plus `shift`, within `error` of the row."""

    shift: float
    error: Floats

    def tile(self, a: slice, b: slice) -> Any:
        """Return the scores of the rows `a` with the rows `b`."""

    def above(self, tile: Any, floor: Singles) -> Ints:
        """Return the flat places where a score may be above `floor`, (rows, 1) or (1, columns)."""

    def dense(self, tile: Any) -> Singles:
        """Return the tile as an array of float32, C-contiguous."""

    def taken(self, tile: Any, flat: Ints) -> Singles:
        """Return the scores at the flat places."""


class SingleProducts:
    """Products in float32."""

    def __init__(self, vectors: Matrix) -> None:
        d = vectors.shape[1]
        self.vectors = vectors
        self.half = half_square_norms(vectors)
        # A sum of d float32 products is off by at most this share of the largest |x|^2.
        error = float(self.half.max()) * 2 * (d + 16) * 2.0**-23 + TIE
        # Where all are equally long, as unit vectors are, the products alone rank the others.
        spread = float(np.ptp(self.half))
        self.alike = spread <= error
        self.shift = 2.0 * float(self.half.mean()) if self.alike else 0.0
        self.error = np.full(len(vectors), error + (2.0 * spread if self.alike else 0.0))

    def tile(self, a: slice | Ints, b: slice) -> Singles:
        """Return the scores of the rows `a` with the rows `b`."""
        left, right = (self.vectors[at].astype(np.float32, copy=False) for at in (a, b))
        tile = np.asarray(left @ right.T, dtype=np.float32)
        if not self.alike:
            tile -= self.half[a, None]
            tile -= self.half[None, b]
        return tile

    def above(self, tile: Singles, floor: Singles) -> Ints:
        """Return the flat places where a score is above `floor`."""
        return np.flatnonzero(tile > floor)

    def dense(self, tile: Singles) -> Singles:
        """Return the tile itself."""
        return tile

    def taken(self, tile: Singles, flat: Ints) -> Singles:
        """Return the scores at the flat places."""
        return np.asarray(tile.ravel()[flat])


class HalfProducts:
    """Products of equally long vectors in bfloat16, added up in float32.

    With x' the rounded x: |x.y - x'.y'| <= |x - x'| |y| + |x'| |y - y'| (Cauchy-Schwarz), and the
    two norms |x - x'| are measured. The sum's own rounding, and that of the result to bfloat16
    (2**-9 of it), come on top.
    """

    def __init__(self, exact: SingleProducts) -> None:
        import torch

        vectors = exact.vectors
        n, d = vectors.shape
        self._rounded = torch.empty((n, d), dtype=torch.bfloat16)
        off = np.empty(n)
        for start in range(0, n, 8192):
            at = slice(start, start + 8192)
            wide = torch.from_numpy(np.ascontiguousarray(vectors[at], dtype=np.float32))
            self._rounded[at] = wide
            apart = vectors[at].astype(np.float64) - self._rounded[at].double().numpy()
            off[at] = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        longest = math.sqrt(2.0 * float(exact.half.max()))
        whole = (longest + float(off.max())) ** 2
        self.shift = exact.shift
        self.error = exact.error + off * longest + (longest + off) * float(off.max())
        self.error += whole * ((d + 16) * 2.0**-23 + 2.0**-9)

    def tile(self, a: slice, b: slice) -> Any:
        """Return the scores of the rows `a` with the rows `b`."""
        import torch

        return torch.mm(self._rounded[a], self._rounded[b].t())

    def above(self, tile: Any, floor: Singles) -> Ints:
        """Return the flat places where a score may be above `floor`."""
        import torch

        lower = torch.from_numpy(round_down(floor)).bfloat16()
        return np.flatnonzero((tile > lower).numpy())

    def dense(self, tile: Any) -> Singles:
        """Return the tile as an array of float32."""
        return np.asarray(tile.float().numpy())

    def taken(self, tile: Any, flat: Ints) -> Singles:
        """Return the scores at the flat places."""
        import torch

        return np.asarray(tile.view(-1)[torch.from_numpy(flat)].float().numpy())


def round_down(values: Singles) -> Singles:
    """Return the largest numbers that bfloat16 has and that are not above `values`."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    away = np.where(np.signbit(values), np.uint32(0xFFFF), np.uint32(0))
    return np.asarray((bits + away) & np.uint32(0xFFFF0000)).view(np.float32)


def half_products(exact: SingleProducts) -> HalfProducts | None:
    """Return the products in bfloat16 where they are faster here, else None.

    The neighbours found are the same either way, so a clock may decide.
    """
    if not exact.alike or len(exact.vectors) < 4 * TILE:
        return None
    try:
        import torch  # noqa: F401
    except ImportError:
        return None
    half = HalfProducts(exact)
    a, b = slice(0, TILE), slice(TILE, 2 * TILE)
    taken = [min(_seconds(way, a, b) for _ in range(3)) for way in (half, exact)]
    return half if taken[0] < taken[1] else None


def _seconds(way: Products, a: slice, b: slice) -> float:
    began = time.perf_counter()
    way.tile(a, b)
    return time.perf_counter() - began


class Pools:
    """For each row the others of highest score, best first: `rows` and `score` (n, pool).

    What a pool leaves out is not among the k nearest, or scores at most as the pool's last.
    """

    def __init__(self, products: Products, n: int, k: int) -> None:
        self._products, self._n, self._k = products, n, k
        pool = min(k + SPARE, n - 1)
        self.rows = np.full((n, pool), -1, dtype=np.int64)
        self.score = np.full((n, pool), -np.inf, dtype=np.float32)
        self._waiting: list[list[Hits]] = [[] for _ in range(math.ceil(n / TILE))]

    def run(self) -> None:
        """Fill the pools, a tile and its mirror image at a time; the diagonal sets the floors."""
        blocks = len(self._waiting)
        for i in range(blocks):
            tile = self._products.dense(self._tile(i, i))
            np.fill_diagonal(tile, -np.inf)
            self._start(i, tile)
        # One thread multiplies while the other reads. How far the floors have risen by then
        # changes the work and not the result: what is left out is too far either way.
        places = [(i, j) for i in range(blocks) for j in range(i + 1, blocks)]
        read = in_order(lambda place: self._read(*place), places, 2, AHEAD - 1)
        for (i, j), (down, across) in zip(places, read, strict=True):
            self._collect(i, *down)
            self._collect(j, *across)
        for i in range(blocks):
            self._merge(i)

    def _tile(self, i: int, j: int) -> Any:
        ends = (slice(at * TILE, min((at + 1) * TILE, self._n)) for at in (i, j))
        return self._products.tile(*ends)

    def _read(self, i: int, j: int) -> tuple[Hits, Hits]:
        """Return what may enter the pools of block `i`, and of block `j`."""
        tile = self._tile(i, j)
        flat = self._products.above(tile, self._floor(i)[:, None])
        down, across = np.divmod(flat, tile.shape[1])
        for_i = down, across + j * TILE, self._products.taken(tile, flat)
        flat = self._products.above(tile, self._floor(j)[None, :])
        down, across = np.divmod(flat, tile.shape[1])
        return for_i, (across, down + i * TILE, self._products.taken(tile, flat))

    def _floor(self, i: int) -> Singles:
        """Return the score that another must exceed, for each row of a block.

        k others score so much already; the other's score and theirs can each be off by the error.
        """
        at = slice(i * TILE, (i + 1) * TILE)
        enough = self.score[at, self._k - 1] - 2.0 * self.error_of(at)
        return np.maximum(self.score[at, -1], enough.astype(np.float32))

    def error_of(self, at: slice) -> Floats:
        """Return the error (m) of the scores of some rows, with room for rounding it to float32."""
        return np.asarray(self._products.error[at] * (1 + 2.0**-10))

    def _start(self, i: int, tile: Singles) -> None:
        """Put the best of the diagonal tile into the pools of its rows."""
        pool = min(self.rows.shape[1], tile.shape[1] - 1)
        if pool == 0:
            return
        best = np.argpartition(tile, tile.shape[1] - pool, axis=1)[:, -pool:]
        score = np.take_along_axis(tile, best, 1)
        order = np.argsort(-score, axis=1, kind="stable")
        at = slice(i * TILE, (i + 1) * TILE)
        self.rows[at, :pool] = np.take_along_axis(best, order, 1) + i * TILE
        self.score[at, :pool] = np.take_along_axis(score, order, 1)

    def _collect(self, i: int, own: Ints, other: Ints, score: Singles) -> None:
        """Keep what may enter the pools of block `i`; merge once enough has come together."""
        if len(own):
            self._waiting[i].append((own, other, score))
            if sum(len(part[0]) for part in self._waiting[i]) >= 8 * TILE:
                self._merge(i)

    def _merge(self, i: int) -> None:
        if not self._waiting[i]:
            return
        at = slice(i * TILE, (i + 1) * TILE)
        own, other, score = (np.concatenate(part) for part in zip(*self._waiting[i], strict=True))
        self._waiting[i] = []
        rows, pool = self.rows[at].shape
        own = np.concatenate([np.repeat(np.arange(rows), pool), own])
        other = np.concatenate([self.rows[at].ravel(), other])
        score = np.concatenate([self.score[at].ravel(), score])
        order = np.lexsort((-score, own))
        counts = np.bincount(own, minlength=rows)
        first = starts_of(counts)
        best = order[first[:, None] + np.arange(pool)]  # each row has its pool's entries at least
        self.rows[at], self.score[at] = other[best], score[best]


def half_square_norms(vectors: Matrix, block: int = 8192) -> Singles:
    """Return |x|^2 / 2 of each row (n) of `vectors` (n, d), summed in float64."""
    half = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), block):
        wide = vectors[start : start + block].astype(np.float64)
        half[start : start + block] = np.einsum("ij,ij->i", wide, wide) / 2.0
    return half
