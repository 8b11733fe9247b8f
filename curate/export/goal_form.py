"""Pairs whose prompt asks for a score: once for the better one, once for the worse."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import concat_lists, flat, lengths, lists, starts_of
from curate.export.forms import Records
from curate.export.pairs import answer, element, message, take, usable_pairs
from curate.methods.judgments import true


def goals(table: pa.Table) -> Records:
    """Reward-augmented pairs: each asked for as its better answer is, and again as its worse.

    A pair gives (goal of a: a over b), then (goal of b: b over a). One whose goals are equal gives
    none, as the two would contradict each other; one without goals is left as it is.
    """
    live = usable_pairs(table)
    sides = (live.chosen, live.rejected)
    said = [element(table["goals"], live.rows, side) for side in sides]
    asked, other = (pc.is_valid(text) for text in said)
    plain = true(pc.invert(pc.or_(asked, other)))
    twice = true(pc.not_equal(*said))
    pair = np.concatenate([np.flatnonzero(plain | twice), np.flatnonzero(twice)])
    turned = np.arange(len(pair)) >= int((plain | twice).sum())
    order = np.lexsort((turned, pair))
    pair, turned = pair[order], turned[order]
    rows = live.rows[pair]
    first, second = (
        np.where(turned, sides[1 - k][pair], sides[k][pair]).astype(np.int64) for k in (0, 1)
    )
    columns = {
        "id": take(table["id"], rows),
        "prompt": asking(take(table["prompt"], rows), element(table["goals"], rows, first)),
        "chosen": answer(element(table["candidates"], rows, first, "text")),
        "rejected": answer(element(table["candidates"], rows, second, "text")),
        "goal_met_by_better": pa.array(~turned),
    }
    return Records(pa.table(columns), rows)


def asking(prompts: pa.Array, goals: pa.Array) -> pa.Array:
    """Put each goal (null: none) at the end of the conversation's system message, or make one."""
    counts, role, content = lengths(prompts), flat(prompts, "role"), flat(prompts, "content")
    first = starts_of(counts)
    own = true(pc.equal(role, "system"))[first]  # no usable pair has an empty prompt
    said = true(goals.is_valid())
    place = np.zeros(len(content), dtype=bool)
    place[first[own & said]] = True
    before, after = content.filter(pa.array(place)), goals.filter(pa.array(own & said))
    joined = pc.binary_join_element_wise(before, after, "\n\n")
    content = pc.replace_with_mask(content, pa.array(place), joined)
    turns = pa.StructArray.from_arrays([role, content], names=["role", "content"])
    new = said & ~own
    heads = lists(new.astype(np.int64), message("system", goals.filter(pa.array(new))))
    return concat_lists(heads, lists(counts, turns))
