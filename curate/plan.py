"""What a run would do: per stage done, n of m to do, or waiting; why in words; and at what cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.books import numbered
from curate.elapsed import elapsed
from curate.forecast import Earlier, Forecast, Rates
from curate.ingest import ingest
from curate.pipeline import Pipeline
from curate.rehearsal import calls_per_row
from curate.stage import Stage
from curate.store import Record, Store
from curate.tasks import all_stages, task_keys
from curate.work import Shard, view

SAMPLE_ROWS = 4
NEVER = "never run"
SHOWN = 80  # characters of a value that changed


def plan(pipeline: Pipeline, root: Path) -> list[dict[str, Any]]:
    """Return one entry a stage.

    `stage`; `state` (done; todo; behind a stage with work to do `waiting`, or `kept` where all its
    parts will be there if the stages before it drop the rows that they dropped); `why` it is not
    done; `rows`, those still to be done, or expected to be if as many are dropped as in the last
    run; and where they can be told `calls`, `prompt_tokens`, `tokens` and `seconds` (by the clock,
    at the pace of this run so far), extrapolated from parts that are done. `shards` and `done` say
    how many parts there are to be, and how many are, or will be, there. A stage that needs all
    rows in one process has `memory`, the bytes of its columns as far as they are known (from a few
    rows). The source is read; no stage runs. Raises ConfigError where the pipeline does not fit
    together, InputError for bad data, StoreError where the store cannot be read.
    """
    pipeline.check()
    store = Store(root / "store")
    shards = ingest(pipeline.source, store)
    folder = root / "runs" / pipeline.name
    before = Earlier.load(folder / "manifest.json", store)
    stages = all_stages(pipeline)
    paces = [took.pace for took in elapsed(folder, [stage.kind for stage in stages])]
    steps: list[dict[str, Any]] = []
    for place, stage in enumerate(stages):
        keys = task_keys(stage, shards, pipeline)
        found = [store.find(stage.kind, key) for key in keys]
        if not all(found):
            steps.extend(
                _left(pipeline, stages[place:], shards, found, before, store, paces[place:])
            )
            break
        steps.append(_entry(stage, "done", "", 0) | {"shards": len(keys), "done": len(keys)})
        shards = [s.advance(r) for s, r in zip(shards, found, strict=True) if r is not None]
    return steps


def rows_of(steps: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the entries as a table's rows: stage, state, shards, amounts, why."""
    names = numbered(step["stage"] for step in steps)
    return [[name, *_cells(step)] for name, step in zip(names, steps, strict=True)]


def _cells(step: Mapping[str, Any]) -> list[str]:
    started = step["done"] or step["state"] == "todo"
    done = f"{step['done']} of {step['shards']} shards" if started or not step["rows"] else ""
    facts = [f"{step['rows']} rows"] if step["state"] not in ("done", "kept") else []
    units = {"calls": "calls", "prompt_tokens": "tokens in", "tokens": "tokens out", "seconds": "s"}
    facts += [f"{step[name]} {unit}" for name, unit in units.items() if name in step]
    facts += [f"${step['cost']:.2f}"] if "cost" in step else []
    if "memory" in step:
        facts.append(f"all rows in one process: {step['memory'] / 1e9:.1f} GB of columns or more")
    why = f"({step['why']})" if step["why"] else ""
    return [step["state"], done, " ".join(filter(None, [", ".join(facts), why]))]


def _entry(stage: Stage, state: str, why: str, rows: int) -> dict[str, Any]:
    return {"stage": stage.kind, "state": state, "why": why, "rows": rows}


def _left(
    pipeline: Pipeline,
    stages: Sequence[Stage],
    shards: Sequence[Shard],
    found: Sequence[Record | None],
    before: Earlier,
    store: Store,
    paces: Sequence[float],
) -> list[dict[str, Any]]:
    """Return the entries from the first stage with work to do; a pace belongs to each."""
    sample = _sample(store, shards)
    asked = calls_per_row(stages, sample)
    forecast = Forecast(pipeline, store, before, shards)
    kinds = [stage.kind for stage in all_stages(pipeline)]
    first, seen = numbered(kinds)[-len(stages)], Counter(kinds[: -len(stages)])
    whole_rows = sum(shard.rows for shard in shards)
    steps = list[dict[str, Any]]()
    for place, (stage, calls, pace) in enumerate(zip(stages, asked, paces, strict=True)):
        turn = seen[stage.kind]
        seen[stage.kind] += 1
        parts = [] if place else [record for record in found if record is not None]
        now, same = Rates.of(parts), before.rates.get(stage.kind, [])[turn : turn + 1]
        past = next((r for r in (now, *same) if r.rows_in), Rates())
        rows, there = forecast.step(stage, turn, past.kept)
        why = _why(stage, turn, before, pipeline)
        if place:
            state, why = _behind(first, there == len(shards), why)
        else:
            state, there, why = "todo", len(parts), _begun(found, why)
        step = _entry(stage, state, why, round(rows)) | {"shards": len(shards), "done": there}
        if state != "kept":
            measured = bool(now.rows_in) or (bool(past.rows_in) and before.knows(stage))
            step |= _amounts(step["rows"], calls, past, measured, pace)
        steps.append(step | _memory(stage, sample, whole_rows))
    return steps


def _behind(first: str, there: bool, why: str) -> tuple[str, str]:
    """Return the state of a stage behind the first with work to do, and why it is not done."""
    if there:
        return "kept", f"if {first} drops what it did"
    return "waiting", "; ".join(filter(None, [why, f"after {first}"]))


def _memory(stage: Stage, sample: pa.Table, rows: int) -> dict[str, int]:
    """Return the bytes of what a stage sees of all rows at once; nothing where it divides."""
    if stage.view_scope() == "shard" or stage.division() is not None:
        return {}
    wanted = {*stage.needed(), *stage.used()}
    known = sample.select([name for name in sample.column_names if name in wanted])
    return {"memory": known.nbytes * rows // max(1, len(sample))}


def _amounts(
    rows: int, calls: float | None, past: Rates, measured: bool, pace: float
) -> dict[str, Any]:
    """Extrapolate: calls by row, then tokens and seconds by call (by row where there are none).

    `past` has what parts took, of this very stage where it is `measured`; else `calls` are those
    that a row makes. `pace` turns their seconds into seconds by the clock.
    """
    before = past.counts["calls"]
    if measured and past.rows_in:
        calls = before / past.rows_in
    found: dict[str, Any] = {}
    if calls:
        found["calls"] = round(calls * rows)
        for name in ("prompt_tokens", "tokens"):
            if before:
                found[name] = round(past.counts[name] / before * calls * rows)
    if calls and before:
        found["seconds"] = round(pace * past.seconds / before * calls * rows, 1)
    elif not calls and past.rows_in:
        found["seconds"] = round(pace * past.seconds / past.rows_in * rows, 1)
    return found


def _sample(store: Store, shards: Sequence[Shard]) -> pa.Table:
    """Return a few rows as they are now."""
    for shard in shards:
        if shard.rows:
            return pa.table(view(store, shard, list(shard.columns))).slice(0, SAMPLE_ROWS)
    return pa.table({})


def _begun(found: Sequence[Record | None], why: str) -> str:
    """Return why a stage is not done: `why`, if it has changed, or else what of it is left."""
    left = sum(record is None for record in found)
    begun = why == NEVER and left < len(found)  # by a share, or a run that ended on an error
    if why and not begun:
        return why
    return "what it reads changed" if left == len(found) else f"{left} shards are new or unfinished"


def _why(stage: Stage, turn: int, before: Earlier, pipeline: Pipeline) -> str:
    """Say what differs from the last run's stage of this kind; `turn` counts them from 0."""
    earlier, now = before.identities.get(stage.kind, []), stage.identity()
    if turn >= len(earlier):
        return NEVER
    changes = []
    if now not in earlier:
        defaults = {name: info.default for name, info in type(stage).model_fields.items()}
        changes += _changes(earlier[turn], now, defaults)
    for role, _ in stage.engine_roles():
        spec = pipeline.engines[role]
        defaults = {name: info.default for name, info in type(spec).model_fields.items()}
        was = before.engines.get(role, {})
        changes += [f"engine {role}: {c}" for c in _changes(was, spec.identity(), defaults)]
    if stage.seeded and before.seed not in (None, pipeline.seed):
        changes.append(f"seed {before.seed} -> {pipeline.seed}")
    return "; ".join(dict.fromkeys(changes))


def _changes(
    was: Mapping[str, Any], now: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[str]:
    return [
        _change(name, was.get(name, defaults.get(name)), now.get(name, defaults.get(name)))
        for name in sorted({*was, *now})
        if was.get(name) != now.get(name)
    ]


def _change(name: str, was: Any, now: Any) -> str:
    """Say a change in a line: of lists of texts, such as templates, what differs; of long, a part.

    The first place that differs is within what is shown.
    """
    texts = [was, now]
    if all(isinstance(value, list | tuple) for value in texts):
        texts = [[v for v in was if v not in now], [v for v in now if v not in was]]
        if not any(texts) or max(len(str(value)) for value in (was, now)) <= SHOWN:
            texts = [was, now]  # another order; or short
    old, new = (str(text) for text in texts)
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
    return f"{name} {_part(old, same)} -> {_part(new, same)}"


def _part(text: str, around: int) -> str:
    if len(text) <= SHOWN:
        return text
    start = max(0, min(around - SHOWN // 3, len(text) - SHOWN))
    end = start + SHOWN
    return "..." * (start > 0) + text[start:end] + "..." * (end < len(text))
