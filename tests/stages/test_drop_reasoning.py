import pytest
from fake_engine import table

from curate.engines.scripted import Scripted
from curate.stage import Context
from curate.stages.drop_reasoning import DropReasoning
from curate.stages.judge import Judge


def made(texts, drops=None):
    ctx = Context()
    view = table([texts], None if drops is None else [drops])
    column = DropReasoning().apply(view, ctx)["candidates"]
    assert column.type == view["candidates"].type
    return [(c["text"], c["drop"]) for c in column.to_pylist()[0]], ctx.counts["with reasoning"]


@pytest.mark.parametrize(
    ("text", "kept", "reason"),
    [
        ("Plain, 1 < 2 and <b>bold</b>.", "Plain, 1 < 2 and <b>bold</b>.", None),
        ("<think>Hm.</think>\n\n  Yes.\n", "Yes.\n", None),
        ("Hm.</think>Yes.", "Yes.", None),
        ("<think>a</think>b<thinking>c</thinking>d", "d", None),
        ("<think>I never stop", "<think>I never stop", "reasoning never ends"),
        ("<think>a</think>b<think>c", "<think>a</think>b<think>c", "reasoning never ends"),
        ("<think>All.</think>\n", "", "nothing behind its reasoning"),
        ("", "", None),
    ],
)
def test_what_stands_behind_the_reasoning_is_kept(text, kept, reason):
    ((found, why),), count = made([text])
    assert (found, why) == (kept, reason)
    assert count == (kept != text or reason is not None)


def test_dropped_ones_stay_as_they_are_and_so_do_the_others_in_their_places():
    found, count = made(
        ["<think>a</think>b", "c", "<think>d</think>e", "<think>f"], ["refused", None, None, "old"]
    )
    assert found == [
        ("<think>a</think>b", "refused"), ("c", None), ("e", None), ("<think>f", "old"),
    ]  # fmt: skip
    assert count == 1


def test_no_rows_and_no_candidates():
    assert DropReasoning().apply(table([]), Context())["candidates"].to_pylist() == []
    assert DropReasoning().apply(table([[], []]), Context())["candidates"].to_pylist() == [[], []]


def test_a_judge_behind_it_does_not_see_the_reasoning():
    engine = Scripted().load()
    shown = []
    asked = engine.chat
    engine.chat = lambda requests: shown.append(requests.conversations) or asked(requests)
    view = table([["<think>SECRET</think>Open."]])
    column = DropReasoning().apply(view, Context())["candidates"]
    view = view.set_column(view.column_names.index("candidates"), "candidates", column)
    Judge(engine="small").apply(view, Context(engines={"small": engine}))
    (conversations,) = shown
    assert "Open." in str(conversations.to_pylist())
    assert "SECRET" not in str(conversations.to_pylist())
