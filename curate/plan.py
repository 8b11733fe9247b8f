"""What a run would do: per stage done, n of m to do, or waiting; why in words; and at what cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from curate.books import numbered
from curate.elapsed import elapsed
from curate.ingest import ingest
from curate.pipeline import Pipeline
from curate.rehearsal import calls_per_row
from curate.stage import Stage
from curate.store import Record, Store
from curate.tasks import all_stages, task_keys
from curate.work import Shard, view

SAMPLE_ROWS = 4
NEVER = "never run"


@dataclass
class Rates:
    """What parts of one stage took and gave; sums over the parts."""

    rows_in: int = 0
    rows_out: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, records: Sequence[Record]) -> Rates:
        """Add up the records."""
        rates = cls()
        for record in records:
            rates.rows_in += record.rows_in
            rates.rows_out += record.rows_out
            rates.seconds += record.seconds
            rates.counts.update(record.counts)
        return rates


@dataclass(frozen=True)
class Earlier:
    """The last run of the pipeline, as its manifest tells it."""

    identities: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    rates: Mapping[str, list[Rates]] = field(default_factory=dict)
    engines: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    seed: int | None = None

    @classmethod
    def load(cls, path: Path, store: Store) -> Earlier:
        """Read the manifest; what is missing or cannot be read counts as never run."""
        try:
            found = orjson.loads(path.read_bytes())
            identities: dict[str, list[dict[str, Any]]] = {}
            rates: dict[str, list[Rates]] = {}
            for place, identity in enumerate(found["stages"], 1):
                parts = [store.find(*shard[place]) for shard in found["shards"]]
                identities.setdefault(identity["kind"], []).append(identity)
                rates.setdefault(identity["kind"], []).append(Rates.of([p for p in parts if p]))
            return cls(identities, rates, found["engines"], found.get("seed"))
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return cls()


def plan(pipeline: Pipeline, root: Path) -> list[dict[str, Any]]:
    """Return one entry a stage.

    `stage`; `state` (done, todo, or waiting for a stage before it); `why` it is not done;
    `rows`, those still to be done, or, behind a stage with work to do, those expected if as
    many are dropped as in the last run; and where they can be told `calls`, `prompt_tokens`,
    `tokens` and `seconds` (by the clock, at the pace of this run so far), extrapolated from parts
    that are done. A stage that
    needs all rows in one process has `memory`, the bytes of its columns as far as they are known
    (from a few rows). A stage that is not waiting also has `shards` and `done`. The source is
    read; no stage runs.
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
    done = f"{step['done']} of {step['shards']} shards" if "shards" in step else ""
    facts = [f"{step['rows']} rows"] if step["state"] != "done" else []
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
    whole = stages[0].view_scope() == "dataset"
    rows = sum(s.rows for s, r in zip(shards, found, strict=True) if whole or r is None)
    behind = [stage.kind for stage in all_stages(pipeline)][: -len(stages)]
    seen, steps = Counter(behind), list[dict[str, Any]]()
    expected = float(rows)
    for place, (stage, calls, pace) in enumerate(zip(stages, asked, paces, strict=True)):
        same = before.rates.get(stage.kind, [])[seen[stage.kind] :][:1]
        why = _why(stage, seen[stage.kind], before, pipeline)
        seen[stage.kind] += 1
        now = Rates.of([r for r in found if r is not None]) if not place else Rates()
        past = next((r for r in (now, *same) if r.rows_in), Rates())
        state = "waiting" if place else "todo"
        if not place:
            begun = why == NEVER and any(found)  # by a share, or a run that ended on an error
            why = _unfinished(found) if begun or not why else why
        else:
            why = "; ".join(filter(None, [why, f"after {stages[0].kind}"]))
        step = _entry(stage, state, why, round(expected))
        if not place:
            step |= {"shards": len(found), "done": sum(r is not None for r in found)}
            expected = float(sum(s.rows for s in shards))
        measured = bool(now.rows_in) or (bool(past.rows_in) and stage.identity() in _all(before))
        steps.append(
            step | _cost(step["rows"], calls, past, measured, pace) | _memory(stage, sample, rows)
        )
        expected *= past.rows_out / past.rows_in if past.rows_in else 1.0
    return steps


def _memory(stage: Stage, sample: pa.Table, rows: int) -> dict[str, int]:
    """Return the bytes of what a stage sees of all rows at once; nothing where it divides."""
    if stage.view_scope() == "shard" or stage.division() is not None:
        return {}
    wanted = {*stage.needed(), *stage.used()}
    known = sample.select([name for name in sample.column_names if name in wanted])
    return {"memory": known.nbytes * rows // max(1, len(sample))}


def _all(before: Earlier) -> list[dict[str, Any]]:
    return [identity for group in before.identities.values() for identity in group]


def _cost(
    rows: int, calls: float | None, past: Rates, measured: bool, pace: float
) -> dict[str, Any]:
    """Extrapolate: calls by row, then tokens and seconds by call (by row where there are none)."""
    before = past.counts["calls"]
    if measured and past.rows_in:
        calls = before / past.rows_in
    cost: dict[str, Any] = {}
    if calls:
        cost["calls"] = round(calls * rows)
        for name in ("prompt_tokens", "tokens"):
            if before:
                cost[name] = round(past.counts[name] / before * calls * rows)
    if calls and before:
        cost["seconds"] = round(pace * past.seconds / before * calls * rows, 1)
    elif not calls and past.rows_in:
        cost["seconds"] = round(pace * past.seconds / past.rows_in * rows, 1)
    return cost


def _sample(store: Store, shards: Sequence[Shard]) -> pa.Table:
    """Return a few rows as they are now."""
    for shard in shards:
        if shard.rows:
            return pa.table(view(store, shard, list(shard.columns))).slice(0, SAMPLE_ROWS)
    return pa.table({})


def _unfinished(found: Sequence[Record | None]) -> str:
    left = sum(record is None for record in found)
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
        f"{name} {was.get(name, defaults.get(name))} -> {now.get(name, defaults.get(name))}"
        for name in sorted({*was, *now})
        if was.get(name) != now.get(name)
    ]
