"""The shapes that other trainers read; names of columns follow their own documentation."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import (
    flat,
    lengths,
    lists,
    messages_of,
    one_chunk,
    owners,
    places_of,
    starts_of,
    structs,
)
from curate.export.forms import Records, of_pair, score, sides
from curate.export.pairs import (
    alternating,
    answer,
    conversation,
    element,
    has_prompt,
    message,
    plain,
    take,
    usable_pairs,
)
from curate.methods.judgments import true

SHAREGPT_ROLES = {"user": "human", "assistant": "gpt"}


def sharegpt(table: pa.Table) -> Records:
    """LLaMA-Factory, `formatting: sharegpt` with `ranking: true`."""
    live, prompt, chosen, rejected = sides(table)
    columns = {
        "conversations": lists(
            lengths(prompt),
            _turn(flat(prompt, "role"), flat(prompt, "content")),
        ),
        "chosen": _turn(pa.repeat(pa.scalar("assistant"), len(live.rows)), chosen),
        "rejected": _turn(pa.repeat(pa.scalar("assistant"), len(live.rows)), rejected),
    }
    return Records(pa.table(columns), live.rows)


def _turn(role: pa.Array, content: pa.Array) -> pa.Array:
    for ours, theirs in SHAREGPT_ROLES.items():
        role = pc.if_else(pc.equal(role, ours), theirs, role)
    return pa.StructArray.from_arrays([role, content], names=["from", "value"])


def alpaca(table: pa.Table) -> Records:
    """LLaMA-Factory, `formatting: alpaca` with `ranking: true`."""
    live, prompt, chosen, rejected = sides(table)
    columns = {**_instructed(prompt), "chosen": chosen, "rejected": rejected}
    return Records(pa.table(columns), live.rows)


def _instructed(prompt: pa.Array) -> dict[str, pa.Array]:
    """Return each conversation as alpaca has it: the last question, and what came before.

    Turns that do not alternate as a trainer expects are one text, so that nothing is lost.
    """
    whole = plain(prompt).to_pylist()
    rows: list[tuple[str, str, list[list[str]]]] = []
    for text, turns in zip(whole, messages_of(prompt), strict=True):
        system = turns[0]["content"] if turns[0]["role"] == "system" else ""
        said = turns[1:] if turns[0]["role"] == "system" else turns
        roles, contents = [turn["role"] for turn in said], [turn["content"] for turn in said]
        if len(said) % 2 and roles == (["user", "assistant"] * len(said))[: len(said)]:
            history = [contents[k : k + 2] for k in range(0, len(said) - 1, 2)]
            rows.append((contents[-1], system, history))
        else:
            rows.append((text, "", []))
    return {
        "instruction": pa.array([row[0] for row in rows], pa.string()),
        "input": pa.repeat(pa.scalar(""), len(rows)),
        "system": pa.array([row[1] for row in rows], pa.string()),
        "history": pa.array([row[2] for row in rows], pa.list_(pa.list_(pa.string()))),
    }


def alpaca_kto(table: pa.Table) -> Records:
    """LLaMA-Factory KTO, `formatting: alpaca`: one answer a record, the chosen one first."""
    live = usable_pairs(table)
    rows, text = alternating(table, live)
    columns = {
        **_instructed(take(table["prompt"], rows)),
        "output": text,
        "kto_tag": pa.array(np.tile([True, False], len(live.rows)).astype(bool)),
    }
    return Records(pa.table(columns), rows)


def sharegpt_kto(table: pa.Table) -> Records:
    """LLaMA-Factory KTO: whole conversations with a boolean `kto_tag`, the chosen one first."""
    live = usable_pairs(table)
    rows, text = alternating(table, live)
    turns = conversation(take(table["prompt"], rows), text)
    columns = {
        "conversations": lists(lengths(turns), _turn(flat(turns, "role"), flat(turns, "content"))),
        "kto_tag": pa.array(np.tile([True, False], len(live.rows)).astype(bool)),
    }
    return Records(pa.table(columns), rows)


def openrlhf(table: pa.Table) -> Records:
    """OpenRLHF reward model and DPO: message lists, for `apply_chat_template` and a `prompt_key`.

    It reads a null `margin` as 0.
    """
    live, prompt, chosen, rejected = sides(table)
    columns = {
        "prompt": prompt,
        "chosen": answer(chosen),
        "rejected": answer(rejected),
        "margin": of_pair(table, live, "margin"),
    }
    return Records(pa.table(columns), live.rows)


def axolotl(table: pa.Table) -> Records:
    """Axolotl `chat_template.default`: the prompt's messages and two single messages."""
    live, prompt, chosen, rejected = sides(table)
    columns = {
        "messages": prompt,
        "chosen": message("assistant", chosen),
        "rejected": message("assistant", rejected),
    }
    return Records(pa.table(columns), live.rows)


def nemo_rl(table: pa.Table) -> Records:
    """NeMo-RL preference data: a context and exactly two ranked completions, 0 the better."""
    live = usable_pairs(table)
    _, text = alternating(table, live)
    rank = pa.array(np.tile([0, 1], len(live.rows)).astype(np.int64))
    completion = answer(text)
    entries = pa.StructArray.from_arrays([rank, completion], names=["rank", "completion"])
    columns = {
        "context": take(table["prompt"], live.rows),
        "completions": lists(np.full(len(live.rows), 2), entries),
    }
    return Records(pa.table(columns), live.rows)


def ultrafeedback(table: pa.Table) -> Records:
    """UltraFeedback-binarized: the prompt as text, two whole conversations and their scores.

    Axolotl's `chatml.ultra` and `llama3.ultra` read it too, of single questions: of a longer
    conversation they take the second message for the answer.
    """
    live, prompt, chosen, rejected = sides(table)
    columns = {
        "prompt": plain(prompt),
        "prompt_id": take(table["id"], live.rows),
        "chosen": conversation(prompt, chosen),
        "rejected": conversation(prompt, rejected),
        "score_chosen": score(table, live.rows, live.chosen),
        "score_rejected": score(table, live.rows, live.rejected),
    }
    return Records(pa.table(columns), live.rows)


def negatives(table: pa.Table) -> Records:
    """D2O: each rejected answer once, with the answers that stand against it as `samples`.

    No sample is called good; the loss sets the negative against all of them together.
    """
    live = usable_pairs(table)
    first, group = np.unique(
        np.stack([live.rows, live.rejected], axis=1), axis=0, return_index=True, return_inverse=True
    )[1:]
    order = np.argsort(first)  # of the negatives, by their first pair
    by_negative = np.argsort(np.argsort(order)[group.reshape(-1)], kind="stable")
    rows, rejected = live.rows[first[order]], live.rejected[first[order]]
    samples = element(table["candidates"], live.rows, live.chosen, "text")
    columns = {
        "id": take(table["id"], rows),
        "prompt": take(table["prompt"], rows),
        "rejected": element(table["candidates"], rows, rejected, "text"),
        "samples": lists(
            np.bincount(group.reshape(-1))[order], samples.take(pa.array(by_negative))
        ),
    }
    return Records(pa.table(columns), rows)


def bradley_terry(table: pa.Table) -> Records:
    """Axolotl `bradley_terry.chat_template`: strings, and the system message apart ("" for none).

    Axolotl stops where there is no `system`; of "" it makes an empty turn, alike on both sides. A
    conversation of several turns is one text, `role: content` in paragraphs.
    """
    live, prompt, chosen, rejected = sides(table)
    system, rest = _system_apart(prompt)
    columns = {"system": system, "input": plain(rest), "chosen": chosen, "rejected": rejected}
    return Records(pa.table(columns), live.rows)


def _system_apart(prompt: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return each conversation's leading system message, "" where it has none, and the rest."""
    counts = lengths(prompt)
    role, content = flat(prompt, "role"), flat(prompt, "content")
    leads = places_of(counts) == 0
    system = leads & (counts[owners(counts)] > 1) & true(pc.equal(role, "system"))
    first = pa.array(starts_of(counts))
    text = pc.if_else(pa.array(system[leads]), content.take(first), "")
    left = counts - np.bincount(owners(counts)[system], minlength=len(counts))
    return text, lists(left, flat(prompt).filter(pa.array(~system)))


def nemo_aligner(table: pa.Table) -> Records:
    """NeMo-Aligner DPO and RPO: strings, with the scores as rewards.

    It reads JSON Lines, with rewards of its own for all where there are none, and stops at a null:
    so they are there where every answer has a score.
    """
    live, prompt, chosen, rejected = sides(table)
    columns = {
        "prompt": plain(prompt),
        "chosen_response": chosen,
        "rejected_response": rejected,
        "chosen_reward": score(table, live.rows, live.chosen),
        "rejected_reward": score(table, live.rows, live.rejected),
    }
    return Records(pa.table(columns), live.rows)


def nemo_aligner_rm(table: pa.Table) -> Records:
    """NeMo-Aligner reward model: lines of text in turn, the good one first, for JSON Lines."""
    rows, text = alternating(table, usable_pairs(table))
    asked = plain(take(table["prompt"], rows))
    return Records(pa.table({"text": pc.binary_join_element_wise(asked, text, "\n\n")}), rows)


def verl(table: pa.Table) -> Records:
    """Verl, reinforcement learning: prompts with the reference answer as ground truth.

    `extra_info` holds the row's id, and its split and its number there as verl's own scripts do.
    """
    rows = np.flatnonzero(has_prompt(table) & true(table["reference"].is_valid()))
    size = len(rows)
    truth = take(table["reference"], rows)
    judged = pa.struct([("style", pa.string()), ("ground_truth", pa.string())])
    extra = pa.struct([("id", pa.string())])
    columns = {
        "data_source": pa.repeat(pa.scalar("curate"), size),
        "prompt": take(table["prompt"], rows),
        "ability": pa.repeat(pa.scalar("general"), size),
        "reward_model": structs(judged, size, style="rule", ground_truth=truth),
        "extra_info": structs(extra, size, id=take(table["id"], rows)),
    }
    return Records(pa.table(columns), rows)


def verl_numbered(records: pa.Table, splits: pa.Array, numbers: pa.Array) -> pa.Table:
    """Put each record's split and number into `extra_info`: verl hands `index` to its trainer."""
    place = records.column_names.index("extra_info")
    ids = pc.struct_field(one_chunk(records["extra_info"]), "id")
    extra = pa.StructArray.from_arrays(
        [ids, splits.cast(pa.string()), numbers], names=["id", "split", "index"]
    )
    return records.set_column(place, "extra_info", extra)


def verl_rm(table: pa.Table) -> Records:
    """Verl, reward model: three strings."""
    live, prompt, chosen, rejected = sides(table)
    columns = {"prompt": plain(prompt), "chosen": chosen, "rejected": rejected}
    return Records(pa.table(columns), live.rows)
