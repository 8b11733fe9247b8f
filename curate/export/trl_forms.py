"""The shapes that TRL reads, and the ranked lists of Nectar.

A form is a pure function from canonical rows to records. It keeps the order of rows, and of
pairs within a row, and works row by row, so cutting its input changes nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, lengths, lists, owners, places_of, set_field
from curate.export.forms import Records, of_pair, score, sides
from curate.export.pairs import (
    Indexes,
    UsablePairs,
    alternating,
    answer,
    conversation,
    element,
    has_prompt,
    live_candidates,
    plain,
    take,
    usable_pairs,
    why_unusable,
)
from curate.methods.judgments import true

_ALIGNED = {
    "rationales": "rationale",
    "specific_rationales": "specific_rationale",
    "rationale_orders": "rationale_order",
    "curriculum": "curriculum_step",
}
"""Columns that hold a value a pair, and what a record calls it."""


def _evidence(table: pa.Table, live: UsablePairs) -> dict[str, pa.Array]:
    """Return what a trainer may weigh or filter by; null where no stage gave a value."""
    columns = {"margin": of_pair(table, live, "margin")}
    if "scores" in table.column_names:
        columns["score_chosen"] = score(table, live.rows, live.chosen)
        columns["score_rejected"] = score(table, live.rows, live.rejected)
    columns["p_correct"] = of_pair(table, live, "p_correct")
    columns["weight"] = of_pair(table, live, "weight")
    columns["source"] = of_pair(table, live, "source")
    for name, singular in _ALIGNED.items():
        if name in table.column_names:
            columns[singular] = element(table[name], live.rows, live.position)
    for side, index in (("chosen", live.chosen), ("rejected", live.rejected)):
        columns[f"model_{side}"] = element(table["candidates"], live.rows, index, "model")
    return columns


def preference(table: pa.Table) -> Records:
    """TRL preference, explicit prompt, conversational: for DPO, ORPO, CPO and the like.

    Beside it stands what a trainer may weigh or filter by: margin, scores, `p_correct`, weight,
    models, and `source`, which says who made the label and whether the pair was turned round. TRL's
    RewardTrainer reads this form too, so its `margin` is that of `implicit`: 0 where a pair has
    none, and no column where no pair has one.
    """
    live, prompt, chosen, rejected = sides(table)
    columns = {
        "id": take(table["id"], live.rows),
        "prompt": prompt,
        "chosen": answer(chosen),
        "rejected": answer(rejected),
        **_evidence(table, live),
    }
    return Records(pa.table(columns), live.rows)


def preference_text(table: pa.Table) -> Records:
    """TRL preference, explicit prompt, plain strings; what stands beside it as in `preference`."""
    live, prompt, chosen, rejected = sides(table)
    columns = {
        "id": take(table["id"], live.rows),
        "prompt": plain(prompt),
        "chosen": chosen,
        "rejected": rejected,
        **_evidence(table, live),
    }
    return Records(pa.table(columns), live.rows)


def implicit(table: pa.Table) -> Records:
    """TRL preference, implicit prompt: two whole conversations, for reward models.

    A null `margin` would stop TRL's RewardTrainer, so 0 stands where only some pairs have one, and
    the column is left out where none has one: the loss is the same, and nothing is asked for.
    """
    live, prompt, chosen, rejected = sides(table)
    columns = {
        "chosen": conversation(prompt, chosen),
        "rejected": conversation(prompt, rejected),
        "margin": of_pair(table, live, "margin"),
    }
    return Records(pa.table(columns), live.rows)


def axolotl_chat(table: pa.Table) -> Records:
    """Axolotl `chat_template.argilla_chat`: two whole conversations; `margin` as in `implicit`.

    Its namesakes `chatml.argilla_chat` and `llama3.argilla_chat` take the second message for the
    answer, so that they read single questions alone.
    """
    return implicit(table)


def torchtune(table: pa.Table) -> Records:
    """Torchtune `preference_dataset`: two whole conversations; `margin` as in `implicit`."""
    return implicit(table)


def unpaired(table: pa.Table) -> Records:
    """TRL unpaired preference (KTO): every pair gives two records, the chosen one first.

    Where a prompt has several pairs an answer may come several times, and with both labels;
    `best_worst` makes one pair a prompt.
    """
    live = usable_pairs(table)
    rows, text = alternating(table, live)
    columns = {
        "prompt": take(table["prompt"], rows),
        "completion": answer(text),
        "label": pa.array(np.tile([True, False], len(live.rows)).astype(bool)),
    }
    return Records(pa.table(columns), rows)


def prompt_only(table: pa.Table) -> Records:
    """TRL prompt-only: every row alive, whether or not it has answers."""
    rows = np.flatnonzero(has_prompt(table))
    columns = {"id": take(table["id"], rows), "prompt": take(table["prompt"], rows)}
    return Records(pa.table(columns), rows)


def best_answer(table: pa.Table) -> Records:
    """TRL language modelling: each prompt with its best answer by score (best of n, RAFT).

    Between equal scores the first answer is taken; candidates without a finite score are left out.
    """
    row, local, value = _by_score(table)
    first = np.flatnonzero(np.diff(row, prepend=-1))
    return _chats(table, row[first], local[first], value[first])


def scored(table: pa.Table) -> Records:
    """TRL language modelling: each prompt with each of its scored answers, best first.

    For losses that weigh answers by their score or condition on who wrote them, or on the class of
    those who did: `goal` is what the stage `goals` made of the score, where it ran.
    """
    rows, local, value = _by_score(table)
    found = _chats(table, rows, local, value)
    if "goals" not in table.column_names:
        return found
    said = element(table["goals"], rows, local)
    return found._replace(table=found.table.append_column("goal", said))


def _chats(
    table: pa.Table, rows: Indexes, local: Indexes, value: npt.NDArray[np.float64]
) -> Records:
    text = element(table["candidates"], rows, local, "text")
    columns = {
        "id": take(table["id"], rows),
        "messages": conversation(take(table["prompt"], rows), text),
        "score": pa.array(value, pa.float32()),
        "model": element(table["candidates"], rows, local, "model"),
    }
    return Records(pa.table(columns), rows)


def _by_score(table: pa.Table) -> tuple[Indexes, Indexes, npt.NDArray[np.float64]]:
    """Return row, index and score of every scored candidate that may be used, best first a row."""
    counts = lengths(table["candidates"])
    row = owners(counts)
    local = places_of(counts)
    known = score(table, row, local)
    finite = true(pc.is_finite(known))
    usable = live_candidates(table) & finite & has_prompt(table)[row]
    row, local = row[usable], local[usable]
    value = np.asarray(known.filter(pa.array(usable)).to_numpy(zero_copy_only=False), np.float64)
    order = np.lexsort((local, -value, row))
    return row[order], local[order], value[order]


def ranked(table: pa.Table) -> Records:
    """Nectar's shape: answers by falling score, rank 1 best; equal scores share a rank.

    The score stands beside the rank, for losses that weigh by differences of rewards (PRO).
    Candidates without a finite score are left out: an unknown score is not the worst one. A text
    stands in the list once, with its best score: at two ranks it would be better than itself.
    `messages` is the conversation that `prompt` is as one text.

    Axolotl's `zephyr.nectar` must not read it, nor Nectar itself: it takes the answer with the
    highest rank, which is the worst one, as the chosen one.
    """
    row, local, value = _by_score(table)
    first = _once(table, row, local)
    row, local, value = row[first], local[first], value[first]
    several = np.bincount(row, minlength=len(table))[row] >= 2
    row, local, value = row[several], local[several], value[several]
    each = np.bincount(row, minlength=len(table))
    place = places_of(each)
    fresh = np.ones(len(row), dtype=bool)
    fresh[1:] = (row[1:] != row[:-1]) | (value[1:] != value[:-1])
    # A tie takes the place of the first of its equals (1, 1, 3).
    rank = place[np.maximum.accumulate(np.where(fresh, np.arange(len(row)), 0))] + 1
    rows = np.flatnonzero(each)
    text = element(table["candidates"], row, local, "text")
    entries = pa.StructArray.from_arrays(
        [text, pa.array(rank.astype(np.int32)), pa.array(value.astype(np.float32))],
        names=["answer", "rank", "score"],
    )
    columns = {
        "id": take(table["id"], rows),
        "prompt": plain(take(table["prompt"], rows)),
        "answers": lists(each[rows], entries),
        "messages": take(table["prompt"], rows),
    }
    return Records(pa.table(columns), rows)


def _once(table: pa.Table, row: Indexes, local: Indexes) -> Indexes:
    """Return the places of each row's first candidate of every text, blanks around it left out."""
    text = pc.utf8_trim_whitespace(element(table["candidates"], row, local, "text"))
    codes = text.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(row * len(row) + codes, return_index=True)
    return np.sort(first)


def candidates(table: pa.Table) -> Records:
    """The rows as they are, every column but `split`; dropped candidates keep their reasons.

    So do dropped pairs, and those that no other form would hold have theirs.
    """
    counts = lengths(table["candidates"])
    live = np.zeros(len(counts), dtype=bool)
    live[owners(counts)[live_candidates(table)]] = True
    rows = np.flatnonzero(live & has_prompt(table))
    kept = table.take(pa.array(rows))
    if "pairs" in kept.column_names:
        pairs = set_field(flat(kept["pairs"]), "drop", why_unusable(kept))
        place = kept.column_names.index("pairs")
        kept = kept.set_column(place, "pairs", lists(lengths(kept["pairs"]), pairs))
    return Records(kept.drop_columns([n for n in kept.column_names if n == "split"]), rows)
