"""A system message of each row's own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import concat_lists, conversations, flat, lengths, lists, one_chunk, starts_of
from curate.schema import PROMPT
from curate.stage import Context, Result, Stage
from curate.stages.row_texts import row_texts, source_of


class SystemMessage(Stage, name="system_message"):
    """Put a column's text before each conversation, as its system message.

    It is part of the prompt from then on: of what judges see and of what the export holds, and
    of the key by which pairs are compared, so that two people who prefer opposite answers to one
    question do not contradict each other. Conversations that begin with a system message of
    their own, and rows without a text, are left as they are.
    """

    needs = ("prompt",)
    writes = ("prompt",)

    column: str
    """The column with the text; "meta.KEY" is a key of the source's own columns."""

    def needed(self) -> tuple[str, ...]:
        """The prompt, and the column that is put before it."""
        return tuple(dict.fromkeys((*self.needs, source_of(self.column))))

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the prompts."""
        texts = row_texts(view, self.column)
        said = pc.not_equal(pc.utf8_trim_whitespace(texts), "")
        texts = pc.if_else(said, texts, pa.scalar(None, pa.large_string()))
        return {"prompt": opened(one_chunk(view["prompt"]), texts).cast(PROMPT)}


def opened(prompts: pa.Array, texts: pa.Array) -> pa.Array:
    """Put each text (large_string) before its conversation, as a system message.

    Nothing is put where there is none (null), before a system message of its own, or where the
    conversation is empty.
    """
    counts = lengths(prompts)
    first = pa.array(starts_of(counts), mask=counts == 0)
    own = pc.fill_null(pc.equal(flat(prompts, "role").take(first), "system"), False)
    new = pc.and_(pc.and_(texts.is_valid(), pa.array(counts > 0)), pc.invert(own))
    turns = conversations(["system"], [[texts.filter(new)]], pc.sum(new).as_py() or 0)
    heads = lists(np.asarray(new.to_numpy(zero_copy_only=False), dtype=np.int64), flat(turns))
    return concat_lists(heads.cast(prompts.type), prompts)
