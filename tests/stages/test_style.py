import numpy as np
import pyarrow as pa
from judged_rows import of_pairs, pair

from curate.arrays import structs
from curate.schema import CANDIDATE, CANDIDATES, PAIRS
from curate.stage import Context
from curate.stages.style import StyleControl


def view(lengths, margins):
    texts = [[structs(CANDIDATE, 2, text=["x" * a, "x" * b]).to_pylist()] for a, b in lengths]
    made = [[pair(0, 1, margin=m)] for m in margins]
    return pa.table({"candidates": pa.array([t[0] for t in texts], CANDIDATES),
                     "pairs": pa.array(made, PAIRS)})  # fmt: skip


def test_what_length_explains_leaves_the_margin_and_quality_stays():
    rng = np.random.default_rng(2)
    lengths = rng.integers(50, 900, (800, 2))
    quality = rng.normal(size=800)
    delta = (lengths[:, 0] - lengths[:, 1]).astype(float)
    margins = quality + 1.5 * np.tanh(delta / delta.std())
    table = view(lengths.tolist(), margins.tolist())
    left = np.array(of_pairs(StyleControl().apply(table, Context()), "margin")).ravel()
    assert abs(np.corrcoef(margins, delta)[0, 1]) > 0.6
    assert abs(np.corrcoef(left, delta)[0, 1]) < 0.05
    assert np.corrcoef(left, quality)[0, 1] > 0.98


def test_turning_a_pair_turns_what_is_left_of_its_margin():
    lengths, margins = [(100, 400), (300, 90), (50, 60), (500, 10)], [1.0, 0.5, -0.2, 2.0]
    one = of_pairs(StyleControl(form="share").apply(view(lengths, margins), Context()), "margin")
    turned = view([(b, a) for a, b in lengths], [-m for m in margins])
    other = of_pairs(StyleControl(form="share").apply(turned, Context()), "margin")
    assert np.allclose(np.array(one), -np.array(other), atol=1e-6)


def test_dropped_pairs_and_those_without_a_margin_are_left_alone():
    table = view([(100, 400), (300, 90)], [1.0, None])
    result = StyleControl(form="share").apply(table, Context())
    assert of_pairs(result, "margin")[1] == [None]
    dropped = pa.array([[pair(0, 1, margin=3.0, drop="old")], []], PAIRS)
    result = StyleControl().apply(table.set_column(1, "pairs", dropped), Context())
    assert of_pairs(result, "margin") == [[3], []]
