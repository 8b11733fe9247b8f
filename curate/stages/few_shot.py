"""Earlier choices of the same person, shown before a question in place of a description."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import flat, hashes, large, last_turn, messages_of, mix
from curate.prompts import load_template
from curate.schema import DROP, PROMPT
from curate.stage import Context, Result, Stage
from curate.stages.pair_edits import read_pairs
from curate.stages.row_texts import row_texts, source_of


class Choice(NamedTuple):
    """A question with the answer that somebody preferred, and the one they did not."""

    row: int
    question: str
    chosen: str
    rejected: str


class FewShot(Stage, name="few_shot"):
    """Put `shots` earlier choices of the same person before each prompt, as its system message.

    A choice is another row's question, in its last turn, with its first live pair; the rows of
    one value of `by` are one person's. Choices are drawn by the row's seed, and none is about the
    row's own question. A system message that says who the person is goes, so that a model learns
    to tell from the choices (FSPO, Singh et al. 2025). `shots` are the ids of the rows shown: put
    a person's rows in one part (`split` with `together`), and no choice leaks into another. A row
    with fewer choices to show is dropped.
    """

    scope = "dataset"
    needs = ("id", "prompt", "candidates", "pairs")
    writes = ("prompt", "shots")
    seeded = True

    by: str
    """The column that says whose the row is; "meta.KEY" is a key of the source's own columns."""
    n: int = Field(default=4, ge=1)
    """Choices a prompt."""
    keep_system: bool = False
    """Leave a system message where it is, and put the choices after it."""

    def needed(self) -> tuple[str, ...]:
        """The rows' pairs, and the column of `by`."""
        return tuple(dict.fromkeys((*self.needs, source_of(self.by))))

    def identity(self) -> dict[str, Any]:
        """The fields, and the texts around the choices."""
        return super().identity() | {"templates": [_text("few_shot"), _text("few_shot_choice")]}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return prompts, ids of the rows shown, and who is dropped."""
        ids = view["id"].to_pylist()
        whose = row_texts(view, self.by).to_pylist()
        choices: dict[str, list[Choice]] = {}
        for choice in _choices(view):
            if whose[choice.row]:
                choices.setdefault(whose[choice.row], []).append(choice)
        asked = _questions(view)
        seeds, keys = ctx.row_seeds(view["id"], self.kind), hashes(view["id"])
        prompts, shown, why = [], [], []
        for row, turns in enumerate(messages_of(view["prompt"])):
            others = [c for c in choices.get(whose[row] or "", ()) if c.question != asked[row]]
            order = np.argsort(mix(seeds[row], keys[[c.row for c in others]]), kind="stable")
            drawn = _apart([others[k] for k in order.tolist()], self.n)
            lost = len(drawn) < self.n
            why.append(f"only {len(drawn)} earlier choices to show" if lost else None)
            shown.append([] if lost else [ids[choice.row] for choice in drawn])
            prompts.append(turns if lost else _opened(turns, drawn, self.keep_system))
        return {
            "prompt": pa.array(prompts, PROMPT),
            "shots": pa.array(shown, pa.list_(pa.string())),
            DROP: pa.array(why, pa.string()),
        }


def _choices(view: pa.Table) -> list[Choice]:
    """Return the first live pair of each row that has one, in the order of the ids."""
    pairs, questions = read_pairs(view), _questions(view)
    texts = pc.fill_null(large(flat(view["candidates"], "text")), "")
    live = np.flatnonzero(pairs.live)
    row, first = np.unique(pairs.row[live], return_index=True)
    sides = (texts.take(pa.array(end[live][first])) for end in (pairs.chosen, pairs.rejected))
    chosen, rejected = (side.to_pylist() for side in sides)
    found = [
        Choice(r, questions[r], chosen[k], rejected[k])
        for k, r in enumerate(row.tolist())
        if questions[r]
    ]
    ids = view["id"].to_pylist()
    return sorted(found, key=lambda choice: ids[choice.row])


def _questions(view: pa.Table) -> list[str]:
    return [" ".join((text or "").split()) for text in last_turn(view["prompt"]).to_pylist()]


def _apart(choices: list[Choice], n: int) -> list[Choice]:
    """Return the first `n` choices about questions that differ from each other."""
    return list({choice.question: choice for choice in reversed(choices)}.values())[::-1][:n]


def _opened(
    turns: list[dict[str, str]], choices: list[Choice], keep_system: bool
) -> list[dict[str, str]]:
    entries = (
        load_template("few_shot_choice").render(
            question=choice.question, chosen=choice.chosen, rejected=choice.rejected
        )
        for choice in choices
    )
    text = load_template("few_shot").render(choices="\n\n".join(entries))
    if turns[:1] and turns[0]["role"] == "system":
        if keep_system:
            text = f"{turns[0]['content'] or ''}\n\n{text}"
        turns = turns[1:]
    return [{"role": "system", "content": text}, *turns]


def _text(name: str) -> str:
    return load_template(name).text
