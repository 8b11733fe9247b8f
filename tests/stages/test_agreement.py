import math

import numpy as np
import pytest
from judged_rows import odds, of_pairs, pair, rows, score, versus
from pydantic import ValidationError

from curate.methods.noise import label_doubt
from curate.stage import Context
from curate.stages.agreement import Consensus, RankConsistency, Verify


def drops(stage, table):
    return of_pairs(stage.apply(table, Context()), "drop")


def scored(judge, first, second):
    return [score(judge, 0, first), score(judge, 1, second)]


def test_consensus_bounds_agreement_consistency_and_bald():
    unanimous = scored("x", 2, 1) + scored("y", 3, 1) + scored("z", 3, 1)
    split = scored("x", 2, 1) + scored("y", 1, 3) + scored("z", 3, 1)
    table = rows(unanimous, split, [], pairs=[[pair(0, 1)]] * 3)
    nobody = "fewer than 1 judges voted"
    assert drops(Consensus(), table) == [[None], [None], [nobody]]
    bound = Consensus(min_agreement=0.7, min_judges=0)
    assert drops(bound, table) == [[None], ["agreement below 0.7"], ["agreement below 0.7"]]
    assert drops(Consensus(max_bald=0.6), table) == [[None], ["bald above 0.6"], [nobody]]
    assert drops(Consensus(min_judges=4), table)[0] == ["fewer than 4 judges voted"]
    turned = rows(unanimous, pairs=[[pair(1, 0)]])
    assert drops(Consensus(min_agreement=0.5), turned) == [["agreement below 0.5"]]
    unclear = Consensus(min_consistency=0.5)
    assert drops(unclear, table)[0] == ["order consistency below 0.5"]


def test_a_judge_that_contradicts_itself_is_inconsistent():
    both = [versus("c", 0, 1, 1), versus("c", 0, 1, 1, "ba")]
    torn = [versus("c", 0, 1, 1), versus("c", 0, 1, -1, "ba")]
    table = rows(both, torn, pairs=[[pair(0, 1)]] * 2)
    assert drops(Consensus(min_consistency=1), table) == [[None], ["order consistency below 1.0"]]


def test_weights_fall_with_disagreement():
    table = rows(scored("x", 2, 1) + scored("y", 2, 1), scored("x", 2, 1) + scored("y", 1, 2), [],
                 pairs=[[pair(0, 1)], [pair(0, 1)], [pair(0, 1, weight=0.3)]])  # fmt: skip
    stage = Consensus(weigh=True, min_judges=0)
    weights = of_pairs(stage.apply(table, Context()), "weight")
    assert weights == [[1], [pytest.approx(1 - math.log(2))], [pytest.approx(0.3)]]


def both_orders(judge, value):
    return [odds(judge, 0, 1, value), odds(judge, 0, 1, value, "ba")]


def test_judges_in_log_odds_vote_by_their_sign_however_small():
    unanimous = [call for k in range(5) for call in both_orders(f"principle {k}", 0.15)]
    table = rows(unanimous, both_orders("person", 0.9), pairs=[[pair(0, 1)]] * 2)
    assert drops(Consensus(min_agreement=1.0, min_consistency=1.0), table) == [[None], [None]]
    torn = both_orders("x", 0.15) + both_orders("y", -4.0)
    table = rows(torn, pairs=[[pair(0, 1)]])
    assert drops(Consensus(min_agreement=0.5), table) == [[None]]
    assert drops(Consensus(min_agreement=0.6), table) == [["agreement below 0.6"]]


def test_doubt_is_read_from_the_probabilities_that_log_odds_stand_for():
    """The card: passes (.9, .5) have a BALD of .101749, equal ones 0, opposed ones ln 2."""
    nine = math.log(9)
    table = rows(
        both_orders("x", nine) + both_orders("y", 0.0),
        both_orders("x", 0.15) + both_orders("y", 0.15),
        both_orders("x", 99.0) + both_orders("y", -99.0),
        pairs=[[pair(0, 1)]] * 3,
    )
    result = Consensus(weigh=True, soften=True, min_judges=0).apply(table, Context())
    weights, soft = (np.ravel(of_pairs(result, name)) for name in ("weight", "p_correct"))
    assert weights == pytest.approx([1 - 0.101749, 1, 1 - 0.693147], abs=1e-6)
    assert soft == pytest.approx([1 - 0.5 * 0.101749 / 0.693147, 1, 0.5], abs=1e-6)
    alphas = label_doubt([0, 0.1016, 0.6931])
    assert alphas == pytest.approx([0, 0.0733, 0.5], abs=1e-4)  # the printed ones exceed 1/2


def test_one_judges_samples_are_a_committee_where_asked():
    calls = [versus("one", 0, 1, value, order) for value in (1, 1, -1) for order in ("ab", "ba")]
    table = rows(calls, pairs=[[pair(0, 1)]])
    assert drops(Consensus(max_bald=0.1), table) == [[None]]  # one judge is of one mind
    assert drops(Consensus(max_bald=0.1, committee="samples"), table) == [["bald above 0.1"]]
    assert drops(Consensus(min_judges=3, committee="samples"), table) == [[None]]
    agreed = Consensus(min_agreement=2 / 3, committee="samples")
    assert drops(agreed, table) == [[None]]


def test_several_people_are_one_voter_by_their_common_name():
    calls = [versus("people:1", 0, 1, 1), versus("people:2", 0, 1, 1), versus("people:3", 0, 1, -1)]
    table = rows(calls, pairs=[[pair(0, 1)]])
    assert drops(Verify(all_of=("people",)), table) == [[None]]
    assert drops(Verify(all_of=("people:3",)), table) == [["not verified by the judges"]]
    assert drops(Consensus(judges=("people",), min_judges=3), table) == [[None]]


def test_a_row_goes_for_what_this_stage_dropped():
    """Its reason is not that of a pair which an earlier stage dropped."""
    pairs = [[pair(0, 1, drop="margin below 1"), pair(1, 0)], [pair(0, 1, drop="old")]]
    table = rows(scored("x", 2, 1), scored("x", 2, 1), pairs=pairs)
    result = Consensus(min_agreement=0.6).apply(table, Context())
    assert result["drop"].to_pylist() == ["agreement below 0.6", "old"]


def test_verify_keeps_what_all_and_any_agree_with():
    gold, llm, best = (lambda s, n=n: scored(n, s, 0) for n in ("gold", "llm", "best"))
    table = rows(
        gold(1) + llm(1) + best(-1), gold(1) + llm(-1) + best(-1), gold(-1) + llm(1) + best(1),
        gold(1), pairs=[[pair(0, 1)]] * 4,
    )  # fmt: skip
    reason = "not verified by the judges"
    stage = Verify(all_of=("gold",), any_of=("llm", "best"))
    assert drops(stage, table) == [[None], [reason], [reason], [reason]]
    assert drops(Verify(all_of=("gold",)), table) == [[None], [None], [reason], [None]]
    assert drops(Verify(any_of=("llm", "best")), table) == [[None], [reason], [None], [reason]]
    assert drops(Verify(all_of=("gold",), at_least=2), table)[0] == [reason]
    with pytest.raises(ValidationError, match="at least one judge"):
        Verify()


def test_verify_turns_only_what_passes_the_other_way_round():
    table = rows(
        scored("gold", 0, 1) + scored("llm", 0, 1), scored("gold", 0, 1) + scored("llm", 1, 1),
        scored("gold", 0, 1), pairs=[[pair(0, 1, source="s", margin=1.5)]] * 3,
    )  # fmt: skip
    ctx = Context()
    result = Verify(all_of=("gold",), any_of=("llm",), flip=True).apply(table, ctx)
    assert result["pairs"].to_pylist()[0] == [pair(1, 0, source="s:flipped", margin=-1.5)]
    assert of_pairs(result, "drop") == [[None], *[["not verified by the judges"]] * 2]
    assert of_pairs(result, "source")[1:] == [["s"], ["s"]]
    assert ctx.counts["flipped"] == 1


def test_what_people_decided_stands_whatever_the_judges_say():
    against = scored("gold", 0, 1) + scored("llm", 0, 1)
    torn = scored("gold", 0, 1) + scored("llm", 1, 0)
    people = [versus("people:1", 0, 1, 1)]
    table = rows(
        against + people, torn + people, against, torn,
        pairs=[[pair(0, 1, source="s", margin=1.5)]] * 4,
    )  # fmt: skip
    ctx = Context()
    stage = Verify(all_of=("gold",), any_of=("llm",), flip=True, decided_by=("people",))
    result = stage.apply(table, ctx)
    reason = "not verified by the judges"
    assert of_pairs(result, "drop") == [[None], [None], [None], [reason]]
    assert of_pairs(result, "source") == [["s"], ["s"], ["s:flipped"], ["s"]]
    assert ctx.counts["flipped"] == 1


def ranked(judge, values):
    return [score(judge, a, v) for a, v in enumerate(values) if v is not None]


def test_rank_consistency_of_one_adjacent_swap():
    table = rows(
        ranked("x", [1, 2, 3, 4, 5]) + ranked("y", [1, 3, 2, 4, 5]),
        ranked("x", [1, 2, 3, 4, 5]) + ranked("y", [5, 4, 3, 2, 1]),
        ranked("x", [1, 2, 3, 4, 5]) + ranked("y", [1, None, None, None, None]),
        pairs=[[pair(4, 0)]] * 3, candidates=5, scores=[[1, 2, 3, 4, 5]] * 3,
    )  # fmt: skip
    for stage in (RankConsistency(first="x", second="y"), RankConsistency(second="y")):
        result = stage.apply(table, Context())
        assert of_pairs(result, "p_correct") == [[pytest.approx(0.9)], [0], [None]]
        low = "rank consistency below 0.6"
        assert of_pairs(result, "drop") == [[None], [low], [low]]
    assert "scores" in RankConsistency(second="y").needed()
    assert "scores" not in RankConsistency(first="x", second="y").needed()


def test_principles_of_one_judge_are_a_committee_where_asked():
    calls = [odds("p", 0, 1, v) | {"aspect": name} for name, v in (("x", 3), ("y", -1), ("z", -1))]
    table = rows(calls, pairs=[[pair(0, 1)]])
    assert drops(Consensus(min_agreement=0.5), table) == [[None]]
    by_principle = Consensus(min_agreement=0.5, committee="aspects", min_judges=3)
    assert drops(by_principle, table) == [["agreement below 0.5"]]
