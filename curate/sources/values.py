"""One value at a time: text, scores and JSON, with errors that name the place."""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from collections.abc import Iterable
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import orjson
import xxhash

from curate.errors import InputError, did_you_mean

NOT_UNICODE = "not valid Unicode"
_SURROGATES = re.compile("[\ud800-\udfff]")
_LARGEST = float(np.finfo(np.float32).max)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
_NO_NUMBER = frozenset({"", "n/a", "na", "nan", "none", "null"})


class Raw(NamedTuple):
    """One row as it was read, and where: "file, row 3"."""

    values: dict[str, Any]
    where: str


def wrong(row: Raw, column: str, expected: str, value: object, within: str = "") -> InputError:
    """Return the error for a value of the wrong type; the value itself is not shown."""
    return InputError(
        f"{row.where}: column {column!r} must be {expected}, not {within}{kind(value)}; "
        "fix the row, or map another column"
    )


def kind(value: object) -> str:
    """Return the name of a value's type, as files have it."""
    return "null" if value is None else type(value).__name__


def get(row: Raw, column: str) -> Any:
    """Return the row's value. Raises InputError where the column is missing."""
    try:
        return row.values[column]
    except KeyError:
        hint = did_you_mean(column, row.values)
        raise InputError(
            f"{row.where}: no column {column!r}{hint} (set it under `columns`)"
        ) from None


def clean(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 text can hold, by U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("�", text)


def text_or_null(row: Raw, column: str) -> str | None:
    """Return a text column's value as it is. Raises InputError where it is another type."""
    value = get(row, column)
    if value is not None and not isinstance(value, str):
        raise wrong(row, column, "text", value)
    return value


def candidate(text: str | None, **fields: Any) -> dict[str, Any]:
    """Return one candidate; a null, an empty or an invalid text comes with its drop reason."""
    stored = "" if text is None else clean(text)
    reason = None
    if text is None:
        reason = "null"
    elif not text.strip():
        reason = "empty"
    elif stored != text:
        reason = NOT_UNICODE
    return {"text": stored, "drop": reason, **fields}


def number_in(text: str) -> float | None:
    """Return the number that a text is, and nothing else; None where it is none."""
    return float(text) if _NUMBER.fullmatch(text) else None


def number(row: Raw, column: str, value: Any) -> float | None:
    """Return a finite float32-sized number, or None for null, NaN and infinities.

    Text may be a number, or say that there is none ("N/A"). Raises InputError for other values.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in _NO_NUMBER):
        return None
    if isinstance(value, dict) and value:
        field = f"{column}.{str(next(iter(value)))[:30]}"
        raise wrong(row, column, f"a number, or one of its fields named, as in {field!r}", value)
    if isinstance(value, str):
        if number_in(value) is None:
            raise wrong(row, column, "a number, or text that is nothing but one or N/A", value)
    elif not isinstance(value, bool | int | float):
        raise wrong(row, column, "a number", value)
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) and abs(result) <= _LARGEST else None


def judgment(judge: str, index: int, score: float | None) -> dict[str, Any]:
    """Return a pointwise judgment; without a number its status is parse_error."""
    status = "parse_error" if score is None else "ok"
    return {"judge": judge, "aspect": "score", "a": index, "score": score, "status": status}


def score_entries(
    row: Raw, column: str, index: int, value: Any, judge: str | None = None
) -> list[dict[str, Any]]:
    """Return the judgments that one candidate's score, or list of scores, stands for.

    The judge is called `judge`, or as the column.
    """
    name = judge or column
    if isinstance(value, list):
        return [
            judgment(f"{name}#{k}", index, number(row, column, score))
            for k, score in enumerate(value)
        ]
    return [judgment(name, index, number(row, column, value))]


def mean_scores(judgments: Iterable[dict[str, Any]], size: int) -> list[float | None]:
    """Return each candidate's mean over its judges, each by its own mean; as `combine` does."""
    said: list[dict[str, list[float]]] = [{} for _ in range(size)]
    for one in judgments:
        if one["score"] is not None:
            stored = float(np.float32(one["score"]))
            said[one["a"]].setdefault(one["judge"], []).append(stored)
    means = [[fmean(scores) for scores in judges.values()] for judges in said]
    return [fmean(own) if own else None for own in means]


def rank_entries(row: Raw, column: str, judge: str, ranks: list[Any]) -> list[dict[str, Any]]:
    """Return the judgments that one ranking stands for: scores are places below 0, 1 the best."""
    places = [number(row, column, rank) for rank in ranks]
    return [judgment(judge, k, None if p is None else -p) for k, p in enumerate(places)]


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): _safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return _other(value)


def _other(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def to_json(value: Any) -> str:
    """Return JSON with sorted keys; bytes become base64, dates ISO 8601, NaN null."""
    try:
        return orjson.dumps(value, default=_other, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, RecursionError):  # a lone surrogate, an integer of more than 64 bits
        return json.dumps(_safe(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def content_id(text: bytes | memoryview) -> str:
    """Return the id of a row that is nothing but one user message, from its UTF-8 bytes."""
    return xxhash.xxh3_128_hexdigest(text)


def row_id(row: dict[str, Any]) -> str:
    """Return the id of a canonical row: XXH3-128 of its content, in hexadecimal."""
    prompt = row["prompt"]
    plain = len(prompt) == 1 and prompt[0]["role"] == "user"
    if plain and row["meta"] == "{}" and row.keys() <= {"prompt", "meta", "drop"}:
        return content_id(prompt[0]["content"].encode())
    content = {key: value for key, value in row.items() if key not in ("id", "drop")}
    # Another seed, so that no prompt's text can be mistaken for a row's JSON.
    return xxhash.xxh3_128_hexdigest(to_json(content).encode(), seed=1)
