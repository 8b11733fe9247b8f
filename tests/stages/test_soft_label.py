import numpy as np
import pytest
from judged_rows import of_pairs, pair, rows, score

from curate.stage import Context
from curate.stages.soft_label import Bands, SoftLabel


def p_of(stage, table, ctx=None):
    return of_pairs(stage.apply(table, ctx or Context()), "p_correct")


def margins(*values, **fields):
    return rows(pairs=[[pair(0, 1, margin=v, **fields)] for v in values])


def test_logistic_margins_are_log_odds_at_a_temperature():
    stage = SoftLabel(temperature=2)
    p = p_of(stage, margins(0, 2 * np.log(3), None))
    assert p == [[0.5], [pytest.approx(0.75)], [None]]
    assert stage.view_scope() == "shard"
    assert SoftLabel(method="smooth").view_scope() == "dataset"


def test_smoothing_softens_the_least_share_and_leaves_the_rest():
    table = rows(pairs=[[pair(0, 1, margin=float(m), p_correct=0.99)] for m in range(50)])
    p = np.array(p_of(SoftLabel(method="smooth"), table)).ravel()
    assert p[:6] == pytest.approx([0.9] * 6)
    assert p[6:] == pytest.approx([0.99] * 44)
    bare = rows(pairs=[[pair(0, 1, margin=float(m))] for m in range(50)])
    p = np.array(p_of(SoftLabel(method="smooth"), bare)).ravel()
    assert p == pytest.approx([0.9] * 6 + [1.0] * 44)  # SPA smooths no other label


def test_each_source_has_its_own_reliability():
    rng = np.random.default_rng(0)
    pairs = []
    for source, noise in (("clean", 0.02), ("noisy", 0.3)):
        h = rng.normal(0, 3, 3000)
        better = rng.random(3000) < 1 / (1 + np.exp(-h))
        label = better ^ (rng.random(3000) < noise)
        pairs += [[pair(0, 1, margin=m, source=source)] for m in np.where(label, h, -h)]
    ctx = Context()
    stage = SoftLabel(method="reliability")
    p = np.array(p_of(stage, rows(pairs=pairs), ctx)).ravel()
    assert ctx.counts["right labels of clean, percent"] == pytest.approx(98, abs=2)
    assert ctx.counts["right labels of noisy, percent"] == pytest.approx(70, abs=3)
    assert (1 - p[:3000]).mean() == pytest.approx(0.02, abs=0.02)
    assert (1 - p[3000:]).mean() == pytest.approx(0.3, abs=0.03)


def test_dropped_pairs_stay_as_they_are_and_do_not_count():
    table = rows(pairs=[[pair(0, 1, margin=-9.0, drop="old"), pair(0, 1, margin=1.0)]])
    for method in ("logistic", "reliability", "smooth"):
        assert p_of(SoftLabel(method=method), table)[0][0] is None


def test_bands_turn_clear_errors_and_soften_the_unclear_and_the_clear():
    mean = np.linspace(-1, 3, 10)
    judged = [
        [s for k, j in enumerate("xyz") for s in (score(j, 0, m + 0.01 * k), score(j, 1, 0))]
        for m in mean.tolist()
    ]
    made = [[pair(0, 1, margin=m, source="s")] for m in mean.tolist()]
    ctx = Context()
    result = Bands().apply(rows(*judged, pairs=made), ctx)
    assert of_pairs(result, "source") == [["s:flipped"]] * 2 + [["s"]] * 8
    assert of_pairs(result, "chosen") == [[1]] * 2 + [[0]] * 8
    assert of_pairs(result, "margin")[0] == [1.0]
    p = [row[0] for row in of_pairs(result, "p_correct")]
    # three of three votes, smoothed; against the label where it was turned
    assert p[:2] == [0.875, 0.875]
    assert p[2:4] == [0.125, 0.875]
    assert p[4:9] == [None] * 5
    assert p[9] == 0.875
    assert ctx.counts["wrong pairs"] == 2


def test_bands_turn_nothing_where_judges_disagree_or_the_pair_is_gone():
    judged = [score("x", 0, -3), score("x", 1, 0), score("y", 0, 2), score("y", 1, 0)]
    sure = [score("x", 0, -3), score("x", 1, 0), score("y", 0, -3), score("y", 1, 0)]
    made = [[pair(0, 1)], [pair(0, 1, drop="old"), pair(0, 1)]]
    result = Bands(wrong=1).apply(rows(judged, sure, pairs=made), Context())
    assert of_pairs(result, "chosen") == [[0], [0, 1]]
