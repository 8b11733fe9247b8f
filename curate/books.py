"""The books of a run: what became of every row, stage by stage, and that it adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from curate.errors import AccountingError
from curate.export.records import ExportSummary
from curate.fate import INNER, INSIDE, Inside
from curate.store import Record, digest
from curate.work import Shard


def funnel(shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """Return, for the source and each stage, rows in and out and the reasons between.

    `inside` is what the stage dropped inside rows that it kept: {column: {reason: elements}}.
    """
    steps: list[dict[str, Any]] = []
    for parts in zip(*(shard.parts for shard in shards), strict=True):
        totals = {
            name: dict(sum((Counter(getattr(p, name)) for p in parts), Counter[str]()))
            for name in ("dropped", "failed", "counts")
        }
        steps.append(
            {
                "stage": parts[0].stage,
                "rows_in": sum(p.rows_in for p in parts),
                "rows_out": sum(p.rows_out for p in parts),
                **totals,
                "inside": _inside(parts),
            }
        )
    return steps


def _inside(parts: Sequence[Record]) -> Inside:
    """Add up what one stage dropped inside rows that it kept.

    Nothing where some of its parts are of an early version, which did not count it: a sum over the
    others would look like all of it.
    """
    if any(INSIDE not in part.info and not INNER.isdisjoint(part.columns) for part in parts):
        return {}
    found: dict[str, Counter[str]] = {}
    for part in parts:
        for column, reasons in part.info.get(INSIDE, {}).items():
            found.setdefault(column, Counter()).update(reasons)
    return {column: dict(sorted(found[column].items())) for column in sorted(found)}


def numbered(kinds: Iterable[str]) -> list[str]:
    """Return what stages of these kinds are called: the second `judge` is `judge 2`."""
    seen, names = Counter[str](), list[str]()
    for kind in kinds:
        seen[kind] += 1
        names.append(kind if seen[kind] == 1 else f"{kind} {seen[kind]}")
    return names


def engines_used(shards: Sequence[Shard]) -> list[dict[str, str]]:
    """Return each engine that wrote a part, once, in order of first use."""
    seen: dict[str, dict[str, str]] = {}
    for shard in shards:
        for part in shard.parts:
            for role, facts in part.engines.items():
                seen.setdefault(digest([role, facts]), {"role": role, **facts})
    return list(seen.values())


def account(shards: Sequence[Shard], stages: int, summary: ExportSummary | None) -> dict[str, Any]:
    """Return the books after `stages` stages, and hold them to what came in.

    Rows in must be rows exported (or alive, where nothing was exported) + dropped + failed. Raises
    AccountingError where they are not. `dropped_inside` is there where stages, or the export,
    dropped something inside rows that they kept: by the column ("pairs", "candidates"),
    {"stage: reason": elements}.
    """
    rows_in = sum(shard.parts[0].rows_in for shard in shards)
    steps = funnel(shards)
    dropped, failed = Counter[str](), Counter[str]()
    for step in steps:
        for into, name in ((dropped, "dropped"), (failed, "failed")):
            into.update({f"{step['stage']}: {reason}": n for reason, n in step[name].items()})
    dropped.update(summary.rows_dropped if summary is not None else {})
    kept = summary.rows_exported if summary is not None else sum(s.rows for s in shards)
    total = kept + dropped.total() + failed.total()
    if total != rows_in:
        raise AccountingError(
            f"{rows_in} rows came in but {kept} kept + {dropped.total()} dropped + "
            f"{failed.total()} failed = {total}; please report this"
        )
    name = "rows_exported" if summary is not None else "rows_alive"
    books = {"rows_in": rows_in, name: kept, "dropped": dict(dropped), "failed": dict(failed)}
    if summary is not None:
        books["records"] = summary.records
    inside = _by_stage_and_reason(steps)
    if summary is not None and summary.pairs_dropped:
        inside["pairs"] = inside.get("pairs", {}) | dict(summary.pairs_dropped)
    if inside:
        books["dropped_inside"] = inside
    return {**books, "stages": stages}


def _by_stage_and_reason(steps: Sequence[Mapping[str, Any]]) -> Inside:
    """Return what the steps of a funnel dropped inside rows: {column: {"stage: reason": n}}."""
    found: dict[str, Counter[str]] = {}
    for step in steps:
        for column, reasons in step["inside"].items():
            named = {f"{step['stage']}: {reason}": n for reason, n in reasons.items()}
            found.setdefault(column, Counter()).update(named)
    return {column: dict(counts) for column, counts in found.items()}
