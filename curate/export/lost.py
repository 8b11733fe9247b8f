"""Why a row gave no record, or a pair of one that gave some: the form's reason, or the pair's."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Bools, flat, lengths, owners
from curate.export.forms import NO_PROMPT, Form
from curate.export.pairs import Indexes, has_prompt, why_unusable
from curate.methods.judgments import true
from curate.schema import DROP, reason_kinds


def why_lost(table: pa.Table, rows: Indexes, shape: Form, *, counted: bool = False) -> pa.Array:
    """Return (rows of `table`,) why a row is not among `rows`, which gave records; null if it is.

    Such as "export: no pair left: rejected is null". What follows the form's own reason is that
    of the row's first pair; it is left out where some pair of the row could have been used. To be
    `counted` it is cut to its kind, as the reasons of stages are.
    """
    lost = np.ones(len(table), dtype=bool)
    lost[rows] = False
    reason = pa.repeat(pa.scalar(shape.reason), len(table))
    if "pairs" in shape.needs:
        detail = _of_first_pair(table)
        detail = reason_kinds(detail) if counted else detail
        longer = pc.binary_join_element_wise(reason, detail, ": ")
        reason = pc.coalesce(longer, reason)
    reason = pc.if_else(pa.array(has_prompt(table)), reason, pa.scalar(NO_PROMPT))
    return pc.if_else(pa.array(lost), reason, pa.scalar(None, pa.string()))


def left_out(table: pa.Table, rows: Indexes, shape: Form) -> Counter[str]:
    """Count the pairs that no stage dropped and that are not exported, by "export: why".

    They are those of `rows`, which gave records: why another gave none is said of the row.
    """
    if "pairs" not in shape.needs or not len(rows):
        return Counter()
    found = why_unusable(table)
    new = true(flat(table["pairs"], DROP).is_null()) & true(found.is_valid())
    gave = np.zeros(len(table), dtype=bool)
    gave[rows] = True
    new &= gave[owners(lengths(table["pairs"]))]
    return Counter(
        f"export: {why}" for why in reason_kinds(found.filter(pa.array(new))).to_pylist()
    )


def _of_first_pair(table: pa.Table) -> pa.Array:
    """Return the reason of each row's first pair; null where not every pair of it has one."""
    counts = lengths(table["pairs"])
    rows = owners(counts)
    found = why_unusable(table)
    usable: Bools = true(found.is_null())
    whole = (counts > 0) & (np.bincount(rows[usable], minlength=len(counts)) == 0)
    first = np.where(whole, np.cumsum(counts) - counts, 0)
    return found.take(pa.array(first, mask=~whole))
