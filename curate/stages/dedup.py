"""Drop exact and near duplicates among prompts, whole rows, answers or pairs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import join_texts, mix
from curate.component import Runtime
from curate.division import Division
from curate.methods.copies import first_of, near_text, percent, reorder, text_marks
from curate.methods.shingles import WIDTH, number_equal
from curate.methods.similarity import CosineSearch, keep_greedily
from curate.methods.vectors import unit_rows
from curate.stage import Context, Result, Scope, Stage
from curate.stages.dedup_division import ExactCopies, NearCopies, salt_of
from curate.stages.dedup_items import (
    LISTED,
    SOURCES,
    On,
    drop_items,
    item_order,
    item_texts,
    items_of,
    names_of,
    rankable,
    twin_of,
    with_ranking,
)
from curate.stages.own_columns import with_own
from curate.stages.vector_division import NearVectors


class ExactDedup(Stage, name="exact_dedup"):
    """Drop all but one of the rows whose prompts are the same text.

    Or of the rows that are the same in prompt and answers (`on: conversation`), of one prompt's
    equal answers (`response`), or of the pairs of one prompt and the same two answers, whichever
    was chosen (`pair`). The first stays, or with `keep_by` the best (as in `near_dedup`). What
    has no text is never dropped, and roles count.
    """

    version = 3
    scope = "dataset"
    needs = ("id",)
    on: On = "prompt"
    """What is compared: see above."""
    normalize: bool = True
    """Compare in NFC with white space collapsed."""
    keep_by: str | None = None
    """The column or the pairs' number by which the best one stays."""

    @model_validator(mode="after")
    def _ranks(self) -> ExactDedup:
        rankable(self.on, self.keep_by)
        return self

    def view_scope(self) -> Scope:
        """Answers are compared within a row."""
        return "shard" if self.on == "response" else "dataset"

    def needed(self) -> tuple[str, ...]:
        """Return the columns that the texts come from, and the one that ranks them."""
        return with_ranking((*self.needs, *SOURCES[self.on]), self.keep_by)

    def written(self) -> tuple[str, ...]:
        """Return the column whose elements may get a reason; rows get theirs anyway."""
        return (LISTED[self.on],) if self.on in LISTED else ()

    def division(self) -> Division | None:
        """Texts become hashes wherever they lie, and those are compared in one place."""
        return with_own(ExactCopies(self.on, self.normalize, self.keep_by), [self.keep_by])

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the reason for each later copy; it names the one that stays."""
        items = items_of(view, self.on)
        order = item_order(view, self.on, items, self.keep_by)
        marks, there = text_marks(item_texts(view, self.on, seal=True, fold=self.normalize))
        if self.on == "response":
            marks = np.stack([mix(mark, items.row) for mark in marks])  # each row for itself
        number, first = number_equal(marks, order[there[order]])
        twin = first_of(number, first)
        which = np.flatnonzero(twin >= 0)
        why = join_texts(twin_of("exact", self.on), names_of(view, self.on, items, twin[which]))
        return drop_items(view, self.on, items, which, why)


class NearDedup(Stage, name="near_dedup"):
    """Drop rows whose prompt is nearly that of a row that stays.

    Similarity is the exact Jaccard index of the texts' word n-grams (case is folded, numbers and
    punctuation are not, so "2+3" and "2+4" differ; texts of fewer words are compared as sets of
    words; without spaces each character is a word), or the cosine of their embeddings. System
    messages are not compared by words: prompts under different ones are different. Nothing
    is dropped that is not similar to something that stays: there are no transitive chains.
    `on: response` compares the answers of one prompt and drops candidates; `on: pair` the pairs
    of equal prompts, by both answers in either order.
    """

    version = 4
    scope = "dataset"
    needs = ("id",)
    on: On | Literal["embedding"] = "prompt"
    """What to compare: the prompt, its last turn, the conversation with its answers, the answers
    of one prompt, pairs, or the embeddings."""
    threshold: float = Field(0.8, gt=0.0, le=1.0)
    """Similarity from which to drop."""
    method: Literal["exact", "minhash"] = "exact"
    """"exact" finds every near-copy; "minhash" (datasketch) is slower and misses some: `counts`
    has the "near-copies by the exact join", texts that are equal put together, and of these those
    "that minhash finds"."""
    ngram: int = Field(WIDTH, ge=1, le=64)
    """Words an n-gram."""
    keep_by: str | None = None
    """What stays among similar ones: the best by this column of numbers (a list's largest
    counts, as with "scores"; "meta.KEY" is one of the source's own) or number of the pairs
    (margin, p_correct), or else the first."""
    embedding: str = "embedding"
    """The column used with `on: embedding`."""
    spill_from: Runtime[int] = 4_000_000
    """From so many texts on, n-grams lie in a temporary file and not in memory."""

    @model_validator(mode="after")
    def _ranks(self) -> NearDedup:
        rankable(self.on, self.keep_by)
        return self

    def view_scope(self) -> Scope:
        """Answers are compared within a row."""
        return "shard" if self.on == "response" else "dataset"

    def needed(self) -> tuple[str, ...]:
        """Return the columns that this kind of similarity and ranking need."""
        source = (self.embedding,) if self.on == "embedding" else SOURCES[self.on]
        return with_ranking((*self.needs, *source), self.keep_by)

    def written(self) -> tuple[str, ...]:
        """Return the column whose elements may get a reason; rows get theirs anyway."""
        return (LISTED[self.on],) if self.on in LISTED else ()

    def division(self) -> Division | None:
        """N-grams and their postings, bands of minhashes, or vectors, are searched in parts."""
        if self.on == "embedding":
            return with_own(NearVectors(self), [self.keep_by])
        return with_own(NearCopies(self), [self.keep_by])

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the reason for each near-copy: the one that stays, and the similarity to it."""
        items = items_of(view, self.on)
        order = item_order(view, self.on, items, self.keep_by)
        if self.on == "embedding":
            vectors = unit_rows(view[self.embedding], order)
            local, close = keep_greedily(CosineSearch(vectors, self.threshold))
            twin, similarity = reorder(local, close, order)
        else:
            with spilled(len(order) >= self.spill_from) as spill:
                twin, similarity = near_text(
                    item_texts(view, self.on),
                    order,
                    self.threshold,
                    width=self.ngram,
                    salt=salt_of(view, self.on, items),
                    spill=spill,
                    method=self.method,
                    counts=ctx.counts,
                )
        which = np.flatnonzero(twin >= 0)
        name = names_of(view, self.on, items, twin[which])
        why = join_texts(twin_of("near", self.on), name, percent(similarity[which]))
        return drop_items(view, self.on, items, which, why)


@contextmanager
def spilled(needed: bool) -> Iterator[Path | None]:
    """Yield a temporary directory (under TMPDIR) where one is needed, else None."""
    if not needed:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="curate-dedup-") as directory:
        yield Path(directory)
