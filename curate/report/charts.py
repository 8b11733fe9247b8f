"""Charts as SVG: Vega-Lite specifications drawn when the report is made, so the page needs no
script. Colours are CSS variables, so one drawing serves light, dark and print.
"""

from __future__ import annotations

from typing import Any

from curate.errors import MissingExtra

_CONFIG: dict[str, Any] = {
    "font": "inherit",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor", "titleColor": "currentColor", "titleFontWeight": "normal",
        "gridColor": "var(--line)", "domainColor": "var(--line)", "tickColor": "var(--line)",
    },
    "legend": {"labelColor": "currentColor", "titleColor": "currentColor"},
}  # fmt: skip


def draw(spec: dict[str, Any], description: str) -> str:
    """Return the chart as SVG with `description` as its text for screen readers.

    Raises MissingExtra without the `report` extra.
    """
    try:
        import vl_convert
    except ImportError:
        raise MissingExtra("vl-convert-python", "report") from None
    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "description": description,
        "background": None,
        "config": _CONFIG,
        **spec,
    }
    svg = str(vl_convert.vegalite_to_svg(whole, allowed_base_urls=[]))
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_attribute(description)}" ', 1)


def histogram(name: str, found: dict[str, Any]) -> str:
    """Draw {n, mean, median, bars: [[from, to, count]]}."""
    values = [{"from": a, "to": b, "rows": n} for a, b, n in found["bars"]]
    what = f"{name}: {found['n']} values, mean {found['mean']:.3g}, median {found['median']:.3g}"
    spec = {
        "width": 280,
        "height": 110,
        "data": {"values": values},
        "mark": {"type": "bar", "color": "var(--ink)"},
        "encoding": {
            "x": {"field": "from", "bin": "binned", "type": "quantitative", "title": name},
            "x2": {"field": "to"},
            "y": {"field": "rows", "type": "quantitative", "title": "how many"},
        },
    }
    return draw(spec, what)


def win_rates(models: list[dict[str, Any]]) -> str:
    """Draw each model's share of won pairs with its interval; the line marks one half."""
    shown = [row | {"model": row["model"][:60]} for row in models[:30]]
    y = {"field": "model", "type": "nominal", "sort": None, "title": None}
    layers = [
        {"mark": {"type": "rule", "color": "var(--line)"}, "encoding": {"x": {"datum": 0.5}}},
        {
            "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 2},
            "encoding": {
                "y": y,
                "x": {"field": "low", "type": "quantitative"},
                "x2": {"field": "high"},
            },
        },
        {
            "mark": {"type": "point", "filled": True, "color": "var(--ink)", "size": 50},
            "encoding": {"y": y, "x": _share("share", "share of pairs won")},
        },
    ]
    spec = {"width": 280, "height": {"step": 22}, "data": {"values": shown}, "layer": layers}
    return draw(spec, f"share of pairs won by each of {len(models)} models, with 95 % intervals")


def coverage(found: dict[str, Any]) -> str:
    """Draw the map of `coverage.coverage_map` twice: before and after, on one colour scale."""
    values = [
        {"x": x, "y": y, "rows": n, "when": when}
        for x, y, before, after in found["cells"]
        for when, n in (("before", before), ("after", after))
        if n
    ]
    encoding = {
        "x": {"field": "x", "type": "ordinal", "axis": None},
        "y": {"field": "y", "type": "ordinal", "axis": None, "sort": "descending"},
        "opacity": {
            "field": "rows", "type": "quantitative", "title": "rows",
            "scale": {"type": "log", "range": [0.25, 1]}, "legend": None,
        },
        "facet": {
            "field": "when", "sort": ["before", "after"], "title": None,
            "header": {"labelColor": "currentColor"},
        },
    }  # fmt: skip
    spec = {
        "data": {"values": values},
        "mark": {"type": "rect", "color": "var(--ink)"},
        "width": 240,
        "height": 240,
        "encoding": encoding,
    }
    return draw(spec, "density of the prompts on their two main directions, before and after")


def _share(field: str, title: str) -> dict[str, Any]:
    axis = {"format": ".0%"}
    return {
        "field": field, "type": "quantitative", "title": title, "axis": axis,
        "scale": {"domain": [0, 1]},
    }  # fmt: skip


def _attribute(text: str) -> str:
    import html

    return html.escape(text, quote=True)
