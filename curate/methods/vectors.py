"""Columns as numbers: embeddings as a matrix, and each row's quality for ranking."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Column, flat, lengths, one_chunk, owners
from curate.errors import StageError, importing
from curate.methods.columns import column_of

_log = logging.getLogger(__name__)

COSINE_SLACK = 1e-6  # float32 rounding: equal vectors can have a cosine of 0.9999999
DIGITS = 12  # cosines and squared distances are compared to so many decimals: BLAS sums differ

PAIR_NUMBERS = ("margin", "p_correct", "weight")
"""Names that rank rows by a number of their pairs."""


def load_faiss() -> Any:
    """Return the faiss module. Raises MissingExtra."""
    with importing("faiss", "embed", "faiss-cpu"):
        import faiss
    return faiss


def unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the rows (n, d) scaled to length one in float32; zero rows stay zero."""
    wide = np.asarray(vectors, dtype=np.float32)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(norm > 0, norm, np.float32(1)), dtype=np.float32)


def cosines(
    vectors: npt.NDArray[np.float32],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    others: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the cosine (n) of each two of the unit `vectors`, the rows first[i] and second[i].

    With `others` the second are rows of these. Measured in float64, pair by pair, so that it does
    not depend on what else is looked at.
    """
    found = np.empty(len(first))
    others = vectors if others is None else others
    for start in range(0, len(first), 8192):
        at = slice(start, start + 8192)
        one, two = vectors[first[at]].astype(np.float64), others[second[at]].astype(np.float64)
        found[at] = np.einsum("ij,ij->i", one, two)
    return np.round(found, DIGITS)


def rounding(width: int) -> float:
    """Return how far a float32 product of unit vectors of `width` numbers can be off."""
    return (width + 16) * 2.0**-23


def vectors_of(column: Column, first: int = 0) -> npt.NDArray[np.float32]:
    """Return a fixed-size-list column as (n, d) float32; a null row is all zero.

    `first` is the number of its first row, for the message. Raises StageError where the column
    has another type or holds NaN or infinity.
    """
    rows = one_chunk(column)
    if not pa.types.is_fixed_size_list(rows.type):
        raise StageError(f"an embedding column must be a fixed-size list, not {rows.type}")
    full = np.zeros((len(rows), rows.type.list_size), dtype=np.float32)
    valid = rows.drop_null()
    values = valid.flatten().to_numpy(zero_copy_only=False)
    there = np.asarray(rows.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
    full[there] = values.reshape(len(valid), rows.type.list_size)
    bad = ~np.isfinite(full).all(axis=1)
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        raise StageError(
            f"{int(bad.sum())} embeddings hold NaN or infinity (first: row {first + where}); "
            "embed again"
        )
    return full


def unit_rows(column: Column, order: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the rows `order` (n) of an embedding column as unit vectors (n, d) in float32.

    A null row is all zero. Reads 8,192 rows at a time, so a memory-mapped float16 column costs
    no more memory than the result. Raises StageError as `vectors_of` does.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    full: npt.NDArray[np.float32] | None = None
    row = 0
    for chunk in chunks:
        for start in range(0, len(chunk), 8192):
            block = unit(vectors_of(chunk.slice(start, 8192), row))
            if full is None:
                full = np.zeros((len(order), block.shape[1]), dtype=np.float32)
            full[place[row : row + len(block)]] = block
            row += len(block)
    return np.zeros((0, 1), dtype=np.float32) if full is None else full


def best_of(view: pa.Table, name: str, required: bool = False) -> npt.NDArray[np.float64]:
    """Return each row's quality (n): its highest score, its highest margin, or a number.

    `name` is a number of the pairs ("margin", "p_correct" or "weight"; dropped pairs do not
    count), or a column of numbers or of lists of numbers, such as "scores" or "meta.KEY" (see
    `columns`). -inf where a row has none. Raises StageError for a column of something else, and
    for a `required` one of `meta` that no row has.
    """
    best = np.full(len(view), -np.inf)
    if name in PAIR_NUMBERS:
        counts, value = lengths(view["pairs"]), flat(view["pairs"], name)
        usable = np.asarray(flat(view["pairs"], "drop").is_null(), dtype=bool)
    elif pa.types.is_list((column := column_of(view, name, required)).type):
        counts, value = lengths(column), flat(column)
        usable = np.ones(len(value), dtype=bool)
    else:
        value = one_chunk(column)
        counts, usable = np.ones(len(value), dtype=np.int64), np.ones(len(value), dtype=bool)
    if not (pa.types.is_floating(value.type) or pa.types.is_integer(value.type)):
        raise StageError(f"column {name!r} cannot rank rows: it holds {value.type}, not numbers")
    number = np.asarray(value.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    usable &= ~np.isnan(number)
    np.maximum.at(best, owners(counts)[usable], number[usable])
    return best


def warn_unranked(best: npt.NDArray[np.float64], stage: str, name: str) -> None:
    """Say so in the log where there are rows and none has the number that is to rank them.

    `best` is as `best_of` gives it.
    """
    if len(best) and not np.isfinite(best).any():
        margin = "; the stage `margin` takes it from scores" if name == "margin" else ""
        _log.warning(
            "%s: none of %d has a number in %r, by which the best should stay%s",
            stage, len(best), name, margin,
        )  # fmt: skip


def nearest(
    rows: npt.NDArray[np.float32], items: npt.NDArray[np.float32], least: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return (row, item, cosine) of every pair whose cosine is `least` or more.

    `rows` (n, d) and `items` (m, d) hold unit vectors, or zeros, which are near nothing. In order
    of row and item; 64 MB of products are held at a time. Cosines are measured as in `cosines`, and
    may be less than `least` by `COSINE_SLACK`.
    """
    found: list[tuple[npt.NDArray[Any], ...]] = [(np.zeros(0, np.int64),) * 2]
    lowest = least - COSINE_SLACK - rounding(rows.shape[1])
    for start in range(0, len(rows), 1024):
        for first in range(0, len(items), 1 << 14):
            product = rows[start : start + 1024] @ items[first : first + (1 << 14)].T
            row, item = np.nonzero(product >= lowest)
            found.append((row + start, item + first))
    row, item = (np.concatenate(part) for part in zip(*found, strict=True))
    value = cosines(rows, row, item, items)
    there = np.flatnonzero(value >= least - COSINE_SLACK)
    there = there[np.lexsort((item[there], row[there]))]
    return row[there], item[there], value[there]
