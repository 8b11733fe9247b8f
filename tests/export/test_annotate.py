import orjson
import pyarrow as pa
import pytest

from curate.errors import ConfigError, InputError
from curate.export.annotate import write_tasks
from curate.schema import CANDIDATES, PAIRS, PROMPT
from curate.stage import Context
from curate.stages.people import People, read_answers


def table(rows):
    """Rows of (id, texts, pairs); a pair is (chosen, rejected, p_correct, margin, drop)."""
    names = ("chosen", "rejected", "p_correct", "margin", "drop")
    return pa.table(
        {
            "id": [key for key, _, _ in rows],
            "prompt": pa.array(
                [[{"role": "user", "content": f"ask {k}"}] for k, _, _ in rows], PROMPT
            ),
            "candidates": pa.array(
                [[{"text": t, "model": "m"} for t in texts] for _, texts, _ in rows], CANDIDATES
            ),
            "pairs": pa.array(
                [[dict(zip(names, p, strict=True)) for p in pairs] for _, _, pairs in rows], PAIRS
            ),
        }
    )


ROWS = [
    ("sure", ["a", "b"], [(0, 1, 0.99, 3.0, None)]),
    ("unsure", ["c", "d"], [(1, 0, 0.52, 0.1, None)]),
    ("gone", ["e", "f"], [(0, 1, 0.5, 0.0, "small")]),
    ("unknown", ["g", "h"], [(0, 1, None, 0.2, None)]),
]


def asked(tmp_path, tool, most=10, rows=ROWS):
    path = tmp_path / "tasks.json"
    write_tasks([table(rows[:2]), table(rows[2:])], path, tool, most, force=True)
    return orjson.loads(path.read_bytes())


def answered(tasks, tool, choose):
    """What the tool gives back where a person picks by `choose(first text, second text)`."""
    for number, task in enumerate(tasks):
        shown = task["data"] if tool == "label-studio" else task["fields"]
        value = choose(shown["first"], shown["second"])
        if tool == "label-studio":
            result = [{"from_name": "better", "type": "choices", "value": {"choices": [value]}}]
            task["annotations"] = [
                {"completed_by": {"id": 7}, "was_cancelled": False, "result": result},
                {"completed_by": 8, "was_cancelled": True, "result": []},
            ]
            task["id"] = number
        else:
            task["responses"] = {"better": [{"value": value, "user_id": "u-7"}]}
    return tasks


@pytest.mark.parametrize("tool", ["label-studio", "argilla"])
def test_the_least_certain_pairs_go_out_blind_and_come_back_as_judgments(tmp_path, tool):
    tasks = asked(tmp_path, tool)
    show = [t["data"] if tool == "label-studio" else t["fields"] for t in tasks]
    assert [s["prompt"] for s in show] == ["ask unsure", "ask sure", "ask unknown"]
    assert "chosen" not in orjson.dumps(tasks).decode()
    path = tmp_path / "answers.json"
    path.write_bytes(
        orjson.dumps(answered(tasks, tool, lambda a, b: "first" if a < b else "second"))
    )
    ctx = Context()
    made = People(path=str(path)).apply(table(ROWS), ctx)["judgments"].to_pylist()
    preferred = [
        [(j["a"] if j["score"] > 0 else j["b"], j["judge"], j["status"]) for j in row]
        for row in made
    ]
    person = "people:7" if tool == "label-studio" else "people:u-7"
    assert preferred == [[(0, person, "ok")], [(0, person, "ok")], [], [(0, person, "ok")]]
    assert ctx.counts["stale_answers"] == 0


def test_sides_are_mixed_and_repeat(tmp_path):
    rows = [(f"r{i}", ["good", "bad"], [(0, 1, 0.6, 1.0, None)]) for i in range(60)]
    tasks = asked(tmp_path, "label-studio", 60, rows)
    first = [t["data"]["first"] for t in tasks]
    assert 15 < first.count("good") < 45
    assert tasks == asked(tmp_path, "label-studio", 60, rows)
    assert len(asked(tmp_path, "label-studio", 7, rows)) == 7


def test_an_answer_about_other_texts_is_stale(tmp_path):
    path = tmp_path / "answers.json"
    tasks = answered(asked(tmp_path, "argilla"), "argilla", lambda a, b: "tie")
    path.write_bytes(orjson.dumps(tasks))
    regenerated = [
        ("unsure", ["c", "another"], []),
        ("sure", ["a"], []),
        ("unknown", ["g", "h"], []),
    ]
    ctx = Context()
    made = People(path=str(path)).apply(table(regenerated), ctx)["judgments"].to_pylist()
    assert [len(row) for row in made] == [0, 0, 1]
    assert made[2][0]["score"] == 0.0
    assert ctx.counts["stale_answers"] == 2


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"{", "not JSON"),
        (b"{}", "JSON list"),
        (b"[3]", "task 1"),
        (
            b'[{"annotations": [{"completed_by": 1, "result": [{"from_name": "better"}]}]}]',
            "task 1",
        ),
        (b'[{"responses": {"better": [{"value": "left"}]}, "metadata": {}}]', "none of first"),
    ],
)
def test_another_file_is_one_clear_error(payload, words):
    with pytest.raises(InputError, match=words):
        read_answers(payload, "answers.json")


def test_what_cannot_be_asked(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'argilla'"):
        asked(tmp_path, "argila")
    with pytest.raises(ConfigError, match="no pair is left"):
        asked(tmp_path, "argilla", rows=[ROWS[2]])
    with pytest.raises(ConfigError, match="no column pairs"):
        write_tasks([table(ROWS).drop_columns(["pairs"])], tmp_path / "x.json", "argilla")
    with pytest.raises(ConfigError, match="cannot read"):
        People(path=str(tmp_path / "none.json")).identity()
