"""Rows that were left out as copies, or because they hold a benchmark's items, with examples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import text_of
from curate.export.trust import overlaps
from curate.history import earlier
from curate.report.samples import shortened
from curate.schema import DROP
from curate.store import Store
from curate.work import Shard, view

EXAMPLES = 3  # of each stage and kind
_LONGEST = 400  # characters of a text
_TWIN = re.compile(r"(?s)(\w[\w ]* (?:duplicate|repetition)) of (.+?)(?: \((\d\.\d+)\))?")
_OVERLAP = r"^(answer )?(overlaps|resembles) "


def removed(
    store: Store, shards: Sequence[Shard], steps: Sequence[Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Return {duplicates, contamination}, what the stages found of either.

    `duplicates`: {place, kind, rows, examples: [{id, text, twin, twin_text, similarity}]} for each
    stage and kind of likeness. `contamination`: {place, benchmarks: [{name, items, found, rows}],
    examples: [{id, text, reason}]} for each stage that looked, whether or not it found any.
    """
    found: dict[str, list[dict[str, Any]]] = {"duplicates": [], "contamination": []}
    for place, step in enumerate(steps):
        kinds = [k for k in step["dropped"] if _TWIN.fullmatch(f"{k} of x")]
        for kind in kinds:
            examples = _examples(store, shards, place, f"^{re.escape(kind)} of ")
            twins = [_twin(one) for one in examples]
            _with_texts(store, shards, place, twins)
            row = {"place": place, "kind": kind, "rows": step["dropped"][kind], "examples": twins}
            found["duplicates"].append(row)
        benchmarks = overlaps(step)
        if benchmarks:
            examples = _examples(store, shards, place, _OVERLAP)
            row = {"place": place, "benchmarks": benchmarks, "examples": examples}
            found["contamination"].append(row)
    return found


def _examples(
    store: Store, shards: Sequence[Shard], place: int, pattern: str
) -> list[dict[str, Any]]:
    """Return the first rows that the stage dropped for such a reason: id, text and reason."""
    found: list[dict[str, Any]] = []
    for shard in shards:
        record = shard.parts[place]
        if not record.dropped or DROP not in record.columns:
            continue
        reasons = store.read(record, [DROP])[DROP]
        at = pc.indices_nonzero(pc.fill_null(pc.match_substring_regex(reasons, pattern), False))
        if not len(at):
            continue
        at = at.slice(0, EXAMPLES - len(found))
        rows = view(store, earlier(shard, place), ["id", "prompt"])
        texts = text_of(rows["prompt"].take(at)) if "prompt" in rows else pa.nulls(len(at))
        columns = (rows["id"].take(at), texts, reasons.take(at))
        for row_id, text, why in zip(*(c.to_pylist() for c in columns), strict=True):
            found.append({"id": row_id, "text": shortened(text, _LONGEST), "reason": why})
        if len(found) == EXAMPLES:
            break
    return found


def _twin(example: Mapping[str, Any]) -> dict[str, Any]:
    match = _TWIN.fullmatch(example["reason"])
    twin, similarity = (match[2], match[3]) if match else ("", None)
    return {"id": example["id"], "text": example["text"], "twin": twin, "similarity": similarity}


def _with_texts(
    store: Store, shards: Sequence[Shard], place: int, twins: list[dict[str, Any]]
) -> None:
    """Add the text of each example's twin, wherever that row lies; None where it is not found."""
    missing = {twin["twin"] for twin in twins}
    texts: dict[str, str] = {}
    for shard in shards:
        if not missing:
            break
        before = earlier(shard, place)
        wanted = pa.array(sorted(missing), pa.string())
        ids = view(store, before, ["id"])["id"]
        at = pc.indices_nonzero(pc.is_in(ids, wanted))
        if len(at):
            prompts = view(store, before, ["prompt"])["prompt"].take(at)
            texts |= zip(ids.take(at).to_pylist(), text_of(prompts).to_pylist(), strict=True)
            missing -= texts.keys()
    for twin in twins:
        text = texts.get(twin["twin"])
        twin["twin_text"] = None if text is None else shortened(text, _LONGEST)
