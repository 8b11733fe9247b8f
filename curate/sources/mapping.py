"""Input rows to canonical rows: prompt, candidates, judgments, pairs, and the rest as meta."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from curate.errors import InputError, did_you_mean
from curate.sources.columns import Columns
from curate.sources.endings import Sides, endings
from curate.sources.labels import answered_prompt, empty, labelled, shared_prompt
from curate.sources.messages import Turn, Unheld, has_extras, joined, turns
from curate.sources.nested import field_at, paths, without_field
from curate.sources.values import (
    NOT_UNICODE,
    Raw,
    candidate,
    clean,
    get,
    rank_entries,
    row_id,
    score_entries,
    text_or_null,
    to_json,
    wrong,
)

TEXT_FIELDS = ("text", "response", "content", "answer")
CANDIDATE_FIELDS = ("model", "finish_reason")


def canonical_row(members: Sequence[Raw], columns: Columns) -> dict[str, Any]:
    """Return the canonical row of one prompt: of one input row, or of a group's rows.

    Raises InputError naming file, row and column where a value cannot be what it is mapped to.
    """
    first = members[0]
    for name in columns.mapped():
        if name != columns.ranks:  # it may be a field of the candidates
            get(first, name)
    try:
        return _row(members, columns)
    except Unheld as found:
        return _unread(members, columns, str(found))


def _unread(members: Sequence[Raw], columns: Columns, reason: str) -> dict[str, Any]:
    """Return a row that is dropped, with all that was read as its `meta`."""
    row: dict[str, Any] = {name: [] for name in columns.provides()}
    if "reference" in row:
        row["reference"] = None
    given = [member.values for member in members]
    row |= {"meta": to_json(given[0] if len(given) == 1 else {"rows": given}), "drop": reason}
    row["id"] = _id(members[0], columns) or row_id(row)
    return row


def _row(members: Sequence[Raw], columns: Columns) -> dict[str, Any]:
    first = members[0]
    row: dict[str, Any] = {}
    said = endings(members, columns)
    if columns.prompt is not None:
        prompt, reason = _prompt(first, columns)
    elif columns.response is not None:
        prompt, reason = answered_prompt(members, columns, said)
    else:
        prompt, reason = shared_prompt(first, columns, said[0])
    answers = _answers(members, columns, prompt, said)
    reason = reason or answers.pop("drop", None)
    prompt = _with_system(first, columns, prompt)
    row["prompt"] = [{"role": t["role"], "content": clean(t["content"])} for t in prompt]
    if reason is None and row["prompt"] != prompt:
        reason = f"prompt is {NOT_UNICODE}"
    if columns.reference is not None:
        reference = text_or_null(first, columns.reference)
        row["reference"] = None if reference is None else clean(reference)
    extra = answers.pop("meta", {})
    row |= answers
    row["meta"] = to_json(_meta(members, columns) | extra)
    row["drop"] = reason
    row["id"] = _id(first, columns) or row_id(row)
    return row


def grouped(rows: Iterable[Raw], columns: Columns) -> list[list[Raw]]:
    """Gather the rows that agree in `columns.group`, in order of first appearance."""
    groups: dict[str, list[Raw]] = {}
    for row in rows:
        key = to_json([get(row, name) for name in columns.group])
        groups.setdefault(key, []).append(row)
    for members in groups.values():
        for name in (columns.prompt, columns.input, columns.system, columns.reference, columns.id):
            if name is not None and name not in columns.varies:
                _constant(members, name)
    return list(groups.values())


def _constant(members: list[Raw], name: str) -> None:
    expected = get(members[0], name)
    for row in members[1:]:
        if get(row, name) != expected:
            raise InputError(
                f"{row.where}: column {name!r} differs from {members[0].where}, a row of the same "
                "group; add a column to `group` that tells them apart, or do not map this one"
            )


def _id(row: Raw, columns: Columns) -> str | None:
    if columns.id is None:
        return None
    value = get(row, columns.id)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise wrong(row, columns.id, "text or an integer", value)
    if value == "":
        raise InputError(
            f"{row.where}: column {columns.id!r} is empty; give every row an id, or leave "
            "`id` unmapped to use a hash of the content"
        )
    return clean(str(value))


def _prompt(row: Raw, columns: Columns) -> tuple[list[Turn], str | None]:
    """Return the prompt's turns and, where it cannot be used, the reason to drop the row."""
    name = columns.prompt or ""
    value = get(row, name)
    more = text_or_null(row, columns.input) if columns.input is not None else None
    if value is None:
        return [{"role": "user", "content": more or ""}], "prompt is null"
    if isinstance(value, str):
        text = f"{value}\n\n{more}" if more and more.strip() else value
        prompt = [{"role": "user", "content": text}]
    elif isinstance(value, list):
        prompt = turns(row, name, value)
        if more and more.strip():
            raise wrong(row, name, "text, for `input` is put after it", value)
    else:
        raise wrong(row, name, "text or a list of {role, content}", value)
    return prompt, empty(prompt)


def _with_system(row: Raw, columns: Columns, prompt: list[Turn]) -> list[Turn]:
    system = text_or_null(row, columns.system) if columns.system is not None else None
    if not system or not system.strip():
        return prompt
    if prompt and prompt[0]["role"] == "system":
        raise InputError(
            f"{row.where}: column {columns.system!r} gives a system message, and the prompt "
            "begins with one already; do not map `system`, or remove one of them"
        )
    return [{"role": "system", "content": system}, *prompt]


def _answers(
    members: Sequence[Raw], columns: Columns, prompt: list[Turn], said: Sequence[Sides]
) -> dict[str, Any]:
    if columns.candidates is not None:
        return _wide(members[0], columns, columns.candidates)
    if columns.response is not None:
        return _long(members, columns, prompt, said)
    if columns.chosen is not None:
        return labelled(members, columns, prompt, said)
    return {}


def _long(
    members: Sequence[Raw], columns: Columns, prompt: list[Turn], said: Sequence[Sides]
) -> dict[str, Any]:
    answers, judgments = [], []
    for index, (row, (side,)) in enumerate(zip(members, said, strict=True)):
        model = text_or_null(row, columns.model) if columns.model is not None else None
        answer = candidate(side.text, model=None if model is None else clean(model))
        if not side.continues(prompt):
            answer["drop"] = answer["drop"] or "does not continue the prompt"
        answers.append(answer)
        for name in columns.scores:
            judgments += score_entries(row, name, index, get(row, name))
    return {"candidates": answers} | ({"judgments": judgments} if columns.scores else {})


def _wide(row: Raw, columns: Columns, name: str) -> dict[str, Any]:
    value = get(row, name)
    if value is None:
        value = []
    if not isinstance(value, list):
        raise wrong(row, name, "a list of texts or of {text, model, ...}", value)
    named = (*columns.scores, *([columns.ranks] if columns.ranks else []))
    inside = {field for field in named if field not in row.values}
    answers, rest = [], []
    for item in value:
        answer, left = _candidate(row, name, item, inside)
        answers.append(answer)
        rest.append(left)
    judgments = []
    for score in columns.scores:
        values = (
            _fields(row, name, score, value)
            if score in inside
            else _aligned(row, score, get(row, score), len(value))
        )
        for index, one in enumerate(values):
            judgments += score_entries(row, score, index, one)
    if columns.ranks is not None:
        if columns.ranks in inside:
            given = _fields(row, name, columns.ranks, value)
            judgments += rank_entries(row, columns.ranks, "rank", given)
        else:
            judgments += _rankings(row, columns.ranks, len(value))
    result: dict[str, Any] = {"candidates": answers}
    if columns.scores or columns.ranks is not None:
        result["judgments"] = judgments
    return result | ({"meta": {name: rest}} if any(rest) else {})


def _candidate(
    row: Raw, name: str, item: Any, scores: set[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return one wide candidate, and the fields of its struct that have no place in it."""
    if item is None or isinstance(item, str):
        return candidate(item), {}
    if not isinstance(item, dict):
        raise wrong(row, name, "a list of texts or of {text, model, ...}", item)
    key = next((f for f in TEXT_FIELDS if f in item), None)
    if key is None:
        raise InputError(
            f"{row.where}: column {name!r}: a candidate has none of the fields "
            f"{', '.join(TEXT_FIELDS)}; rename the field that holds the text"
        )
    item = item | {key: joined(row, f"column {name!r}", item[key])}
    for field in (key, *CANDIDATE_FIELDS):
        if item.get(field) is not None and not isinstance(item[field], str):
            raise wrong(row, f"{name}.{field}", "text", item[field])
    fields = {f: clean(item[f]) for f in CANDIDATE_FIELDS if item.get(f) is not None}
    rest = {k: v for k, v in item.items() if k not in (key, *CANDIDATE_FIELDS)}
    for score in scores:
        rest = without_field(rest, score)
    return candidate(item[key], **fields), rest


def _fields(row: Raw, name: str, score: str, items: list[Any]) -> list[Any]:
    """Return a field of every candidate, null where a candidate lacks it.

    Raises InputError where some lack it and none has it: then the name is wrong.
    """
    found = [field_at(item, score) for item in items]
    if not all(there for there, _ in found):
        known = sorted({path for item in items if isinstance(item, dict) for path in paths(item)})
        if score not in known:
            raise InputError(
                f"{row.where}: no column {score!r}, and no candidate in {name!r} has such a field"
                f"{did_you_mean(score, known)} (name it under `columns.scores` as it is in the "
                "data; where it is not known, give it as null)"
            )
    return [value for _, value in found]


def _rankings(row: Raw, name: str, size: int) -> list[dict[str, Any]]:
    """Return the judgments of one ranking, judge "rank", or of several, "rank#0", "rank#1", ..."""
    value = get(row, name)
    if not (isinstance(value, list) and any(isinstance(one, list) for one in value)):
        return rank_entries(row, name, "rank", _aligned(row, name, value, size))
    rankings = [_aligned(row, name, one, size) for one in value]
    return [
        entry
        for k, ranks in enumerate(rankings)
        for entry in rank_entries(row, name, f"rank#{k}", ranks)
    ]


def _aligned(row: Raw, name: str, value: Any, size: int) -> list[Any]:
    if value is None:
        return [None] * size
    if not isinstance(value, list):
        raise wrong(row, name, "a list aligned with the candidates", value)
    if len(value) != size:
        raise InputError(
            f"{row.where}: column {name!r} has {len(value)} entries for {size} candidates; "
            "give one entry a candidate, null where there is none"
        )
    return value


def _meta(members: Sequence[Raw], columns: Columns) -> dict[str, Any]:
    """Return the unmapped columns; one that varies in a group as its list, by candidate."""
    mapped = {*columns.meanings(), *columns.scores} - {*columns.varies}
    messages = {columns.prompt, columns.chosen, columns.rejected, columns.response}
    result: dict[str, Any] = {}
    names = dict.fromkeys(name for row in members for name in row.values)
    for name in names:
        if name in mapped and not (name in messages and has_extras(members[0].values.get(name))):
            continue
        values = [row.values.get(name) for row in members]
        same = len(values) == 1 or len({to_json(value) for value in values}) == 1
        result[name] = values[0] if same else values
    return result
