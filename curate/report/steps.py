"""The funnel of rows as a page shows it: each stage by a name of its own, down to the export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from curate.books import funnel, numbered
from curate.errors import CurateError
from curate.replies import replies
from curate.stage import stage_registry, summary
from curate.work import Shard

_HIDDEN = ("kind", "version", "templates")  # of what tells two stages of a kind apart
_MOST_NAMES = 3


def steps_of(
    parts: Sequence[Shard], stages: Sequence[Mapping[str, Any]], judges: Mapping[int, Sequence[str]]
) -> list[dict[str, Any]]:
    """Return the source and each stage: the funnel's facts, with what a reader needs beside them.

    `name` is what it is called ("judge 2"), in other runs and in estimates too; `about` tells it
    from others of its kind (its `judges`, or the fields that differ); `replies` are those of its
    engine; `summary` says what the kind does; `lost` holds the reasons, the most frequent first.
    `stages` are the identities in the manifest, and `judges` the names that each step's judgments
    have.
    """
    steps = funnel(parts)
    identities: list[Mapping[str, Any]] = [{}, *stages]
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for step, identity in zip(steps, identities, strict=False):
        alike.setdefault(step["stage"], []).append(identity)
    turns = Counter[str]()
    names = numbered(step["stage"] for step in steps)
    for place, step in enumerate(steps):
        kind = step["stage"]
        step["name"], step["judges"] = names[place], judges.get(place, ())
        step["replies"] = replies(step["counts"])
        step["about"] = _about(step["judges"], alike.get(kind, []), turns[kind])
        step["summary"] = _explained(kind)
        step["seconds"] = sum(shard.parts[place].seconds for shard in parts)
        step["lost"] = sorted({**step["dropped"], **step["failed"]}.items(), key=lambda r: -r[1])
        turns[kind] += 1
    return steps


def _explained(kind: str) -> str:
    """Return what a kind of stage does, in one line; nothing for a stage not known here."""
    if kind == "source":
        return "Read what the source holds."
    try:
        return summary(stage_registry.get(kind)).replace("`", "")
    except (CurateError, ImportError):
        return ""


def exported(folder: Path, accounting: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return {rows_in, rows_out, lost, records, splits} of the run's dataset, or None.

    None where the run has none, or the one that lies there is not of the manifest's rows.
    """
    try:
        found = orjson.loads((folder / "dataset.json").read_bytes())["summary"]
        rows, dropped = int(found["rows_exported"]), dict(found["rows_dropped"])
        records, splits = int(found["records"]), dict(found["splits"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if (accounting.get("rows_exported"), accounting.get("records")) != (rows, records):
        return None
    lost = sorted(dropped.items(), key=lambda r: -r[1])
    return {
        "rows_in": rows + sum(dropped.values()),
        "rows_out": rows,
        "lost": lost,
        "records": records,
        "splits": splits,
    }


def _about(judges: Sequence[str], alike: Sequence[Mapping[str, Any]], turn: int) -> str:
    if judges:
        more = len(judges) - _MOST_NAMES
        return ", ".join(judges[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    if len(alike) < 2:
        return ""
    names = dict.fromkeys(name for identity in alike for name in identity if name not in _HIDDEN)
    differ = [n for n in names if len({str(identity.get(n)) for identity in alike}) > 1]
    own = [f"{n} {_said(alike[turn][n])}" for n in differ if n in alike[turn]][:_MOST_NAMES]
    return ", ".join(own) if own else "as it is by default" if differ else f"number {turn + 1}"


def _said(value: Any) -> str:
    """Return a field's value as people would write it."""
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} {_said(inner)}" for name, inner in value.items()) + ")"
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return str(value)
