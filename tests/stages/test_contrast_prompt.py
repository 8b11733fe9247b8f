import json

import pyarrow as pa
import pytest
from fake_engine import context, table
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import StageError
from curate.methods.constraints import KINDS, broken, drawn, satisfied, worded
from curate.schema import PROMPT
from curate.stages.constrain import Constrain
from curate.stages.contrast_prompt import ContrastPrompt

KINDS_DRAWN = tuple(name for name, kind in KINDS.items() if kind.group)


@given(st.integers(0, 2**63 - 1), st.text(min_size=1).filter(str.strip), st.integers(1, 3))
def test_one_condition_is_changed_to_one_that_is_broken(seed, text, n):
    asked = drawn(seed, n, KINDS_DRAWN)
    found = broken(seed, [text], asked)
    if found is None:
        return
    changed = [k for k in range(n) if found[k] != asked[k]]
    assert len(changed) == 1
    assert not satisfied(text, found[changed[0]])
    groups = [KINDS[one[0]].group for one in found]
    assert len(set(groups)) == n
    assert found == broken(seed, [text], asked)


def rows(answers, **fields):
    made = table([[] for _ in answers])
    columns = Constrain(kinds=["no_commas", "lowercase"], **fields).apply(made, context(None))
    kept = table(answers)
    for name, column in columns.items():
        place = kept.column_names.index(name) if name in kept.column_names else len(kept.columns)
        kept = kept.set_column(place, name, column) if place < len(kept.columns) else (
            kept.append_column(name, column)
        )  # fmt: skip
    return kept


def test_the_other_prompt_differs_in_one_condition_that_the_answers_break():
    view = rows([["all is well here", "All is well, here"]], n=2)
    made = ContrastPrompt().apply(view, context(None))
    assert made["other_prompt"].type == PROMPT
    row = {name: column.to_pylist()[0] for name, column in made.items()}
    assert row["drop"] is None
    assert [c["drop"] for c in row["candidates"]] == [None, "breaks a condition of its prompt"]
    own = [json.loads(one) for one in view["constraints"].to_pylist()[0]]
    other = [json.loads(one) for one in row["other_constraints"]]
    (changed,) = [k for k in range(2) if own[k] != other[k]]
    assert not satisfied("all is well here", other[changed])
    before, after = (
        turns[-1]["content"].split("\n") for turns in (view["prompt"].to_pylist()[0],
                                                       row["other_prompt"])
    )  # fmt: skip
    assert before[:-2] == after[:-2] == ["question 0", ""]
    assert after[-2:] == [worded(one) for one in other]


def test_rows_without_a_contrast_go_with_a_reason():
    view = rows([["No, nothing fits"], ["all is well here"], ["all is well here"]])
    turns = view["prompt"].to_pylist()
    turns[1][-1]["content"] += "!"
    view = view.set_column(view.column_names.index("prompt"), "prompt", pa.array(turns, PROMPT))
    place = view.column_names.index("constraints")
    given_rows = [*view["constraints"].to_pylist()[:2], []]
    kept = pa.array(given_rows, pa.list_(pa.string()))
    made = ContrastPrompt().apply(view.set_column(place, "constraints", kept), context(None))
    assert made["drop"].to_pylist() == [
        "no answer keeps to the constraints",
        "the prompt does not end with its constraints",
        "no constraints",
    ]
    assert made["other_prompt"].to_pylist() == [None] * 3
    assert len(ContrastPrompt().apply(view.slice(0, 0), context(None))["other_prompt"]) == 0


def test_constraints_of_no_known_kind_stop_the_shard():
    view = rows([["all is well"]])
    odd = pa.array([['["rhyme"]']], pa.list_(pa.string()))
    view = view.set_column(view.column_names.index("constraints"), "constraints", odd)
    with pytest.raises(StageError, match="contrast_prompt: no kind of constraint 'rhyme'"):
        ContrastPrompt().apply(view, context(None))
