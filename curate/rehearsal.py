"""Stages tried on a few rows with a scripted engine: how often they ask, and with which prompts.

Nothing is stored and no model is touched. What the scripted engine says means nothing, but how
often it is asked follows from the stage's fields and the rows: `n` answers a prompt, a call for
each candidate and sample, and so on, for a user's own stages too. And a prompt is put together
from its template as it will be in the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from curate.arrays import concat_lists
from curate.engines.scripted import Scripted
from curate.errors import ConfigError
from curate.prompts import PromptError
from curate.schema import COLUMNS, DROP, FAIL
from curate.stage import Context, Stage
from curate.work import check_result


def calls_per_row(stages: Sequence[Stage], sample: pa.Table) -> list[float | None]:
    """Return the engine calls that each stage makes for a row, or None where that is unknown.

    `sample` holds some rows as the first of `stages` will find them. A stage that calls no
    engine makes 0; it is run only if a later one that does needs what it writes, and never if
    it looks at all rows.
    """
    found: list[float | None] = []
    for place, stage in enumerate(stages):
        asks = any(True for _ in stage.engine_roles())
        if not asks and not _feeds(stage, stages[place + 1 :]):
            found.append(0.0)
            continue
        if not len(sample) or stage.view_scope() == "dataset":
            found.append(None if asks else 0.0)
            continue
        counts: Mapping[str, int] = {}
        try:
            sample, counts = _try(stage, sample)
        except Exception:  # a guess that fails is no guess; the run itself will say why
            counts = {}
        found.append(counts.get("calls", 0) / len(sample) if counts or not asks else None)
    return found


def check_prompts(stages: Sequence[Stage]) -> None:
    """Let every stage that asks an engine put its prompts together for a made-up row.

    Raises ConfigError naming the stage and the template that cannot be filled, such as one with a
    placeholder that the stage does not know. Whatever else goes wrong says nothing about the run,
    since the row is none of the data's.
    """
    made, made_up = dict[str, pa.Array](), _made_up()
    for number, stage in enumerate(stages, 1):
        if not any(True for _ in stage.engine_roles()):
            continue
        names = dict.fromkeys((*stage.needed(), *stage.used()))
        row = {n: made_up[n] for n in names if n in made_up}
        row |= {n: made.get(n, pa.array(["made up"])) for n in names if n not in made_up}
        try:
            result, _ = _asked(stage, pa.table(row))
        except PromptError as error:
            raise ConfigError(f"stage {number} (`{stage.kind}`): {error}") from error
        except Exception:  # noqa: S112 - see above
            continue
        made |= result


def _feeds(stage: Stage, later: Sequence[Stage]) -> bool:
    """Whether a later stage that calls engines reads, directly or not, what this one writes."""
    wanted: set[str] = set()
    for other in reversed(later):
        if any(True for _ in other.engine_roles()) or wanted & _columns(other):
            wanted |= {*other.needed(), *other.used()}
    return bool(wanted & _columns(stage))


def _columns(stage: Stage) -> set[str]:
    return {*stage.written(), *stage.appends}


def _asked(stage: Stage, sample: pa.Table) -> tuple[dict[str, pa.Array], Mapping[str, int]]:
    """Return what the stage makes of the rows, and its counts."""
    engines = {role: Scripted.model_validate({}).load() for role, _ in stage.engine_roles()}
    context = Context(seed=0, engines=engines)
    names = [n for n in (*stage.needed(), *stage.used()) if n in sample.column_names]
    result = check_result(stage, stage.apply(sample.select(names), context), len(sample))
    return result, context.counts


def _try(stage: Stage, sample: pa.Table) -> tuple[pa.Table, Mapping[str, int]]:
    """Return the rows behind the stage, those that it drops too, and its counts."""
    result, counts = _asked(stage, sample)
    for name, column in result.items():
        if name in (DROP, FAIL):
            continue
        if name in sample.column_names:
            old = sample[name]
            column = concat_lists(old, column) if name in stage.appends else column
            sample = sample.drop_columns([name])
        sample = sample.append_column(name, column)
    return sample, counts


def _row(name: str, value: Any) -> pa.Array:
    return pa.array([value], COLUMNS[name])


_SAID = [
    {"role": "user", "content": "How warm is the sea?"},
    {"role": "assistant", "content": "Which sea?"},
    {"role": "user", "content": "The one in the north."},
]
_MADE_UP: Mapping[str, Any] = {
    "id": "made up",
    "prompt": _SAID,
    "other_prompt": _SAID,
    "reference": "About 17 degrees.",
    "meta": "{}",
    "candidates": [{"text": "Cold."}, {"text": "Some 17 degrees."}],
    "judgments": [],
    "scores": [1.0, 2.0],
    "score_std": [0.5, 0.5],
    "pairs": [{"chosen": 1, "rejected": 0, "margin": 1.0}],
    "rationales": ["It says how warm."],
    "steps": [{"candidate": 1, "text": "Some 17 degrees.", "right": True}],
    "step_pairs": [{"prefix": "", "chosen": "Some 17 degrees.", "rejected": "Cold."}],
    "goals": ["An answer worth 1.", "An answer worth 2."],
    "split": "train",
}
"""A row in which every column of the schema holds what stages look for."""


def _made_up() -> dict[str, pa.Array]:
    """Return the row, made late: a list makes pyarrow import pandas."""
    return {name: _row(name, value) for name, value in _MADE_UP.items()}
