"""Drop exact and near duplicates among prompts, whole rows, answers or pairs."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import Floats, Ints, hashes, join_texts, mix
from curate.component import Runtime
from curate.division import Division
from curate.methods.minhash import found_by_both, minhash_greedily
from curate.methods.pieces import Hashes
from curate.methods.set_join import JaccardJoin
from curate.methods.shingles import WIDTH, number_equal, shingle_sets
from curate.methods.similarity import CosineSearch, keep_greedily
from curate.methods.vectors import COSINE_SLACK, unit_rows
from curate.stage import Context, Result, Scope, Stage
from curate.stages.dedup_items import (
    LISTED,
    SOURCES,
    Items,
    On,
    drop_items,
    item_order,
    item_texts,
    items_of,
    names_of,
    rankable,
    system_marks,
    twin_of,
    with_ranking,
)
from curate.stages.own_columns import with_own


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
        from curate.stages.dedup_division import ExactCopies

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
        from curate.stages.dedup_division import NearCopies
        from curate.stages.vector_division import NearVectors

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


def salt_of(view: pa.Table, on: str, items: Items) -> Hashes | None:
    """Return what tells items apart however alike (m; None for nothing).

    That is the row for answers, the prompt for pairs, and the system message for prompts.
    """
    if on == "response":
        return mix(items.row)
    if on == "pair":
        return np.asarray(text_marks(item_texts(view, "prompt", seal=True))[0][0, items.row])
    return system_marks(view["prompt"]) if on in ("prompt", "conversation") else None


@contextmanager
def spilled(needed: bool) -> Iterator[Path | None]:
    """Yield a temporary directory (under TMPDIR) where one is needed, else None."""
    if not needed:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="curate-dedup-") as directory:
        yield Path(directory)


def percent(similarity: Floats) -> pa.Array:
    """Return each similarity as " (0.93)", as large_string; only what is equal is " (1.00)".

    Equal up to the float32 rounding of a cosine, that is; what is not is at most " (0.99)".
    """
    steps = pa.array([f" ({step / 100:.2f})" for step in range(101)], pa.large_string())
    shown = np.rint(similarity.clip(0, 1) * 100).astype(np.int64)
    shown[(shown == 100) & (similarity < 1 - COSINE_SLACK)] = 99
    return steps.take(pa.array(shown))


def text_marks(texts: Iterable[pa.Array]) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """Return two 64-bit hashes of each text (2, n), and where there is one (n)."""
    marks, there = [np.zeros((2, 0), dtype=np.uint64)], [np.zeros(0, dtype=bool)]
    for array in texts:
        marks.append(np.stack([hashes(array, seed) for seed in (0, 1)]))
        there.append(np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool))
    return np.concatenate(marks, axis=1), np.concatenate(there)


def first_of(number: Ints, first: Ints) -> Ints:
    """Return each item's earlier equal (n; -1 for none), from the results of `number_equal`."""
    twin = np.append(first, -1)[number]
    return np.where(twin == np.arange(len(number)), -1, twin)


def near_text(
    texts: Iterable[pa.Array],
    order: Ints,
    threshold: float,
    *,
    width: int = WIDTH,
    salt: Hashes | None = None,
    spill: Path | None = None,
    method: Literal["exact", "minhash"] = "exact",
    counts: Counter[str] | None = None,
) -> tuple[Ints, Floats]:
    """Return each text's twin among the texts kept (n; -1 where it stays) and their Jaccard index.

    `order` (n) lists the texts, which come in any number of arrays, from best to worst. A text
    without words stays. `width`, `salt` and `spill` are those of `shingle_sets`. With minhash,
    `counts` is told how many near-copies the exact join finds, and how many of them minhash does.
    """
    set_of, sets = shingle_sets(texts, order, width, salt, spill)
    if method == "minhash":
        set_twin, set_similarity = minhash_greedily(sets, threshold)
        if counts is not None:  # it takes a fraction of the time that minhash takes
            exact, _ = JaccardJoin(sets, threshold, spill).keep_greedily()
            counts.update(found_by_both(exact, set_twin))
    else:
        set_twin, set_similarity = JaccardJoin(sets, threshold, spill).keep_greedily()
    return text_twins(set_of, order, set_twin, set_similarity)


def text_twins(
    set_of: Ints, order: Ints, set_twin: Ints, set_similarity: Floats
) -> tuple[Ints, Floats]:
    """Return each text's twin (n) and their similarity, from its set's and those of equal texts."""
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    there = set_of >= 0
    best = np.full(len(set_twin), len(order), dtype=np.int64)
    np.minimum.at(best, set_of[there], position[there])
    first = order[best]
    twin, similarity = first_of(set_of, first), np.ones(len(order))
    gone = np.flatnonzero(there)
    gone = gone[set_twin[set_of[gone]] >= 0]
    twin[gone] = first[set_twin[set_of[gone]]]
    similarity[gone] = set_similarity[set_of[gone]]
    return twin, similarity


def reorder(twin: Ints, similarity: Floats, order: Ints) -> tuple[Ints, Floats]:
    """Turn twins and similarities given by rank into ones given by row."""
    by_row, value = np.full(len(order), -1, dtype=np.int64), np.zeros(len(order))
    by_row[order] = np.where(twin < 0, -1, order[twin])
    value[order] = similarity
    return by_row, value
