"""Put each row into train, test or another part, so that no near-duplicate prompts part ways."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field, field_validator

from curate.arrays import text_of
from curate.stage import Context, Result, Stage
from curate.stages.similarity import CosineSearch, Ints, JaccardSearch, components, shingle_sets
from curate.stages.vectors import vectors_of


class Split(Stage, name="split"):
    """Write `split`: the part each row belongs to, without leaks between the parts.

    Rows whose prompts are similar (Jaccard index of three-word shingles, or cosine, at or above
    `threshold`) are linked, and a linked group goes to one part as a whole. A hash of the run's
    seed and the group's smallest id picks the part, so rows that are added later leave the
    other groups where they are, and shares are met on average, not exactly.
    """

    scope = "dataset"
    needs = ("id",)
    writes = ("split",)
    seeded = True
    parts: dict[str, float] = Field(default_factory=lambda: {"train": 0.9, "test": 0.1})
    on: Literal["text", "embedding"] = "text"
    threshold: float = Field(0.5, gt=0.0, le=1.0, description="similarity that links two rows")
    embedding: str = Field("embedding", description="the column used with `on: embedding`")

    @field_validator("parts")
    @classmethod
    def _shares(cls, parts: dict[str, float]) -> dict[str, float]:
        if not parts or not all(math.isfinite(s) and s > 0 for s in parts.values()):
            raise ValueError("each part needs a share above 0")
        if not math.isclose(sum(parts.values()), 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares must add up to 1, not {sum(parts.values()):g}")
        return parts

    def needed(self) -> tuple[str, ...]:
        """Return the columns that this kind of similarity needs."""
        return (*self.needs, "prompt" if self.on == "text" else self.embedding)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the part of each row."""
        if self.on == "text":
            group = text_groups(text_of(view["prompt"]).to_pylist(), self.threshold)
        else:
            group = components(CosineSearch(vectors_of(view[self.embedding]), self.threshold))
        chosen = assign(group, view["id"].to_pylist(), self.parts, ctx.seed)
        return {"split": pa.array(chosen, pa.string())}


def text_groups(texts: Sequence[str | None], threshold: float) -> Ints:
    """Return each text's group (n), linked by chains of Jaccard index >= `threshold`.

    A text without words is a group of its own.
    """
    set_of, sets = shingle_sets(texts)
    found = components(JaccardSearch(sets, threshold))
    group = len(found) + np.arange(len(texts))
    there = set_of >= 0
    group[there] = found[set_of[there]]
    return group


def assign(group: Ints, ids: Sequence[str], parts: Mapping[str, float], seed: int) -> list[str]:
    """Return each row's part: drawn once a group, from `seed` and the group's smallest id."""
    key: dict[int, str] = {}
    for number, row_id in zip(group.tolist(), ids, strict=True):
        key[number] = min(key.get(number, row_id), row_id)
    names, edges = list(parts), np.cumsum(list(parts.values()))
    drawn: dict[int, str] = {}
    for number, row_id in key.items():
        digest = xxhash.xxh3_64_intdigest(f"split\0{seed}\0{row_id}".encode())
        at = int(np.searchsorted(edges, digest / 2**64, side="right"))
        drawn[number] = names[min(at, len(names) - 1)]  # shares may add up to 0.999999
    return [drawn[number] for number in group.tolist()]
