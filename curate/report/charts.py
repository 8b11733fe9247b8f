"""Charts as SVG: Vega-Lite specifications drawn when the report is made, so the page needs no
script. Colours are CSS variables, so one drawing serves light, dark and print.
"""

from __future__ import annotations

import html
from typing import Any

from curate.errors import importing

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
    with importing("vl_convert", "report", "vl-convert-python"):
        import vl_convert
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
    """Draw the map of `prompt_map.coverage_map` twice: before and after, on one colour scale."""
    titles = [f"before: {found['before']:,} rows", f"after: {found['after']:,} rows"]
    values = [
        {"x": x, "y": y, "rows": n, "when": when}
        for x, y, *counts in found["cells"]
        for when, n in zip(titles, counts, strict=True)
        if n
    ]
    most = max((value["rows"] for value in values), default=1)
    scale = {"type": "log", "domain": [1, max(most, 2)], "range": [0.2, 1], "nice": False}
    ticks = sorted({1, max(round(most**0.5), 1), most})
    legend = {
        "title": "rows in a cell", "values": ticks, "symbolType": "square", "symbolSize": 160,
        "symbolFillColor": "var(--ink)", "symbolStrokeColor": "transparent", "format": ",d",
        "orient": "bottom", "direction": "horizontal",
    }  # fmt: skip
    cells = list(range(found["side"]))
    encoding = {
        "x": {"field": "x", "type": "ordinal", "axis": None, "scale": {"domain": cells}},
        "y": {"field": "y", "type": "ordinal", "axis": None, "scale": {"domain": cells[::-1]}},
        "opacity": {"field": "rows", "type": "quantitative", "scale": scale, "legend": legend},
        "facet": {
            "field": "when", "sort": titles, "title": None, "columns": 2, "spacing": 24,
            "header": {"labelColor": "currentColor", "labelFontSize": 12},
        },
    }  # fmt: skip
    spec = {
        "data": {"values": values},
        "mark": {"type": "rect", "color": "var(--ink)"},
        "width": 320,
        "height": 320,
        "encoding": encoding,
        "config": {**_CONFIG, "view": {"stroke": "var(--line)"}},
    }
    about = f"density of the prompts on their two main directions; {titles[0]}, {titles[1]}"
    return draw(spec, about)


def calibration(found: dict[str, Any]) -> str:
    """Draw what p_correct said against how often people agreed, by `calibration.Calibration`."""
    values = [
        {"said": b["predicted"], "was": b["observed"], "from": b["from"], "to": b["to"]}
        for b in found["bins"]
    ]
    x = _share("said", "p_correct, mean of the pairs in a bin")
    y = _share("was", "people agree")
    line = {"values": [{"said": 0, "was": 0}, {"said": 1, "was": 1}]}
    ink = {"color": "var(--ink)"}
    layers = [
        {
            "data": line,
            "mark": {"type": "line", "color": "var(--soft)", "strokeDash": [4, 4]},
            "encoding": {"x": x, "y": y},
        },
        {
            "mark": {"type": "rule", "strokeWidth": 2, **ink},
            "encoding": {"x": x, "y": _share("from", "people agree"), "y2": {"field": "to"}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 50, **ink},
            "encoding": {"x": x, "y": y},
        },
    ]
    spec = {"width": 280, "height": 220, "data": {"values": values}, "layer": layers}
    return draw(spec, f"p_correct against people's answers on {found['n']} pairs")


def _share(field: str, title: str) -> dict[str, Any]:
    axis = {"format": ".0%"}
    return {
        "field": field, "type": "quantitative", "title": title, "axis": axis,
        "scale": {"domain": [0, 1]},
    }  # fmt: skip


def _attribute(text: str) -> str:
    return html.escape(text, quote=True)
