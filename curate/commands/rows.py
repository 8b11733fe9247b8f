"""One row's history as lines of text, for people; every text in it may be hostile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from curate.printable import printable

WIDE = 88  # characters of a text that stands on a line of its own


def history_lines(steps: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines: a heading for each stage, what it wrote, and its calls one by one."""
    for step in steps:
        yield f"== {printable(step['stage'])}"
        behind = step.get("behind", {})
        for name, value in step.items():
            if name not in ("stage", "calls", "shard", "behind") and value is not None:
                yield from _column(name, value, behind.get(name, 0))
        if "shard" in step:
            facts = {k: v for k, v in step["shard"].items() if k != "engines"}
            yield f"   the shard took: {_facts(facts)}"
        calls = step.get("calls", ())
        if isinstance(calls, str):
            yield f"   calls: {printable(calls)}"
            continue
        for call in calls:
            yield from _call(call, behind)
        yield ""


def _column(name: str, value: Any, first: int = 0) -> Iterator[str]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        yield f"   {printable(name)}:"
        for place, entry in enumerate(value, first):
            texts = {k: v for k, v in entry.items() if k in ("text", "content")}
            yield f"     {place}: {_facts({k: v for k, v in entry.items() if k not in texts})}"
            for text in texts.values():
                yield from _block(text, "        ")
    elif isinstance(value, list) and len(value) > 16:
        yield f"   {printable(name)}: {len(value)} values"
    elif isinstance(value, str) and ("\n" in value or len(value) > WIDE):
        yield f"   {printable(name)}:"
        yield from _block(value, "     ")
    else:
        yield f"   {printable(name)}: {_value(value)}"


def _call(call: dict[str, Any], behind: Mapping[str, int]) -> Iterator[str]:
    if "note" in call:
        yield f"   -- {call['note']}"
        return
    long = ("call", "messages", "answer", "gave", "continuation", "json_schema")
    yield f"   -- call {call['call']}: {_facts({k: v for k, v in call.items() if k not in long})}"
    turns = [*call["messages"], *filter(None, [call.get("continuation")])]
    for turn in turns:
        yield f"      [{printable(turn['role'])}]"
        yield from _block(turn["content"], "      | ")
    if "json_schema" in call:
        yield f"      schema: {_value(call['json_schema'])}"
    if "answer" in call:
        yield "      [answer]" if call["answer"] is not None else "      [answer not kept]"
        yield from _block(call["answer"], "      > ")
    for entry in call.get("gave", ()):
        rest = {k: v for k, v in entry.items() if k not in ("column", "at")}
        place = entry["at"] + behind.get(entry["column"], 0)
        yield f"      gave {printable(entry['column'])}[{place}]: {_facts(rest)}"


def _block(text: str | None, before: str) -> Iterator[str]:
    for line in (text or "").split("\n") if text else ():
        yield before + printable(line)


def _facts(facts: dict[str, Any]) -> str:
    return ", ".join(f"{printable(k)} {_value(v)}" for k, v in facts.items() if v is not None)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(value if isinstance(value, str) else orjson.dumps(value, default=str).decode())
