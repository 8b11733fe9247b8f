import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fake_engine import context, table

from curate.arrays import concat_lists
from curate.engines.contract import Completion
from curate.export.trl_forms import preference
from curate.schema import CANDIDATES, PAIRS, PROMPT
from curate.stages.drop_quotes import DropQuotes
from curate.stages.find_feedback import FindFeedback

ASK, POOR, ANGRY = "Name three rivers.", "Rivers are long.", "I asked for names of rivers, please."
GOOD, THANKS = "Rhine, Nile, Amur.", "Great, thank you!"
KINDS = {ANGRY: "ignored", THANKS: "gratitude"}
TALKS = {
    "angry": [ASK, POOR, ANGRY],
    "then_thanks": [ASK, POOR, ANGRY, GOOD, THANKS],
    "thanks_first": [ASK, GOOD, THANKS, POOR, ANGRY],
    "content": [ASK, GOOD, THANKS],
    "goes_on": [ASK, GOOD, "And lakes?"],
    "short": [ASK, GOOD],
    "unread": [ASK, POOR, "mumble"],
}


def conversation(turns):
    return [{"role": ("user", "assistant")[k % 2], "content": t} for k, t in enumerate(turns)]


def view(*names):
    rows = table([[] for _ in names])
    prompts = pa.array([conversation(TALKS[name]) for name in names], PROMPT)
    return rows.set_column(rows.column_names.index("prompt"), "prompt", prompts)


def reply(request):
    said = request.messages[-1]["content"]
    if "mumble" in said:
        return Completion("I would say they are content.")
    lines = []
    for turn in (3, 5):
        for text, kind in KINDS.items():
            if f"[{turn}: user]\n{text}" in said:
                lines.append(f"{turn}: {kind}")
        if f"[{turn}: user]\nAnd lakes" in said:
            lines.append(f"{turn}: none")
    return Completion("\n".join(lines))


def found(*names, **fields):
    made = FindFeedback(engine="fake", **fields).apply(view(*names), context(reply))
    return {name: column.to_pylist() for name, column in made.items()}


def test_a_three_turn_transcript_is_cut_before_the_answer():
    made = FindFeedback(engine="fake").apply(view("angry"), context(reply))
    assert made["prompt"].type == PROMPT
    assert made["candidates"].type == CANDIDATES
    rows = {name: column.to_pylist()[0] for name, column in made.items()}
    assert rows["prompt"] == [{"role": "user", "content": ASK}]
    assert rows["cut_turn"] == 1
    assert [c["text"] for c in rows["candidates"]] == [POOR] == [rows["answer"]]
    assert rows["candidates"][0]["model"] == "conversation"
    assert (rows["feedback"], rows["feedback_kind"]) == (ANGRY, "ignored")
    assert rows["reactions"] == [None, None, "ignored"]
    assert rows["drop"] is None
    kept = {word for turn in rows["prompt"] for word in turn["content"].lower().split()}
    assert not kept & {"asked", "please."}  # no word of the feedback alone


def test_the_first_wanted_reaction_counts():
    rows = found("then_thanks", "thanks_first")
    assert rows["cut_turn"] == [1, 3]
    assert rows["answer"] == [POOR, POOR]
    assert rows["prompt"][1] == conversation(TALKS["thanks_first"][:3])
    assert rows["reactions"][0] == [None, None, "ignored", None, "gratitude"]
    rows = found("then_thanks", "thanks_first", wanted="content")
    assert rows["cut_turn"] == [3, 1]
    assert rows["answer"] == [GOOD, GOOD]
    assert found("then_thanks", "thanks_first", wanted="any")["cut_turn"] == [1, 1]


def test_conversations_without_a_complaint_go_with_a_reason():
    rows = found("content", "goes_on", "short", "unread")
    assert rows["drop"] == [
        "no discontent",
        "no discontent",
        "no turn that could react to an answer",
        "reactions not read: parse_error",
    ]
    assert rows["candidates"] == [[], [], [], []]
    assert rows["prompt"][0] == conversation(TALKS["content"])
    assert rows["reactions"][3] == [None, None, None]
    assert found("goes_on", wanted="any")["drop"] == ["neither content nor discontent"]


def test_the_engine_is_asked_about_later_user_turns_only():
    ctx = context(reply)
    FindFeedback(engine="fake").apply(view("short", "then_thanks"), ctx)
    (request,) = ctx.engines["fake"].requests
    assert "these turns: 3, 5." in request.messages[-1]["content"]
    assert ctx.counts["feedback: ignored"] == 1
    none = FindFeedback(engine="fake").apply(view("short").slice(0, 0), context(reply))
    assert {len(column) for column in none.values()} == {0}


@pytest.mark.parametrize(("words", "why"), [(6, "quotes feedback: i asked for names of rivers"),
                                            (8, None)])  # fmt: skip
def test_an_answer_that_gives_the_feedback_away_is_dropped(words, why):
    rows = table([["As I asked for names of rivers: Rhine.", GOOD]], drops=[[None, "cut off"]])
    rows = rows.append_column("feedback", pa.array([ANGRY]))
    ctx = context(reply)
    made = DropQuotes(of=("feedback",), words=words).apply(rows, ctx)["candidates"].to_pylist()
    assert [c["drop"] for c in made[0]] == [why, "cut off"]
    assert ctx.counts["quotes of feedback"] == (why is not None)


def test_no_exported_record_of_the_shipped_conversations_holds_the_feedback():
    lines = Path("data/conversations.jsonl").read_text(encoding="utf-8").splitlines()
    talks = [json.loads(line)["conversation"] for line in lines]
    assert sum(len(turns) > 2 for turns in talks) > 15
    for turn in (3, 5):
        rows = table([[] for _ in talks])
        place = rows.column_names.index("prompt")
        rows = rows.set_column(place, "prompt", pa.array(talks, PROMPT))
        ctx = context(lambda request, turn=turn: Completion(f"{turn}: revision"))
        made = FindFeedback(engine="fake").apply(rows.drop_columns(["candidates"]), ctx)
        made = pa.table(made).filter(pc.is_null(made["drop"]))
        assert len(made) > 3
        pairs = pa.array([[{"chosen": 1, "rejected": 0}]] * len(made), PAIRS)
        fresh = pa.array([[{"text": "A new answer."}]] * len(made), CANDIDATES)
        given = {
            "id": pa.array([str(k) for k in range(len(made))]),
            "prompt": made["prompt"],
            "candidates": concat_lists(made["candidates"], fresh),
            "pairs": pairs,
        }
        records = preference(pa.table(given)).table.select(["prompt", "chosen", "rejected"])
        for record, said in zip(records.to_pylist(), made["feedback"].to_pylist(), strict=True):
            assert said
            assert not any(said in turn["content"] for part in record.values() for turn in part)


def test_a_conversation_whose_call_failed_is_a_failed_row():
    def failing(request):
        if "mumble" in request.messages[-1]["content"]:
            return Completion("", "api_error", error="HTTP 500")
        if "lakes" in request.messages[-1]["content"]:
            return Completion("", "too_long", error="prompt too long: 9 tokens, window 8")
        return reply(request)

    rows = view("short", "unread", "goes_on", "angry")
    made = FindFeedback(engine="fake", max_error_rate=0.5).apply(rows, context(failing))
    assert made["fail"].to_pylist() == [None, "the call failed: HTTP 500", None, None]
    assert made["drop"].to_pylist()[1:] == [
        None, "reactions not read: prompt too long: 9 tokens, window 8", None,
    ]  # fmt: skip


def test_kinds_in_json_are_asked_for_under_the_turns_numbers():
    kinds = {"3": "ignored", "5": "gratitude"}

    def told(request):
        return Completion(json.dumps({k: kinds[k] for k in request.json_schema["required"]}))

    ctx = context(told)
    made = FindFeedback(engine="fake", structured=True).apply(view("angry", "then_thanks"), ctx)
    assert made["feedback_kind"].to_pylist() == ["ignored", "ignored"]
    assert made["reactions"].to_pylist()[1] == [None, None, "ignored", None, "gratitude"]
    asked = [request.json_schema for request in ctx.engines["fake"].requests]
    assert [schema["required"] for schema in asked] == [["3"], ["3", "5"]]
    assert asked[0]["properties"]["3"]["enum"][-1] == "none"
    plain = context(lambda _: Completion("3: ignored"))
    lost = FindFeedback(engine="fake", structured=True).apply(view("angry"), plain)
    assert lost["drop"].to_pylist() == ["reactions not read: parse_error"]
