"""The shapes that trainers read: each form is a pure function from canonical rows to records.

Names of columns follow the trainers' own documentation (TRL's dataset formats, LLaMA-Factory's
sharegpt, OpenRLHF, Axolotl, NeMo-RL, UltraFeedback-binarized, Nectar). A form keeps the order
of rows, and of pairs within a row; it works row by row, so cutting its input changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, lengths, lists, owners
from curate.errors import ConfigError, did_you_mean
from curate.export.pairs import (
    Indexes,
    LivePairs,
    answer,
    conversation,
    element,
    has_prompt,
    live_candidates,
    live_pairs,
    message,
    plain,
    take,
    true_where,
)

NO_PROMPT = "export: prompt empty or incomplete"
NO_PAIR = "export: no pair left"
NO_CANDIDATE = "export: no candidate left"
NO_RANKING = "export: fewer than two scored candidates left"

SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "tool": "observation"}


class Records(NamedTuple):
    """A form's output: its records, and for each the input row it came from (ascending)."""

    table: pa.Table
    rows: Indexes


@dataclass(frozen=True)
class Form:
    """One output shape. `needs` are the columns it cannot do without."""

    description: str
    needs: tuple[str, ...]
    reason: str
    """Why a row with a good prompt yields no record."""
    build: Callable[[pa.Table], Records]


def form_named(name: str) -> Form:
    """Return the form called `name`. Raises ConfigError with the closest known name."""
    if name not in FORMS:
        raise ConfigError(f"unknown export form {name!r}{did_you_mean(name, FORMS)}")
    return FORMS[name]


class _Sides(NamedTuple):
    prompt: pa.Array
    chosen: pa.Array
    rejected: pa.Array


def _sides(table: pa.Table, live: LivePairs) -> _Sides:
    text = [element(table["candidates"], live.rows, k, "text") for k in live[2:]]
    return _Sides(take(table["prompt"], live.rows), *text)


def _of_pair(table: pa.Table, live: LivePairs, name: str) -> pa.Array:
    return element(table["pairs"], live.rows, live.position, name)


def _score(table: pa.Table, rows: Indexes, index: Indexes) -> pa.Array:
    if "scores" not in table.column_names:
        return pa.nulls(len(rows), pa.float32())
    return element(table["scores"], rows, index)


def _evidence(table: pa.Table, live: LivePairs) -> dict[str, pa.Array]:
    """Return what a trainer may weigh or filter by; null where no stage gave a value."""
    columns = {"margin": _of_pair(table, live, "margin")}
    if "scores" in table.column_names:
        columns["score_chosen"] = _score(table, live.rows, live.chosen)
        columns["score_rejected"] = _score(table, live.rows, live.rejected)
    columns["p_correct"] = _of_pair(table, live, "p_correct")
    columns["weight"] = _of_pair(table, live, "weight")
    if "rationales" in table.column_names:
        columns["rationale"] = element(table["rationales"], live.rows, live.position)
    for side, index in (("chosen", live.chosen), ("rejected", live.rejected)):
        columns[f"model_{side}"] = element(table["candidates"], live.rows, index, "model")
    return columns


def preference(table: pa.Table) -> Records:
    """TRL preference, explicit prompt, conversational; the scores and models beside it."""
    live = live_pairs(table)
    sides = _sides(table, live)
    columns = {
        "id": take(table["id"], live.rows),
        "prompt": sides.prompt,
        "chosen": answer(sides.chosen),
        "rejected": answer(sides.rejected),
        **_evidence(table, live),
    }
    return Records(pa.table(columns), live.rows)


def preference_text(table: pa.Table) -> Records:
    """TRL preference, explicit prompt, plain strings."""
    live = live_pairs(table)
    sides = _sides(table, live)
    columns = {
        "id": take(table["id"], live.rows),
        "prompt": plain(sides.prompt),
        "chosen": sides.chosen,
        "rejected": sides.rejected,
        **_evidence(table, live),
    }
    return Records(pa.table(columns), live.rows)


def implicit(table: pa.Table) -> Records:
    """TRL preference, implicit prompt: two whole conversations, for reward models."""
    live = live_pairs(table)
    sides = _sides(table, live)
    columns = {
        "chosen": conversation(sides.prompt, sides.chosen),
        "rejected": conversation(sides.prompt, sides.rejected),
        "margin": _of_pair(table, live, "margin"),
    }
    return Records(pa.table(columns), live.rows)


def unpaired(table: pa.Table) -> Records:
    """TRL unpaired preference (KTO): every pair gives two records, the chosen one first."""
    live = live_pairs(table)
    rows = np.repeat(live.rows, 2)
    index = np.stack([live.chosen, live.rejected], axis=1).reshape(-1)
    columns = {
        "prompt": take(table["prompt"], rows),
        "completion": answer(element(table["candidates"], rows, index, "text")),
        "label": pa.array(np.tile([True, False], len(live.rows)).astype(bool)),
    }
    return Records(pa.table(columns), rows)


def prompt_only(table: pa.Table) -> Records:
    """TRL prompt-only: every row alive, whether or not it has answers."""
    rows = np.flatnonzero(has_prompt(table))
    columns = {"id": take(table["id"], rows), "prompt": take(table["prompt"], rows)}
    return Records(pa.table(columns), rows)


def ranked(table: pa.Table) -> Records:
    """Nectar's shape: answers by falling score, rank 1 best; equal scores share a rank.

    Candidates without a finite score are left out: an unknown score is not the worst one.
    """
    counts = lengths(table["candidates"])
    row = owners(counts)
    local = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    score = _score(table, row, local)
    finite = true_where(pc.fill_null(pc.is_finite(score), False))
    usable = live_candidates(table) & finite & has_prompt(table)[row]
    usable &= np.bincount(row[usable], minlength=len(counts))[row] >= 2
    row, local = row[usable], local[usable]
    value = np.asarray(score.filter(pa.array(usable)).to_numpy(zero_copy_only=False))
    order = np.lexsort((local, -value, row))
    row, local, value = row[order], local[order], value[order]
    each = np.bincount(row, minlength=len(counts))
    place = np.arange(len(row)) - (np.cumsum(each) - each)[row]
    fresh = np.ones(len(row), dtype=bool)
    fresh[1:] = (row[1:] != row[:-1]) | (value[1:] != value[:-1])
    # A tie takes the place of the first of its equals (1, 1, 3).
    rank = place[np.maximum.accumulate(np.where(fresh, np.arange(len(row)), 0))] + 1
    rows = np.flatnonzero(each)
    text = element(table["candidates"], row, local, "text")
    entries = pa.StructArray.from_arrays(
        [text, pa.array(rank.astype(np.int32))], names=["answer", "rank"]
    )
    columns = {
        "id": take(table["id"], rows),
        "prompt": plain(take(table["prompt"], rows)),
        "answers": lists(each[rows], entries),
    }
    return Records(pa.table(columns), rows)


def candidates(table: pa.Table) -> Records:
    """The rows as they are, every column but `split`; dropped candidates keep their reasons."""
    counts = lengths(table["candidates"])
    live = np.zeros(len(counts), dtype=bool)
    live[owners(counts)[live_candidates(table)]] = True
    rows = np.flatnonzero(live & has_prompt(table))
    kept = table.take(pa.array(rows))
    return Records(kept.drop_columns([n for n in kept.column_names if n == "split"]), rows)


def sharegpt(table: pa.Table) -> Records:
    """LLaMA-Factory, `formatting: sharegpt` with `ranking: true`."""
    live = live_pairs(table)
    sides = _sides(table, live)
    columns = {
        "conversations": lists(
            lengths(sides.prompt),
            _turn(flat(sides.prompt, "role"), flat(sides.prompt, "content")),
        ),
        "chosen": _turn(pa.repeat(pa.scalar("assistant"), len(live.rows)), sides.chosen),
        "rejected": _turn(pa.repeat(pa.scalar("assistant"), len(live.rows)), sides.rejected),
    }
    return Records(pa.table(columns), live.rows)


def _turn(role: pa.Array, content: pa.Array) -> pa.Array:
    for ours, theirs in SHAREGPT_ROLES.items():
        role = pc.if_else(pc.equal(role, ours), theirs, role)
    return pa.StructArray.from_arrays([role, content], names=["from", "value"])


def openrlhf(table: pa.Table) -> Records:
    """OpenRLHF reward model and DPO: message lists, for `apply_chat_template`."""
    live = live_pairs(table)
    sides = _sides(table, live)
    columns = {
        "prompt": sides.prompt,
        "chosen": answer(sides.chosen),
        "rejected": answer(sides.rejected),
        "margin": _of_pair(table, live, "margin"),
    }
    return Records(pa.table(columns), live.rows)


def axolotl(table: pa.Table) -> Records:
    """Axolotl `chat_template.default`: the prompt's messages and two single messages."""
    live = live_pairs(table)
    sides = _sides(table, live)
    columns = {
        "messages": sides.prompt,
        "chosen": message("assistant", sides.chosen),
        "rejected": message("assistant", sides.rejected),
    }
    return Records(pa.table(columns), live.rows)


def nemo_rl(table: pa.Table) -> Records:
    """NeMo-RL preference data: a context and exactly two ranked completions, 0 the better."""
    live = live_pairs(table)
    sides = _sides(table, live)
    rows = np.repeat(live.rows, 2)
    index = np.stack([live.chosen, live.rejected], axis=1).reshape(-1)
    rank = pa.array(np.tile([0, 1], len(live.rows)).astype(np.int64))
    completion = answer(element(table["candidates"], rows, index, "text"))
    entries = pa.StructArray.from_arrays([rank, completion], names=["rank", "completion"])
    columns = {
        "context": sides.prompt,
        "completions": lists(np.full(len(live.rows), 2), entries),
    }
    return Records(pa.table(columns), live.rows)


def ultrafeedback(table: pa.Table) -> Records:
    """UltraFeedback-binarized: the prompt as text, two whole conversations and their scores."""
    live = live_pairs(table)
    sides = _sides(table, live)
    columns = {
        "prompt": plain(sides.prompt),
        "prompt_id": take(table["id"], live.rows),
        "chosen": conversation(sides.prompt, sides.chosen),
        "rejected": conversation(sides.prompt, sides.rejected),
        "score_chosen": _score(table, live.rows, live.chosen),
        "score_rejected": _score(table, live.rows, live.rejected),
    }
    return Records(pa.table(columns), live.rows)


_PAIRED = ("id", "prompt", "candidates", "pairs")
_ANSWERED = ("id", "prompt", "candidates")

FORMS: dict[str, Form] = {
    "preference": Form("TRL preference, message lists", _PAIRED, NO_PAIR, preference),
    "preference-text": Form("TRL preference, strings", _PAIRED, NO_PAIR, preference_text),
    "implicit": Form("TRL preference, implicit prompt", _PAIRED, NO_PAIR, implicit),
    "unpaired": Form("TRL unpaired (KTO, BCO)", _PAIRED, NO_PAIR, unpaired),
    "prompt-only": Form("TRL prompt-only", ("id", "prompt"), NO_PROMPT, prompt_only),
    "ranked": Form("Nectar, ranked answers", (*_ANSWERED, "scores"), NO_RANKING, ranked),
    "candidates": Form("nested rows as they are", _ANSWERED, NO_CANDIDATE, candidates),
    "sharegpt": Form("LLaMA-Factory sharegpt, ranking", _PAIRED, NO_PAIR, sharegpt),
    "openrlhf": Form("OpenRLHF reward model and DPO", _PAIRED, NO_PAIR, openrlhf),
    "axolotl": Form("Axolotl chat_template.default", _PAIRED, NO_PAIR, axolotl),
    "nemo-rl": Form("NeMo-RL preference", _PAIRED, NO_PAIR, nemo_rl),
    "ultrafeedback": Form("UltraFeedback-binarized", _PAIRED, NO_PAIR, ultrafeedback),
}
