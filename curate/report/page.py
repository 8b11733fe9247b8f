"""The page itself: facts into sections, every text escaped, nothing loaded from anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from curate.audit.properties import ALIKE, LIMITS
from curate.books import numbered
from curate.counters import COSTS
from curate.errors import importing
from curate.report import charts, words
from curate.report.findings import RULES

SHOWN_FEATURES = 8  # and all that lean
_EXAMPLES = 2  # of each
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


def render(facts: Mapping[str, Any], against: Mapping[str, Any] | None = None) -> str:
    """Return the page of what `report.gather` found; `against` is {name, tables} of another run.

    Raises MissingExtra without the `report` extra.
    """
    with importing("jinja2", "report"):
        import jinja2
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_section),
    )
    for filter_ in (words.share, words.points, words.number, words.short, words.two_digits):
        environment.filters[filter_.__name__] = filter_
    environment.filters |= {"percent": words.percent, "dollars": words.dollars, "coded": _coded}
    environment.finalize = _visible
    steps = facts["funnel"]
    return environment.get_template("page.html").render(
        rows_in=steps[0]["rows_in"] if steps else 0,
        rows_out=steps[-1]["rows_out"] if steps else 0,
        against=against,
        features=_features(facts["audit"]),
        examples=_EXAMPLES,
        costs=_costs(facts),
        rules=RULES,
        limits=LIMITS,
        alike=ALIKE,
        **_drawings(facts),
        **facts,
    )


def _section(name: str) -> str:
    return files(__package__).joinpath("sections", name).read_text("utf-8")


def _drawings(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the charts, which are markup of our own making."""
    from markupsafe import Markup

    summary, held = facts["summary"], facts["calibration"]
    drawn = {
        "models_svg": charts.win_rates(summary["models"]) if summary["models"] else "",
        "coverage_svg": charts.coverage(facts["coverage"]) if facts["coverage"] else "",
        "calibration_svg": charts.calibration(held) if held and "bins" in held else "",
    }
    spreads = [
        (title, _MEANINGS.get(title, ""), Markup(charts.histogram(title, found)), found)  # noqa: S704
        for title, found in summary["spreads"].items()
    ]
    return {name: Markup(svg) for name, svg in drawn.items()} | {"charts": spreads}  # noqa: S704


def _features(audit: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Return the features of embeddings that are shown: the strongest, and all that lean."""
    found = audit["embeddings"] if audit else ""
    if isinstance(found, str):
        return []
    return [row for k, row in enumerate(found["features"]) if k < SHOWN_FEATURES or row["leans"]]


def _costs(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the stages that took time or called an engine, each with what was expected of it.

    An estimate covers the first stages that it names in order, as `estimate.against` pairs them.
    """
    estimates: Sequence[Mapping[str, Any]] = facts["estimates"]
    expected = dict(zip(numbered(row["stage"] for row in estimates), estimates, strict=True))
    found = []
    for step in facts["funnel"]:
        row = expected.get(step["name"], {})
        called = any(step["counts"].get(name) for name in COSTS)
        if step["seconds"] >= 0.05 or called or row.get("estimated", {}).get("calls"):
            actual = row.get("actual", {})
            own = {"dollars": actual.get("cost"), "clock": actual.get("seconds")}
            found.append({**step, "estimated": row.get("estimated", {}), **own})
    return found


def _coded(text: str) -> Any:
    """Return a text, escaped, in which what stands between two backticks is code."""
    from markupsafe import Markup, escape

    parts = [escape(_visible(part)) for part in text.split("`")]
    if len(parts) % 2 == 0:  # one without its fellow
        parts[-2:] = [escape("`").join(parts[-2:])]
    for place in range(1, len(parts), 2):
        parts[place] = Markup("<code>{}</code>").format(parts[place])
    return Markup("").join(parts)


def _visible(value: Any) -> Any:
    """Show what would hide or turn around text as its code point."""
    if type(value) is str:
        return _DECEPTIVE.sub(lambda found: f"[U+{ord(found[0]):04X}]", value)
    return value
