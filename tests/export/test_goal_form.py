"""Reward-augmented pairs: two prompts, two opposite preferences, and never a contradiction."""

import pyarrow as pa
import pytest
from export_rows import say

from curate.export.catalogue import FORMS
from curate.schema import COLUMNS
from curate.stage import Context
from curate.stages.filters import Margin
from curate.stages.goals import Goals


def table(goals, prompt=None):
    rows = len(goals)
    texts = [{"text": t} for t in ("good", "bad")]
    data = {
        "id": [str(k) for k in range(rows)],
        "prompt": [prompt or [say("user", "Why?")]] * rows,
        "candidates": [texts] * rows,
        "pairs": [[{"chosen": 0, "rejected": 1, "margin": 1.0}]] * rows,
        "goals": goals,
    }
    return pa.table({name: pa.array(v, COLUMNS[name]) for name, v in data.items()})


def build(*args):
    found = FORMS["goals"].build(table(*args))
    return found.rows.tolist(), found.table.to_pylist()


def test_a_pair_asks_for_each_of_its_scores():
    rows, records = build([["9", "2"], ["5", "5"], None, ["7", None]])
    assert rows == [0, 0, 2]  # equal goals and a missing one give no record; no goals, one as it is
    better, worse, plain = records
    assert better["prompt"] == [say("system", "9"), say("user", "Why?")]
    assert better["chosen"] == [say("assistant", "good")] == worse["rejected"]
    assert worse["prompt"] == [say("system", "2"), say("user", "Why?")]
    assert worse["chosen"] == [say("assistant", "bad")] == better["rejected"]
    assert [r["goal_met_by_better"] for r in records] == [True, False, True]
    assert plain["prompt"] == [say("user", "Why?")]


def test_a_system_message_of_its_own_stays_and_the_goal_follows():
    prompt = [
        say("system", "Be brief."),
        say("user", "Why?"),
        say("assistant", "So."),
        say("user", "?"),
    ]
    _, records = build([["9", "2"], None], prompt)
    assert records[0]["prompt"] == [say("system", "Be brief.\n\n9"), *prompt[1:]]
    assert records[2]["prompt"] == prompt


def view(scores, splits=None):
    data = {"candidates": [[{"text": "x"}] * len(s) for s in scores], "scores": scores}
    if splits:
        data["split"] = splits
    return pa.table({name: pa.array(v, COLUMNS[name]) for name, v in data.items()})


def test_goals_are_on_a_scale_from_one_to_ten_and_only_in_their_splits():
    stage = Goals(low=1, high=5, text="{goal}!")
    ctx = Context(seed=0, engines={})
    made = stage.apply(view([[1, 3.2, 5, None], [2]], ["train", "test"]), ctx)["goals"]
    assert made.to_pylist() == [["1!", "6!", "10!", None], [None]]
    made = stage.apply(view([[2]]), ctx)["goals"]
    assert made.to_pylist() == [["3.2!"]]


def test_a_score_off_the_scale_and_a_text_without_a_place_are_refused():
    with pytest.raises(Exception, match="a score is 6, outside 1 to 5; set low and high"):
        Goals(low=1, high=5).apply(view([[6]]), Context(seed=0, engines={}))
    for text in ("none", "{goal} {goal}"):
        with pytest.raises(ValueError, match="goal} once"):
            Goals(text=text)
    with pytest.raises(ValueError, match="low must be below high"):
        Goals(low=2, high=2)


def test_classes_are_goals_by_name_and_stand_beside_scored_answers():
    stage = Goals(names={"expert": 1.0, "amateur": 0.1}, text="{goal}")
    ctx = Context(seed=0, engines={})
    rows = view([[1, 0.1, None, 0.5], [0.1]])
    made = stage.apply(rows, ctx)["goals"]
    assert made.to_pylist() == [["expert", "amateur", None, None], ["amateur"]]
    assert ctx.counts["goals"] == 3
    prompt = pa.array([[say("user", "q")]] * 2, COLUMNS["prompt"])
    table = rows.append_column("id", pa.array(["a", "b"])).append_column("prompt", prompt)
    built = FORMS["scored"].build(table.append_column("goals", made)).table
    assert built["goal"].to_pylist() == ["expert", None, "amateur", "amateur"]
    assert built["score"].to_pylist() == pytest.approx([1, 0.5, 0.1, 0.1])
    assert "goal" not in FORMS["scored"].build(table).table.column_names


def test_ten_labelled_pairs_of_the_card_give_sixteen_records():
    scores = [[5, 2], [4, 1], [5, 4], [3, 2], [4, 2], [5, 1], [3, 1], [2, 1], [1, 4], [3, 3]]
    rows = table([None] * 10).drop_columns(["goals", "pairs"])
    label = pa.array([[{"chosen": 0, "rejected": 1}]] * 10, COLUMNS["pairs"])
    rows = rows.append_column("pairs", label)
    rows = rows.append_column("scores", pa.array(scores, COLUMNS["scores"]))
    ctx = Context(seed=0, engines={})
    kept = Margin(at_least=0).apply(rows, ctx)["pairs"]  # the label that its scores contradict goes
    goals = Goals(low=1, high=5).apply(rows, ctx)["goals"]
    at = rows.column_names.index("pairs")
    built = FORMS["goals"].build(rows.set_column(at, "pairs", kept).append_column("goals", goals))
    # Not the paper's eighteen: equal scores would ask the same and prefer both.
    assert built.table.num_rows == 16
    assert sorted(set(built.rows.tolist())) == list(range(8))
