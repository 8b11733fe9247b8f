"""One HTML page about a run: what became of the rows, and what the data look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.audit.embedded import checked, kept_vectors
from curate.books import engines_used
from curate.counters import COSTS, counted, worded
from curate.history import caution, manifest, shards
from curate.report.calibration import Calibration, people_of
from curate.report.compare import compare
from curate.report.features import audit_with_features
from curate.report.figures import Figures, tables
from curate.report.findings import findings
from curate.report.inside import inside
from curate.report.judges import MOST_ROWS, Leanings, judge_models, judges_by_step
from curate.report.page import render
from curate.report.prompt_map import coverage_map
from curate.report.removed import removed
from curate.report.samples import Samples
from curate.report.steps import exported, steps_of
from curate.work import Shard

MOST_COUNTERS = 200  # of a stage
_COLUMNS = ("id", "prompt", "candidates", "scores", "judgments", "pairs")


def report(
    root: Path,
    name: str,
    against: str | None = None,
    *,
    encoder: str | None = None,
    estimates: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the page about run `name` below `root`, compared with another run if named.

    `encoder` gives features of embeddings where the run stored none of its answers; None leaves
    them out. `estimates` are {stage, estimated, actual} for each stage, as `estimate.against`
    returns them. Raises ConfigError for an unknown run or encoder, StoreError for parts that are
    gone, MissingExtra without the `report` extra.
    """
    checked(encoder)
    facts = gather(root, name, encoder=encoder)
    other = None
    if against is not None:
        there = gather(root, against, encoder=None, texts=False)
        other = {n: there[n] for n in ("name", "caution")} | {"tables": compare(facts, there)}
    return render(facts | {"estimates": estimates, "findings": findings(facts)}, other)


def gather(
    root: Path, name: str, *, encoder: str | None = None, texts: bool = True
) -> dict[str, Any]:
    """Return what a page shows of a run, as plain data; without `texts` what two are compared by.

    Shards are looked at one after another, and none of their files stays open. Judges' leanings
    and the audit come from rows drawn by lot where there are very many.
    """
    found = manifest(root, name)
    store, parts = shards(root, found)
    figures, samples = Figures(), Samples()
    rows = sum(shard.rows for shard in parts)
    judging = judges_by_step(store, parts)
    leanings = Leanings(judge_models(store, parts, judging), min(1.0, MOST_ROWS / max(rows, 1)))
    people = people_of(found["stages"]) if texts else []
    calibration = Calibration(people)
    wanted = [*_COLUMNS, "meta"] if people else [*_COLUMNS]
    for table in tables(store, parts, wanted):
        figures.add(table)
        leanings.add(table)
        calibration.add(table)
        if texts:
            samples.add(table)
    summary = figures.summary()
    for judge in summary["judges"]:
        judge |= leanings.summary(judge["judge"])
    steps = steps_of(parts, found["stages"], judging)
    return {
        "name": name,
        "caution": caution(root, name, found),
        "funnel": steps,
        "stages": found["stages"],
        "exported": exported(root / "runs" / name, found["accounting"]),
        "inside": inside(store, parts),
        "removed": removed(store, parts, steps) if texts else None,
        "counted": counters(parts),
        "engines": engines_used(parts),
        "summary": summary,
        "leanings": {"rows": leanings.rows, "agreement": leanings.agreement()},
        "calibration": calibration.summary(),
        "selections": selections(steps),
        "samples": samples.summary(),
        "coverage": coverage_map(store, parts) if texts else None,
        "audit": audit_with_features(
            store, parts, encoder, features=texts, kept=kept_vectors(root, name, "report")
        ),
    }


def counters(parts: Sequence[Shard]) -> list[dict[str, Any]]:
    """Return {place, numbers, none, more} of each stage that counted anything but its calls."""
    rows = []
    for row in counted(parts):
        found = worded(row["counts"], leave_out=COSTS)
        if found.numbers or found.none:
            numbers, none = (names[:MOST_COUNTERS] for names in found)
            more = len(found.numbers) + len(found.none) - len(numbers) - len(none)
            row = {"place": row["place"], "numbers": numbers, "none": none, "more": more}
            rows.append(row)
    return rows


def selections(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how each selection for diversity compares with chance, from the parts' counters."""
    rows = []
    for step in steps:
        for name in step["counts"]:
            measure = name.removesuffix("_value_e4")
            if measure != name:
                parts = ("value", "random", "low", "high")
                held = {part: step["counts"].get(f"{measure}_{part}_e4") for part in parts}
                if None not in held.values():
                    shown = {part: n / 10_000 for part, n in held.items()}
                    label = measure.replace("_", " ")
                    rows.append({"stage": step["stage"], "measure": label, **shown})
    return rows


__all__ = ["gather", "render", "report"]
