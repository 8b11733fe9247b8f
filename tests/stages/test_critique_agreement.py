import json

import pyarrow as pa
import pytest
from fake_engine import context, table

from curate.engines.contract import Completion
from curate.errors import StageError
from curate.schema import JUDGMENTS
from curate.stages.critique_agreement import CritiqueAgreement


def judgment(a, b, order, text, judge="j", status="ok"):
    return {"judge": judge, "aspect": "s", "a": a, "b": b, "order": order, "score": 1.0,
            "status": status, "text": text}  # fmt: skip


def rows(orders=True):
    """Three rows of one pair, one of two; the judge saw each pair in both orders."""
    both = [judgment(0, 1, "ab", "0 first"), judgment(0, 1, "ba", "1 first")]
    judgments = [
        both,
        [{**both[0], "text": "<think>hm</think>0 first"}, both[1]],
        [judgment(0, 1, "ab", "0 first", status="parse_error"), judgment(0, None, "ab", "alone")],
        [*both, judgment(2, 1, "ba", "1 first, then 2", judge="k")],
    ]
    view = table(
        [["x", "y"]] * 3 + [["x", "y", "z"]],
        pairs=[[(0, 1, None)], [(0, 1, None)], [(1, 0, None)], [(0, 1, "empty"), (1, 2, None)]],
        judgments=pa.array(judgments, JUDGMENTS),
        rationales=pa.array([["chosen first"], ["chosen second"], ["r"], [None, "r"]]),
    )
    if orders:
        found = pa.array([["ab"], ["ba"], ["ab"], [None, "ab"]])
        view = view.append_column("rationale_orders", found)
    return view


def compared(f1):
    lists = {1.0: (["a"], ["a"], [[1, 1]]), 0.4: (["a"], ["a", "b", "c", "d"], [[1, 1]])}[f1]
    return Completion(json.dumps(dict(zip(("first", "second", "same"), lists, strict=True))))


def apply(view, reply, **fields):
    ctx = context(reply)
    made = CritiqueAgreement(engine="fake", **fields).apply(view, ctx)
    reasons = [[p["drop"] for p in row] for row in made["pairs"].to_pylist()]
    return made["critique_f1"].to_pylist(), reasons, made["drop"].to_pylist(), ctx


def test_the_critique_in_the_rationales_order_is_compared():
    seen = []

    def reply(request):
        said = request.messages[1]["content"]
        seen.append([part.split("\n")[1] for part in said.split("<critique-")[1:]])
        return compared(1.0)

    f1, reasons, dropped, ctx = apply(rows(), reply)
    assert seen == [
        ["chosen first", "0 first"], ["chosen second", "1 first"], ["r", "1 first, then 2"],
    ]  # fmt: skip
    assert f1 == [[1.0], [1.0], [None], [None, 1.0]]
    assert reasons == [[None], [None], ["no critique by a judge"], ["empty", None]]
    assert dropped == [None, None, "no critique by a judge", None]
    assert ctx.counts["calls"] == 3
    again = []
    apply(rows(orders=False), lambda r: again.append(r) or compared(1.0))
    assert ["1 first" in r.messages[1]["content"] for r in again] == [False, False, True]


def test_pairs_below_go_and_what_cannot_be_read_has_no_number():
    replies = [compared(0.4), Completion("well"), compared(1.0)]

    def reply(request):
        said = request.messages[1]["content"]
        return replies[2 if "then 2" in said else "chosen second" in said]

    f1, reasons, dropped, ctx = apply(rows(), reply)
    assert f1 == [[pytest.approx(0.4)], [None], [None], [None, 1.0]]
    assert reasons[:2] == [
        ["critique F1 below 0.5"], ["the critiques' arguments could not be read"],
    ]  # fmt: skip
    assert dropped[0] == "critique F1 below 0.5"
    assert (ctx.counts["replies: ok"], ctx.counts["replies: parse_error"]) == (2, 1)
    _, reasons, dropped, _ = apply(rows(), reply, at_least=None)
    assert reasons == [[None], [None], [None], ["empty", None]]
    assert dropped == [None] * 4


def test_one_judge_can_be_named():
    f1, *_ = apply(rows(), lambda r: compared(1.0), judge="k")
    assert f1 == [[None], [None], [None], [None, 1.0]]
    assert apply(rows().slice(0, 0), lambda r: compared(1.0))[0] == []


def test_rationales_of_other_pairs_are_refused():
    view = rows()
    place = view.column_names.index("rationales")
    short = view.set_column(place, "rationales", pa.array([["r"], ["r"], ["r"], ["r"]]))
    with pytest.raises(StageError, match="not aligned with the pairs"):
        apply(short, lambda r: compared(1.0))


def test_held_to_a_form_no_number_lies_beyond_the_longest_list():
    seen = []
    apply(rows(), lambda r: seen.append(r.json_schema) or compared(1.0), structured=True)
    parts = seen[0]["properties"]
    number, most = parts["same"]["items"]["items"], parts["first"]["maxItems"]
    assert number["enum"] == list(range(1, most + 1))
    assert parts["second"]["maxItems"] == most
