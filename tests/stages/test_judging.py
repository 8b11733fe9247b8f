"""Answers held to a form: every stage that reads one can hold the engine to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fake_engine import context, table
from pydantic import ValidationError

from curate.engines.contract import Completion
from curate.engines.openai import OpenAI
from curate.engines.scripted import Scripted
from curate.engines.vllm import VLLM
from curate.errors import ConfigError
from curate.pipeline import Pipeline
from curate.schema import JUDGMENTS, PROMPT
from curate.stage import Context, Stage
from curate.stages.claims import Claims
from curate.stages.critique_agreement import CritiqueAgreement
from curate.stages.find_feedback import FindFeedback
from curate.stages.forms import checklist_form, list_form, shortened
from curate.stages.generate_set import GenerateSet
from curate.stages.judge import Judge
from curate.stages.judge_list import JudgeList
from curate.stages.judge_pairs import JudgePairs
from curate.stages.judge_prompts import JudgePrompts
from curate.stages.judging import AskingInForm
from curate.stages.rationale import Rationale
from curate.stages.tag import Tag
from curate.stages.write import Write

HELD: dict[str, Any] = {"engine": "one", "structured": True, "longest_text": 24}
BOTH = ("helpfulness", "honesty")
SEEN = {"judge": "j", "a": 0, "b": 1, "order": "ab", "score": 1.0, "status": "ok", "text": "why"}
ITEMS = pa.array([["Is it short?"], ["Is it kind?", "Is it true?"], []], pa.list_(pa.string()))
STAGES: dict[str, tuple[AskingInForm, str]] = {
    "judge": (Judge(**HELD), "judgments"),
    "judge, several": (
        Judge(**HELD, rubric=BOTH, together=True, not_applicable=("honesty",)),
        "judgments",
    ),
    "judge, checklists": (Judge(**HELD, score="checklist", items="items"), "judgments"),
    "judge_pairs": (JudgePairs(**HELD), "judgments"),
    "judge_pairs, five": (JudgePairs(**HELD, verdict="five"), "judgments"),
    "judge_list": (JudgeList(**HELD, score="grades"), "judgments"),
    "judge_prompts": (JudgePrompts(**HELD), "prompt_score"),
    "tag": (Tag(**HELD), "tags"),
    "tag, choices": (Tag(**HELD, choices={"code": "asks for code", "talk": "is talk"}), "tags"),
    "claims": (Claims(**HELD), "claims"),
    "critique_agreement": (CritiqueAgreement(**HELD, at_least=None), "critique_f1"),
    "rationale": (Rationale(**HELD), "rationales"),
    "find_feedback": (FindFeedback(**HELD, wanted="any"), "reactions"),
    "write": (Write(**HELD, template="write_system", show={"persona": "id"}, to="note"), "note"),
    "write, a list": (Write(**HELD, template="write_criteria", form="list", to="list"), "list"),
    "generate_set": (GenerateSet(**HELD, n=3), "answered_together"),
}


def rows() -> pa.Table:
    said = [("Name a river.", "The Rhine."), ("Another.", "The Nile."), ("Thanks!", "")]
    talk = [{"role": r, "content": t} for u, a in said for r, t in (("user", u), ("assistant", a))]
    made = table(
        [["one answer", "another", "a third"]] * 3,
        pairs=[[(0, 1, None)]] * 3,
        items=ITEMS,
        rationales=pa.array([["It names one."]] * 3, pa.list_(pa.string())),
        judgments=pa.array([[SEEN]] * 3, JUDGMENTS),
    )
    prompts = pa.array([talk[:5]] * 3, PROMPT)
    return made.set_column(made.column_names.index("prompt"), "prompt", prompts)


def seen(stage: Stage, view: pa.Table) -> pa.Table:
    """Return what the stage is shown of the rows."""
    asked = dict.fromkeys((*stage.needed(), *stage.used()))
    return view.select([name for name in asked if name in view.column_names])


def statuses(column: pa.Array) -> set[str]:
    values = column.to_pylist()
    entries = [entry for row in values for entry in (row if isinstance(row, list) else [row])]
    return {e["status"] if isinstance(e, dict) else str(e is not None) for e in entries}


@pytest.mark.parametrize("name", STAGES)
def test_every_answer_that_is_held_to_its_form_is_read(name: str) -> None:
    stage, column = STAGES[name]
    view = rows()
    ctx = Context(seed=1, engines={"one": Scripted().load()})
    made = stage.apply(seen(stage, view), ctx)
    assert ctx.counts["calls"] > 0
    if column == "rationales":  # the other answer may be named, which is read and is no rationale
        replies = {n for n in ctx.counts if n.startswith("replies: ")}
        assert replies <= {"replies: ok", "replies: contradiction"}
        assert any(row[0] for row in made[column].to_pylist())
    elif column == "reactions":
        assert made[column].to_pylist()[0][0::2][1:] != [None, None]
        assert None not in made[column].to_pylist()[0][2::2]
    elif column == "answered_together":
        assert pc.all(made[column]).as_py()
    elif column == "judgments":
        allowed = {"ok", "not_applicable"} if "several" in name else {"ok"}
        assert statuses(made[column]) <= allowed
        assert "ok" in statuses(made[column])
    elif column != "critique_f1":  # no schema keeps its numbers to the arguments that there are
        assert statuses(made[column]) <= {"ok", "True"}


def texts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the schemas of texts that the model words itself."""
    for inner in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(inner, (dict, list)):
            yield from texts(inner)
    if isinstance(schema, dict) and schema.get("type") == "string" and "enum" not in schema:
        yield schema


@pytest.mark.parametrize("name", STAGES)
def test_every_text_in_a_form_has_a_length(name: str) -> None:
    ctx = context(lambda _: Completion("{}"))
    stage, _ = STAGES[name]
    view = seen(stage, rows())
    stage = stage.model_copy(update={"engine": "fake", "max_error_rate": 1.0})
    stage.apply(view, ctx)
    requests = [r for r in ctx.engines["fake"].requests if r.json_schema is not None]
    assert requests
    for request in requests:
        assert all(text["maxLength"] == 24 for text in texts(request.json_schema))
    plain = stage.model_copy(update={"longest_text": None})
    ctx = context(lambda _: Completion("{}"))
    plain.apply(view, ctx)
    held = [r.json_schema for r in ctx.engines["fake"].requests if r.json_schema is not None]
    assert "maxLength" not in json.dumps(held)
    loose = stage.model_copy(update={"structured": False, "longest_text": None})
    ctx = context(lambda _: Completion("{}"))
    loose.apply(view, ctx)
    assert all(r.json_schema is None for r in ctx.engines["fake"].requests)


@pytest.mark.parametrize("name", STAGES)
def test_the_form_is_part_of_the_identity_and_off_by_default(name: str) -> None:
    stage, _ = STAGES[name]
    loose = stage.model_copy(update={"structured": False, "longest_text": None})
    unlimited = stage.model_copy(update={"longest_text": None})
    identities = [json.dumps(s.identity(), sort_keys=True) for s in (stage, loose, unlimited)]
    assert len(set(identities)) == 3
    assert type(stage).model_fields["structured"].default is False
    assert dict(stage.engine_roles())["one"] == ("chat", "structured")
    assert dict(loose.engine_roles())["one"] == ("chat",)


def test_a_list_has_as_many_entries_as_there_are_things() -> None:
    ctx = context(lambda _: Completion("{}"))
    stage = Judge(engine="fake", structured=True, score="checklist", items="items", samples=2)
    stage.apply(rows().select(["id", "prompt", "candidates", "items"]), ctx)
    sizes = [r.json_schema["properties"]["items"] for r in ctx.engines["fake"].requests]
    assert [(s["minItems"], s["maxItems"]) for s in sizes] == [(1, 1)] * 6 + [(2, 2)] * 6
    ranked = list_form(True).of(3)["properties"]["ranking"]
    assert ranked["items"]["enum"] == [1, 2, 3]
    assert (ranked["minItems"], ranked["maxItems"]) == (3, 3)
    assert checklist_form(True).of(4)["properties"]["items"]["items"]["enum"] == ["yes", "no"]


def test_a_length_without_a_form_is_refused() -> None:
    with pytest.raises(ValidationError, match="longest_text is for answers in JSON"):
        Judge(engine="one", longest_text=100)
    with pytest.raises(ValidationError, match="one token"):
        JudgePrompts(engine="one", score="expected", high=5, structured=True)


def test_words_to_choose_from_have_no_length() -> None:
    schema = {"anyOf": [{"type": "string"}, {"type": "string", "enum": ["N/A"]}], "title": "type"}
    assert shortened(schema, 5) == {
        "anyOf": [{"type": "string", "maxLength": 5}, {"type": "string", "enum": ["N/A"]}],
        "title": "type",
    }


class Unheld(Scripted, name="unheld"):
    """An engine that can chat and cannot hold an answer to a form."""

    capabilities = frozenset({"chat"})


def test_an_engine_that_cannot_is_refused_before_anything_runs(tmp_path: Any) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"id": "a", "prompt": "hi"}\n')
    text = f"""
version: 1
name: held
source: {{jsonl: {{path: {prompts}, columns: {{id: id, prompt: prompt}}}}}}
engines: {{one: unheld}}
stages:
  - write: {{engine: one, template: write_criteria, form: list, to: notes, structured: true}}
export: prompt-only
"""
    with pytest.raises(ConfigError, match="needs structured of engine 'one', which a"):
        Pipeline.loads(text).check()
    Pipeline.loads(text.replace("unheld", "scripted")).check()
    for able in (VLLM, OpenAI, Scripted):
        assert "structured" in able.capabilities


def stages_in_form() -> set[type[Stage]]:
    found, left = set(), [AskingInForm]
    while left:
        one = left.pop()
        left += one.__subclasses__()
        found |= {one} if one.kind else set()
    return {cls for cls in found if cls.__module__.startswith("curate.")}


def test_every_stage_that_can_be_held_is_in_the_table() -> None:
    assert stages_in_form() == {type(stage) for stage, _ in STAGES.values()}
