"""Every row has an id of its own: the first thing that every run makes sure of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import one_chunk
from curate.errors import InputError
from curate.schema import DROP
from curate.stage import Context, Result, Stage


class UniqueId(Stage, name="unique_id"):
    """Drop a row that repeats an earlier row whole; refuse two different rows with one id.

    Every run starts with this stage. Raises InputError naming the id and both row numbers
    (counted over all files in order, from 1).
    """

    scope = "dataset"
    needs = ("id", "prompt")
    uses = ("candidates", "reference", "meta")

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return drop reasons; see the class."""
        ids = one_chunk(view["id"])
        codes = np.asarray(ids.dictionary_encode().indices)
        _, first = np.unique(codes, return_index=True)
        origin = first[np.searchsorted(codes[first], codes, sorter=np.argsort(codes[first]))]
        repeated = np.flatnonzero(origin != np.arange(len(ids)))
        for row in repeated:
            if _row(view, int(row)) != _row(view, int(origin[row])):
                raise InputError(
                    f"rows {origin[row] + 1} and {row + 1} of the source share the id "
                    f"{ids[int(row)].as_py()!r} but differ; map another column as id, or none to "
                    "have ids made from the rows' content"
                )
        mask = np.zeros(len(ids), dtype=bool)
        mask[repeated] = True
        reason = pc.binary_join_element_wise("exact repetition of ", ids, "")
        return {DROP: pc.if_else(pa.array(mask), reason, pa.scalar(None, pa.string()))}


def _row(view: pa.Table, row: int) -> dict[str, Any]:
    found: dict[str, Any] = view.slice(row, 1).to_pylist()[0]
    return found
