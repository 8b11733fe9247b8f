"""One HTML page about a run: what became of the rows, and what the data look like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from curate.audit import audit_shards
from curate.books import engines_used, funnel
from curate.errors import MissingExtra
from curate.history import manifest, shards
from curate.report import charts
from curate.report.coverage import coverage_map
from curate.report.figures import Figures, tables
from curate.report.judges import MOST_ROWS, Leanings, judge_models
from curate.report.samples import Samples
from curate.store import Store
from curate.work import Shard

MOST_AUDITED = 50_000  # rows whose pairs are looked at closely; `curate audit` takes all
_COLUMNS = ("id", "prompt", "candidates", "scores", "judgments", "pairs")
_MEANINGS = {
    "score": "of each answer, all judges combined",
    "margin": "score of the chosen answer less the rejected one’s",  # noqa: RUF001
    "p_correct": "estimated chance that the right answer was chosen",
    "weight": "of each pair in training",
    "chosen length": "characters",
    "rejected length": "characters",
    "chosen minus rejected length": "characters",
}
# Invisible characters that turn text around, or hide it, would deceive whoever reads a sample.
_DECEPTIVE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")


def report(root: Path, name: str, against: str | None = None) -> str:
    """Return the page about run `name` below `root`, compared with another run if named.

    Raises ConfigError for an unknown run, StoreError for parts that are gone, MissingExtra
    without the `report` extra.
    """
    store, parts = shards(root, manifest(root, name))
    facts = gather(store, parts)
    other = None
    if against is not None:
        other_store, other_parts = shards(root, manifest(root, against))
        other = {"name": against} | gather(other_store, other_parts, texts=False)
        other["rows"] = {step["stage"]: step["rows_out"] for step in other["funnel"]}
    return render(name, facts, other)


def gather(store: Store, parts: Sequence[Shard], texts: bool = True) -> dict[str, Any]:
    """Return what a page shows of a run, as plain data.

    Shards are looked at one after another, and none of their files stays open. Judges' leanings
    and the audit come from rows drawn by lot where there are very many.
    """
    figures, samples = Figures(), Samples()
    rows = sum(shard.rows for shard in parts)
    leanings = Leanings(judge_models(store, parts), min(1.0, MOST_ROWS / max(rows, 1)))
    wanted = _COLUMNS if texts else tuple(c for c in _COLUMNS if c != "prompt")
    for table in tables(store, parts, wanted):
        figures.add(table)
        if texts:
            samples.add(table)
            leanings.add(table)
    summary = figures.summary()
    for judge in summary["judges"] if texts else ():
        judge |= leanings.summary(judge["judge"])
    steps = funnel(parts)
    for place, step in enumerate(steps):
        step["seconds"] = sum(shard.parts[place].seconds for shard in parts)
        step["lost"] = sorted({**step["dropped"], **step["failed"]}.items(), key=lambda r: -r[1])
    return {
        "funnel": steps,
        "engines": engines_used(parts),
        "summary": summary,
        "leanings": {"rows": leanings.rows, "agreement": leanings.agreement()},
        "selections": selections(steps),
        "samples": samples.summary(),
        "coverage": coverage_map(store, parts) if texts else None,
        "audit": audit_shards(store, parts, MOST_AUDITED) if texts else None,
    }


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


def render(name: str, facts: dict[str, Any], against: dict[str, Any] | None = None) -> str:
    """Return the page; every text in it is escaped, and it loads nothing."""
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError:
        raise MissingExtra("jinja2", "report") from None
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"share": _share, "short": _short, "number": _number, "points": _points}
    environment.finalize = _visible
    template = environment.from_string(files(__package__).joinpath("page.html").read_text("utf-8"))
    summary = facts["summary"]
    others = against["summary"]["spreads"] if against else {}
    drawn = [
        (title, _MEANINGS.get(title, ""), Markup(charts.histogram(title, found)), found,  # noqa: S704
         others.get(title))
        for title, found in summary["spreads"].items()
    ]  # fmt: skip
    steps = facts["funnel"]
    return template.render(
        name=name,
        rows_in=steps[0]["rows_in"] if steps else 0,
        rows_out=steps[-1]["rows_out"] if steps else 0,
        against=against,
        charts=drawn,
        models_svg=Markup(charts.win_rates(summary["models"])) if summary["models"] else "",  # noqa: S704
        coverage_svg=Markup(charts.coverage(facts["coverage"])) if facts["coverage"] else "",  # noqa: S704
        costs=[step for step in steps if step["seconds"] >= 0.05 or step["counts"]],
        **facts,
    )


def _visible(value: Any) -> Any:
    """Show what would hide or turn around text as its code point."""
    if type(value) is str:
        return _DECEPTIVE.sub(lambda found: f"[U+{ord(found[0]):04X}]", value)
    return value


def _share(found: dict[str, Any] | None) -> str:
    if not found:
        return "-"
    return f"{found['share']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def _points(found: dict[str, Any] | None) -> str:
    """Return a difference of shares in percentage points, with a star where it leaves out 0."""
    if not found:
        return "not measurable: no other judge"
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{' *' if low > 0 or high < 0 else ''}"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


__all__ = ["gather", "render", "report"]
