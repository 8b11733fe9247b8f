"""Reading labels that a model was asked for, one line each: pure functions that never raise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from curate.methods.answers import json_object
from curate.methods.verdicts import is_refusal, without_reasoning
from curate.schema import JudgmentStatus

_LINE = re.compile(
    r"^[\s*_#>-]{0,6}(?P<key>[^\n:=]{1,80}?)[\s*_]{0,4}[:=][\s*_\"'`]{0,4}"
    r"(?P<label>[^\n:=]{1,80}?)[\s*_\"'`]{0,4}\.?[\s*_]{0,4}$"
)
_LONGEST_LINE = 200


def read_labels(
    text: str, asked: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], JudgmentStatus]:
    """Return the label of each key from the lines `key: label` that end an answer, and a status.

    `asked` holds each key's labels. A key that has no line there, or whose line says something
    else than one of its labels, is left out: unknown is not the same as "none". Case does not
    count, a line of another key is passed over, and of two lines with one key the later counts.
    The status is ok where at least one label was read.
    """
    visible = without_reasoning(text)
    if visible is None:
        return {}, "truncated"
    known = {key.lower(): (key, {label.lower(): label for label in asked[key]}) for key in asked}
    said: dict[str, str | None] = {}
    for line in reversed([line for line in visible.split("\n") if line.strip()]):
        read = _LINE.match(line) if len(line) <= _LONGEST_LINE else None
        if read is None:
            break  # what stands before other words may be a quotation
        key, labels = known.get(read["key"].strip().lower(), ("", {}))
        said.setdefault(key, labels.get(read["label"].strip().lower()))
    found = {key: label for key in asked if (label := said.get(key)) is not None}
    if found:
        return found, "ok"
    return {}, "refused" if is_refusal(visible) else "parse_error"


def json_labels(
    text: str, asked: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], JudgmentStatus]:
    """Read what `read_labels` reads from a JSON object {key: label} that is the whole answer."""
    said, status = json_object(text)
    if said is None:
        return {}, status
    found = {key: said[key] for key, labels in asked.items() if said.get(key) in labels}
    return found, "ok" if found else "parse_error"


def read_list(text: str, most: int) -> list[str]:
    """Return the entries of a list that a model wrote, one a line, at most `most`.

    Where some lines begin with a dash, a star or a number, those are the entries and the others
    talk around them; otherwise every line is one. An entry that stands twice counts once.
    """
    visible = without_reasoning(text)
    lines = [line.strip() for line in (visible or "").split("\n") if line.strip()]
    marked = [m["entry"].strip() for line in lines if (m := _ENTRY.match(line))]
    return list(dict.fromkeys(entry for entry in marked or lines if entry))[:most]


def json_list(text: str, most: int) -> list[str]:
    """Return the `texts` of a JSON object, each once and at most `most`; none where it has none.

    What has no letter or digit is no entry: small models copy the form's dots.
    """
    said, _ = json_object(text)
    listed = said.get("texts") if said else None
    texts = listed if isinstance(listed, list) else []
    entries = (text.strip() for text in texts if isinstance(text, str))
    return list(dict.fromkeys(e for e in entries if any(map(str.isalnum, e))))[:most]


_ENTRY = re.compile(r"^(?:[-*\u2022]|\d{1,3}[.)])\s+(?P<entry>.*)$")
