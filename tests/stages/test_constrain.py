import json

import pyarrow as pa
import pytest
from fake_engine import table

from curate.errors import StageError
from curate.schema import PROMPT
from curate.stage import Context
from curate.stages.constrain import CheckConstraints, Constrain


def test_conditions_are_asked_for_in_the_last_turn_and_written_down():
    view = table([[]] * 3)
    turns = [
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}],
        [{"role": "system", "content": "s"}, {"role": "user", "content": "tides"}],
        [],
    ]
    view = view.set_column(view.column_names.index("prompt"), "prompt", pa.array(turns, PROMPT))
    made = Constrain(n=2, kinds=("no_commas", "words_at_most")).apply(view, Context())
    prompts, asked = made["prompt"].to_pylist(), made["constraints"].to_pylist()
    assert (prompts[0], asked[0]) == (turns[0], [])
    assert (prompts[2], asked[2]) == ([], [])
    kinds = {json.loads(text)[0]: json.loads(text) for text in asked[1]}
    assert set(kinds) == {"no_commas", "words_at_most"}
    lines = prompts[1][1]["content"].split("\n")
    assert lines[:2] == ["tides", ""]
    most = kinds["words_at_most"][1]
    assert sorted(lines[2:]) == ["Do not use any commas.", f"Use at most {most} words."]
    part = Constrain(n=2, kinds=("no_commas", "words_at_most")).apply(view.slice(1, 1), Context())
    assert part["constraints"].to_pylist() == asked[1:2]
    with pytest.raises(ValueError, match="no kind of constraint 'no_comas'; did you mean"):
        Constrain(kinds=("no_comas",))


def test_the_score_is_the_share_that_an_answer_keeps_to():
    asked = [['["no_commas"]', '["lowercase"]'], []]
    view = table([["ok", "Ok, then", "Ok", ""], ["x"]], [[None, None, "refused", None], [None]])
    view = view.append_column("constraints", pa.array(asked, pa.list_(pa.string())))
    rows = CheckConstraints().apply(view, Context())["judgments"].to_pylist()
    assert [(j["a"], j["score"], j["status"]) for j in rows[0]] == [
        (0, 1.0, "ok"),
        (1, 0.0, "ok"),
        (3, 0.0, "ok"),
    ]
    assert rows[1] == []


@pytest.mark.parametrize("text", ["no_commas", '["rhyme"]', "[1]", None])
def test_constraints_that_cannot_be_read_stop_the_shard(text):
    view = table([["x"]])
    view = view.append_column("constraints", pa.array([[text]], pa.list_(pa.string())))
    with pytest.raises(StageError, match=r"is no JSON list|no kind of constraint"):
        CheckConstraints().apply(view, Context())
