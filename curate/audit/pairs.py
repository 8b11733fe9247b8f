"""The pairs of a set, as what an audit needs of them: hashes, properties, and some of the texts.

All texts of a large run do not fit into memory, so each shard's are counted and let go; only the
pairs that embeddings and examples are made of are kept, drawn by a hash of their texts.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import (
    Column,
    Floats,
    Ints,
    flat,
    hashes,
    lengths,
    mix,
    one_chunk,
    owners,
    starts_of,
    text_of,
)
from curate.audit.circles import added, verdict_circles
from curate.audit.properties import text_properties
from curate.methods.vectors import vectors_of

Texts: TypeAlias = tuple[str, str, str]  # prompt, chosen, rejected


class Columns(NamedTuple):
    """Of every usable pair: its prompt's number from 0, hashes of its answers, and how they
    differ in `properties.PROPERTIES`, chosen less rejected.
    """

    prompt: Ints
    chosen: Ints
    rejected: Ints
    difference: Floats


class Drawn(NamedTuple):
    """Some of the distinct pairs: their places (n), their texts, and how their stored embeddings
    differ (n, d), None where the column is not there; NaN where an answer has none.
    """

    places: Ints
    texts: list[Texts]
    difference: Floats | None


class GatheredPairs:
    """Gathers usable pairs; with `keep` also the texts of as many as may be embedded.

    `column` names stored embeddings, one a candidate: their differences are kept with the texts.
    """

    def __init__(self, keep: int = 0, column: str | None = None) -> None:
        self.size = 0
        self.circles: dict[str, Any] | None = None
        self._keep, self._column = keep, column
        self._vectors: dict[int, npt.NDArray[np.float32]] = {}
        self._keys: list[npt.NDArray[np.uint64]] = []  # (3, pairs): prompt, chosen, rejected
        self._differences: list[Floats] = []
        self._texts: dict[int, Texts] = {}  # by the pair's own hash, smallest first kept
        self._below = np.uint64(2**64 - 1)

    def add(self, table: pa.Table) -> None:
        """Add the live pairs of canonical rows, and the circles of their judges' verdicts."""
        pairs, candidates = one_chunk(table["pairs"]), one_chunk(table["candidates"])
        counts = lengths(candidates)
        rows = owners(lengths(pairs))
        start = starts_of(counts)[rows]
        live = np.flatnonzero(np.asarray(flat(pairs, "drop").is_null()))
        texts = flat(candidates, "text")
        places = [
            pa.array(start[live] + np.asarray(flat(pairs, side).take(pa.array(live))).astype(int))
            for side in ("chosen", "rejected")
        ]
        prompts = text_of(table["prompt"]).take(pa.array(rows[live]))
        vectors = None
        if self._keep and self._column in table.column_names:
            vectors = _differences(table[self._column], counts, places)
        self.put(one_chunk(prompts), texts.take(places[0]), texts.take(places[1]), vectors)
        if "judgments" in table.column_names:
            self.circles = added(self.circles, verdict_circles(table))

    def put(
        self,
        prompt: pa.Array,
        chosen: pa.Array,
        rejected: pa.Array,
        vectors: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Add pairs (n) as columns of text, null reads as empty; `vectors` (n, d) as in `Drawn`."""
        if not len(prompt):
            return
        self.size += len(prompt)
        sides = [pc.fill_null(one_chunk(side), "") for side in (prompt, chosen, rejected)]
        keys = np.stack([hashes(side) >> np.uint64(1) for side in sides])
        self._keys.append(keys)
        self._differences.append(text_properties(sides[1]) - text_properties(sides[2]))
        if self._keep:
            self._hold(mix(*keys), sides, vectors)

    def columns(self) -> Columns:
        """Return all pairs, in order."""
        prompt, chosen, rejected = np.concatenate(self._keys, axis=1).astype(np.int64)
        codes = np.unique(prompt, return_inverse=True)[1].reshape(-1)
        return Columns(codes, chosen, rejected, np.concatenate(self._differences))

    def drawn(self, kept: Ints) -> Drawn:
        """Return which of the distinct pairs `kept` are drawn, and what is known of them."""
        own = mix(*np.concatenate(self._keys, axis=1))[kept]
        least = np.sort(own)[: self._keep][-1]
        at = np.flatnonzero(own <= least)
        keys = own[at].tolist()
        found = [self._vectors[key] for key in keys if key in self._vectors]
        whole = len(found) == len(keys) and len({len(one) for one in found}) == 1
        difference = np.stack(found).astype(np.float64) if whole else None
        return Drawn(kept[at], [self._texts[key] for key in keys], difference)

    def _hold(
        self,
        own: npt.NDArray[np.uint64],
        sides: list[pa.Array],
        vectors: npt.NDArray[np.float32] | None,
    ) -> None:
        """Keep the texts of the pairs with the smallest hashes; equal answers are no evidence."""
        differ = np.asarray(pc.not_equal(sides[1], sides[2]))
        wanted = np.flatnonzero(differ & (own <= self._below))
        columns = (side.take(pa.array(wanted)).to_pylist() for side in sides)
        keys = own[wanted].tolist()
        self._texts |= zip(keys, zip(*columns, strict=True), strict=True)
        if vectors is not None:
            self._vectors |= zip(keys, vectors[wanted], strict=True)
        if len(self._texts) > 2 * self._keep:
            least = sorted(self._texts)[: self._keep]
            self._texts = {key: self._texts[key] for key in least}
            self._vectors = {key: self._vectors[key] for key in least if key in self._vectors}
            self._below = np.uint64(least[-1])


def _differences(
    column: Column, counts: Ints, places: list[pa.Array]
) -> npt.NDArray[np.float32] | None:
    """Return chosen less rejected (pairs, d), NaN where a side has no vector.

    None where the column no longer stands beside the candidates, of which there are `counts` (n).
    """
    if not np.array_equal(lengths(column), counts):
        return None
    stored = flat(column)
    sides = [stored.take(place) for place in places]
    difference = vectors_of(sides[0]) - vectors_of(sides[1])
    for side in sides:
        difference[np.asarray(side.is_null())] = np.nan
    return difference
