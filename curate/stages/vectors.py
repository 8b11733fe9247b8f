"""Columns as numbers: embeddings as a matrix, and each row's quality for ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Column, flat, lengths, one_chunk, owners
from curate.errors import MissingExtra, StageError


def load_faiss() -> Any:
    """Return the faiss module. Raises MissingExtra."""
    try:
        import faiss
    except ImportError:
        raise MissingExtra("faiss-cpu", "embed") from None
    return faiss


def unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the rows (n, d) scaled to length one in float32; zero rows stay zero."""
    wide = np.asarray(vectors, dtype=np.float32)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(norm > 0, norm, np.float32(1)), dtype=np.float32)


def vectors_of(column: Column) -> npt.NDArray[np.float32]:
    """Return a fixed-size-list column as (n, d) float32; a null row is all zero.

    Raises StageError where the column has another type or holds NaN or infinity.
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
            f"{int(bad.sum())} embeddings hold NaN or infinity (first: row {where}); embed again"
        )
    return full


def best_of(view: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """Return each row's quality (n): its highest score, its highest margin, or a number.

    `name` is "scores", "pairs" or "margin" (the pairs that are not dropped), or a column of
    numbers or of lists of numbers. -inf where a row has none.
    """
    best = np.full(len(view), -np.inf)
    if name in ("pairs", "margin"):
        counts, value = lengths(view["pairs"]), flat(view["pairs"], "margin")
        usable = np.asarray(flat(view["pairs"], "drop").is_null(), dtype=bool)
    elif pa.types.is_list(view[name].type):
        counts, value = lengths(view[name]), flat(view[name])
        usable = np.ones(len(value), dtype=bool)
    else:
        value = one_chunk(view[name])
        counts, usable = np.ones(len(value), dtype=np.int64), np.ones(len(value), dtype=bool)
    if not (pa.types.is_floating(value.type) or pa.types.is_integer(value.type)):
        raise StageError(f"column {name!r} cannot rank rows: it holds {value.type}, not numbers")
    number = np.asarray(value.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    usable &= ~np.isnan(number)
    np.maximum.at(best, owners(counts)[usable], number[usable])
    return best
