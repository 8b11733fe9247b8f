"""Earlier choices of the same person, shown before a question in place of a description."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from curate.arrays import Bools, flat, hashes, large, last_turn, messages_of, mix, one_chunk
from curate.division import pick
from curate.methods.judgments import true
from curate.prompts import load_template
from curate.schema import DROP, PROMPT
from curate.stage import Context, Result
from curate.stages.look_up import LookUp, Names
from curate.stages.pair_edits import read_pairs
from curate.stages.reduced import Values
from curate.stages.row_texts import row_texts, source_of


class Choice(NamedTuple):
    """A question with the answer that somebody preferred, and the one they did not."""

    id: str
    key: int
    question: str
    chosen: str
    rejected: str


class FewShot(LookUp, name="few_shot"):
    """Put `shots` earlier choices of the same person before each prompt, as its system message.

    A choice is another row's question, in its last turn, with its first live pair; the rows of
    one value of `by` are one person's. Choices are drawn by the row's seed, and none is about the
    row's own question. A system message that says who the person is goes, so that a model learns
    to tell from the choices (FSPO, Singh et al. 2025). `shots` are the ids of the rows shown: put
    a person's rows in one part (`split` with `together`), and no choice leaks into another. A row
    with fewer choices to show is dropped.
    """

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

    def ready(self) -> None:
        """Put a prompt together. Raises PromptError where a template lacks a placeholder."""
        _opened([], [Choice("", 0, "made up", "one", "another")], self.keep_system)

    def given(self, view: pa.Table, names: Names, ctx: Context) -> Mapping[str, Values]:
        """Return the first live pair of each row that has one, with whose it is."""
        pairs, questions = read_pairs(view), _questions(view)
        whose = row_texts(view, self.by)
        texts = pc.fill_null(large(flat(view["candidates"], "text")), "")
        live = np.flatnonzero(pairs.live)
        row, first = np.unique(pairs.row[live], return_index=True)
        use = (_filled(whose) & _filled(questions))[row]
        row, at = row[use], live[first[use]]
        chosen, rejected = (texts.take(pa.array(end[at])) for end in (pairs.chosen, pairs.rejected))
        rows = pa.array(row)
        return {
            "whose": whose.take(rows),
            "id": one_chunk(view["id"]).take(rows),
            "question": questions.take(rows),
            "chosen": chosen,
            "rejected": rejected,
        }

    def looked_up(
        self, view: pa.Table, names: Names, given: Mapping[str, Values], ctx: Context
    ) -> Result:
        """Return prompts, ids of the rows shown, and who is dropped."""
        whose = row_texts(view, self.by).to_pylist()
        choices = _choices({one for one in whose if one}, given)
        asked, seeds = _questions(view).to_pylist(), ctx.row_seeds(view["id"], self.kind)
        prompts, shown, why = [], [], []
        for row, turns in enumerate(messages_of(view["prompt"])):
            others = [c for c in choices.get(whose[row] or "", ()) if c.question != asked[row]]
            keys = np.array([choice.key for choice in others], dtype=np.uint64)
            order = np.argsort(mix(seeds[row], keys), kind="stable")
            drawn = _apart([others[k] for k in order.tolist()], self.n)
            lost = len(drawn) < self.n
            why.append(f"only {len(drawn)} earlier choices to show" if lost else None)
            shown.append([] if lost else [choice.id for choice in drawn])
            prompts.append(turns if lost else _opened(turns, drawn, self.keep_system))
        return {
            "prompt": pa.array(prompts, PROMPT),
            "shots": pa.array(shown, pa.list_(pa.string())),
            DROP: pa.array(why, pa.string()),
        }


def _choices(people: set[str], given: Mapping[str, Values]) -> dict[str, list[Choice]]:
    """Return the choices of each of the people that has any, in the order of the ids."""
    theirs = pc.is_in(given["whose"], value_set=pa.array(sorted(people), pa.large_string()))
    at = np.flatnonzero(true(theirs))
    whose, ids, *texts = (
        pick(given[name], at) for name in ("whose", "id", "question", "chosen", "rejected")
    )
    columns = [ids.to_pylist(), hashes(ids).tolist(), *(column.to_pylist() for column in texts)]
    found: dict[str, list[Choice]] = {}
    listed = zip(whose.to_pylist(), map(Choice, *columns), strict=True)
    for one, choice in sorted(listed, key=lambda both: both[1].id):
        found.setdefault(one, []).append(choice)
    return found


def _filled(texts: pa.Array) -> Bools:
    return true(pc.greater(pc.binary_length(texts), 0))


def _questions(view: pa.Table) -> pa.Array:
    texts = last_turn(view["prompt"]).to_pylist()
    return pa.array([" ".join((text or "").split()) for text in texts], pa.large_string())


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
