import json

import pytest
from fake_engine import context, table

from curate.engines.contract import Completion
from curate.errors import StageError
from curate.schema import DROP
from curate.stages.rationale import Rationale, usable_rationale


def preferred(request):
    """Which answer the writer was told is the preferred one."""
    return request.messages[-1]["content"].split("preferred Answer ")[1][0]


def because(request):
    return Completion(f"Because it is right.\n[[{preferred(request)}]]")


def test_one_per_live_pair_in_a_random_order_that_is_kept():
    view = table(
        [["good", "bad", "poor"]] * 40, pairs=[[(0, 1, None), (0, 2, "margin"), (0, 2, None)]] * 40
    )
    ctx = context(because)
    made = Rationale(engine="fake").apply(view, ctx)
    assert (
        made["rationales"].to_pylist()
        == [["Because it is right.", None, "Because it is right."]] * 40
    )
    orders = made["rationale_orders"].to_pylist()
    assert all(row[1] is None for row in orders)
    shown = [o for row in orders for o in row if o is not None]
    assert 20 <= shown.count("ab") <= 60
    for order, request in zip(shown, ctx.engines["fake"].requests, strict=True):
        text = request.messages[-1]["content"]
        assert ("preferred Answer A" in text) == (order == "ab")
        assert ("good" in text.split("Answer B:")[0]) == (order == "ab")


def test_same_rows_alone_give_the_same_orders():
    view = table([["g", "b"]] * 8, pairs=[[(0, 1, None)]] * 8)
    stage = Rationale(engine="fake", detail="specific")
    whole = stage.apply(view, context(because))["rationale_orders"].to_pylist()
    part = stage.apply(view.slice(3, 2), context(because))
    assert part["rationale_orders"].to_pylist() == whole[3:5]


@pytest.mark.parametrize(
    ("answer", "text", "status"),
    [
        (Completion(" Clear.\n[[A]] "), "Clear.", "ok"),
        (Completion("Clear.\n\n**Verdict: A**"), "Clear.", "ok"),
        (Completion("It is clear. [[A]]"), "It is clear.", "ok"),
        (Completion("<think>hm [[B]]</think>Clear.\n[[A]]"), "Clear.", "ok"),
        (Completion("B says [[B]] itself.\n[[A]]"), "B says [[B]] itself.", "ok"),
        (Completion("It is clear. It is als", "truncated"), None, "truncated"),
        (Completion("<think>hm", "ok"), None, "truncated"),
        (Completion("", "api_error"), None, "api_error"),
        (Completion("  "), None, "parse_error"),
        (Completion("[[A]]"), None, "parse_error"),
        (Completion("Clear."), None, "parse_error"),
        (Completion("Clear.\n[[A]] or [[B]]"), None, "parse_error"),
        (Completion("Clear.\nVerdict: B"), None, "contradiction"),
        (Completion("They are alike.\n[[tie]]"), None, "contradiction"),
        (Completion("I cannot help with that."), None, "refused"),
        (Completion("I cannot help with that.\n[[A]]"), None, "refused"),
    ],
)
def test_usable_rationale(answer, text, status):
    assert usable_rationale(answer.text, answer.status, "A") == (text, status)


SPEAK_FOR_B = [
    "The better answer is B.", "Answer B wins.", "**Answer B** is better.", "I prefer Answer B.",
    "Answer A is worse than Answer B.", "B answers what was asked, and A does not.",
    "Answer B is clearly better, as it counts.", "response b was the stronger one",
    "Answer A is not the one to choose.", "A is wrong.", "Go with the second answer.",
]  # fmt: skip


@pytest.mark.parametrize("reasons", SPEAK_FOR_B)
def test_reasons_for_the_other_answer_are_told_by_how_they_end(reasons):
    for ending, expected in (("[[B]]", "contradiction"), ("", "parse_error")):
        assert usable_rationale(f"{reasons}\n{ending}", "ok", "A") == (None, expected)
    assert usable_rationale(f"{reasons}\n[[B]]", "ok", "B") == (reasons, "ok")


def test_the_label_within_the_rationale_turns_with_the_order():
    view = table([["good", "bad"]] * 20, pairs=[[(0, 1, None)]] * 20)
    ctx = context(lambda r: Completion(f"{preferred(r)} counts.\n[[{preferred(r)}]]"))
    made = Rationale(engine="fake").apply(view, ctx)
    pairs = zip(made["rationales"].to_pylist(), made["rationale_orders"].to_pylist(), strict=True)
    assert {(text, order) for (text,), (order,) in pairs} == {
        ("A counts.", "ab"),
        ("B counts.", "ba"),
    }


def test_both_kinds_in_one_run_in_one_order():
    def answer(request):
        kind = "specific" if "Quote the words" in request.messages[-1]["content"] else "general"
        return Completion(f"{kind}\n[[{preferred(request)}]]")

    view = table([["g", "b", "c"]] * 4, pairs=[[(0, 1, None), (1, 2, "margin"), (0, 2, None)]] * 4)
    stage = Rationale(engine="fake", detail="both", required=True)
    assert stage.written() == ("rationales", "rationale_orders", "specific_rationales", "pairs")
    ctx = context(answer)
    made = stage.apply(view, ctx)
    assert made["rationales"].to_pylist() == [["general", None, "general"]] * 4
    assert made["specific_rationales"].to_pylist() == [["specific", None, "specific"]] * 4
    asked = [preferred(r) for r in ctx.engines["fake"].requests]
    assert asked[:8] == asked[8:]
    alone = Rationale(engine="fake").apply(view, context(answer))
    assert alone["rationale_orders"].to_pylist() == made["rationale_orders"].to_pylist()


def test_with_both_kinds_a_pair_needs_both():
    def answer(request):
        specific = "Quote the words" in request.messages[-1]["content"]
        return Completion("Why.\n[[tie]]" if specific else f"Why.\n[[{preferred(request)}]]")

    view = table([["g", "b"]], pairs=[[(0, 1, None)]])
    ctx = context(answer)
    made = Rationale(engine="fake", detail="both", required=True).apply(view, ctx)
    assert made["rationales"].to_pylist() == [["Why."]]
    assert made["specific_rationales"].to_pylist() == [[None]]
    assert made[DROP].to_pylist() == ["no rationale that supports the label"]
    assert ctx.counts["replies: contradiction"] == 1


def test_failures_are_null_and_budgeted():
    view = table([["g", "b"]], pairs=[[(0, 1, None)]])
    broken = context(lambda r: Completion("", "api_error", error="dead"))
    with pytest.raises(StageError, match="dead"):
        Rationale(engine="fake").apply(view, broken)
    made = Rationale(engine="fake", max_error_rate=1.0).apply(view, broken)
    assert made["rationales"].to_pylist() == made["rationale_orders"].to_pylist() == [[None]]
    assert len(Rationale(engine="fake").apply(view.slice(0, 0), broken)["rationales"]) == 0
    with pytest.raises(ValueError, match="detail"):
        Rationale(engine="fake", detail="poetic")


def test_required_drops_the_pairs_without_one():
    view = table([["g", "b", "c"]] * 2, pairs=[[(0, 1, None), (0, 2, "margin")], [(0, 1, None)]])
    stage = Rationale(engine="fake", required=True)
    assert stage.written() == ("rationales", "rationale_orders", "pairs")
    kept = stage.apply(view, context(because))
    assert [[p["drop"] for p in row] for row in kept["pairs"].to_pylist()] == [
        [None, "margin"],
        [None],
    ]
    lost = stage.apply(view, context(lambda r: Completion("I cannot help with that.")))
    assert lost[DROP].to_pylist() == ["no rationale that supports the label"] * 2


@pytest.mark.parametrize(
    ("text", "rationale", "status"),
    [
        ('{"rationale": " Clear. ", "better": "A"}', "Clear.", "ok"),
        ('{"rationale": "It says <think>.", "better": "A"}', "It says <think>.", "ok"),
        ('{"rationale": "Clear.", "better": "B"}', None, "contradiction"),
        ('{"rationale": "...", "better": "A"}', None, "parse_error"),
        ('{"rationale": "Clear.", "better": "C"}', None, "parse_error"),
        ('{"rationale": "I cannot help with that.", "better": "A"}', None, "refused"),
        ("Clear.\n[[A]]", None, "parse_error"),
    ],
)
def test_a_rationale_in_json(text, rationale, status):
    assert usable_rationale(text, "ok", "A", structured=True) == (rationale, status)


def test_a_rationale_in_json_is_asked_for_in_json():
    view = table([["good", "bad"]] * 4, pairs=[[(0, 1, None)]] * 4)
    ctx = context(
        lambda r: Completion(json.dumps({"rationale": "It counts.", "better": preferred(r)}))
    )
    made = Rationale(engine="fake", structured=True).apply(view, ctx)
    assert made["rationales"].to_pylist() == [["It counts."]] * 4
    for request in ctx.engines["fake"].requests:
        assert list(request.json_schema["properties"]) == ["rationale", "better"]
        said = request.messages[-1]["content"]
        assert said.endswith('{"rationale": "...", "better": "..."}')
        assert f"not Answer {preferred(request)}:" in said
