"""Scripted answers keep to the schema that they are held to."""

from __future__ import annotations

import json
from dataclasses import replace

import asking
import pytest

from curate.engines.scripted import Scripted
from curate.engines.scripted_json import fitting

SCHEMA = {
    "type": "object",
    "properties": {
        "why": {"type": "string", "maxLength": 7},
        "score": {"anyOf": [{"type": "integer", "enum": [1, 2]}, {"enum": ["N/A"]}]},
        "two": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "some": {"type": "array", "items": {"type": "string"}, "maxItems": 9},
    },
}


@pytest.mark.parametrize("key", [0, 1, 2**63, 2**64 - 1, 123456789])
def test_a_value_fits(key: int) -> None:
    found = fitting(SCHEMA, key, "amber basin")
    assert list(found) == ["why", "score", "two", "some"]
    assert 0 < len(found["why"]) <= 7
    assert found["score"] in (1, 2, "N/A")
    assert [type(k) for k in found["two"]] == [int, int]
    assert len(found["some"]) <= 3
    assert found == fitting(SCHEMA, key, "amber basin")


def test_the_engine_answers_each_call_in_its_own_form() -> None:
    engine, asked = Scripted().load(), asking.requests("hi", "ho")
    both = engine.chat(replace(asked, json_schema=SCHEMA))
    assert all(set(json.loads(t)) == set(SCHEMA["properties"]) for t in both.text.to_pylist())
    each = [{"enum": ["a"]}, {"type": "integer"}]
    first, second = engine.chat(replace(asked, json_schema=each)).text.to_pylist()
    assert (json.loads(first), type(json.loads(second))) == ("a", int)
    told = Scripted(replies=("as told",)).load()
    assert told.chat(replace(asked, json_schema=SCHEMA)).text.to_pylist() == ["as told"] * 2
