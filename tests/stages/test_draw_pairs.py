import numpy as np
import pyarrow as pa
import pytest
from judged_rows import of_pairs, pair, rows

from curate.methods.noise import bald
from curate.methods.sampling import weighted_sample
from curate.stage import Context
from curate.stages.draw_pairs import DrawPairs


def view(count):
    weights = [{"weight": 1.0 if i % 2 else 0.25} for i in range(count)]
    made = rows(pairs=[[pair(0, 1, **w), pair(1, 0, **w)] for w in weights])
    return made.append_column("id", pa.array([f"r{i}" for i in range(count)]))


def test_a_share_is_drawn_by_weight_wherever_the_rows_stand():
    table = view(200)
    result = DrawPairs(keep=0.5).apply(table, Context(seed=3))
    drops = of_pairs(result, "drop")
    kept = [[reason is None for reason in row] for row in drops]
    assert sum(map(sum, kept)) == 200
    assert {reason for row in drops for reason in row} == {None, "not drawn"}
    heavy = sum(map(sum, kept[1::2]))
    assert 140 < heavy < 180  # about four in five of the drawn
    turned = DrawPairs(keep=0.5).apply(table.take(list(range(199, -1, -1))), Context(seed=3))
    assert of_pairs(turned, "drop") == drops[::-1]
    assert result["drop"].to_pylist().count("not drawn") == sum(not any(row) for row in kept)


def test_a_pair_without_a_weight_is_never_drawn():
    table = rows(pairs=[[pair(0, 1)], [pair(0, 1, weight=0.0)], [pair(0, 1, weight=1e-3)]])
    table = table.append_column("id", pa.array(["a", "b", "c"]))
    result = DrawPairs(keep=3).apply(table, Context())
    assert of_pairs(result, "drop") == [["no weight to be drawn by"]] * 2 + [[None]]


def test_a_weight_that_was_drawn_by_is_spent_and_other_numbers_are_not():
    table = view(40)
    result = DrawPairs(keep=0.5).apply(table, Context())
    weights, drops = (of_pairs(result, name) for name in ("weight", "drop"))
    for row, reasons in zip(weights, drops, strict=True):
        assert [weight is None for weight in row] == [reason is None for reason in reasons]
    table = rows(pairs=[[pair(0, 1, margin=2.0, weight=0.5)]])
    table = table.append_column("id", pa.array(["a"]))
    result = DrawPairs(keep=1, by="margin").apply(table, Context())
    assert of_pairs(result, "weight") == [[0.5]]


def test_the_card_of_the_chances_to_be_drawn():
    """BALD 0, .1016 and .6931 give the weights 1 - BALD and the chances .4535, .4074, .1392."""
    n = 30_000
    torn = bald([[0.9, 0.9], [0.9, 0.5], [1.0, 0.0]])
    keys = np.random.default_rng(0).integers(0, 2**64, (n, 3), dtype=np.uint64)
    drawn = np.array([weighted_sample(1.0 - torn, own, 1) for own in keys])
    assert (drawn.sum(axis=1) == 1).all()
    assert drawn.mean(axis=0) == pytest.approx([0.4535, 0.4074, 0.1392], abs=0.01)
