"""JSON that keeps to a schema and means nothing: what the scripted engine says in a form."""

from __future__ import annotations

import json
from typing import Any

from curate.arrays import mix
from curate.engines.contract import Schema

_MOST_ENTRIES = 3  # of a list that may have more


def json_text(schema: Schema, key: int, words: str) -> str:
    """Return the value of `fitting` as JSON."""
    return json.dumps(fitting(schema, key, words))


def fitting(schema: Schema, key: int, words: str) -> Any:
    """Return a value for the schema, picked by `key` (64 bits); its texts are made of `words`.

    It knows what the built-in stages ask for: objects with all their properties, lists with a least
    and a greatest length, texts with a greatest, whole numbers, `enum` and `anyOf`.
    """
    if "enum" in schema:
        return schema["enum"][key % len(schema["enum"])]
    if "anyOf" in schema:
        return fitting(schema["anyOf"][key % len(schema["anyOf"])], _next(key, 0), words)
    kind = schema["type"]
    if kind == "object":
        properties = enumerate(schema["properties"].items(), start=1)
        return {name: fitting(inner, _next(key, k), words) for k, (name, inner) in properties}
    if kind == "array":
        least = schema.get("minItems", 0)
        most = max(least, min(schema.get("maxItems", _MOST_ENTRIES), _MOST_ENTRIES))
        size = least + key % (most - least + 1)
        return [fitting(schema["items"], _next(key, k), words) for k in range(size)]
    if kind == "integer":
        return 1 + key % 9
    text = f"{key % 1000} {words}"  # so that the entries of a list differ
    return text[: schema.get("maxLength", len(text))]


def _next(key: int, place: int) -> int:
    return int(mix(key, place))
