"""The shapes that hold steps of solutions: for process reward models, and pairs of steps.

As in `trl_forms`: pure functions from canonical rows to records, row by row.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, lengths, lists, owners
from curate.export.forms import Records
from curate.export.pairs import (
    UsablePairs,
    element,
    has_prompt,
    plain,
    same_text,
    take,
    usable_pairs,
)
from curate.methods.judgments import true


def stepwise(table: pa.Table) -> Records:
    """TRL stepwise supervision (PRM): a record a solution.

    `completions` are its steps and `labels` whether each is right.
    """
    counts = lengths(table["steps"])
    row = owners(counts)
    candidate, text, right = (flat(table["steps"], name) for name in ("candidate", "text", "right"))
    usable = has_prompt(table)[row] & true(pc.is_valid(right)) & true(text.is_valid())
    kept = pa.array(np.flatnonzero(usable))
    row, solution = row[usable], candidate.take(kept).to_numpy(zero_copy_only=False)
    fresh = np.ones(len(row), dtype=bool)
    fresh[1:] = (row[1:] != row[:-1]) | (solution[1:] != solution[:-1])
    first = np.flatnonzero(fresh)
    sizes = np.diff(first, append=len(row))
    columns = {
        "id": take(table["id"], row[first]),
        "prompt": plain(take(table["prompt"], row[first])),
        "completions": lists(sizes, text.take(kept)),
        "labels": lists(sizes, right.take(kept)),
    }
    return Records(pa.table(columns), row[first])


def axolotl_stepwise(table: pa.Table) -> Records:
    """Axolotl `stepwise_supervised`: `stepwise` with labels 1 and 0.

    Axolotl writes -100 over the prompt's labels, and of a column of true and false the library
    beneath it makes true of that: the whole prompt would be labelled right.
    """
    found = stepwise(table)
    place = found.table.column_names.index("labels")
    labels = found.table["labels"].cast(pa.list_(pa.int64()))
    return found._replace(table=found.table.set_column(place, "labels", labels))


def step_preference(table: pa.Table) -> Records:
    """TRL preference in strings, a step against a step (Step-DPO): the prompt ends where they part.

    The counts that made one better stand beside it.
    """
    live = usable_pairs(table)
    given = {
        name: element(table["step_pairs"], live.rows, live.position, name)
        for name in ("prefix", "chosen", "rejected", "q_chosen", "q_rejected",
                     "n_chosen", "n_rejected", "confidence")
    }  # fmt: skip
    apart = ~same_text(given["chosen"], given["rejected"])
    live = UsablePairs(*(column[apart] for column in live))
    given = {name: values.filter(pa.array(apart)) for name, values in given.items()}
    begun = pc.fill_null(given.pop("prefix"), "")
    asked = plain(take(table["prompt"], live.rows))
    columns = {
        "id": take(table["id"], live.rows),
        "prompt": pc.binary_join_element_wise(asked, begun, "\n"),
        **given,
    }
    return Records(pa.table(columns), live.rows)
