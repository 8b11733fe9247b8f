import pyarrow as pa
import pytest
from fake_engine import context, table

from curate.engines.contract import Completion
from curate.errors import ConfigError, StageError
from curate.pipeline import Pipeline
from curate.schema import JUDGMENTS
from curate.stage import stage_registry
from curate.stages.judge import Judge
from curate.stages.route import Route

FORM = {
    "route": {
        "by": "kind",
        "to": {
            "maths": {"judge": {"engine": "fake", "rubric": "correctness"}},
            "chat": {"judge": {"engine": "fake", "rubric": "honesty"}},
        },
    }
}


def reply(request):
    maths = "Correctness:" in request.messages[1]["content"]
    return Completion("Score: 5" if maths else "Score: 2")


def judged(form, view):
    ctx = context(reply)
    made = stage_registry.parse(form, "here").apply(view, ctx)["judgments"]
    assert made.type == JUDGMENTS
    return [[(j["aspect"], j["score"]) for j in row] for row in made.to_pylist()], ctx


def with_kinds(kinds):
    return table([["a", "b"]] * len(kinds), kind=pa.array(kinds))


def test_each_row_goes_to_the_stage_for_its_kind():
    found, ctx = judged(FORM, with_kinds(["chat", None, "maths", "poems", "chat"]))
    chat, maths = [("honesty", 2.0)] * 2, [("correctness", 5.0)] * 2
    assert found == [chat, [], maths, [], chat]
    assert ctx.counts["calls"] == 6
    assert (ctx.counts["rows of chat"], ctx.counts["rows of no kind"]) == (2, 2)
    form = {"route": FORM["route"] | {"otherwise": {"judge": {"engine": "fake"}}}}
    found, _ = judged(form, with_kinds(["poems", "maths"]))
    assert found == [[("helpfulness", 2.0)] * 2, maths]
    assert judged(FORM, with_kinds(["poems"]).slice(0, 0))[0] == []


def test_of_a_list_the_first_kind_that_has_a_stage_counts():
    lists = pa.array([["chat", "maths"], ["poems", "chat"], [], None], pa.list_(pa.string()))
    found, _ = judged(FORM, table([["a"]] * 4, kind=lists))
    assert [row[0][0] if row else None for row in found] == ["correctness", "honesty", None, None]
    with pytest.raises(StageError, match="texts or lists of texts"):
        judged(FORM, table([["a"]], kind=pa.array([1.0])))


def test_what_a_row_gets_is_what_its_stage_alone_gives():
    view = with_kinds(["chat", "maths", "chat"])
    alone = Judge(engine="fake", rubric="honesty").apply(view, context(reply))["judgments"]
    routed = stage_registry.parse(FORM, "here").apply(view, context(reply))["judgments"]
    assert routed.to_pylist()[0::2] == alone.to_pylist()[0::2]


def test_its_form_columns_engines_and_identity_are_those_of_its_stages():
    stage = stage_registry.parse(FORM, "here")
    assert stage_registry.parse(stage.to_yaml(), "here") == stage
    assert stage.to_yaml() == FORM
    assert stage.needed() == ("kind", "id", "prompt", "candidates")
    assert list(stage.engine_roles()) == [("fake", ("chat",))] * 2
    turned = Route(by="kind", to=dict(reversed(stage.to.items())))
    assert turned.identity() != stage.identity()
    assert stage.identity()["to"][0][1]["templates"]


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("exact_dedup", "more than append judgments"),
        ({"generate": {"engine": "x"}}, "more than append judgments"),
        ({"judge": {"engine": "x", "rubrik": "y"}}, "unknown field 'rubrik'"),
    ],
)
def test_only_what_judges_and_nothing_else_can_stand_in_it(inner, message):
    with pytest.raises(ConfigError, match=message):
        stage_registry.parse({"route": {"by": "kind", "to": {"a": inner}}}, "stage 1")


def test_a_field_of_an_inner_stage_can_be_set():
    text = """
name: x
source: {jsonl: {path: x.jsonl}}
engines: {fake: {scripted: {}}}
stages:
  - route: {by: id, to: {maths: {judge: {engine: fake}}}}
"""
    pipeline = Pipeline.loads(text, ["route.to.maths.judge.rubric=honesty"])
    assert pipeline.stages[0].to["maths"].rubric == "honesty"
    assert Pipeline.loads(pipeline.dumps()) == pipeline
