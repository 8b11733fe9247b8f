import pyarrow as pa
from fake_engine import context, table

from curate.engines.contract import Completion
from curate.schema import PROMPT
from curate.stages.dedup import ExactDedup
from curate.stages.generate import Generate
from curate.stages.lint import Lint
from curate.stages.repeats import MergePairs
from curate.stages.system_message import SystemMessage

OWN = [{"role": "system", "content": "my own"}, {"role": "user", "content": "hello"}]


def view():
    rows = table([[], [], [], []], system=pa.array(["be brief", " ", None, "be kind"], pa.string()))
    turns = [*rows["prompt"].to_pylist()[:3], OWN]
    place = rows.column_names.index("prompt")
    return rows.set_column(place, "prompt", pa.array(turns, PROMPT))


def roles(prompts):
    return [[turn["role"] for turn in turns] for turns in prompts]


def test_it_stands_before_conversations_without_one():
    made = SystemMessage(column="system").apply(view(), context(None))["prompt"]
    assert made.type == PROMPT
    rows = made.to_pylist()
    assert rows[0][0] == {"role": "system", "content": "be brief"}
    assert roles(rows) == [["system", "user"], ["user"], ["user"], ["system", "user"]]
    assert rows[3] == OWN
    empty = view().slice(0, 0)
    assert len(SystemMessage(column="system").apply(empty, context(None))["prompt"]) == 0


def test_an_empty_conversation_stays_empty():
    rows = table([[]], system=pa.array(["be brief"]))
    place = rows.column_names.index("prompt")
    rows = rows.set_column(place, "prompt", pa.array([[]], PROMPT))
    made = SystemMessage(column="system").apply(rows, context(None))
    assert made["prompt"].to_pylist() == [[]]


def test_a_key_of_meta_will_do():
    rows = table([[]], meta=pa.array(['{"persona": "a sailor"}']))
    stage = SystemMessage(column="meta.persona")
    assert stage.needed() == ("prompt", "meta")
    made = stage.apply(rows, context(None))["prompt"].to_pylist()
    assert made[0][0]["content"] == "a sailor"


def test_generate_shows_a_rows_own_message_to_its_answers_alone():
    ctx = context(lambda request: Completion("yes", tokens=1))
    stage = Generate(engine="fake", n=1, system="Always:", system_column="system")
    assert stage.needed() == ("id", "prompt", "system")
    made = stage.apply(view(), ctx)
    assert set(made) == {"candidates", "drop", "fail"}
    said = [r.messages[0]["content"] for r in ctx.engines["fake"].requests]
    assert said == ["Always:\n\nbe brief", "Always:\n\n ", "Always:", "my own"]
    ctx = context(lambda request: Completion("yes", tokens=1))
    Generate(engine="fake", n=1, system_column="system").apply(view(), ctx)
    said = [r.messages[0]["content"] for r in ctx.engines["fake"].requests]
    assert said == ["be brief", " ", "question 2", "my own"]


def test_two_people_may_prefer_opposite_answers_to_one_question():
    answers, pairs = [["a long answer", "a short one"]] * 2, [[(0, 1, None)], [(1, 0, None)]]
    rows = table(answers, pairs=pairs, who=pa.array(["be thorough", "be brief"]))
    ask = [{"role": "user", "content": "Why is the sky blue?"}]
    place = rows.column_names.index("prompt")
    rows = rows.set_column(place, "prompt", pa.array([ask, ask], PROMPT))
    told = SystemMessage(column="who").apply(rows, context(None))["prompt"]
    known = rows.set_column(place, "prompt", told)
    for stage, reason in ((MergePairs(), "contradicted"), (Lint(), "contradictory pair")):
        both = stage.apply(rows, context(None))["pairs"].to_pylist()
        assert all(pair["drop"].startswith(reason) for row in both for pair in row)
        apart = stage.apply(known, context(None))["pairs"].to_pylist()
        assert [pair["drop"] for row in apart for pair in row] == [None, None]
    assert set(ExactDedup().apply(rows, context(None))["drop"].to_pylist()) != {None}
    assert set(ExactDedup().apply(known, context(None))["drop"].to_pylist()) == {None}
