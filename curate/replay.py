"""What was asked about one row: its calls, built again by the stages that made them.

Prompts are not stored: they are long, and a stage makes them from columns that are. So a stage is
applied once more, to the one row alone and with an engine that only writes down what it is asked.
That engine answers each call with a mark of its own, and where the marks come out in the stage's
result says which judgment or candidate came of which call: its stored text is the raw answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from curate import history
from curate.engines.contract import (
    Completion,
    Completions,
    Continuation,
    Engine,
    Likelihood,
    Request,
    Requests,
    Reward,
)
from curate.errors import CurateError, StageError
from curate.stage import Context, Stage
from curate.store import Record, Store
from curate.tasks import all_stages
from curate.work import Shard, view, view_columns

Entries = dict[int, list[dict[str, Any]]]  # by call

LATER = {"note": "what was asked after this depends on an answer that is not kept"}
_MARK = re.compile(r"answer-to-call-(\d{1,9})")
_SAME = ("judge", "aspect", "a", "b", "order", "model")  # fields that no answer changes
_SUMS = (
    "calls", "errors", "retries", "too_long", "prompt_tokens", "cached_tokens", "tokens",
)  # fmt: skip


def show_row(root: Path, name: str, row_id: str) -> list[dict[str, Any]]:
    """Return the row's history: {stage, columns that it wrote...}, one entry a stage.

    Where a stage asks an engine there are also `calls`, as `row_calls` returns them or a text
    that says why there are none, and `shard`: what all rows of its part took together. Where it
    appended to a list that had entries, `behind` says how many: {"candidates": 2}. Raises
    ConfigError for an unknown run or row, StoreError for parts that are gone.
    """
    found = history.manifest(root, name)
    store, shard = history.locate(root, found, row_id)
    traced = history.trace(store, shard, row_id)
    stages: list[Stage] = []
    sizes: dict[str, int] = {}
    for depth, (place, step) in enumerate(traced):
        record = shard.parts[depth]
        _count_entries(step, record, sizes)
        if not record.engines:
            continue
        sums = {key: record.counts[key] for key in _SUMS if key in record.counts}
        step["shard"] = {"rows": record.rows_in, **sums, "engines": record.engines}
        try:
            pipeline = history.pipeline_of(root, name, found)
            stages = stages or all_stages(pipeline)
            seed = history.seed_of(found, pipeline)
            stage = _same_stage(stages, found, depth - 1)
            row = _row(store, history.earlier(shard, depth), stage, place)
            step["calls"] = row_calls(stage, row, step, _models(record), seed)
        except CurateError as error:
            step["calls"] = f"cannot be built again: {error}"
    return [step for _, step in traced]


def _count_entries(step: dict[str, Any], record: Record, sizes: dict[str, int]) -> None:
    """Say behind how many entries the step's own stand; `sizes` of the row's lists is kept up."""
    lists = {name: len(value) for name, value in step.items() if isinstance(value, list)}
    behind = {n: sizes[n] for n in record.appends if n in lists and sizes.get(n)}
    sizes.update({name: size + behind.get(name, 0) for name, size in lists.items()})
    if behind:
        step["behind"] = behind


def row_calls(
    stage: Stage, row: pa.Table, stored: Mapping[str, Any], models: Mapping[str, str], seed: int
) -> list[dict[str, Any]]:
    """Return the calls that the stage makes for the one row of `row`, in order.

    A call is {engine, model, messages, sampling, ...} with what was asked beside: `seed`,
    `choices`, `json_schema`, or the `continuation` that was to be read. `answer` is the raw text
    as it is stored in `stored` (the stage's columns for this row), null where no column keeps it;
    `gave` are the entries of those columns that the stage made of it; `tokens` and
    `prompt_tokens` stand where the entries have them. Calls that follow from an answer that is
    not kept are left out, and `LATER` stands in their place. Raises StageError where the stage
    does not take a row alone.
    """
    known: Entries = {}
    while True:  # a tournament asks what follows from its earlier answers
        asked = _Asked({call: _text(entries) or "" for call, entries in known.items()})
        engines: dict[str, Engine] = {
            role: _Recorder(role, models.get(role, ""), asked) for role, _ in stage.engine_roles()
        }
        try:
            result = stage.apply(row, Context(seed=seed, engines=engines))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise StageError(f"`{stage.kind}` failed on the row alone: {error}") from None
        given = {name: column[0].as_py() for name, column in result.items()}
        found = _entries(given, stored)
        open_calls = [c for c in asked.chats if c not in known]
        if all(c in found for c in open_calls):
            known |= found
            return [_described(c, call, known.get(c, [])) for c, call in enumerate(asked.calls)]
        batch = next(b for b in asked.batches if any(c not in known for c in b))
        known |= {c: found[c] for c in batch if c in found}
        if not all(c in known for c in batch):
            shown = asked.calls[: batch.stop]
            calls = [_described(c, call, known.get(c, [])) for c, call in enumerate(shown)]
            return [*calls, LATER] if len(asked.calls) > len(shown) else calls


@dataclass
class _Asked:
    """What the engines of a stage were asked, call after call."""

    answers: Mapping[int, str]  # the calls whose answers are known
    calls: list[dict[str, Any]] = field(default_factory=list)
    batches: list[range] = field(default_factory=list)  # of chat calls that came together

    @property
    def chats(self) -> Iterator[int]:
        """The calls that were to be answered with text."""
        return (call for batch in self.batches for call in batch)


class _Recorder:
    """An engine without a model: it writes calls down, and answers what is known or a mark."""

    def __init__(self, role: str, model: str, asked: _Asked) -> None:
        self._role, self._model, self._asked = role, model, asked

    @property
    def model(self) -> str:
        """The model that answered when the part was made."""
        return self._model

    def describe(self) -> Mapping[str, str]:
        """Return the model alone."""
        return {"model": self._model}

    def chat(self, requests: Requests) -> Completions:
        """Write the calls down."""
        start = len(self._asked.calls)
        self._asked.calls += [{**self._who(), **_request(request)} for request in requests]
        batch = range(start, len(self._asked.calls))
        self._asked.batches.append(batch)
        texts = [self._asked.answers.get(call, f"answer-to-call-{call}") for call in batch]
        return Completions.of([Completion(text) for text in texts], len(requests.choices))

    def loglikelihood(self, requests: Sequence[Continuation]) -> list[Likelihood]:
        """Write the continuations down; nothing is asked by what comes back."""
        self._write(requests)
        return [Likelihood(0.0, 1)] * len(requests)

    def score(self, requests: Sequence[Continuation]) -> list[Reward]:
        """Write the answers to score down."""
        self._write(requests)
        return [Reward(0.0)] * len(requests)

    def close(self) -> None:
        """Free nothing."""

    def _who(self) -> dict[str, str]:
        return {"engine": self._role, "model": self._model}

    def _write(self, requests: Sequence[Continuation]) -> None:
        for messages, answer, role in requests:
            turn = {"role": role, "content": answer}
            self._asked.calls.append(
                {**self._who(), "messages": list(messages), "continuation": turn}
            )


def _request(request: Request) -> dict[str, Any]:
    """Return what a call asks, without what it leaves at its default."""
    draw = request.sampling
    facts: dict[str, Any] = {
        "messages": list(request.messages),
        "sampling": {"temperature": draw.temperature, **draw.model_dump(exclude_defaults=True)},
    }
    if request.seed is not None:
        facts["seed"] = request.seed
    if request.choices:
        facts["choices"] = list(request.choices)
    if request.json_schema is not None:
        facts["json_schema"] = request.json_schema
    return facts


def _entries(
    given: Mapping[str, Any], stored: Mapping[str, Any]
) -> dict[int, list[dict[str, Any]]]:
    """Return the stored entries that came of each call whose mark is in `given`.

    An entry is {column, at, fields...}, or {column, at, value} where the column holds no structs.
    One that is about something else than what is stored in its place is left out.
    """
    found: Entries = {}
    for column, value in given.items():
        kept = stored.get(column)
        if not isinstance(value, list) or not isinstance(kept, list):
            continue
        for at, (new, old) in enumerate(zip(value, kept, strict=False)):
            for call in sorted(_marks(new)):
                if _alike(new, old):
                    entry = old if isinstance(old, dict) else {"value": old}
                    found.setdefault(call, []).append({"column": column, "at": at, **entry})
    return found


def _marks(value: Any) -> set[int]:
    texts = value.values() if isinstance(value, dict) else [value]
    marks = (_MARK.fullmatch(text) for text in texts if isinstance(text, str))
    return {int(mark[1]) for mark in marks if mark}


def _alike(new: Any, old: Any) -> bool:
    if not isinstance(new, dict) or not isinstance(old, dict):
        return True
    return all(new.get(name) == old.get(name) for name in _SAME)


def _text(entries: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the raw answer, where an entry keeps it."""
    return next((entry["text"] for entry in entries if "text" in entry), None)


def _described(number: int, call: Mapping[str, Any], entries: Any) -> dict[str, Any]:
    facts = {"call": number, **call}
    if "continuation" in call:
        return facts
    facts["answer"] = _text(entries)
    for name in ("prompt_tokens", "tokens"):
        counts = [entry[name] for entry in entries if entry.get(name) is not None]
        if counts:
            facts[name] = counts[0]
    facts["gave"] = [{k: v for k, v in entry.items() if k != "text"} for entry in entries]
    return facts


def _same_stage(stages: Sequence[Stage], found: Mapping[str, Any], number: int) -> Stage:
    """Return stage `number`, if it still is what made the part. Raises StageError otherwise."""
    if number < len(stages):
        now = orjson.loads(orjson.dumps(stages[number].identity()))
        if now == found["stages"][number]:
            return stages[number]
    kind = found["stages"][number]["kind"]
    raise StageError(f"`{kind}`, its fields or its templates have changed since this run")


def _row(store: Store, before: Shard, stage: Stage, place: int) -> pa.Table:
    """Return the one row as the stage saw it."""
    if stage.view_scope() == "dataset":
        raise StageError(f"`{stage.kind}` sees all rows at once")
    names = view_columns(stage, before)
    read = names or ["id"]  # a stage that needs no column is told of one row
    columns = view(store, before, read)
    table = pa.table({name: columns[name].take(pa.array([place])) for name in read})
    return table.select(names)


def _models(record: Record) -> dict[str, str]:
    return {role: facts.get("model", "") for role, facts in record.engines.items()}
