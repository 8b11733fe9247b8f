"""What the stages that keep a fixed number of rows share: the budget, the groups, the account."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from curate.arrays import Bools, Column, Floats, Ints, one_chunk
from curate.errors import StageError
from curate.methods.coverage import Quota, shares
from curate.methods.selection_report import selection_report
from curate.stage import Context

NO_EMBEDDING = "no embedding to compare with the others"


def _count_or_share(keep: float) -> float:
    if keep >= 1 and float(keep).is_integer():
        return int(keep)
    if 0 < keep < 1:
        return keep
    raise ValueError("give a number of rows (1 or more) or a share between 0 and 1")


Keep = Annotated[
    int | float,
    AfterValidator(_count_or_share),
    Field(description="rows to keep, or a share in (0, 1)"),
]
Split = Annotated[int, Field(ge=1)] | Literal["equal", "proportional"]


def rows_to_keep(keep: float, n: int) -> int:
    """Return the number of rows that `keep`, a count or a share, means among `n`."""
    return min(n, keep if isinstance(keep, int) else max(1, math.ceil(keep * n)))


class Pool(NamedTuple):
    """The rows to choose from, in the order of their ids.

    `rows` (m) are indexes into the view, `vectors` (m, d) of unit length, `quality` (m) is -inf
    where a row has none, `group` (m) numbers the rows' groups.
    """

    rows: Ints
    vectors: npt.NDArray[np.float32]
    quality: Floats
    group: Ints

    def quota(self, keep: int, split: Split) -> Quota:
        """Return how many rows each group may give: at most `split`, or its part of `keep`."""
        sizes = np.bincount(self.group, minlength=int(self.group.max(initial=0)) + 1)
        if isinstance(split, int):
            return Quota(self.group, np.minimum(sizes, split))
        return Quota(self.group, shares(sizes, keep, split == "equal"))


def numbers_of(column: Column) -> Ints:
    """Return a number for each value (n), null included, in the order of the values' texts."""
    try:
        values = one_chunk(column).cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise StageError(
            f"groups and topics must be single values, not {column.type}; name another column"
        ) from None
    ranks = pc.rank(values, sort_keys="ascending", tiebreaker="dense")
    return np.asarray(ranks.to_numpy(zero_copy_only=False), dtype=np.int64) - 1


def by_id(ids: Column) -> Ints:
    """Return the rows (n) in the order of their ids: what is decided by it outlasts a shuffle."""
    named = np.array(ids.to_pylist(), dtype=object)
    return np.asarray(np.argsort(named, kind="stable"), dtype=np.int64)


def account(n: int, chosen: Ints, why_not: str, unusable: dict[str, Bools]) -> pa.Array:
    """Return the drop reasons (n): `why_not`, or the reason whose mask (n) holds a row."""
    why = np.full(n, why_not, dtype=object)
    for reason, mask in unusable.items():
        why[mask] = reason
    why[chosen] = None
    return pa.array(why, pa.string())


def tally_report(ctx: Context, pool: Pool, chosen: Ints, topic: Column | None = None) -> None:
    """Count how the rows chosen compare with random ones, in ten-thousandths.

    With `topic`, a column of the view, also how many of its values they reach; null is one.
    """
    if not 1 < len(chosen) < len(pool.rows):
        return
    labels = None if topic is None else numbers_of(topic)[pool.rows].tolist()
    report = selection_report(pool.vectors, chosen, labels, trials=20)
    measures = {
        "neighbour_cosine": report.neighbour_cosine,
        "coverage_cosine": report.coverage_cosine,
        "radius": report.radius,
        "vendi": report.vendi,
        "novelty": report.novelty,
    }
    if report.labels is not None:
        measures["topics_reached"] = report.labels
    for name, measure in measures.items():
        for part, value in measure._asdict().items():
            ctx.counts[f"{name}_{part}_e4"] = round(value * 10_000)
