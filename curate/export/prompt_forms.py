"""The shape that holds one answer under two prompts, as in `trl_forms` a pure function."""

from __future__ import annotations

import pyarrow as pa

from curate.arrays import lengths, owners, places_of
from curate.export.forms import Records
from curate.export.pairs import (
    answer,
    conversation,
    element,
    has_prompt,
    live_candidates,
    plain,
    same_text,
    take,
)


def prompts(table: pa.Table) -> Records:
    """Prompt-varied pairs (MAPL): each usable answer, better under its prompt than under another.

    `chosen` and `rejected` are the whole conversations, which reward models read as they are; a
    trainer for policies takes `prompt_chosen`, `prompt_rejected` and the `completion` that they
    share, since their common beginning is no prompt.
    """
    counts = lengths(table["candidates"])
    row = owners(counts)
    local = places_of(counts)
    usable = live_candidates(table) & has_prompt(table)[row]
    usable &= (lengths(table["other_prompt"]) > 0)[row]
    usable &= ~same_text(plain(table["prompt"]), plain(table["other_prompt"]))[row]
    row, local = row[usable], local[usable]
    text = element(table["candidates"], row, local, "text")
    own, other = take(table["prompt"], row), take(table["other_prompt"], row)
    columns = {
        "id": take(table["id"], row),
        "prompt_chosen": own,
        "prompt_rejected": other,
        "completion": answer(text),
        "chosen": conversation(own, text),
        "rejected": conversation(other, text),
    }
    return Records(pa.table(columns), row)
