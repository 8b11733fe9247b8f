"""Two runs side by side, as tables of texts: what differs, and what only one of them has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from curate.report.words import number, percent, points, share, short, two_digits


class Line(NamedTuple):
    """One quantity in this run and in the other; `apart` where their intervals do not meet."""

    name: str
    here: str
    there: str
    apart: bool = False


class Comparison(NamedTuple):
    """A table: its section on the page, its title, what its values are, and its lines."""

    section: str
    title: str
    what: str
    lines: list[Line]


NONE = "–"  # noqa: RUF001 - a run does not have it


def compare(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Comparison]:
    """Return the tables that have a line; both runs as `report.gather` returns them."""
    tables = [
        Comparison("funnel", "Rows after each stage", "rows", _rows(here, there)),
        Comparison("spreads", "Distributions", "mean (median)", _spreads(here, there)),
        Comparison("judges", "Judges", "", _judges(here, there)),
        Comparison("agreement", "How far judges agree", "kappa", _agreement(here, there)),
        Comparison("models", "Which model wins", "share of its pairs", _models(here, there)),
        Comparison("audit", "What the pairs prefer", "chosen has more", _audit(here, there)),
        Comparison("cost", "Cost", "", _costs(here, there)),
    ]
    return [table for table in tables if table.lines]


def merged(here: Iterable[Any], there: Iterable[Any]) -> list[Any]:
    """Return all keys of both: this run's in order, the other's where they stand in it."""
    keys = list(here)
    place = 0
    for key in there:
        if key in keys:
            place = keys.index(key) + 1
        else:
            keys.insert(place, key)
            place += 1
    return keys


def _rows(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Line]:
    ours, theirs = ({step["name"]: step for step in run["funnel"]} for run in (here, there))
    lines = []
    for name in merged(ours, theirs):
        step = ours.get(name) or theirs[name]
        about = f" ({step['about']})" if step["about"] else ""
        rows = [number(s[name]["rows_out"]) if name in s else NONE for s in (ours, theirs)]
        lines.append(_line(f"{step['stage']}{about}", rows, rows[0] != rows[1]))
    for name in ("rows_out", "records"):
        found = [run["exported"][name] if run["exported"] else None for run in (here, there)]
        if any(value is not None for value in found):
            label = "exported rows" if name == "rows_out" else "exported records"
            texts = [NONE if value is None else number(value) for value in found]
            lines.append(_line(label, texts, found[0] != found[1]))
    return lines


def _spreads(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Line]:
    ours, theirs = (run["summary"]["spreads"] for run in (here, there))

    def text(found: Mapping[str, Any] | None) -> str:
        return f"{short(found['mean'])} ({short(found['median'])})" if found else NONE

    return [Line(n, text(ours.get(n)), text(theirs.get(n))) for n in merged(ours, theirs)] + [
        _shares("chosen answer is the longer", *(run["summary"]["longer"] for run in (here, there)))
    ]


def _judges(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Line]:
    ours, theirs = (
        {judge["judge"]: judge for judge in run["summary"]["judges"]} for run in (here, there)
    )
    lines = []
    for name in merged(ours, theirs):
        two = (ours.get(name), theirs.get(name))
        read = [
            percent(judge["statuses"].get("ok", 0) / judge["judgments"]) if judge else NONE
            for judge in two
        ]
        lines.append(_line(f"{name}: judgments with a score", read))
        for key, words in (("first", "takes the first"), ("consistent", "same in both orders")):
            lines.append(_shares(f"{name}: {words}", *(judge and judge[key] for judge in two)))
        for key, words in (("longer", "for the longer"), ("own", "for its own model")):
            excess = [_excess(judge, key) for judge in two]
            texts = [points(value) if value else NONE for value in excess]
            lines.append(_line(f"{name}: {words}, against others", texts, _apart(*excess)))
    return [line for line in lines if (line.here, line.there) != (NONE, NONE)]


def _excess(judge: Mapping[str, Any] | None, key: str) -> Mapping[str, float] | None:
    found = judge.get(key) if judge else None
    return found["excess"] if isinstance(found, Mapping) else None


def _agreement(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Line]:
    ours, theirs = (
        {" and ".join(row["judges"]): row for row in run["leanings"]["agreement"]}
        for run in (here, there)
    )

    def text(row: Mapping[str, Any] | None) -> str:
        return two_digits(row["kappa"]) if row and row["kappa"] is not None else NONE

    return [Line(n, text(ours.get(n)), text(theirs.get(n))) for n in merged(ours, theirs)]


def _models(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Line]:
    ours, theirs = (
        {row["model"]: row for row in run["summary"]["models"]} for run in (here, there)
    )
    return [_shares(name, ours.get(name), theirs.get(name)) for name in merged(ours, theirs)]


def _audit(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Line]:
    ours, theirs = (
        {row["property"]: row["more_chosen"] for row in run["audit"]["properties"]}
        if run["audit"]
        else {}
        for run in (here, there)
    )
    lines = [_shares(name, ours.get(name), theirs.get(name)) for name in merged(ours, theirs)]
    return [line for line in lines if (line.here, line.there) != (NONE, NONE)]


def _costs(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Line]:
    names = {"calls": "calls", "prompt_tokens": "prompt tokens", "tokens": "output tokens"}
    lines = []
    for key, words in names.items():
        sums = [sum(s["counts"].get(key, 0) for s in run["funnel"]) for run in (here, there)]
        if any(sums):
            lines.append(_line(words, [number(n) for n in sums], sums[0] != sums[1]))
    seconds = [sum(s["seconds"] for s in run["funnel"]) for run in (here, there)]
    return [*lines, _line("seconds of work", [f"{value:,.1f}" for value in seconds])]


def _shares(name: str, here: Mapping[str, float] | None, there: Mapping[str, float] | None) -> Line:
    texts = [share(value) if value else NONE for value in (here, there)]
    return _line(name, texts, _apart(here, there))


def _line(name: str, texts: Sequence[str], apart: bool = False) -> Line:
    here, there = texts
    return Line(name, here, there, apart)


def _apart(one: Mapping[str, float] | None, two: Mapping[str, float] | None) -> bool:
    if not one or not two:
        return False
    return one["high"] < two["low"] or two["high"] < one["low"]


__all__ = ["Comparison", "Line", "compare", "merged"]
