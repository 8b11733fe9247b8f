"""What `decontaminate` finds of benchmarks in rows, and how that is found span by span."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Floats, Ints, owners
from curate.division import Division, Piece, Space
from curate.methods.benchmarks import Texts, load
from curate.methods.overlap import Matches
from curate.schema import DROP
from curate.stage import Context, Result

if TYPE_CHECKING:
    from curate.stages.decontaminate import Decontaminate

WORDS = {
    "questions": "overlaps {} (item {}, {:.0%} of its words)",
    "answers": "answer overlaps {} (item {}, {:.0%})",
    "vectors": "resembles {} (item {}, cosine {:.2f})",
}
"""For each kind of find, in the order in which they give a row's reason, what that says of the
benchmark, the item and the score."""


class Found(NamedTuple):
    """Row `row` holds item `item` (from 1) of benchmark `benchmark` (an index), by `score`."""

    row: Ints
    benchmark: Ints
    item: Ints
    score: Floats


class Gathered(NamedTuple):
    """Every benchmark's texts one after another, and the benchmark and item of each."""

    texts: pa.Array
    benchmark: Ints
    item: Ints

    def found(self, hits: Matches) -> Found:
        """Return the matches with their texts' benchmarks and items."""
        return Found(hits.row, self.benchmark[hits.item], self.item[hits.item], hits.score)


def gather(benchmarks: Sequence[Texts]) -> Gathered:
    """Put the benchmarks' texts into one array."""
    texts = [one.texts for one in benchmarks]
    counts = [len(one.texts) for one in benchmarks]
    items = np.array([number for one in benchmarks for number in one.item], dtype=np.int64)
    return Gathered(pa.concat_arrays(texts), owners(counts), items)


def reasons_of(n: int, names: Sequence[str], findings: Mapping[str, Found]) -> pa.Array:
    """Return each row's reason (n; null for none): the best match of the first kind it has.

    `findings` has the matches by their kind, one of `WORDS`.
    """
    why: npt.NDArray[Any] = np.full(n, None, dtype=object)
    for kind, text in WORDS.items():
        if kind not in findings:
            continue
        found = findings[kind]
        order = np.lexsort((found.item, found.benchmark, -found.score, found.row))
        row = found.row[order]
        heads = order[np.flatnonzero(np.diff(row, prepend=-1))]
        for at in heads.tolist():
            place = int(found.row[at])
            if why[place] is None:
                name = names[int(found.benchmark[at])]
                why[place] = text.format(name, int(found.item[at]), float(found.score[at]))
    return pa.array(why.tolist(), pa.string())


class BenchmarkCounts(Division):
    """`Decontaminate.apply` in pieces: only the counts are about all rows.

    With vectors those of the questions are made once, in a piece of their own.
    """

    def __init__(self, stage: Decontaminate) -> None:
        self.stage = stage
        self.names = [b.name for b in stage.resolved()]
        self.items = [load(b) for b in stage.resolved()]

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Look for the items in every span, then count them."""
        if self.stage.embedding:
            yield [Piece("encode", 0)]
        yield space.reading("find")
        whole = [space.all_of(kind, space.spans) for kind in space.text("kinds").to_pylist()]
        every = [Found(a, b, c, np.zeros(len(a))) for a, b, c in whole]
        space.keep_counts(self.stage.report(self.names, self.items, every))

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Keep the questions' vectors; or what the span holds, its rows numbered among all."""
        if view is None:
            ctx = Context(seed=space.seed, vectors=space.vectors)
            space.save("encoded", 0, self.stage.encoded(self.items, ctx))
            space.keep_used(ctx.vectors_used)
            return
        encoded = space.load("encoded") if self.stage.embedding else None
        span, start = piece.number, space.first[piece.number]
        findings = self.stage.findings(view, self.items, encoded)
        space.save("kinds", span, pa.array(list(findings)))
        for kind, found in findings.items():
            moved = np.stack([found.row + start, found.benchmark, found.item])
            space.save(kind, span, moved)
            space.save(f"{kind} score", span, found.score)

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the reasons for the span's rows."""
        kinds = space.text("kinds", span).to_pylist()
        findings = {}
        for kind in kinds:
            row, benchmark, item = space.load(kind, span)
            score = space.load(f"{kind} score", span)
            findings[kind] = Found(row - space.first[span], benchmark, item, score)
        return {DROP: reasons_of(len(view), self.names, findings)}
