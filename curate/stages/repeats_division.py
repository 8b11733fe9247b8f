"""How the stages about what repeats between prompts divide; see `text_division`."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curate.arrays import Ints, large, owners
from curate.division import Division, Piece, Space, pick
from curate.methods.shingles import word_counts
from curate.methods.templates import Words, bare, questions
from curate.stage import Result
from curate.stages.dedup_items import (
    best_first,
    item_texts,
    item_value,
    items_of,
    names_of,
    system_marks,
)
from curate.stages.text_division import TextJoin

if TYPE_CHECKING:
    from curate.stages.repeats import CapPairs, ReusedAnswers


@dataclass(frozen=True)
class CappedPairs(Division):
    """`CapPairs.apply` in pieces."""

    stage: CapPairs

    @property
    def join(self) -> TextJoin:
        """The join of the prompts."""
        return TextJoin("prompts", self.stage.threshold, self.stage.ngram)

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Group the prompts, then see which pairs of each group are too many."""
        yield space.reading("prompts")
        twin, close = yield from self.join.near_copies(space)
        keep_by = self.stage.keep_by
        row = owners(space.all_of("sizes", space.spans))
        rank = np.arange(len(row))
        if keep_by is not None:
            rank = best_first(space.all_of("value", space.spans), keep_by)
        group = np.where(twin < 0, np.arange(len(twin)), twin)
        over = self.stage.over(group[row], rank)
        space.save("over", 0, over)
        space.save("head", 0, group[row[over]])
        space.save("close", 0, close[row[over]])

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Do a piece of the step that it names."""
        if view is None:
            self.join.work(piece, space)
            return
        span, rows, items = piece.number, items_of(view, "prompt"), items_of(view, "pair")
        space.save("names", span, names_of(view, "prompt", rows, rows.row))
        space.save("sizes", span, np.bincount(items.row, minlength=len(view)))
        if self.stage.keep_by is not None:
            space.save("value", span, item_value(view, "pair", self.stage.keep_by))
        self.join.keep(item_texts(view, "prompt"), system_marks(view["prompt"]), space, span)

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the span's pairs with their reasons."""
        at, which = _of_span(space, span, "sizes", "over")
        names = pick(space.texts("names"), space.load("head")[at])
        return self.stage.dropped(view, which, names, space.load("close")[at])


@dataclass(frozen=True)
class ConstantAnswers(Division):
    """`ReusedAnswers.apply` in pieces: the answers and the prompts are joined one by one."""

    stage: ReusedAnswers

    @property
    def joins(self) -> tuple[TextJoin, TextJoin]:
        """The join of the answers, and that of the prompts."""
        stage = self.stage
        return (
            TextJoin("answers", stage.threshold, stage.ngram),
            TextJoin("prompts", stage.prompt_threshold, stage.ngram),
        )

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Group the answers and the prompts, then count how many prompts an answer has."""
        yield space.reading("texts")
        twin, close = yield from self.joins[0].near_copies(space)
        long, row = space.all_of("long", space.spans), owners(space.all_of("sizes", space.spans))
        asked = np.arange(space.first[-1])
        if (long & (self.stage.reach(twin, row)[1] >= self.stage.prompts)).any():
            asked = yield from self._asked(space)
        group, reach = self.stage.reach(twin, asked[row])
        which = np.flatnonzero((reach >= self.stage.prompts) & long)
        space.save("constant", 0, which)
        space.save("head", 0, group[which])
        space.save("reach", 0, reach[which])
        space.save("close", 0, close[which])

    def _asked(self, space: Space) -> Generator[Sequence[Piece], None, Ints]:
        """Yield the steps; return a number for what each row asks."""
        alike, _ = yield from self.joins[1].near_copies(space)
        counts, marks = (space.all_of(f"words {n}", space.spans) for n in ("counts", "marks"))
        words = Words(counts, marks, space.join("words tokens"))
        with tempfile.TemporaryDirectory(dir=space.folder) as spill:
            limits = self.stage.prompt_threshold, self.stage.template
            return questions(alike, words, *limits, Path(spill))

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Do a piece of the step that it names."""
        answers, prompts = self.joins
        if view is None:
            _ = answers.work(piece, space) or prompts.work(piece, space)
            return
        span, items = piece.number, items_of(view, "response")
        space.save("names", span, names_of(view, "response", items, np.arange(len(items.row))))
        space.save("sizes", span, np.bincount(items.row, minlength=len(view)))
        long = word_counts(item_texts(view, "response")) > self.stage.short
        space.save("long", span, long)
        answers.keep(item_texts(view, "response"), None, space, span)
        prompts.keep(item_texts(view, "prompt"), None, space, span)
        words = TextJoin("words", self.stage.prompt_threshold, 1)
        words.keep(bare(item_texts(view, "prompt")), None, space, span)

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the span's candidates with their reasons."""
        at, which = _of_span(space, span, "sizes", "constant")
        names = pick(space.texts("names"), space.load("head")[at])
        reach = large(pa.array(space.load("reach")[at]).cast(pa.string()))
        return self.stage.dropped(view, which, reach, names, space.load("close")[at])


def _of_span(space: Space, span: int, sizes: str, which: str) -> tuple[slice, Ints]:
    """Return the places of the span's items in the sorted list `which`, and the items there.

    `sizes` names the numbers of items of each row. Items are numbered within the span.
    """
    start = sum(int(space.load(sizes, before).sum()) for before in range(span))
    stop = start + int(space.load(sizes, span).sum())
    items = space.load(which)
    at = slice(*np.searchsorted(items, [start, stop]).tolist())
    return at, items[at] - start
