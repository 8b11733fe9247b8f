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

from curate.arrays import flat, hashes, lengths, mix, one_chunk, owners, text_of
from curate.audit.circles import added, verdict_circles
from curate.audit.properties import Floats, text_properties

Ints: TypeAlias = npt.NDArray[np.int64]
Texts: TypeAlias = tuple[str, str, str]  # prompt, chosen, rejected

MOST_EMBEDDED = 20_000  # pairs; more hardly change the features


class Columns(NamedTuple):
    """Of every usable pair: its prompt's number from 0, hashes of its answers, and how they
    differ in `properties.PROPERTIES`, chosen less rejected.
    """

    prompt: Ints
    chosen: Ints
    rejected: Ints
    difference: Floats


class Pairs:
    """Gathers usable pairs; with `keep_texts` also the texts of those that may be embedded."""

    def __init__(self, keep_texts: bool = False) -> None:
        self.size = 0
        self.circles: dict[str, Any] | None = None
        self._keep = keep_texts
        self._keys: list[npt.NDArray[np.uint64]] = []  # (3, pairs): prompt, chosen, rejected
        self._differences: list[Floats] = []
        self._texts: dict[int, Texts] = {}  # by the pair's own hash, smallest first kept
        self._below = np.uint64(2**64 - 1)

    def add(self, table: pa.Table) -> None:
        """Add the live pairs of canonical rows, and the circles of their judges' verdicts."""
        pairs, candidates = one_chunk(table["pairs"]), one_chunk(table["candidates"])
        counts = lengths(candidates)
        rows = owners(lengths(pairs))
        start = (np.cumsum(counts) - counts)[rows]
        live = np.flatnonzero(np.asarray(flat(pairs, "drop").is_null()))
        texts = flat(candidates, "text")
        places = [
            pa.array(start[live] + np.asarray(flat(pairs, side).take(pa.array(live))).astype(int))
            for side in ("chosen", "rejected")
        ]
        prompts = text_of(table["prompt"]).take(pa.array(rows[live]))
        self.put(one_chunk(prompts), *(texts.take(place) for place in places))
        if "judgments" in table.column_names:
            self.circles = added(self.circles, verdict_circles(table))

    def put(self, prompt: pa.Array, chosen: pa.Array, rejected: pa.Array) -> None:
        """Add pairs as columns of text; null reads as empty."""
        if not len(prompt):
            return
        self.size += len(prompt)
        sides = [pc.fill_null(one_chunk(side), "") for side in (prompt, chosen, rejected)]
        keys = np.stack([hashes(side) >> np.uint64(1) for side in sides])
        self._keys.append(keys)
        self._differences.append(text_properties(sides[1]) - text_properties(sides[2]))
        if self._keep:
            self._hold(mix(*keys), sides)

    def columns(self) -> Columns:
        """Return all pairs, in order."""
        prompt, chosen, rejected = np.concatenate(self._keys, axis=1).astype(np.int64)
        codes = np.unique(prompt, return_inverse=True)[1].reshape(-1)
        return Columns(codes, chosen, rejected, np.concatenate(self._differences))

    def drawn(self, kept: Ints) -> tuple[Ints, list[Texts]]:
        """Return which of the distinct pairs `kept` are drawn, and their texts."""
        own = mix(*np.concatenate(self._keys, axis=1))[kept]
        least = np.sort(own)[:MOST_EMBEDDED][-1]
        at = np.flatnonzero(own <= least)
        return kept[at], [self._texts[key] for key in own[at].tolist()]

    def _hold(self, own: npt.NDArray[np.uint64], sides: list[pa.Array]) -> None:
        """Keep the texts of the pairs with the smallest hashes; equal answers are no evidence."""
        differ = np.asarray(pc.not_equal(sides[1], sides[2]))
        wanted = np.flatnonzero(differ & (own <= self._below))
        columns = (side.take(pa.array(wanted)).to_pylist() for side in sides)
        self._texts |= zip(own[wanted].tolist(), zip(*columns, strict=True), strict=True)
        if len(self._texts) > 2 * MOST_EMBEDDED:
            least = sorted(self._texts)[:MOST_EMBEDDED]
            self._texts = {key: self._texts[key] for key in least}
            self._below = np.uint64(least[-1])
