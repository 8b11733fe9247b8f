"""Reading answers with several verdicts, and answers in JSON: aspects, checklists, rankings.

As in `verdicts`: pure functions that never raise, and a status in place of any number that is
not clearly there. Every function returns as many readings as were asked for.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from curate.methods.verdicts import is_refusal, rubric_score, without_reasoning
from curate.schema import JudgmentStatus

Reading = tuple[float | None, JudgmentStatus]

_LABELLED = re.compile(
    r"^[\s*_#>-]{0,6}(?:aspect\s|item\s)?[\[(]?(?P<label>[^\n:=]{1,80}?)[\])]?[\s*_]{0,4}[:=]"
    r"[\s*_]{0,4}[\[(]?(?P<value>[-+]?[0-9]{1,6}(?:\.[0-9]{1,6})?|n/a|[a-z]{2,3})"
    r"(?:\s?(?:/|out\sof)\s?(?P<top>[0-9]{1,6}))?[\])]?[\s*_]{0,4}\.?[\s*_]{0,4}$",
    re.I | re.A,
)
_RANKING = re.compile(r"(?<![a-z])ranking[\s*_]{0,4}[:=]", re.I | re.A)
_NO_SCORE = re.compile(
    r"(?<![a-z])score[\s*_]{0,4}[:=][\s*_]{0,4}n/a[\s*_]{0,4}\.?[\s*_]{0,4}$", re.I | re.A
)
_LONGEST_LINE = 4000
NO_SCORE = "N/A"
"""What a judge writes where a criterion does not apply to an answer."""

_YES = {"yes": 1.0, "no": 0.0}


def score_or_not(text: str, low: float, high: float) -> Reading:
    """Read what `rubric_score` reads, and a last line `Score: N/A` as `not_applicable`."""
    visible = without_reasoning(text)
    if visible is not None and _NO_SCORE.search(visible.strip().rsplit("\n", 1)[-1][-200:]):
        return None, "not_applicable"
    return rubric_score(text, low, high)


def aspect_scores(text: str, names: Sequence[str], low: float, high: float) -> list[Reading]:
    """Read one score in [low, high] for each of `names` from an answer's last lines.

    Those are as many lines as there are names, each `name: 4`; `N/A` is `not_applicable`. A name
    that has no such line, or whose number is out of range, is a `parse_error` of that name alone.
    """
    labelled, status = _last_lines(text, len(names))
    if labelled is None:
        return [(None, status)] * len(names)
    return [_scored(labelled.get(name.lower()), low, high) for name in names]


def checklist_share(text: str, items: int) -> Reading:
    """Read the share of `items` that are met from last lines `1: yes`, one an item.

    Every item must have its own `yes` or `no`; a share of fewer items is another number.
    """
    labelled, status = _last_lines(text, items)
    if labelled is None:
        return None, status
    return _share([labelled.get(str(k), ("", None))[0].lower() for k in range(1, items + 1)])


def listed_scores(text: str, size: int, low: float, high: float) -> list[Reading]:
    """Read a score in [low, high] for each of 1..`size` from last lines `1: 4`, one a thing.

    `N/A` is `not_applicable`. A number that has no such line is a `parse_error` of that one alone.
    """
    labelled, status = _last_lines(text, size)
    if labelled is None:
        return [(None, status)] * size
    known = {label.removeprefix("answer "): found for label, found in labelled.items()}
    return [_scored(known.get(str(k)), low, high) for k in range(1, size + 1)]


def ranked_shares(text: str, size: int) -> list[Reading]:
    """Read a ranking `2 > 1 = 3` of 1..`size` from the last line, as each one's share beaten.

    1 is above all others, 0 below all, and an equal counts half. A ranking that leaves out or
    repeats a number is a `parse_error` of all.
    """
    visible = without_reasoning(text)
    if visible is None:
        return [(None, "truncated")] * size
    line = _RANKING.split(visible.strip().rsplit("\n", 1)[-1][-_LONGEST_LINE:])[-1]
    tiers = [[k.strip(" \t[]*_.") for k in tied.split("=")] for tied in line.split(">")]
    if not all(k.isascii() and k.isdigit() and len(k) < 5 for tier in tiers for k in tier):
        return [(None, "refused" if is_refusal(visible) else "parse_error")] * size
    return _shares([[int(k) for k in tier] for tier in tiers], size)


def json_scores(text: str, names: Sequence[str], low: int, high: int) -> list[Reading]:
    """Read a whole number in [low, high], or "N/A", for each of `names` from a JSON object."""
    found, status = json_object(text)
    if found is None:
        return [(None, status)] * len(names)
    return [_whole(found.get(name), low, high) for name in names]


def json_listed(text: str, size: int, low: int, high: int) -> list[Reading]:
    """Read a JSON object's `scores`, `size` whole numbers in [low, high] or "N/A"."""
    found, status = json_object(text)
    if found is None:
        return [(None, status)] * size
    given = found.get("scores")
    if not isinstance(given, list) or len(given) != size:
        return [_wrong()] * size
    return [_whole(value, low, high) for value in given]


def json_choice(text: str, scores: Mapping[str, float]) -> Reading:
    """Read the score of a JSON object's `verdict`, one of the keys of `scores`."""
    found, status = json_object(text)
    if found is None:
        return None, status
    verdict = found.get("verdict")
    known = isinstance(verdict, str) and verdict in scores
    return (scores[str(verdict)], "ok") if known else (None, "parse_error")


def json_share(text: str, items: int) -> Reading:
    """Read the share of "yes" among a JSON object's `items`, a list of "yes" and "no"."""
    found, status = json_object(text)
    if found is None:
        return None, status
    given = found.get("items")
    return _share(given) if isinstance(given, list) and len(given) == items else _wrong()


def json_ranked(text: str, size: int) -> list[Reading]:
    """Read a JSON object's `ranking`, a list of 1..`size` from best to worst."""
    found, status = json_object(text)
    if found is None:
        return [(None, status)] * size
    ranking = found.get("ranking")
    if not isinstance(ranking, list) or any(type(k) is not int for k in ranking):
        return [_wrong()] * size
    return _shares([[k] for k in ranking], size)


def json_object(text: str) -> tuple[dict[str, Any] | None, JudgmentStatus]:
    """Return the JSON object that a whole answer is, or why there is none.

    Prose around it, a second object, a name that stands twice and NaN are parse errors.
    """
    found = _decoded(text)
    if found is not None:  # reasoning tags inside its texts are quotations
        return found, "ok"
    visible = without_reasoning(text)
    if visible is None:
        return None, "truncated"
    found = _decoded(visible)
    if found is not None:
        return found, "ok"
    return None, "refused" if is_refusal(visible) else "parse_error"


def unfenced(text: str) -> str:
    """Return a text without the fenced code block that it as a whole stands in, if it does.

    Chat models like to put JSON into one.
    """
    whole = text.strip()
    if len(whole) > 6 and whole.startswith("```") and whole.endswith("```"):
        return whole.partition("\n")[2].removesuffix("```")
    return whole


def _decoded(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _last_lines(
    text: str, lines: int
) -> tuple[dict[str, tuple[str, str | None]] | None, JudgmentStatus]:
    """Return {label: (value, top of its scale)} of the last `lines` lines that hold something.

    The later of two lines with one label counts.
    """
    visible = without_reasoning(text)
    if visible is None:
        return None, "truncated"
    tail = [line for line in visible.split("\n") if line.strip()][-lines:]
    found = [_LABELLED.match(line) for line in tail if len(line) <= 200]
    labelled = {m["label"].strip().lower(): (m["value"], m["top"]) for m in found if m}
    if labelled:
        return labelled, "ok"
    return None, "refused" if is_refusal(visible) else "parse_error"


def _scored(found: tuple[str, str | None] | None, low: float, high: float) -> Reading:
    if found is not None and found[0].upper() == NO_SCORE:
        return None, "not_applicable"
    if found is None or (found[1] is not None and float(found[1]) != high):
        return _wrong()
    try:
        value = float(found[0])
    except ValueError:
        return _wrong()
    return (value, "ok") if math.isfinite(value) and low <= value <= high else _wrong()


def _whole(value: object, low: int, high: int) -> Reading:
    if value == NO_SCORE:
        return None, "not_applicable"
    return (float(value), "ok") if type(value) is int and low <= value <= high else _wrong()


def _share(answers: Sequence[object]) -> Reading:
    met = [_YES.get(a) if isinstance(a, str) else None for a in answers]
    known = [m for m in met if m is not None]
    return (sum(known) / len(known), "ok") if known and len(known) == len(met) else _wrong()


def _shares(tiers: list[list[int]], size: int) -> list[Reading]:
    """Return the share of the others that each of 1..`size` beats, from tiers best first."""
    if sorted(k for tier in tiers for k in tier) != list(range(1, size + 1)) or size < 2:
        return [_wrong()] * size
    shares, above = np.zeros(size), 0
    for tier in tiers:
        below = size - above - len(tier)
        shares[[k - 1 for k in tier]] = (below + (len(tier) - 1) / 2) / (size - 1)
        above += len(tier)
    return [(float(share), "ok") for share in shares]


def _wrong() -> Reading:
    return None, "parse_error"
