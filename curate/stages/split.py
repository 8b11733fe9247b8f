"""Put each row into train, test or another part, so that nothing alike lies in two parts."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from pydantic import Field, field_validator

from curate.arrays import Column, Ints
from curate.division import Division
from curate.methods.columns import base_column, values_of
from curate.methods.copies import text_marks
from curate.methods.set_join import JaccardJoin, link
from curate.methods.shingles import shingle_sets
from curate.methods.similarity import CosineSearch, components
from curate.methods.vectors import unit_rows
from curate.stage import Context, Result, Stage
from curate.stages.dedup_items import item_texts
from curate.stages.split_division import LinkedRows, Links, key_values, response_values

_log = logging.getLogger(__name__)

GIANT = 0.1  # share of the rows from which one group is worth a word


class Split(Stage, name="split"):
    """Write `split`: the part each row belongs to, without leaks between the parts.

    Rows are linked where their prompts are similar (Jaccard index of three-word shingles, system
    messages left out, or cosine, at or above `threshold`), where they are equal, where they share
    a value of a column in `together`, and where one answer of eight words or more occurs in both
    (in scripts written without spaces, of eight characters). A linked group goes to one part as a
    whole. A hash of the run's seed and the group's smallest id picks the part, so rows that are
    added later leave the other groups where they are, and shares are met on average, not exactly.

    `counts` reports "rows in" each part, "parts without rows", "groups", "largest group" (its
    rows) and "answers in too many rows to link them". A part without rows, and a group of more
    than a tenth of all rows, is also said in the log: links are too loose then.
    """

    version = 3
    scope = "dataset"
    needs = ("id",)
    uses = ("candidates",)
    writes = ("split",)
    seeded = True
    parts: dict[str, float] = Field(default_factory=lambda: {"train": 0.9, "test": 0.1})
    """Shares of the parts, which add up to 1."""
    on: Literal["text", "embedding"] = "text"
    """Link rows by the words of their prompts, or by their embeddings."""
    threshold: float = Field(0.5, gt=0.0, le=1.0, description="similarity that links two rows")
    embedding: str = Field("embedding", description="the column used with `on: embedding`")
    together: tuple[str, ...] = ()
    """Columns whose equal values link rows: of a conversation, a tree, a persona, an author.
    "meta.KEY" is a key of the source's own columns. Null and "" link nothing."""
    response_cap: int = Field(10, ge=0)
    """An answer found in more rows than this (a refusal, as a rule) links none; 0: no answer."""

    @field_validator("parts")
    @classmethod
    def _shares(cls, parts: dict[str, float]) -> dict[str, float]:
        if not parts or not all(math.isfinite(s) and s > 0 for s in parts.values()):
            raise ValueError("each part needs a share above 0")
        if not math.isclose(sum(parts.values()), 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares must add up to 1, not {sum(parts.values()):g}")
        return parts

    def needed(self) -> tuple[str, ...]:
        """Return the columns that the links come from."""
        source = "prompt" if self.on == "text" else self.embedding
        return tuple(dict.fromkeys((*self.needs, source, *map(base_column, self.together))))

    def used(self) -> tuple[str, ...]:
        """Return the prompts, of which equal ones link rows, and the answers, where they do."""
        answers = self.uses if self.response_cap else ()
        return answers if self.on == "text" else ("prompt", *answers)

    def division(self) -> Division:
        """Rows that are alike are found wherever there is room, and linked in one place."""
        return LinkedRows(self)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the part of each row."""
        if self.on == "text":
            group = text_groups(item_texts(view, "prompt"), self.threshold)
        else:
            vectors = unit_rows(view[self.embedding], np.arange(len(view)))
            group = components(CosineSearch(vectors, self.threshold))
        links = list[Links]()
        if "prompt" in view.column_names:
            marks, there = text_marks(item_texts(view, "prompt", seal=True))
            links.append((np.flatnonzero(there), marks[0, there]))
        links += [key_values(values_of(view, name, required=True)) for name in self.together]
        answers = None
        if self.response_cap and "candidates" in view.column_names:
            answers = response_values(view["candidates"])
        parts = self.assigned(group, view["id"], links, answers, ctx)
        return {"split": pa.array(parts, pa.string())}  # no rows tell no type

    def assigned(
        self,
        group: Ints,
        ids: Column,
        links: Iterable[Links],
        answers: Links | None,
        ctx: Context,
    ) -> list[str]:
        """Return the part of each row, and count.

        `group` (n) numbers rows that are alike; `links` give rows and values that link them, and
        so do `answers`, those that many rows have left out.
        """
        root = first_members(group)
        for row, value in links:
            link_equal(root, row, value)
        if answers is not None:
            row, value, over = rarely(*answers, self.response_cap)
            link_equal(root, row, value)
            ctx.counts["answers in too many rows to link them"] = over
        chosen = assign(root, ids.to_pylist(), self.parts, ctx.seed)
        sizes = np.unique(root, return_counts=True)[1]
        self._account(Counter(chosen), sizes, ctx)
        return chosen

    def _account(self, rows: Counter[str], sizes: Ints, ctx: Context) -> None:
        """Count the parts' rows and the groups (of `sizes`), and say what looks wrong."""
        empty, largest = [part for part in self.parts if not rows[part]], int(sizes.max(initial=0))
        ctx.counts.update({f"rows in {part}": rows[part] for part in self.parts})
        ctx.counts["parts without rows"] = len(empty) if len(sizes) else 0
        ctx.counts.update({"groups": len(sizes), "largest group": largest})
        total = rows.total()
        if not len(sizes):
            return
        nothing = f"no row is in {', '.join(empty)}; " if empty else ""
        if largest > max(GIANT * total, 10):
            _log.warning(
                "split: %s%d of %d rows are linked in one group; if that is not meant, raise "
                "`threshold`, or take a column that many rows share out of `together`",
                nothing, largest, total,
            )  # fmt: skip
        elif empty:
            _log.warning(
                "split: %stoo few for these `parts` (rows: %d, groups: %d)",
                nothing, total, len(sizes),
            )  # fmt: skip


def first_members(group: Ints) -> Ints:
    """Return each item's group (n) named by its first member."""
    _, first, number = np.unique(group, return_index=True, return_inverse=True)
    return np.asarray(first[number], dtype=np.int64)


def link_equal(root: Ints, row: Ints, value: npt.NDArray[Any]) -> None:
    """Join, in place, the groups of all rows that have one value; a row may have several."""
    first = first_members(np.unique(value, return_inverse=True)[1])
    link(root, row, row[first])


def rarely(row: Ints, value: npt.NDArray[Any], cap: int) -> tuple[Ints, npt.NDArray[Any], int]:
    """Return the rows and values of values that at most `cap` rows have, and how many others are.

    A value that one row has twice counts once.
    """
    number = np.unique(value, return_inverse=True)[1].astype(np.int64)
    key = np.unique(number * (int(row.max(initial=0)) + 1) + row)
    rows = np.bincount(key // (int(row.max(initial=0)) + 1), minlength=1)
    rare = rows[number] <= cap if len(number) else np.zeros(0, dtype=bool)
    return row[rare], value[rare], int((rows > cap).sum())


def text_groups(texts: Iterable[pa.Array], threshold: float) -> Ints:
    """Return each text's group (n), linked by chains of Jaccard index >= `threshold`.

    A text without words is a group of its own.
    """
    set_of, sets = shingle_sets(texts)
    found = JaccardJoin(sets, threshold).components()
    group = len(found) + np.arange(len(set_of))
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
