import pyarrow as pa
import pytest
from fake_engine import context, table

from curate.engines.contract import Completion
from curate.errors import ConfigError, StageError
from curate.stages.write import Write

META = pa.array(['{"who": "an old sailor", "n": 3}', "{}", None], pa.string())


def view():
    return table([[], [], []], meta=META)


def reply(request):
    said = request.messages[-1]["content"]
    if "question 1" in said:
        return Completion("cut", "truncated", "length")
    if "question 2" in said:
        return Completion("  \n")
    return Completion(" - Is it short?\n- Is it kind?\n")


def test_the_engine_is_shown_what_the_template_names(tmp_path):
    path = tmp_path / "own.md"
    path.write_text("For {person}, asked {prompt}: write.")
    ctx = context(reply)
    stage = Write(engine="fake", template=str(path), to="note", show={"person": "meta.who"})
    assert stage.needed() == ("id", "meta", "prompt")
    made = stage.apply(view(), ctx)
    shown = [r.messages[0]["content"] for r in ctx.engines["fake"].requests]
    assert "<person-" in shown[0]
    assert "\nan old sailor\n</person-" in shown[0]
    assert "\nquestion 0\n</prompt-" in shown[0]
    assert "\n\n</person-" in shown[1]
    assert made["note"].to_pylist() == ["- Is it short?\n- Is it kind?", None, None]
    assert made["drop"].to_pylist() == [None, "no note: truncated", "no note: empty"]
    assert len(stage.apply(view().slice(0, 0), context(reply))["note"]) == 0


@pytest.mark.parametrize("name", ["rows", "opening", "self", "values"])
def test_a_placeholder_may_have_any_name(tmp_path, name):
    path = tmp_path / "own.md"
    path.write_text(f"About {{{name}}}: write.")
    ctx = context(reply)
    Write(engine="fake", template=str(path), to="note", show={name: "meta.who"}).apply(view(), ctx)
    assert "\nan old sailor\n" in ctx.engines["fake"].requests[0].messages[0]["content"]


def test_a_row_whose_call_failed_is_failed_and_one_too_long_is_dropped():
    lost = {
        "question 0": Completion("", "api_error", error="HTTP 500"),
        "question 1": Completion("", "too_long", error="prompt too long: 9 tokens, window 8"),
        "question 2": Completion("Kind."),
    }

    def failing(request):
        return next(v for k, v in lost.items() if k in request.messages[-1]["content"])

    stage = Write(engine="fake", template="write_criteria", to="note", max_error_rate=0.5)
    made = stage.apply(view(), context(failing))
    assert made["note"].to_pylist() == [None, None, "Kind."]
    assert made["fail"].to_pylist() == ["the call failed: HTTP 500", None, None]
    assert made["drop"].to_pylist() == [
        None, "no note: prompt too long: 9 tokens, window 8", None,
    ]  # fmt: skip


def test_a_list_and_what_is_not_required():
    stage = Write(
        engine="fake", template="write_criteria", to="criteria", form="list", required=False, most=1
    )
    made = stage.apply(view(), context(reply))
    assert made["criteria"].to_pylist() == [["Is it short?"], None, None]
    assert "drop" not in made
    ctx = context(lambda request: Completion("- Is it kind?\n- Is it sho", "truncated", "length"))
    stage = stage.model_copy(update={"required": True})
    made = stage.apply(view(), ctx)
    assert made["criteria"].to_pylist() == [["Is it kind?"]] * 3  # the whole lines of a cut list
    assert made["drop"].null_count == 3


def test_the_template_is_part_of_the_identity(tmp_path):
    path, prints = tmp_path / "own.md", []
    for text in ("Say {prompt}", "Tell {prompt}"):
        path.write_text(text)
        prints.append(Write(engine="e", template=str(path), to="x").identity())
    assert prints[0] != prints[1]


def test_what_cannot_be_is_refused(tmp_path):
    path = tmp_path / "own.md"
    path.write_text("nothing of the row")
    with pytest.raises(ValueError, match="shows nothing of the row"):
        Write(engine="e", template=str(path), to="x")
    with pytest.raises(ValueError, match=r"no placeholder \{who\}"):
        Write(engine="e", template="write_criteria", to="x", show={"who": "meta.who"})
    with pytest.raises(ValueError, match="another meaning"):
        Write(engine="e", template="write_criteria", to="scores")
    with pytest.raises(ConfigError, match="no built-in prompt"):
        Write(engine="e", template="write_criterias", to="x")
    path.write_text("{number}")
    stage = Write(engine="fake", template=str(path), to="x")
    rows = view().append_column("number", pa.array([1, 2, 3]))
    with pytest.raises(StageError, match="holds int64"):
        stage.apply(rows, context(reply))


def test_a_text_or_a_list_in_json():
    said = {
        "list": '{"texts": ["Is it short?", "...", "Is it kind?"]}',
        "text": '{"text": " A note. "}',
    }
    for form, expected in (("list", ["Is it short?", "Is it kind?"]), ("text", "A note.")):
        ctx = context(lambda _, form=form: Completion(said[form]))
        fields = {"template": "write_criteria", "form": form, "to": "note", "structured": True}
        stage = Write(engine="fake", **fields)
        assert stage.apply(view(), ctx)["note"].to_pylist() == [expected] * 3
        request = ctx.engines["fake"].requests[0]
        shown = '"texts", and that stands for' if form == "list" else '"text", and that stands for'
        assert shown in request.messages[-1]["content"].rpartition("\n\n")[2]
        assert request.json_schema["required"] == ["texts" if form == "list" else "text"]
        other = context(lambda _: Completion("- Is it short?"))
        assert stage.apply(view(), other)["drop"].to_pylist() == ["no note: empty"] * 3
