"""What `curate show` says was asked is what was asked."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

import curate.store
from curate.cli import app
from curate.commands.rows import history_lines
from curate.engines.scripted import ScriptedEngine
from curate.errors import ConfigError
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.replay import LATER, show_row

PIPELINE = """
name: shown
source: {jsonl: {path: PATH, shard_rows: 5, columns: {id: id, prompt: prompt, reference: good}}}
seed: 3
engines:
  a: {scripted: {model: "model-a"}}
  b: {scripted: {model: "model-b"}}
  j: {scripted: {model: "model-j", replies: ["Fine.\\nScore: 4", "Weak.\\nScore: 2", "no idea"]}}
  p: {scripted: {model: "model-p", replies: ["It is so.\\nVerdict: A", "No.\\nVerdict: B", "hm"]}}
  l: {scripted: {model: "model-l", replies: ["Ranking: 2 > 1 > 3 > 4", "Ranking: 1 > 2 > 3 > 4"]}}
stages:
  - judge_prompts: {engine: j}
  - generate: {engine: [a, b], n: 2, system: ["Be brief.", "Be kind."]}
  - judge: {engine: j, rubric: [helpfulness, honesty], samples: 2}
  - judge: {engine: j, score: expected, name: odds}
  - judge_pairs: {engine: p}
  - judge_list: {engine: l, orders: 2}
  - tournament: {schedule: swiss, rounds: 2, judge: {engine: p, name: cup}}
  - likelihood: {engine: a}
  - combine
  - best_worst
  - rationale: {engine: a}
export: null
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run, and all that its engines were asked: (messages, seed) as JSON."""
    root = tmp_path_factory.mktemp("shown")
    path = root / "rows.jsonl"
    rows = [{"id": f"r{i}", "prompt": f"Question <{i}>?", "good": f"G{i}"} for i in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sent: list[tuple[Any, Any]] = []
    chat = ScriptedEngine.chat

    def listening(self: ScriptedEngine, requests: Any) -> Any:
        sent.extend((list(r.messages), r.seed) for r in requests)
        return chat(self, requests)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptedEngine, "chat", listening)
        run(Pipeline.loads(PIPELINE.replace("PATH", str(path))), root, executor=Local(workers=2))
    return {"root": root, "sent": sent}


def calls_of(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [call for step in steps if "calls" in step for call in step["calls"]]


@pytest.mark.parametrize("number", [0, 7, 11])
def test_every_call_is_shown_as_it_was_sent(shown: dict[str, Any], number: int) -> None:
    calls = calls_of(show_row(shown["root"], "shown", f"r{number}"))
    assert LATER not in calls
    mine = [entry for entry in shown["sent"] if f"<{number}>" in json.dumps(entry[0])]
    again = [(call["messages"], call.get("seed")) for call in calls if "continuation" not in call]
    assert sorted(map(orjson.dumps, again)) == sorted(map(orjson.dumps, mine))
    assert len([call for call in calls if "continuation" in call]) == 4  # likelihood's


def test_answers_and_what_was_read_in_them_are_beside_the_prompt(shown: dict[str, Any]) -> None:
    steps = {}
    for step in show_row(shown["root"], "shown", "r7"):
        steps.setdefault(step["stage"], []).append(step)
    (made,) = steps["generate"]
    texts = {c["text"] for c in made["candidates"]}
    assert {call["answer"] for call in made["calls"]} == texts
    assert [call["gave"][0]["at"] for call in made["calls"]] == [0, 1, 2, 3]
    assert [call["tokens"] for call in made["calls"]] == [4] * 4
    graded, odds = steps["judge"]
    assert len(graded["calls"]) == 4 * 2 * 2
    for call in graded["calls"]:
        (entry,) = call["gave"]
        assert made["candidates"][entry["a"]]["text"] in call["messages"][-1]["content"]
        assert entry["aspect"].lower() in call["messages"][-1]["content"].lower()
        read = {"Fine.\nScore: 4": 4.0, "Weak.\nScore: 2": 2.0, "no idea": None}
        assert entry["score"] == read[call["answer"]]
        assert (call["prompt_tokens"], call["tokens"]) == (1, 4)  # as the scripted engine counts
    assert all(call["choices"] for call in odds["calls"])
    assert graded["shard"]["calls"] == 5 * 16
    assert graded["shard"]["engines"]["j"]["model"] == "model-j"
    (prompts,) = steps["judge_prompts"]
    assert [call["answer"] for call in prompts["calls"]] == [None]  # only the score is stored


def test_pairs_show_the_order_of_presentation(shown: dict[str, Any]) -> None:
    steps = show_row(shown["root"], "shown", "r7")
    made = next(s for s in steps if s["stage"] == "generate")["candidates"]
    for stage in ("judge_pairs", "tournament"):
        calls = next(s for s in steps if s["stage"] == stage)["calls"]
        assert calls
        for call in calls:
            (entry,) = call["gave"]
            text = call["messages"][-1]["content"]
            at = [text.index(made[entry[k]]["text"] + "\n</answer") for k in ("a", "b")]
            assert (at[0] < at[1]) == (entry["order"] == "ab")
            sign = {"It is so.\nVerdict: A": 1, "No.\nVerdict: B": -1, "hm": None}[call["answer"]]
            turned = 1 if entry["order"] == "ab" else -1
            assert entry["score"] == (None if sign is None else sign * turned)
    (one, two) = next(s for s in steps if s["stage"] == "judge_list")["calls"]
    for call in (one, two):
        order = [entry["a"] for entry in call["gave"]]  # judgments stand in the order shown
        text = call["messages"][-1]["content"]
        where = [text.index(made[k]["text"] + "\n</answer") for k in order]
        assert where == sorted(where)


def test_a_template_that_changed_since_is_not_passed_off_as_what_was_sent(
    shown: dict[str, Any],
) -> None:
    path = shown["root"] / "runs" / "shown" / "manifest.json"
    whole = path.read_bytes()
    found = json.loads(whole)
    place = next(i for i, s in enumerate(found["stages"]) if s["kind"] == "judge_pairs")
    found["stages"][place]["templates"][0] += "x"
    try:
        path.write_text(json.dumps(found))
        steps = show_row(shown["root"], "shown", "r7")
    finally:
        path.write_bytes(whole)
    said = next(s for s in steps if s["stage"] == "judge_pairs")["calls"]
    assert isinstance(said, str)
    assert "changed since" in said
    assert isinstance(next(s for s in steps if s["stage"] == "judge_list")["calls"], list)


def test_only_the_rows_own_parts_are_hashed(
    shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    intact = curate.store.Store._intact
    monkeypatch.setattr(
        curate.store.Store, "_intact", lambda s, r: opened.append(r.key) or intact(s, r)
    )
    steps = show_row(shown["root"], "shown", "r11")  # in the last of three shards
    assert len(opened) == len(steps)
    with pytest.raises(ConfigError, match="no row with id 'r99'"):
        show_row(shown["root"], "shown", "r99")


def test_the_text_form_is_safe_to_print(shown: dict[str, Any]) -> None:
    steps = show_row(shown["root"], "shown", "r7")
    steps[1]["drop"] = "a\x1b[2J\u202eb"
    lines = list(history_lines(steps))
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "a[U+001B][2J[U+202E]b" in text
    assert "      > Weak." in lines or "      > Fine." in lines


def test_what_is_appended_has_its_place_in_the_whole_list(shown: dict[str, Any]) -> None:
    """The second judge's first judgment is not judgment 0: other stages name it by its place."""
    steps = show_row(shown["root"], "shown", "r7")
    behind, seen = [], 0
    for step in steps:
        if "judgments" in step:
            behind.append(step.get("behind", {}).get("judgments", 0))
            assert behind[-1] == seen
            seen += len(step["judgments"])
    assert len(behind) > 1
    lines = "\n".join(history_lines(steps))
    assert [int(at) for at in re.findall(r"^     (\d+): judge ", lines, re.M)] == list(range(seen))
    gave = {int(at) for at in re.findall(r"gave judgments\[(\d+)\]", lines)}
    assert len(gave) > len(steps)
    assert gave < set(range(seen))


def test_the_command_writes_json_lines_or_text(shown: dict[str, Any]) -> None:
    def show(*more: str) -> str:
        done = CliRunner().invoke(app, ["show", "shown", "--root", str(shown["root"]), *more])
        assert done.exit_code == 0, done.output
        return done.stdout

    steps = [json.loads(line) for line in show("--id", "r7").splitlines()]
    assert [s["stage"] for s in steps] == [
        s["stage"] for s in show_row(shown["root"], "shown", "r7")
    ]
    assert len(calls_of(steps)) > 50
    text = show("--id", "r7", "--text")
    assert "== judge_pairs" in text
    assert "[answer]" in text
    assert show("--dropped", "--json") == '{"lost":[]}\n'
