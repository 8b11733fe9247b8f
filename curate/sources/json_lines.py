"""Lines of JSON, read strictly: one object a line, no key twice, errors by line."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from curate.errors import InputError

_KEY = re.compile(rb'"[ \t\r\n]*:')
_ROUNDED = 2.0**63  # orjson makes a float of an integer that 64 bits cannot hold


class _DuplicateKey(ValueError):
    pass


class _BigNumberError(ValueError):
    pass


def parse_line(line: bytes, where: str) -> dict[str, Any]:
    """Return the line's object. Raises InputError naming `where` ("file, row 3").

    orjson is fast but keeps the last of two equal keys, rounds big integers and refuses lone
    surrogates and NaN, which other writers emit; whenever one of these is possible the standard
    parser decides.
    """
    try:
        value = orjson.loads(line)
        if len(_KEY.findall(line)) != _count_keys(value):
            value = json.loads(line, object_pairs_hook=_object)
    except _BigNumberError:
        value = _strict(line, where)
    except (orjson.JSONDecodeError, RecursionError):
        value = _strict(line, where)
    except _DuplicateKey as error:
        raise _duplicate(error, where) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{where}: expected a JSON object, found {type(value).__name__}; write one object "
            "a line"
        )
    return value


def _strict(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.rstrip().decode("utf-8"), object_pairs_hook=_object)
    except _DuplicateKey as error:
        raise _duplicate(error, where) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: not valid UTF-8 at byte {error.start}; re-encode the file as UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: invalid JSON at column {error.colno}: {error.msg}; each line must be one "
            "whole JSON object"
        ) from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{where}: cannot read the JSON: {error}; simplify the row") from None


def _duplicate(error: _DuplicateKey, where: str) -> InputError:
    return InputError(f"{where}: column {str(error)!r} occurs twice; rename or remove one of them")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKey(key)
            seen.add(key)
    return result


def _count_keys(value: Any) -> int:
    """Count the keys. Raises _BigNumberError where a number may have been a rounded integer."""
    if isinstance(value, dict):
        count, items = len(value), iter(value.values())
    elif isinstance(value, list):
        count, items = 0, iter(value)
    else:
        return 0
    for item in items:
        kind = type(item)
        if kind is dict or kind is list:
            count += _count_keys(item)
        elif kind is float and abs(item) >= _ROUNDED:
            raise _BigNumberError
    return count
