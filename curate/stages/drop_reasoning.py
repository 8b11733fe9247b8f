"""Answers of models that think first, without what they thought."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, large, lengths, lists, set_field
from curate.methods.judgments import true
from curate.methods.verdicts import without_reasoning
from curate.stage import Context, Result, Stage
from curate.stages.live import with_reasons

_TEXT = pa.large_string()


class DropReasoning(Stage, name="drop_reasoning"):
    """Keep of each candidate what stands behind its reasoning (`<think>...</think>`).

    Put it behind the models that write such answers and before the judges, who would read the
    reasoning, and have its length count, with the answer. A candidate whose reasoning never ends,
    or has nothing behind it, is dropped. A closing tag alone counts, as templates often put the
    opening one in the prompt; so do the tags thinking, thought and reasoning.
    """

    needs = ("candidates",)
    writes = ("candidates",)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the candidates; one that was dropped earlier stays as it is."""
        values = flat(view["candidates"])
        texts, there = large(pc.struct_field(values, "text")), pc.struct_field(values, "drop")
        tagged = true(pc.and_(pc.match_substring(texts, "<"), there.is_null()))
        whole = texts.filter(pa.array(tagged)).to_pylist()
        rest = [without_reasoning(text) for text in whole]
        kept = [w if r in (None, w) else r.lstrip() for w, r in zip(whole, rest, strict=True)]
        ctx.counts["with reasoning"] += sum(r != w for w, r in zip(whole, rest, strict=True))
        reasons = [_reason(r, k) for r, k in zip(rest, kept, strict=True)]
        mask = pa.array(tagged)
        texts = pc.replace_with_mask(texts, mask, pa.array(kept, _TEXT))
        reason = pc.replace_with_mask(
            pa.nulls(len(texts), pa.string()), mask, pa.array(reasons, pa.string())
        )
        values = set_field(values, "text", texts.cast(values.type.field("text").type))
        return {"candidates": with_reasons(lists(lengths(view["candidates"]), values), reason)}


def _reason(rest: str | None, kept: str) -> str | None:
    if rest is None:
        return "reasoning never ends"
    return None if kept.strip() else "nothing behind its reasoning"
