"""Answers of people, gathered from what tools give back into the one file that `people` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from curate.disk import replace_synced
from curate.errors import InputError
from curate.stages.people import Answer, read_answers

_CHOICES = {1.0: "first", -1.0: "second", 0.0: "tie"}


class Collected(NamedTuple):
    """How many answers the file now holds, how many of them are new or changed, and by whom."""

    answers: int
    new: int
    people: int


def collect(files: Sequence[Path], into: Path) -> Collected:
    """Add the answers in `files` to those in `into`, and write that.

    A file is what Label Studio or Argilla exports for the tasks of `curate ask`. Who answers the
    same question again changes their answer; the last file counts. `into` holds records in the
    shape of Argilla's, whichever tool the answers came from, sorted, so that the same answers
    are the same bytes. Raises InputError for a file that cannot be read or is of another shape.
    """
    before = _read(into) if into.exists() else {}
    now = dict(before)
    for file in files:
        now |= _read(file)
    records = [_record(now[key]) for key in sorted(now)]
    replace_synced(into, orjson.dumps(records, option=orjson.OPT_INDENT_2))
    new = sum(before.get(key) != answer for key, answer in now.items())
    return Collected(len(now), new, len({answer.person for answer in now.values()}))


def _read(path: Path) -> dict[tuple[Any, ...], Answer]:
    try:
        found = read_answers(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return {answer[:-1]: answer for answer in found}


def _record(answer: Answer) -> dict[str, Any]:
    refer = {"row": answer.row, "a": answer.a, "b": answer.b, "texts": answer.texts}
    said = {"user_id": answer.person, "value": _CHOICES[answer.score]}
    return {
        "id": f"{answer.row}/{answer.a}/{answer.b}",
        "metadata": refer,
        "responses": {"better": [said]},
    }
