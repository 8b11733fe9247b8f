"""How looking for duplicates divides: spans of rows become hashes, and those find the copies.

Exact copies: each span gives two hashes an item, which are compared in one place (some 50 bytes an
item). Near copies: the spans' texts are joined as `text_division` does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curate.arrays import Ints, join_texts, mix
from curate.division import Division, Piece, Space, pick
from curate.methods.copies import first_of, percent, text_marks
from curate.methods.pieces import Hashes
from curate.methods.shingles import number_equal
from curate.stage import Result
from curate.stages.dedup_items import (
    Items,
    best_first,
    drop_items,
    item_texts,
    item_value,
    items_of,
    names_of,
    system_marks,
    twin_of,
)
from curate.stages.text_division import TextJoin

if TYPE_CHECKING:
    from curate.stages.dedup import NearDedup


@dataclass(frozen=True)
class ExactCopies(Division):
    """`ExactDedup.apply` in pieces."""

    on: str
    normalize: bool
    keep_by: str | None

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Hash the texts of every span, then find the equal ones."""
        yield space.reading("hash")
        there = space.all_of("there", space.spans)
        order = _order(space, self.keep_by, len(there))
        number, first = number_equal(space.all_of("marks", space.spans), order[there[order]])
        space.save("twin", 0, first_of(number, first))

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Keep the hashes of the span's items, and where there is a text."""
        assert view is not None  # noqa: S101 - `hash` is the one step, and it reads
        _keep_items(view, self.on, self.keep_by, space, piece.number)
        texts = item_texts(view, self.on, seal=True, fold=self.normalize)
        marks, there = text_marks(texts)
        space.save("marks", piece.number, marks)
        space.save("there", piece.number, there)

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the reason for each later copy in the span."""
        which, names, _ = _found(space, span)
        why = join_texts(twin_of("exact", self.on), names)
        return drop_items(view, self.on, items_of(view, self.on), which, why)


@dataclass(frozen=True)
class NearCopies(Division):
    """`NearDedup.apply` over words in pieces."""

    stage: NearDedup

    @property
    def join(self) -> TextJoin:
        """The join of the items' texts."""
        return TextJoin("texts", self.stage.threshold, self.stage.ngram)

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Make the shingles of every span, then compare until all is decided."""
        yield space.reading("shingles")
        size = sum(len(chunk) for chunk in space.texts("names").chunks)
        order, counts = _order(space, self.stage.keep_by, size), dict[str, int]()
        if self.stage.method == "minhash":
            twin, close, counts = yield from self.join.by_minhash(space, order)
        else:
            twin, close = yield from self.join.near_copies(space, order)
        space.save("twin", 0, twin)
        space.save("similarity", 0, close)
        space.keep_counts(counts)

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Do a piece of the step that it names."""
        if view is None:
            self.join.work(piece, space)
            return
        items = _keep_items(view, self.stage.on, self.stage.keep_by, space, piece.number)
        salt = salt_of(view, self.stage.on, items)
        self.join.keep(item_texts(view, self.stage.on), salt, space, piece.number)

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the reason for each near-copy in the span."""
        which, names, at = _found(space, span)
        close = space.load("similarity")[at]
        why = join_texts(twin_of("near", self.stage.on), names, percent(close))
        return drop_items(view, self.stage.on, items_of(view, self.stage.on), which, why)


def _keep_items(view: pa.Table, on: str, keep_by: str | None, space: Space, span: int) -> Items:
    """Return the span's items, with their names and what ranks them kept for later steps."""
    items = items_of(view, on)
    space.save("names", span, names_of(view, on, items, np.arange(len(items.row))))
    if keep_by is not None:
        space.save("value", span, item_value(view, on, keep_by))
    return items


def _order(space: Space, keep_by: str | None, size: int) -> Ints:
    """Return all items from best to worst, as `item_order` does."""
    if keep_by is None:
        return np.arange(size)
    return best_first(space.all_of("value", space.spans), keep_by)


def _found(space: Space, span: int) -> tuple[Ints, pa.Array, Ints]:
    """Return the span's items that have a twin, the twins' names, and the items among all."""
    names = space.texts("names")
    start = sum(len(chunk) for chunk in names.chunks[:span])
    twin = space.load("twin")[start : start + len(names.chunk(span))]
    which = np.flatnonzero(twin >= 0)
    return which, pick(names, twin[which]), start + which


def salt_of(view: pa.Table, on: str, items: Items) -> Hashes | None:
    """Return what tells items apart however alike (m; None for nothing).

    That is the row for answers, the prompt for pairs, and the system message for prompts.
    """
    if on == "response":
        return mix(items.row)
    if on == "pair":
        return np.asarray(text_marks(item_texts(view, "prompt", seal=True))[0][0, items.row])
    return system_marks(view["prompt"]) if on in ("prompt", "conversation") else None
