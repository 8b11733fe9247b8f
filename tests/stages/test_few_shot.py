import pyarrow as pa
import pytest
from fake_engine import context, table

from curate.schema import PROMPT
from curate.stages.few_shot import FewShot

WHO = ["ann", "ann", "ann", "ann", "bob", "bob", None]


def view(questions=None, pairs=None):
    rows = table(
        [[f"good {k}", f"bad {k}"] for k in range(7)],
        pairs=pairs or [[(0, 1, None)]] * 7,
        who=pa.array(WHO),
    )
    said = questions or [f"question {k}" for k in range(7)]
    turns = [
        [{"role": "system", "content": f"It is {who}."}, {"role": "user", "content": text}]
        for who, text in zip(WHO, said, strict=True)
    ]
    place = rows.column_names.index("prompt")
    return rows.set_column(place, "prompt", pa.array(turns, PROMPT))


def made(rows, n=2, **fields):
    result = FewShot(by="who", n=n, **fields).apply(rows, context(None))
    assert result["prompt"].type == PROMPT
    return {name: column.to_pylist() for name, column in result.items()}


def test_a_prompt_shows_other_choices_of_the_same_person():
    rows = made(view())
    assert rows["drop"] == [None] * 4 + ["only 1 earlier choices to show"] * 2 + [
        "only 0 earlier choices to show"
    ]
    for row in range(4):
        system, user = rows["prompt"][row]
        assert user == {"role": "user", "content": f"question {row}"}
        assert "It is ann" not in system["content"]
        assert len(rows["shots"][row]) == 2
        assert f"r{row}" not in rows["shots"][row]
        for shot in rows["shots"][row]:
            k = int(shot[1:])
            assert f"Question: question {k}\nThey chose: good {k}\n" in system["content"]
            assert f"They did not choose: bad {k}" in system["content"]
            assert k < 4
    assert rows["prompt"][5][0]["content"] == "It is bob."  # a dropped row is left as it is


def test_no_choice_about_the_same_question_and_none_twice():
    same = ["same", "same ", "other", "more", "x", "y", "z"]
    rows = made(view(questions=same))
    assert not {"r0", "r1"} & {*rows["shots"][0], *rows["shots"][1]}
    assert rows["drop"][:4] == [None] * 4
    for row in (2, 3):
        assert len({same[int(k[1:])].strip() for k in rows["shots"][row]}) == 2
    rows = made(view(questions=same), n=3)
    assert set(rows["drop"]) >= {"only 2 earlier choices to show"}


def test_the_first_live_pair_counts():
    pairs = [[(0, 1, "weak"), (1, 0, None)], [(0, 1, "weak")], *[[(0, 1, None)]] * 5]
    rows = made(view(pairs=pairs))
    assert all("r1" not in shots for shots in rows["shots"])
    shown = next(turns[0]["content"] for turns, shots in
                 zip(rows["prompt"], rows["shots"], strict=True) if "r0" in shots)  # fmt: skip
    assert "They chose: bad 0" in shown


def test_the_order_of_rows_does_not_matter_and_a_system_message_can_stay():
    rows, turned = made(view()), made(view().take(list(range(6, -1, -1))))
    assert rows["shots"] == turned["shots"][::-1]
    kept = made(view(), keep_system=True)["prompt"][0][0]["content"]
    assert kept.startswith("It is ann.\n\nThe person")
    assert made(view().slice(0, 0))["shots"] == []


def test_n_is_at_least_one():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        FewShot(by="who", n=0)
