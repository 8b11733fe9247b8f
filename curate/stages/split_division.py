"""How `split` divides: links between rows are found span by span and part by part."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from curate.arrays import Column, Ints, flat, hashes, large, lengths, owners
from curate.division import Division, Piece, Space
from curate.methods.columns import OWN, no_such_key, own_keys, values_of
from curate.methods.copies import text_marks
from curate.methods.set_join import link
from curate.methods.shingles import word_counts
from curate.methods.vector_rounds import chained
from curate.methods.vectors import unit_rows
from curate.stage import Context, Result
from curate.stages.dedup_items import item_texts, normal
from curate.stages.text_division import TextJoin

if TYPE_CHECKING:
    from curate.stages.split import Split

Links: TypeAlias = tuple[Ints, npt.NDArray[Any]]
"""Rows, and a value of each; rows of one value belong together."""

VECTORS = "vectors of all"
LONG_RESPONSE = 8  # words; that two rows share a shorter answer means nothing


@dataclass(frozen=True)
class LinkedRows(Division):
    """`Split.apply` in pieces."""

    stage: Split

    @property
    def join(self) -> TextJoin:
        """The join of the prompts."""
        return TextJoin("prompts", self.stage.threshold)

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Find which rows are alike, then link those that share something."""
        yield space.reading("rows")
        ctx = Context(seed=space.seed)
        if self.stage.on == "text":
            group = yield from self.join.chains(space)
        else:
            group = yield from self._chains(space)
        links = [self._links(space, name) for name in self._linking(space)]
        answers = self._links(space, "answers") if self._has(space, "answers") else None
        parts = list(self.stage.parts)
        chosen = self.stage.assigned(group, space.texts("id"), links, answers, ctx)
        numbers = np.array([parts.index(part) for part in chosen], dtype=np.int64)
        space.save("part", 0, numbers)
        space.keep_counts(ctx.counts)

    def _chains(self, space: Space) -> Generator[Sequence[Piece], None, Ints]:
        """Return each row's group by its embedding; a piece compares a stretch with what is before.

        Of the stretches, which begin alike, the later ones are the longer work.
        """
        space.join("vectors")
        yield [Piece("chain", number) for number in reversed(range(space.spans))]
        root = np.arange(space.first[-1])
        for number in range(space.spans):
            link(root, *space.load("links", number))
        return root

    def _linking(self, space: Space) -> list[str]:
        """Return the names under which links are kept. Raises StageError for an unknown key."""
        for number, name in enumerate(self.stage.together):
            known = [int(space.load(f"known {number}", span)[0]) for span in range(space.spans)]
            if name.startswith(OWN) and space.first[-1] and not any(known):
                keys = {key for chunk in space.texts("keys").chunks for key in chunk.to_pylist()}
                raise no_such_key(name, sorted(keys))
        together = [f"together {number}" for number in range(len(self.stage.together))]
        return [*(["same"] if self._has(space, "same") else []), *together]

    def _has(self, space: Space, name: str) -> bool:
        return bool(space.load(f"has {name}")[0])

    def _links(self, space: Space, name: str) -> Links:
        """Return the rows, numbered among all, and the values that they share."""
        row = space.all_of(f"{name} row", space.spans)
        value = space.gathered(f"{name} value")
        if isinstance(value, pa.ChunkedArray):
            value = np.array(value.to_pylist(), dtype=object)
        return row, value

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Do a piece of the step that it names."""
        if view is not None:
            self._keep(view, space, piece.number)
        elif piece.step == "chain":
            among = slice(*space.first[piece.number : piece.number + 2])
            found = chained(space.load(VECTORS), among, self.stage.threshold)
            space.save("links", piece.number, found)
        else:
            self.join.work(piece, space)

    def _keep(self, view: pa.Table, space: Space, span: int) -> None:
        """Keep what the span's rows are linked by."""
        found: dict[str, Links] = {}
        space.save("id", span, view["id"].combine_chunks())
        if self.stage.on == "text":
            self.join.keep(item_texts(view, "prompt"), None, space, span)
        else:
            rows = np.arange(len(view))
            space.save("vectors", span, unit_rows(view[self.stage.embedding], rows))
        space.save("has same", span, np.array(["prompt" in view.column_names]))
        if "prompt" in view.column_names:
            marks, there = text_marks(item_texts(view, "prompt", seal=True))
            found["same"] = (np.flatnonzero(there), marks[0, there])
        for number, name in enumerate(self.stage.together):
            values = values_of(view, name)
            known = any(value is not None for value in values)
            space.save(f"known {number}", span, np.array([known]))
            found[f"together {number}"] = key_values(values)
        keys = own_keys(view["meta"]) if "meta" in view.column_names else []
        space.save("keys", span, pa.array(keys, pa.string()))
        linking = bool(self.stage.response_cap) and "candidates" in view.column_names
        space.save("has answers", span, np.array([linking]))
        if linking:
            found["answers"] = response_values(view["candidates"])
        for name, (row, value) in found.items():
            space.save(f"{name} row", span, row + space.first[span])
            texts = value.dtype == object
            space.save(f"{name} value", span, pa.array(value, pa.binary()) if texts else value)

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the parts of the span's rows."""
        part = space.load("part")[slice(*space.first[span : span + 2])]
        return {"split": pa.array(list(self.stage.parts), pa.string()).take(pa.array(part))}


def response_values(candidates: Column) -> tuple[Ints, npt.NDArray[np.uint64]]:
    """Return (row, hash) of each usable answer of eight words or more, white space collapsed.

    Words are those of the shingles: without spaces each character is one.
    """
    rows, values, start = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)], 0
    for chunk in candidates.chunks if isinstance(candidates, pa.ChunkedArray) else [candidates]:
        usable = flat(chunk, "drop").is_null()
        texts = normal(large(flat(chunk, "text").filter(usable)))
        row = start + owners(lengths(chunk))[np.asarray(usable, dtype=bool)]
        long = word_counts([texts]) >= LONG_RESPONSE
        rows.append(row[long])
        values.append(hashes(texts.filter(pa.array(long))))
        start += len(chunk)
    return np.concatenate(rows), np.concatenate(values)


def key_values(values: Sequence[Any]) -> Links:
    """Return (row, value as JSON) of each row's value (n) that is not null or ""."""
    there = [row for row, value in enumerate(values) if value is not None and value != ""]
    texts = [orjson.dumps(values[row], default=str, option=orjson.OPT_SORT_KEYS) for row in there]
    return np.array(there, dtype=np.int64), np.array(texts, dtype=object)
