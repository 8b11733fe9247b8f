"""What pydantic finds wrong with fields, in the words of who wrote the pipeline."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from curate.errors import did_you_mean

MOST_PROBLEMS = 8  # of one component that are put in words


def _fields_at(model: type[BaseModel], steps: tuple[int | str, ...]) -> list[str]:
    """Return the fields of the model that these fields, one within another, lead to."""
    for step in steps:
        field = model.model_fields.get(str(step))
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        found = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not found:
            return []
        model = found[0]
    return list(model.model_fields)


_IN_YAML = {
    "tuple_type": "must be a list, as in [{0}]",
    "dict_type": "must be a mapping, as in {{name: value}}",
}
"""What pydantic calls by their Python names, in the words of a pipeline's file."""


def _alternatives(items: list[ErrorDetails]) -> list[ErrorDetails]:
    """Put a field's error of each of several sets of words into one, which has all words."""
    merged: dict[tuple[int | str, ...], ErrorDetails] = {}
    for item in items:
        place = item["loc"]
        if item["type"] == "literal_error" and str(place[-1]).startswith("literal["):
            place = place[:-1]
        before = merged.get(place)
        if before is None:
            merged[place] = {**item, "loc": place}
        elif before["type"] == item["type"] == "literal_error":
            rest = before["ctx"]["expected"].replace(" or ", ", ")
            expected = f"{rest} or {item['ctx']['expected']}"
            before |= {"msg": f"Input should be {expected}", "ctx": {"expected": expected}}
        else:
            merged[item["loc"]] = item
    return list(merged.values())


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Put a pydantic error in words: the field, the problem, and the nearest known field."""
    problems = []
    found = _alternatives(error.errors(include_url=False))
    for item in found[:MOST_PROBLEMS]:
        path = ".".join(str(step) for step in item["loc"])
        if item["type"] == "extra_forbidden":
            known = _fields_at(model, item["loc"][:-1])
            hint = did_you_mean(str(item["loc"][-1]), known)
            problems.append(f"unknown field {path!r}{hint}")
        elif item["type"] in _IN_YAML:
            given = item["input"] if isinstance(item["input"], str) else "..."
            problems.append(f"{path}: {_IN_YAML[item['type']].format(given)}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            problems.append(f"{path}: {message}" if path else message)
    if len(found) > MOST_PROBLEMS:
        problems.append(f"and {len(found) - MOST_PROBLEMS} more")
    return "; ".join(problems)
