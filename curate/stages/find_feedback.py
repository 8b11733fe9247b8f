"""Conversations in which the user reacts to an answer: the reaction becomes evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from curate.arrays import lists, messages_of, structs
from curate.engines.contract import Requests
from curate.methods.feedback import CONTENT, DISCONTENT, KINDS, asked_turns, first_signal
from curate.methods.labels import json_labels, read_labels
from curate.prompts import Template, load_template
from curate.schema import CANDIDATE, PROMPT
from curate.stage import Context, Result
from curate.stages.calls import Greedy, GreedySampling, count_replies, lost_rows, unusable
from curate.stages.forms import object_schema
from curate.stages.judging import AskingInForm
from curate.stages.shown import fenced

_WANTED = {"content": tuple(CONTENT), "discontent": tuple(DISCONTENT), "any": KINDS[:-1]}
NOTHING = "no turn that could react to an answer"


class Found(NamedTuple):
    """What a conversation gives: where its feedback stands, or why there is none."""

    turn: int | None
    kind: str | None
    why: str | None


class FindFeedback(AskingInForm, name="find_feedback"):
    """Find the user's first reaction to an answer in each conversation, and cut there.

    An engine names the kind of each later user turn: one of nine of content, nine of discontent,
    or none (WildFeedback, Shi et al. 2024). The answer before the first turn of the wanted kinds
    becomes a candidate, and the prompt ends before that answer: the user's words about it are in
    `feedback` and never in the prompt. `answer` is the answer's text, `feedback_kind` the kind,
    `cut_turn` how many turns the prompt keeps, `reactions` the kind of every turn of the whole
    conversation (null: not asked about, or not read). Other conversations are dropped; one whose
    call failed is a failed row.
    """

    wanted: Literal["content", "discontent", "any"] = "discontent"
    """Which reactions count."""
    model: str = Field(default="conversation", min_length=1)
    """What the candidate's `model` is to be: who gave these answers."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""

    version = 2
    needs = ("id", "prompt")
    writes = ("prompt", "answer", "feedback", "feedback_kind", "cut_turn", "reactions")
    appends = ("candidates",)

    def identity(self) -> dict[str, Any]:
        """The fields, and the text and the kinds that the engine is shown."""
        texts = [self._template().text, _kinds()]
        return super().identity() | {"templates": texts}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the columns and who is dropped. Raises StageError above `max_error_rate`."""
        rows = messages_of(view["prompt"])
        asked = [asked_turns([turn["role"] for turn in turns]) for turns in rows]
        where = np.flatnonzero([bool(turns) for turns in asked])
        requests = self._requests(rows, asked, where, ctx.row_seeds(view["id"], self.kind))
        answers = self.ask(requests, ctx)
        read = json_labels if self.structured else read_labels
        said, status = answers.text.to_pylist(), answers.status.to_pylist()
        unread = unusable(answers).to_pylist()
        found = [Found(None, None, NOTHING)] * len(rows)
        reactions: list[list[str | None]] = [[None] * len(turns) for turns in rows]
        for place, row in enumerate(where.tolist()):
            keys = {str(turn + 1): KINDS for turn in asked[row]}
            kinds, why = read(said[place], keys) if status[place] == "ok" else ({}, None)
            for turn in asked[row]:
                reactions[row][turn] = kinds.get(str(turn + 1))
            found[row] = self._found(reactions[row], why or unread[place])
            status[place] = why or status[place]
        count_replies(ctx, status)
        ctx.counts.update(f"feedback: {one.kind or one.why}" for one in found)
        lost = lost_rows(pa.array([one.why for one in found], pa.string()), answers, where)
        return _columns(rows, found, reactions, self.model) | lost

    def _found(self, kinds: Sequence[str | None], status: str) -> Found:
        turn = first_signal(kinds, _WANTED[self.wanted])
        if turn is not None:
            return Found(turn, kinds[turn], None)
        said = "neither content nor discontent" if self.wanted == "any" else f"no {self.wanted}"
        return Found(None, None, said if status == "ok" else f"reactions not read: {status}")

    def _requests(
        self,
        rows: Sequence[Sequence[dict[str, str]]],
        asked: Sequence[Sequence[int]],
        where: npt.NDArray[np.int64],
        seeds: npt.NDArray[np.uint64],
    ) -> Requests:
        """Return one call for each of the rows `where`, with its turns numbered from 1."""
        shown, wanted = [], []
        for row in where.tolist():
            turns = enumerate(rows[row], start=1)
            shown.append("\n\n".join(f"[{k}: {t['role']}]\n{t['content'] or ''}" for k, t in turns))
            wanted.append(", ".join(str(turn + 1) for turn in asked[row]))
        conversations = self._template().conversations(
            len(where),
            kinds=_kinds(),
            conversation=fenced(pa.array(shown, pa.large_string()), "conversation", seeds[where]),
            turns=pa.array(wanted, pa.large_string()),
        )
        own = seeds[where] if self.sampling.temperature > 0 else None
        schemas = [self.held(_schema(asked[row])) or {} for row in where.tolist()]
        held = schemas if self.structured else None
        return Requests(conversations, self.sampling, seeds=own, json_schema=held)

    def _template(self) -> Template:
        plain = load_template("tag_feedback")
        return plain.then(load_template("end_reactions").render()) if self.structured else plain


def _columns(
    rows: Sequence[list[dict[str, str]]],
    found: Sequence[Found],
    reactions: Sequence[Sequence[str | None]],
    model: str,
) -> dict[str, pa.Array]:
    """Cut each conversation before the answer that its feedback is about."""
    there = np.array([one.turn is not None for one in found], dtype=bool)
    cuts = [None if one.turn is None else one.turn - 1 for one in found]
    prompts, answer, feedback = [], [], []
    for turns, cut in zip(rows, cuts, strict=True):
        prompts.append(turns[:cut])  # a dropped row keeps its whole conversation
        answer.append(None if cut is None else turns[cut]["content"])
        feedback.append(None if cut is None else turns[cut + 1]["content"])
    texts = pa.array(answer, pa.string())
    given = texts.filter(pa.array(there))
    return {
        "prompt": pa.array(prompts, PROMPT),
        "candidates": lists(
            there.astype(np.int64), structs(CANDIDATE, len(given), text=given, model=model)
        ),
        "answer": texts,
        "feedback": pa.array(feedback, pa.string()),
        "feedback_kind": pa.array([one.kind for one in found], pa.string()),
        "cut_turn": pa.array(cuts, pa.int32()),
        "reactions": pa.array(reactions, pa.list_(pa.string())),
    }


def _schema(turns: Sequence[int]) -> dict[str, Any]:
    """Return the schema of one kind under the number of each of these turns."""
    return object_schema({str(t + 1): {"type": "string", "enum": list(KINDS)} for t in turns})


def _kinds() -> str:
    named = {**CONTENT, **DISCONTENT}
    return "\n".join(f"{name}: {meaning}" for name, meaning in named.items())
