from hypothesis import example, given
from hypothesis import strategies as st

from curate.methods.feedback import CONTENT, DISCONTENT, KINDS, asked_turns, first_signal


def test_there_are_nine_kinds_of_each_and_none():
    assert len(CONTENT) == len(DISCONTENT) == 9
    assert len(set(KINDS)) == 19


def test_a_turn_reacts_to_an_answer_only():
    assert asked_turns(["user", "assistant", "user"]) == [2]
    assert asked_turns(["system", "user", "assistant", "user", "assistant", "user"]) == [3, 5]
    assert asked_turns(["assistant", "user"]) == asked_turns(["user", "user", "user"]) == []
    assert asked_turns(["system", "assistant", "user"]) == asked_turns([]) == []


@given(
    st.lists(st.sampled_from(["user", "assistant", "system"]), max_size=9),
    st.lists(st.sampled_from([*KINDS, None]), min_size=9, max_size=9),
)
@example(["user", "assistant", "user"], [*DISCONTENT])
@example(["user", "assistant", "user", "assistant", "user"], [*CONTENT][:3] + [*DISCONTENT][:6])
def test_the_cut_leaves_out_the_answer_and_the_feedback(roles, given_kinds):
    asked = asked_turns(roles)
    kinds = [given_kinds[k] if k in asked else None for k in range(len(roles))]
    turn = first_signal(kinds, DISCONTENT)
    if turn is None:
        assert not any(kind in DISCONTENT for kind in kinds)
        return
    kept = roles[: turn - 1]
    assert kept[-1] == "user"
    assert roles[turn - 1 : turn + 1] == ["assistant", "user"]
    assert not any(kind in DISCONTENT for kind in kinds[:turn])
