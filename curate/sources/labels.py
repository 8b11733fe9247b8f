"""Preference labels: chosen and rejected become candidates and a pair, or a group's pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curate.errors import InputError
from curate.sources.columns import Columns
from curate.sources.endings import Sides, answer_columns
from curate.sources.messages import Turn
from curate.sources.values import (
    Raw,
    candidate,
    clean,
    get,
    judgment,
    mean_scores,
    number,
    score_entries,
    text_or_null,
    wrong,
)
from curate.sources.verdicts import verdict

DIVERGED = "chosen and rejected differ before the last answer"
NOT_CONTINUED = "chosen or rejected does not continue the prompt"


def labelled(
    members: Sequence[Raw], columns: Columns, prompt: list[Turn], said: Sequence[Sides]
) -> dict[str, Any]:
    """Return candidates and pairs: chosen and rejected of one row, or of each row of a group.

    Both are texts, or conversations that repeat the prompt or not. An answer that several rows of
    a group hold is one candidate.
    """
    answers: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    compared: list[dict[str, Any]] = []
    scored: list[dict[str, Any]] = []
    places: dict[tuple[str, str | None], int] = {}
    lost = 0
    for row, sides in zip(members, said, strict=True):
        models = _models(row, columns)
        made = [candidate(side.text, **m) for side, m in zip(sides, models, strict=True)]
        continued = all(side.continues(prompt) for side in sides)
        lost += not continued
        keys = [(answer["text"], answer["drop"]) for answer in made]
        at = [places.get(key, -1) for key in keys]
        for side, answer in enumerate(made):
            if at[side] < 0:
                at[side] = len(answers)
                answers.append(answer)
            places.setdefault(keys[side], at[side])
        said_of = verdict(row, columns.label, columns.verdicts)
        order = slice(None, None, -1 if said_of.second else 1)
        reason = said_of.reason if continued or len(members) == 1 else NOT_CONTINUED
        pairs.append(_pair(row, columns, at[order], made[order], reason))
        compared += said_of.judgments(at)
        compared += _comparisons(row, columns.margins, at) if columns.margins else []
        scored += _scores(row, columns, at)
    found: dict[str, Any] = {
        "candidates": answers,
        "pairs": pairs,
        "judgments": compared + scored,
        "scores": mean_scores(scored, len(answers)),
    }
    return found | {"drop": NOT_CONTINUED if lost == len(members) else None}


def shared_prompt(row: Raw, columns: Columns, sides: Sides) -> tuple[list[Turn], str | None]:
    """Return what both conversations begin with, and why that is no prompt.

    Where one side is null or blank it is what stands before the other's answer.
    """
    before = _before(row, columns, sides)
    one, two = (before or [[]])[0], (before or [[]])[-1]
    shared = 0
    while shared < min(len(one), len(two)) and one[shared] == two[shared]:
        shared += 1
    return one[:shared], DIVERGED if one != two else empty(one)


def answered_prompt(
    members: Sequence[Raw], columns: Columns, said: Sequence[Sides]
) -> tuple[list[Turn], str | None]:
    """Return what stands before the answer of every row of a group, and why that is no prompt.

    Raises InputError where two rows of the group do not agree.
    """
    found: list[Turn] | None = None
    for row, sides in zip(members, said, strict=True):
        for before in _before(row, columns, sides):
            if found is not None and before != found:
                raise InputError(
                    f"{row.where}: column {columns.response!r}: what stands before the answer "
                    "differs from an earlier row of the same group; add a column to `group` that "
                    "tells them apart"
                )
            found = before
    return found or [], empty(found or [])


def _before(row: Raw, columns: Columns, sides: Sides) -> list[list[Turn]]:
    """Return what stands before each answer that is there."""
    for name, side in zip(answer_columns(columns), sides, strict=True):
        if side.before is None and side.text is not None and side.text.strip():
            expected = "a list of {role, content} where no prompt is mapped"
            raise wrong(row, name, f"{expected} (or, as text, one of `transcripts`)", side.text)
    return [side.before for side in sides if side.before is not None]


def _pair(
    row: Raw, columns: Columns, at: list[int], sides: list[dict[str, Any]], reason: str | None
) -> dict[str, Any]:
    """Return the pair of a row whose two sides are the candidates `at`.

    It is dropped for what is wrong with its sides, or else for `reason`.
    """
    margin = None
    if columns.margin is not None:
        margin = number(row, columns.margin, get(row, columns.margin))
    dropped = [
        f"{side} is {answer['drop']}"
        for side, answer in zip(("chosen", "rejected"), sides, strict=True)
        if answer["drop"]
    ]
    return {
        "chosen": at[0],
        "rejected": at[1],
        "margin": margin,
        "source": columns.label_source,
        "drop": dropped[0] if dropped else reason,
    }


def _models(row: Raw, columns: Columns) -> list[dict[str, str]]:
    """Return the models of both sides, where they are known."""
    names = (columns.chosen_model, columns.rejected_model)
    models = [name and text_or_null(row, name) for name in names]
    return [{} if model is None else {"model": clean(model)} for model in models]


def _scores(row: Raw, columns: Columns, at: list[int]) -> list[dict[str, Any]]:
    """Return what the judge "score" says of both sides, where their scores are mapped."""
    names = (columns.chosen_score, columns.rejected_score)
    return [
        entry
        for name, index in zip(names, at, strict=True)
        if name is not None
        for entry in score_entries(row, name, index, get(row, name), judge="score")
    ]


def _comparisons(row: Raw, name: str, at: list[int]) -> list[dict[str, Any]]:
    """Return what each of several people says of chosen against rejected; + favours chosen."""
    value = get(row, name)
    if value is not None and not isinstance(value, list):
        raise wrong(row, name, "a list of numbers", value)
    strengths = [number(row, name, strength) for strength in value or ()]
    return [judgment(f"{name}#{k}", at[0], s) | {"b": at[1]} for k, s in enumerate(strengths)]


def empty(prompt: list[Turn]) -> str | None:
    """Return the drop reason of a prompt in which nobody but the system says anything."""
    said = any(t["content"].strip() for t in prompt if t["role"] != "system")
    return None if said else "prompt is empty"
