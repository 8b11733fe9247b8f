"""Every row has an id of its own: the first thing that every run makes sure of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.arrays import hashes, one_chunk
from curate.division import Division, Piece, Space
from curate.errors import RepeatedId
from curate.schema import DROP
from curate.stage import Context, Result, Stage

REMEDY = "map another column as id, or none to have ids made from the rows' content"


class UniqueId(Stage, name="unique_id"):
    """Drop a row that repeats an earlier row whole; refuse two different rows with one id.

    Every run starts with this stage. Raises RepeatedId naming the id; the run, which knows the
    source's files, says in which both rows are.
    """

    scope = "dataset"
    needs = ("id", "prompt")
    uses = ("candidates", "reference", "meta")

    def division(self) -> Division:
        """Hashes of the ids tell which rows need a second look; each span looks at its own."""
        return RepeatedIds()

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return drop reasons; see the class."""
        ids = one_chunk(view["id"])
        encoded = ids.dictionary_encode()
        if len(encoded.dictionary) == len(ids):
            return {}
        codes = np.asarray(encoded.indices)
        _, first = np.unique(codes, return_index=True)
        origin = first[np.searchsorted(codes[first], codes, sorter=np.argsort(codes[first]))]
        repeated = np.flatnonzero(origin != np.arange(len(ids)))
        for row in repeated:
            if _row(view, int(row)) != _row(view, int(origin[row])):
                raise _differ(ids[int(row)].as_py())
        mask = np.zeros(len(ids), dtype=bool)
        mask[repeated] = True
        return _dropped(ids, mask)


class RepeatedIds(Division):
    """`UniqueId.apply` in pieces: 16 bytes a row come together, and the rows of repeated ids."""

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Hash every id; then compare the rows of those that are there twice."""
        yield space.reading("hash")
        # Two hashes as one number of 128 bits: equal ones are one id.
        pairs = np.ascontiguousarray(space.all_of("hash", space.spans).T).view("u8,u8")[:, 0]
        _, first, number = np.unique(pairs, return_index=True, return_inverse=True)
        origin = first[number]
        again = np.flatnonzero(origin != np.arange(len(origin)))
        look = np.union1d(again, origin[again])
        space.save("look", 0, look)
        here = np.unique(np.searchsorted(space.first, look, side="right") - 1)
        yield [Piece("row", span, reads=True) for span in here.tolist()]
        rows = [space.load("row", span) for span in here.tolist()]
        content = np.concatenate([np.zeros((0, 2), np.uint64), *rows])
        differ = (
            content[np.searchsorted(look, again)] != content[np.searchsorted(look, origin[again])]
        )
        for row in again[differ.any(axis=1)][:1].tolist():
            raise _differ(space.texts("id")[row].as_py())
        space.save("again", 0, again)

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Keep the ids and their hashes, or the hashes of the rows that have to be looked at."""
        assert view is not None  # noqa: S101 - both steps read
        if piece.step == "hash":
            ids = one_chunk(view["id"])
            space.save("id", piece.number, ids)
            space.save("hash", piece.number, np.stack([hashes(ids, seed) for seed in (0, 1)]))
            return
        look, start = space.load("look"), space.first[piece.number]
        look = look[(look >= start) & (look < space.first[piece.number + 1])] - start
        texts = [orjson.dumps(_row(view, int(row)), option=orjson.OPT_SORT_KEYS) for row in look]
        content = [[xxhash.xxh3_64_intdigest(text, seed) for seed in (0, 1)] for text in texts]
        space.save("row", piece.number, np.array(content, dtype=np.uint64).reshape(-1, 2))

    def finished(self, span: int, view: pa.Table, space: Space) -> Result:
        """Return the reason for each row of the span that repeats another."""
        again = space.load("again") - space.first[span]
        mask = np.zeros(len(view), dtype=bool)
        mask[again[(again >= 0) & (again < len(view))]] = True
        return _dropped(one_chunk(view["id"]), mask)


def _dropped(ids: pa.Array, mask: npt.NDArray[np.bool_]) -> Result:
    if not mask.any():
        return {}
    reason = pc.binary_join_element_wise("exact repetition of ", ids, "")
    return {DROP: pc.if_else(pa.array(mask), reason, pa.scalar(None, pa.string()))}


def _differ(name: str) -> RepeatedId:
    return RepeatedId(
        f"two rows that differ share the id {name!r} (look for it in the source's files); {REMEDY}",
        name,
    )


def _row(view: pa.Table, row: int) -> dict[str, Any]:
    found: dict[str, Any] = view.slice(row, 1).to_pylist()[0]
    return found
