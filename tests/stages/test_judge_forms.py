"""The forms of an answer that `judge` reads: odds, several aspects, checklists, schemas, N/A."""

import pyarrow as pa
import pytest
from fake_engine import asked, context, table
from judged_rows import of_judgments

from curate.engines.contract import Completion
from curate.errors import ConfigError, StageError
from curate.stages.judge import Judge


def test_expected_score_and_least_mass():
    logp = iter([(-4.0, -2.0, -1.0, -0.9, -3.0), (-3.0,) * 5, None])
    ctx = context(lambda r: Completion("4", "truncated", "length", choice_logprobs=next(logp)))
    stage = Judge(engine="fake", score="expected")
    rows = stage.apply(table([["a", "b"], ["c"]]), ctx)["judgments"].to_pylist()
    first, second, third = [j for row in rows for j in row]
    assert first["score"] == pytest.approx(3.341734, abs=1e-5)
    assert first["spread"] ** 2 == pytest.approx(0.715948, abs=1e-5)
    for thin in (second, third):
        assert (thin["score"], thin["spread"], thin["status"]) == (None, None, "parse_error")
    request = ctx.engines["fake"].requests[0]
    assert request.choices == ("1", "2", "3", "4", "5")
    assert request.messages[-1] == {"role": "assistant", "content": "Score: "}
    assert request.sampling.max_tokens == 1
    assert dict(stage.engine_roles()) == {"fake": ("chat", "token_probs")}


def test_all_aspects_in_one_call(tmp_path):
    ctx = context(lambda r: Completion("So.\nhelpfulness: 4\nhonesty: 9"))
    stage = Judge(engine="fake", rubric=("helpfulness", "honesty"), together=True)
    made = stage.apply(table([["a", "b"]]), ctx)
    each = [("helpfulness", 4.0, "ok"), ("honesty", None, "parse_error")]
    assert of_judgments(made, "aspect", "score", "status") == [each * 2]
    assert ctx.counts["calls"] == 2
    assert "Helpfulness:" in asked(ctx)[0]
    assert "Honesty:" in asked(ctx)[0]
    odd = tmp_path / "clear: or not.md"
    odd.write_text("Is it clear?")
    with pytest.raises(ConfigError, match="rename 'clear: or not'"):
        Judge(engine="fake", rubric=("helpfulness", str(odd)), together=True)
    failed = context(lambda r: Completion("", "refused"))
    made = stage.apply(table([["a"]]), failed)
    assert of_judgments(made, "score", "status") == [[(None, "refused")] * 2]


def test_a_checklist_scores_the_share_of_yes(tmp_path):
    path = tmp_path / "tea.md"
    path.write_text("- Is it hot?\n- Is it tea?\n")
    replies = iter(["1: yes\n2: no", "1: yes", "1: yes\n2: yes"])
    stage = Judge(engine="fake", rubric=str(path), score="checklist")
    ctx = context(lambda r: Completion(next(replies)))
    made = stage.apply(table([["a", "b", "c"]]), ctx)
    assert of_judgments(made, "aspect", "score", "status") == [
        [("tea", 0.5, "ok"), ("tea", None, "parse_error"), ("tea", 1.0, "ok")]
    ]
    assert "1. Is it hot?\n2. Is it tea?" in asked(ctx)[0]
    Judge(engine="fake", rubric="checklist", score="checklist")
    with pytest.raises(ConfigError, match="no checklist"):
        Judge(engine="fake", score="checklist")


def test_each_row_may_bring_its_own_checklist():
    items = pa.array([["Is it\n1. red?", "Is it blue?"], None, ["Is it {wet}?"], []])
    view = table([["a"], ["b"], ["c", "d"], ["e"]], items=items)
    reply = {"red": "1: yes\n2: no", "wet": "1: yes"}
    ctx = context(
        lambda r: Completion(next(v for k, v in reply.items() if k in r.messages[-1]["content"]))
    )
    stage = Judge(engine="fake", score="checklist", items="items")
    assert stage.needed() == ("id", "prompt", "candidates", "items")
    made = stage.apply(view, ctx)
    assert of_judgments(made, "a", "aspect", "score") == [
        [(0, "items", 0.5)],
        [],
        [(0, "items", 1.0), (1, "items", 1.0)],
        [],
    ]
    assert "1. Is it 1. red?\n2. Is it blue?\n</questions-" in asked(ctx)[0]
    with pytest.raises(StageError, match="lists of texts"):
        stage.apply(table([["a"]], items=pa.array([1])), ctx)


def test_structured_answers_are_asked_for_with_a_schema():
    ctx = context(lambda r: Completion('{"feedback": "Score: 1", "score": 4}'))
    stage = Judge(engine="fake", structured=True, high=10)
    made = stage.apply(table([["a"]]), ctx)
    assert of_judgments(made, "score", "status") == [[(4.0, "ok")]]
    (request,) = ctx.engines["fake"].requests
    assert request.json_schema["properties"]["score"]["enum"] == list(range(1, 11))
    assert request.json_schema["required"] == ["feedback", "score"]
    assert dict(stage.engine_roles()) == {"fake": ("chat", "structured")}
    both = Judge(engine="fake", structured=True, together=True, rubric=("helpfulness", "honesty"))
    ctx = context(lambda r: Completion('{"feedback": "", "helpfulness": 4, "honesty": 2}'))
    made = both.apply(table([["a"]]), ctx)
    assert of_judgments(made, "aspect", "score") == [[("helpfulness", 4.0), ("honesty", 2.0)]]
    listed = Judge(engine="fake", structured=True, score="checklist", rubric="checklist")
    seven = ", ".join(['"yes"'] * 6 + ['"no"'])
    ctx = context(lambda r: Completion(f'{{"feedback": "", "items": [{seven}]}}'))
    made = listed.apply(table([["a"]]), ctx)
    assert of_judgments(made, "score") == [[(pytest.approx(6 / 7),)]]


def test_na_is_no_score_and_only_where_it_may_be():
    def readings(said, **fields):
        stage = Judge(
            engine="fake", rubric=("helpfulness", "honesty"), max_error_rate=1.0, **fields
        )
        ctx = context(lambda r: Completion(said))
        made = stage.apply(table([["a"]]), ctx)["judgments"].to_pylist()[0]
        return [(j["aspect"], j["score"], j["status"]) for j in made], asked(ctx)

    may = {"not_applicable": ("honesty",)}
    for said, fields in (
        ("None of it.\nScore: N/A", {}),
        ("None.\nhelpfulness: N/A\nhonesty: N/A", {"together": True}),
        ('{"feedback": "", "score": "N/A"}', {"structured": True}),
        (
            '{"feedback": "", "helpfulness": "N/A", "honesty": "N/A"}',
            {"structured": True, "together": True},
        ),
    ):
        found, calls = readings(said, **may, **fields)
        assert found == [
            ("helpfulness", None, "parse_error"), ("honesty", None, "not_applicable"),
        ]  # fmt: skip
        assert ["write N/A" in text for text in calls] == [False, True][-len(calls) :]
        found, calls = readings(said, **fields)
        assert {status for _, _, status in found} == {"parse_error"}
        assert not any("N/A" in text for text in calls)
    assert [score for _, score, _ in readings("Score: 4", **may)[0]] == [4, 4]
    with pytest.raises(ValueError, match="score: parsed"):
        Judge(engine="fake", score="expected", rubric="honesty", not_applicable=("honesty",))
    with pytest.raises(ValueError, match="names no rubric"):
        Judge(engine="fake", not_applicable=("honesty",))
