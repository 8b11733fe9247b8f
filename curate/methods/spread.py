"""How far a set of vectors spreads, as one number, and the rows that spread the farthest.

Both numbers here need every pair of rows: take a sample of a large set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats, Ints
from curate.errors import ConfigError
from curate.methods.coverage import Quota
from curate.methods.vectors import DIGITS, unit

Matrix = npt.NDArray[Any]

MOST_BYTES = 4 << 30  # of the factor that `determinantal` holds
_NOTHING = 1e-10  # a conditional variance below this is rounding


def determinantal(
    vectors: Matrix,
    keep: int,
    width: float = 1.0,
    bonus: Floats | None = None,
    quota: Quota | None = None,
) -> Ints:
    """Return `keep` rows, each adding most to the logarithm of the kernel's determinant.

    The greedy most probable set of a determinantal point process (fast greedy MAP, Chen et al.
    2018) with the kernel exp(-d^2 / (2 `width`^2)) of Euclidean distances. `bonus` (n) is added
    to a row's gain. Of equals the first row is taken; rows that the chosen ones leave nothing of
    (copies) come last. Raises ConfigError where n * keep numbers exceed 4 GiB.
    """
    n, quota = len(vectors), quota or Quota.none(len(vectors))
    keep = min(keep, n)
    if n * keep * 8 > MOST_BYTES:
        raise ConfigError(
            f"dpp: {keep:,} of {n:,} rows need {n * keep * 8 / 2**30:.1f} GiB, above "
            f"{MOST_BYTES >> 30}; keep fewer rows, or use farthest_first"
        )
    held = np.asarray(vectors, dtype=np.float64)
    norms = np.einsum("ij,ij->i", held, held)
    factor, left = np.zeros((keep, n)), np.ones(n)  # the kernel's Cholesky rows; what is left
    closed = quota.room[quota.group] <= 0
    chosen: list[int] = []
    while len(chosen) < keep and not closed.all():
        gain = np.log(np.maximum(left, _NOTHING)) + (0.0 if bonus is None else bonus)
        gain[closed] = -np.inf
        row = int(np.round(gain, DIGITS).argmax())
        if left[row] > _NOTHING:
            square = np.maximum(norms + norms[row] - 2.0 * (held @ held[row]), 0.0)
            done = len(chosen)
            known = factor[:done, row] @ factor[:done]
            factor[done] = (np.exp(-square / (2.0 * width**2)) - known) / np.sqrt(left[row])
            left -= factor[done] ** 2
        chosen.append(row)
        if quota.take(row):
            closed |= quota.group == quota.group[row]
        closed[row] = True
    return np.array(chosen, dtype=np.int64)


def vendi(kernel: Floats) -> float:
    """Return the Vendi score of a kernel (n, n) with ones on its diagonal, from 1 to n.

    The effective number of distinct rows: exp of the entropy of the eigenvalues of kernel / n
    (Friedman and Dieng 2023). NaN without rows.
    """
    return _effective(np.linalg.eigvalsh(kernel / len(kernel))) if len(kernel) else np.nan


def vendi_of_cosines(vectors: Matrix) -> float:
    """Return the Vendi score of n vectors under their cosines.

    The d x d product has the same eigenvalues, but for zeros, as the n x n kernel.
    """
    held = unit(vectors).astype(np.float64)
    small = held.T @ held if held.shape[1] < len(held) else held @ held.T
    return _effective(np.linalg.eigvalsh(small / len(held))) if len(held) else np.nan


def _effective(shares: npt.NDArray[np.floating[Any]]) -> float:
    some = shares[shares > 1e-12]
    return float(np.exp(-(some * np.log(some)).sum()))


def novel_sum(
    vectors: Matrix, density: Floats | None = None, power: float = 0.5, itself: bool = False
) -> float:
    """Return the mean novelty of the rows next to the others of their set (NovelSum, 2025).

    A row's novelty is the mean cosine distance to the others, the nearest weighing 1, the next
    1/2, and so on; each distance is scaled by the other's `density` (n) to the `power`, so that
    apart in a crowded region counts for more. With `itself` a row is its own nearest, as in the
    authors' program. NaN for fewer than two rows.
    """
    n = len(vectors)
    if n < 2:
        return np.nan
    held = unit(vectors).astype(np.float64)
    cosine = np.clip(held @ held.T, -1.0, 1.0)
    np.fill_diagonal(cosine, 2.0)  # every row comes first in its own order
    order = np.argsort(-np.round(cosine, DIGITS), axis=1, kind="stable")
    np.fill_diagonal(cosine, 1.0)
    away = 1.0 - np.take_along_axis(cosine, order, axis=1)
    if density is not None:
        away *= density[order] ** power
    if not itself:
        away = away[:, 1:]
    weight = 1.0 / np.arange(1, away.shape[1] + 1)
    return float((away @ weight / weight.sum()).mean())
