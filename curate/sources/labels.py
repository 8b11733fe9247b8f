"""Preference labels: chosen and rejected become two candidates and one pair."""

from __future__ import annotations

from typing import Any

from curate.errors import InputError
from curate.sources.columns import Columns
from curate.sources.values import Raw, Turn, candidate, get, judgment, number, turns, wrong

DIVERGED = "chosen and rejected differ before the last answer"
NOT_CONTINUED = "chosen or rejected does not continue the prompt"


def labelled(row: Raw, columns: Columns, prompt: list[Turn]) -> dict[str, Any]:
    """Return chosen and rejected, as texts or as conversations that repeat the prompt or not."""
    texts, diverged = [], False
    for name in (columns.chosen or "", columns.rejected or ""):
        value = get(row, name)
        if isinstance(value, list):
            conversation = _conversation(row, name)
            value = conversation[-1]["content"]
            diverged |= conversation[:-1] not in ([], prompt)
        elif value is not None and not isinstance(value, str):
            raise wrong(row, name, "text or a list of {role, content}", value)
        texts.append(value)
    reason = NOT_CONTINUED if diverged else None
    return _pair(row, columns, texts) | {"drop": reason}


def shared_prompt(row: Raw, columns: Columns) -> tuple[dict[str, Any], list[Turn], str | None]:
    """Take the prompt from what both conversations begin with."""
    one = _conversation(row, columns.chosen or "")
    two = _conversation(row, columns.rejected or "")
    shared = 0
    while shared < min(len(one), len(two)) - 1 and one[shared] == two[shared]:
        shared += 1
    prompt = one[:shared]
    diverged = len(one) != shared + 1 or len(two) != shared + 1
    answers = _pair(row, columns, [one[-1]["content"], two[-1]["content"]])
    return answers, prompt, DIVERGED if diverged else empty(prompt)


def _conversation(row: Raw, name: str) -> list[Turn]:
    value = get(row, name)
    if not isinstance(value, list):
        raise wrong(row, name, "a list of {role, content} where no prompt is mapped", value)
    conversation = turns(row, name, value)
    if not conversation or conversation[-1]["role"] != "assistant":
        raise InputError(
            f"{row.where}: column {name!r} must end with a message of the assistant; "
            "fix the row, or map another column"
        )
    return conversation


def _pair(row: Raw, columns: Columns, texts: list[str | None]) -> dict[str, Any]:
    answers = [candidate(text) for text in texts]
    margin = None
    if columns.margin is not None:
        margin = number(row, columns.margin, get(row, columns.margin))
    dropped = [
        f"{side} is {answer['drop']}"
        for side, answer in zip(("chosen", "rejected"), answers, strict=True)
        if answer["drop"]
    ]
    pair = {
        "chosen": 0,
        "rejected": 1,
        "margin": margin,
        "source": columns.label_source,
        "drop": dropped[0] if dropped else None,
    }
    found: dict[str, Any] = {"candidates": answers, "pairs": [pair]}
    if columns.margins is not None:
        found["judgments"] = _comparisons(row, columns.margins)
    return found


def _comparisons(row: Raw, name: str) -> list[dict[str, Any]]:
    """Return what each of several people says of chosen against rejected; + favours chosen."""
    value = get(row, name)
    if value is not None and not isinstance(value, list):
        raise wrong(row, name, "a list of numbers", value)
    strengths = [number(row, name, strength) for strength in value or ()]
    return [judgment(f"{name}#{k}", 0, s) | {"b": 1} for k, s in enumerate(strengths)]


def empty(prompt: list[Turn]) -> str | None:
    """Return the drop reason of a prompt in which nobody but the system says anything."""
    said = any(t["content"].strip() for t in prompt if t["role"] != "system")
    return None if said else "prompt is empty"
