import numpy as np
import pyarrow as pa
import pytest
from judged_rows import odds, of_pairs, pair, rows, score, versus

from curate.methods.verdicts import pair_grade
from curate.stage import Context
from curate.stages.jury import Confident, Jury


def p_of(stage, table, ctx=None):
    return of_pairs(stage.apply(table, ctx or Context()), "p_correct")


def panel(rng, accuracies, count, **extra):
    """Rows of two answers scored by judges that err apart; candidate 0 is the better one."""
    made = []
    for _ in range(count):
        right = rng.random(len(accuracies)) < accuracies
        made.append([
            score(f"j{k}", a, float(ok == (a == 0)))
            for k, ok in enumerate(right.tolist()) for a in (0, 1)
        ])  # fmt: skip
    return made


def test_a_vote_is_the_share_of_judges_with_a_tie_as_half():
    judged = [score("x", 0, 5), score("x", 1, 1), score("y", 0, 2), score("y", 1, 2)]
    judged += [versus("z", 0, 1, -1), versus("z", 0, 1, -1, "ba"), score("w", 0, 9)]
    stage = Jury(method="vote")
    assert stage.view_scope() == "shard"
    # One win, one tie, one loss of three judges; w saw one answer only.
    assert p_of(stage, rows(judged, pairs=[[pair(0, 1), pair(1, 0)]])) == [[0.5, 0.5]]
    assert p_of(stage, rows(judged[:2], pairs=[[pair(0, 1)]])) == [[0.75]]
    assert p_of(Jury(method="vote", min_judges=3), rows(judged[:4], pairs=[[pair(0, 1)]])) == [
        [None]
    ]


def test_a_judge_has_one_vote_however_often_it_was_asked():
    judged = [versus("z", 0, 1, 1), versus("z", 0, 1, 1, "ba"), versus("z", 1, 0, -1)]
    judged += [versus("y", 0, 1, -1)]
    assert p_of(Jury(method="vote"), rows(judged, pairs=[[pair(0, 1)]])) == [[0.5]]
    torn = [versus("z", 0, 1, 1), versus("z", 0, 1, -1, "ba")]
    assert p_of(Jury(method="vote"), rows(torn, pairs=[[pair(0, 1)]])) == [[0.5]]


def test_accurate_judges_count_more_and_p_is_calibrated():
    rng = np.random.default_rng(0)
    judged = panel(rng, np.array([0.95, 0.95, 0.6, 0.6, 0.6]), 600)
    sides = rng.integers(0, 2, 600)
    pairs = [[pair(int(s), int(1 - s))] for s in sides]
    ctx = Context()
    p = np.array(p_of(Jury(), rows(*judged, pairs=pairs), ctx)).ravel()
    right = sides == 0
    assert ctx.counts["accuracy of j0, percent"] == pytest.approx(95, abs=4)
    assert ctx.counts["accuracy of j4, percent"] == pytest.approx(60, abs=6)
    sure = np.maximum(p, 1 - p)
    assert abs(((p > 0.5) == right).mean() - sure.mean()) < 0.03
    vote = np.array(p_of(Jury(method="vote"), rows(*judged, pairs=pairs))).ravel()
    assert ((p > 0.5) == right).mean() > ((vote > 0.5) == right).mean() + 0.02


def test_pairs_picked_for_their_votes_do_not_flatter_the_judges():
    rng = np.random.default_rng(1)
    judged, pairs = [], []
    for _ in range(800):
        quality = rng.normal(size=6)
        noisy = quality + rng.normal(size=(3, 6))
        judged.append([score(f"j{k}", a, noisy[k, a]) for k in range(3) for a in range(6)])
        mean = noisy.mean(axis=0)
        pairs.append([pair(int(mean.argmax()), int(mean.argmin()))])
    ctx = Context()
    p_of(Jury(), rows(*judged, pairs=pairs, candidates=6), ctx)
    # Of any two answers a judge is right in three of four: P(sign of N(0, 2) + N(0, 2)).
    for k in range(3):
        assert ctx.counts[f"accuracy of j{k}, percent"] == pytest.approx(75, abs=4)


def test_the_label_itself_can_be_one_of_the_judges():
    rng = np.random.default_rng(2)
    judged = panel(rng, np.array([0.8, 0.8, 0.8]), 600)
    wrong = rng.random(600) < 0.15
    pairs = [[pair(1, 0) if w else pair(0, 1)] for w in wrong]
    ctx = Context()
    p = np.array(p_of(Jury(label=True), rows(*judged, pairs=pairs), ctx)).ravel()
    assert ctx.counts["accuracy of label, percent"] == pytest.approx(85, abs=4)
    assert (1 - p).mean() == pytest.approx(0.15, abs=0.03)
    assert p[~wrong].mean() > p[wrong].mean() + 0.3


def test_judges_of_their_own_answers_do_not_sit():
    judged = [score("j:help", 0, 5), score("j:help", 1, 1), score("k", 0, 1), score("k", 1, 5)]
    table = rows(judged, pairs=[[pair(0, 1)]], models=["m/1", "n"])
    assert p_of(Jury(method="vote", judge_models={"j": "m/"}), table) == [[0.25]]
    assert p_of(Jury(method="vote", judges=("j:help",)), table) == [[0.75]]


def test_without_votes_there_is_no_probability_and_an_empty_view_is_fine():
    table = rows([], pairs=[[pair(0, 1)]])
    for stage in (Jury(), Jury(method="vote")):
        assert p_of(stage, table) == [[None]]
        assert p_of(stage, table.slice(1)) == []


def test_confident_keeps_drops_or_turns():
    pairs = [[pair(0, 1, p_correct=p, margin=2.0, source="s")] for p in (0.9, 0.6, 0.1, None)]
    table = rows(pairs=pairs)
    kept = Confident(at_least=0.8).apply(table, Context())
    low = "p_correct below 0.8"
    assert of_pairs(kept, "drop") == [[None], [low], [low], ["no p_correct"]]
    assert kept["drop"].to_pylist() == [None, low, low, "no p_correct"]
    ctx = Context()
    turned = Confident(at_least=0.8, flip=True).apply(table, ctx)
    assert of_pairs(turned, "drop") == [[None], [low], [None], ["no p_correct"]]
    assert turned["pairs"].to_pylist()[2][0] == pair(
        1, 0, p_correct=pytest.approx(0.9), margin=-2.0, source="s:flipped"
    )
    assert ctx.counts["flipped"] == 1


def test_a_pair_at_even_odds_or_already_dropped_is_not_turned_and_turning_twice_undoes_it():
    table = rows(pairs=[[pair(0, 1, p_correct=0.5), pair(0, 1, p_correct=0.0, drop="old")]])
    result = Confident(flip=True).apply(table, Context())
    assert of_pairs(result, "chosen") == [[0, 0]]
    assert of_pairs(result, "drop") == [[None, "old"]]
    table = rows(pairs=[[pair(0, 1, p_correct=0.2, source="s:flipped")]])
    assert of_pairs(Confident(flip=True).apply(table, Context()), "source") == [["s"]]


def test_shards_of_a_dataset_give_what_one_table_gives():
    rng = np.random.default_rng(3)
    judged = panel(rng, np.array([0.9, 0.7, 0.6]), 60)
    whole = rows(*judged, pairs=[[pair(0, 1)]] * 60)
    parts = pa.concat_tables([whole.slice(0, 7), whole.slice(7, 0), whole.slice(7)])
    assert parts["judgments"].num_chunks > 1
    for stage in (Jury(), Jury(method="vote"), Jury(label=True)):
        assert p_of(stage, parts) == p_of(stage, whole)
    assert p_of(Jury(method="vote"), whole.slice(20, 5)) == p_of(Jury(method="vote"), whole)[20:25]


def test_log_odds_are_as_much_of_a_vote_as_they_are_sure():
    """Five judges at +.15 have a probability of .537 each, and not five votes nor five halves."""
    calls = [odds(f"p{k}", 0, 1, 0.15, order) for k in range(5) for order in ("ab", "ba")]
    sure = [odds(f"p{k}", 0, 1, 9.0, order) for k in range(5) for order in ("ab", "ba")]
    table = rows(calls, sure, pairs=[[pair(0, 1)]] * 2)
    p = np.ravel(p_of(Jury(method="vote"), table))
    assert p == pytest.approx([(5 / (1 + np.exp(-0.15)) + 0.5) / 6, 5.5 / 6], abs=1e-3)
    weighed = np.ravel(p_of(Jury(), table))
    assert 0.5 < weighed[0] < 0.6 < 0.95 < weighed[1]
    turned = rows(calls, pairs=[[pair(1, 0)]])
    assert p_of(Jury(method="vote"), turned) == [[pytest.approx(1 - p[0], abs=1e-6)]]


def test_five_grades_of_both_orders_are_the_margin_of_arena_hard():
    """A2: (A>>B, swapped B>>A) is a whole vote for A, (A>B, A>B) none; half wins are half."""

    def asked(ab, ba):
        shown = [pair_grade(text)[0] for text in (ab, ba)]
        return [versus("j", 0, 1, shown[0]), versus("j", 0, 1, -shown[1], "ba")]

    table = rows(asked("[[A>>B]]", "[[B>>A]]"), asked("[[A>B]]", "[[A>B]]"),
                 asked("[[A>B]]", "[[B>A]]"), pairs=[[pair(0, 1)]] * 3)  # fmt: skip
    share = np.ravel(p_of(Jury(method="vote"), table))
    assert share == pytest.approx([1.5 / 2, 0.5, (0.75 + 0.5) / 2])
