"""Rows of prompts, and the reasons that a stage gives to drop them, for the tests of twins."""

import pyarrow as pa

from curate.schema import PROMPT
from curate.stage import Context

TEN_WORDS = "one two three four five six seven eight nine ten"


def rows(*prompts, **columns) -> pa.Table:
    """Rows "r0", "r1"... whose prompts are a text or turns."""
    turns = [
        [{"role": "user", "content": p}] if isinstance(p, str) or p is None else p for p in prompts
    ]
    ids = [f"r{i}" for i in range(len(prompts))]
    return pa.table({"id": ids, "prompt": pa.array(turns, PROMPT), **columns})


def dropped(stage, view) -> list[str | None]:
    """Why each row is dropped."""
    return stage.apply(view, Context())["drop"].to_pylist()
