"""What is already decided, found again: the labelled rows most like each row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curate.arrays import Ints

BLOCK = 1024  # rows compared with all labelled ones at a time
DIGITS = 6  # cosines are compared to so many decimals: ties do not depend on how rows are cut


def neighbour_count(p: npt.ArrayLike, most: int = 8) -> Ints:
    """Return how many neighbours to show for a label that is right with probability `p`.

    `most` where p is at most one half or not known, else ceil(most (1 - p)), at least 1: the
    surer a model is of a label, the fewer (Skywork-Reward-V2, Liu et al. 2025, with 8).
    """
    sure = np.asarray(p, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        fewer = np.ceil(most * (1.0 - sure) - 1e-9)
        return np.where(sure > 0.5, np.maximum(fewer, 1), most).astype(np.int64)


def most_alike(
    rows: npt.NDArray[np.float32], labelled: Ints, k: int, apart: npt.NDArray[np.object_]
) -> Ints:
    """Return (n, k) the labelled rows most like each row, nearest first, -1 where there are fewer.

    `rows` (n, d) are unit vectors, or zeros, which are like nothing; `labelled` (m,) are places
    among them, ascending. A row and a labelled one that share their value of `apart` (n,), such
    as the prompt's text, never meet. Likeness is the cosine, equal ones by place. Takes n m d
    multiplications, and 8 bytes for 1024 m cosines at a time.
    """
    found = np.full((len(rows), k), -1, dtype=np.int64)
    _, kind = np.unique(apart.astype(str), return_inverse=True)
    kind = kind.reshape(-1)
    items, there = rows[labelled].astype(np.float64), np.abs(rows).sum(axis=1) > 0
    width = min(k, len(labelled))
    for start in range(0, len(rows) if width else 0, BLOCK):
        at = slice(start, min(start + BLOCK, len(rows)))
        cosine = np.round(rows[at].astype(np.float64) @ items.T, DIGITS)
        barred = (kind[at, None] == kind[labelled]) | ~there[at, None] | ~there[labelled]
        cosine[barred] = -np.inf
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :width]
        best = np.where(np.isneginf(np.take_along_axis(cosine, order, 1)), -1, labelled[order])
        found[at, :width] = best
    return found
