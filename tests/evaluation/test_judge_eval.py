import io
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from curate.errors import ConfigError
from curate.evaluation.datasets import columns_of, open_set, read_rows
from curate.evaluation.filter_gain import curve, verdict
from curate.evaluation.judge_eval import Question, evaluate_judges, verdicts_of
from curate.evaluation.resampling import Resampled
from curate.evaluation.show import show_report
from curate.methods.crowd import Interval
from curate.schema import CANDIDATES, JUDGMENTS, PAIRS, PROMPT

DATA = Path(__file__).parents[2] / "../shared/data"
PANDALM = [
    "prompt=instruction", "input=input", "chosen=response1", "rejected=response2",
    "reference=gpt_reference",
]  # fmt: skip
HUMANS = ["annotator1", "annotator2", "annotator3"]


def pandalm():
    path = DATA / "pandalm/pairs.parquet"
    if not path.exists():
        pytest.skip("the human-labelled pairs of PandaLM are not here")
    return read_rows(open_set(str(path), columns_of(PANDALM)))


@pytest.fixture(scope="module")
def report():
    question = Question(HUMANS, ["gpt_result", "pandalm_result"], resamples=200)
    return evaluate_judges(pandalm(), question)


def test_the_published_labels_give_the_known_accuracies(report):
    judge = report["judges"]["gpt_result"]
    assert (report["labelled"], report["prompts"], judge["unreadable"]) == (999, 170, 25)
    assert (judge["accuracy"]["n"], judge["accuracy_readable"]["n"]) == (961, 936)
    assert judge["accuracy"]["value"] == pytest.approx(692 / 961)  # 72.0%
    assert judge["accuracy_readable"]["value"] == pytest.approx(692 / 936)  # 73.9%
    assert judge["accuracy"]["low"] < 0.70 < 0.74 < judge["accuracy"]["high"]


def test_requiring_the_second_judge_gives_the_known_gain(report):
    loose, strict = report["filters"]["agreement"]
    assert (loose["kept"], strict["kept"]) == (961, 670)
    assert strict["coverage"] == pytest.approx(0.697, abs=5e-4)
    assert strict["accuracy"]["value"] == pytest.approx(0.819, abs=5e-4)
    assert strict["verdict"].startswith("more accurate than all verdicts: +9.9 points")
    assert loose["verdict"].startswith("no gain shown")


def test_p_correct_is_calibrated_and_beats_plain_agreement(report):
    errors = report["p_correct"]["calibration"]
    assert errors["random_orientation"]["ece"] <= 0.05
    assert errors["verdicts"]["ece"] <= 0.05
    own = report["filters"]["agreement"][1]["p_correct_own_verdict"]
    assert own["gain"]["low"] > 0
    assert own["kept_at_same_accuracy"] > 740
    judge = report["filters"]["agreement"][1]["p_correct"]
    assert judge["gain"]["value"] > 0
    assert judge["verdict"].startswith("no gain shown") == (judge["gain"]["low"] <= 0)


def test_a_gap_of_two_in_one_score_is_confirmed_by_the_two_others():
    path = DATA / "prometheus_gpt4x3/responses.parquet"
    if not path.exists():
        pytest.skip("the thrice scored answers of Prometheus-Eval are not here")
    mapping = ["prompt=prompt", "response=response", "group=bench,idx", "varies=prompt,reference"]
    rows = read_rows(open_set(str(path), columns_of([*mapping, "scores=gpt4_scores"])))
    others = ["gpt4_scores#1", "gpt4_scores#2"]
    question = Question(others, ["gpt4_scores#0"], truth="mean", resamples=100)
    report = evaluate_judges(rows, question)
    steps = {step["threshold"]: step for step in report["filters"]["margin"]}
    assert steps[2.0]["kept"] == 123
    assert steps[2.0]["accuracy"]["value"] == pytest.approx(0.927, abs=5e-4)
    assert report["p_correct"]["calibration"]["random_orientation"]["ece"] <= 0.05


def test_solvers_that_agree_are_right_as_often_as_is_known():
    path = DATA / "gsm8k_candidates/candidates.parquet"
    if not path.exists():
        pytest.skip("the graded solutions of GSM8K are not here")
    rows = pq.read_table(path, columns=["response", "is_correct"])
    numbers = [re.findall(r"-?\$?[\d,]*\.?\d+", t)[-1] for t in rows["response"].to_pylist()]
    answers = np.array([float(re.sub("[$,]", "", t)) for t in numbers]).reshape(-1, 4)
    right = rows["is_correct"].to_numpy().reshape(-1, 4)
    count = (answers[:, :, None] == answers[:, None, :]).sum(axis=2)
    each = np.arange(len(count))
    pick = count.argmax(axis=1)
    steps = curve(right[each, pick], count[each, pick], Resampled(each, resamples=50))
    by = {step["threshold"]: step for step in steps}
    assert by[4.0]["accuracy"]["value"] == pytest.approx(0.957, abs=5e-4)
    assert by[3.0]["accuracy"]["value"] == pytest.approx(0.885, abs=5e-4)
    assert (by[4.0]["kept"], by[3.0]["kept"]) == (163, 408)


def made(n=400, both=True, seed=0, position=0.0, ties=False):
    """Two candidates a row; the judge is right in 80%, else takes the other or the first shown."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    truth = np.where(rng.random(n) < 0.1, 0.0, truth) if ties else truth
    judgments = []
    for i in range(n):
        row = []
        for order in ("ab", "ba") if both else ("ab",):
            side = truth[i] if rng.random() < 0.8 else -truth[i]
            if rng.random() < position:
                side = 1.0 if order == "ab" else -1.0
            row.append({"judge": "j", "aspect": "s", "a": 0, "b": 1, "order": order, "score": side,
                        "status": "ok"})  # fmt: skip
        judgments.append(row)
    texts = [[{"text": "a" * 9, "model": "j-7b"}, {"text": "b", "model": "x"}]] * n
    return pa.table(
        {
            "prompt": pa.array([[{"role": "user", "content": f"{i}"}] for i in range(n)], PROMPT),
            "candidates": pa.array(texts, CANDIDATES),
            "judgments": pa.array(judgments, JUDGMENTS),
            "pairs": pa.array([[{"chosen": 0, "rejected": 1}]] * n, PAIRS),
            "meta": pa.array([f'{{"h": {int(t)}}}' for t in truth]),
        }
    )


def test_position_bias_is_shown_where_there_is_one_and_only_there():
    none = evaluate_judges(made(), Question(["h"], resamples=100))["judges"]["j"]
    some = evaluate_judges(made(position=0.3), Question(["h"], resamples=100))["judges"]["j"]
    assert not none["position_bias"]["shown"]
    assert some["position_bias"]["shown"]
    assert some["position_bias"]["first_bias"] > some["position_bias"]["second_bias"]
    one = evaluate_judges(made(both=False, position=0.5), Question(["h"], resamples=100))
    assert one["judges"]["j"]["position_bias"]["orders"] == "one"
    assert one["judges"]["j"]["position_bias"]["shown"]


def test_consistent_verdicts_are_righter_and_the_filter_says_so():
    found = evaluate_judges(made(2000), Question(["h"], resamples=100))["order_consistency"]
    assert found["one_order"]["accuracy"]["value"] == pytest.approx(0.8, abs=0.03)
    assert found["consistent"]["accuracy"]["value"] == pytest.approx(0.64 / 0.68, abs=0.03)
    assert found["consistent"]["coverage"] == pytest.approx(0.68, abs=0.03)
    assert found["verdict"].startswith("more accurate than one order")
    one = evaluate_judges(made(both=False), Question(["h"], resamples=100))
    assert one["order_consistency"] is None


def test_self_preference_needs_the_models_and_is_compared_with_the_humans():
    own = {"j": "j-"}
    fair = evaluate_judges(made(), Question(["h"], judge_models=own, resamples=100))
    assert not fair["judges"]["j"]["self_preference"]["shown"]
    vain = evaluate_judges(
        made(both=False, position=0.4), Question(["h"], judge_models=own, resamples=100)
    )
    assert vain["judges"]["j"]["self_preference"]["shown"]  # its own answers are all shown first
    with pytest.raises(ConfigError, match="no candidate is by a model"):
        evaluate_judges(made(), Question(["h"], judge_models={"j": "other"}))


def test_self_preference_of_a_judge_whose_model_is_known_needs_no_prefix():
    table = made(both=False, position=0.4)
    wrote = {m for row in table["candidates"].to_pylist() for m in (c["model"] for c in row)}
    (own,) = [model for model in wrote if model.startswith("j-")]
    known = evaluate_judges(table, Question(["h"], known_models={"j": own}, resamples=100))
    named = evaluate_judges(table, Question(["h"], judge_models={"j": "j-"}, resamples=100))
    preferred = known["judges"]["j"]["self_preference"]
    assert preferred == named["judges"]["j"]["self_preference"]
    other = evaluate_judges(table, Question(["h"], known_models={"j": "nobody"}, resamples=100))
    assert "none of the answers is by its model, nobody" in other["judges"]["j"]["self_preference"]
    nobody = evaluate_judges(table, Question(["h"], resamples=100))
    assert "which model the judge is is not known" in nobody["judges"]["j"]["self_preference"]


def test_few_labels_give_no_p_correct():
    report = evaluate_judges(made(50), Question(["h"], resamples=50))
    assert report["p_correct"] is None


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (Question(["h"], ["jj"]), "did you mean 'j'"),
        (Question([], ["j"]), "at least one judge"),
        (Question(["j"], ["j"]), "both the judge and the truth"),
        (Question(["nothing"], ["j"]), "no judge and no column"),
    ],
)
def test_a_bad_question_is_one_clear_error(question, words):
    with pytest.raises(ConfigError, match=words):
        evaluate_judges(made(20), question)


def test_without_answers_there_is_nothing_to_judge():
    with pytest.raises(ConfigError, match="no answers are mapped"):
        evaluate_judges(made(20).drop_columns(["candidates"]), Question(["h"]))


def test_verdict_words_can_be_given():
    words = verdicts_of({"-3": "a", "Left": "b"})
    assert (words["-3"], words["left"], words["tie"]) == (1.0, -1.0, 0.0)
    with pytest.raises(ConfigError, match="a, b or tie"):
        verdicts_of({"x": "c"})


def test_no_gain_is_claimed_from_noise():
    rng = np.random.default_rng(0)
    claims = 0
    for seed in range(20):
        right, signal = rng.random(300) < 0.7, rng.random(300)
        sample = Resampled(np.arange(300), seed, 200)
        claims += curve(right, signal, sample, 2)[1]["verdict"].startswith("more")
    assert claims <= 3  # at 95%, about one in forty by chance
    assert verdict(Interval(0.1, -0.01, 0.2), 5, "x").startswith("no gain shown over x")
    assert verdict(Interval(-0.1, -0.2, -0.01), 5, "x").startswith("less accurate than x")
    assert "nothing is kept" in verdict(Interval(np.nan, np.nan, np.nan), 0, "x")


def test_resampling_draws_groups_and_repeats_by_seed():
    value = np.repeat(np.random.default_rng(1).normal(0, 1, 30), 20)
    group = np.repeat(np.arange(30), 20)
    everywhere = np.ones(600)
    by_group = Resampled(group, 7).mean(value, everywhere)
    by_item = Resampled(np.arange(600), 7).mean(value, everywhere)
    assert by_group.high - by_group.low > 3 * (by_item.high - by_item.low)
    assert by_group == Resampled(group, 7).mean(value, everywhere)
    assert by_group != Resampled(group, 8).mean(value, everywhere)
    assert np.isnan(Resampled(group).mean(value, everywhere * 0).estimate)


def test_a_judges_name_is_shown_as_it_is():
    found = evaluate_judges(made(200), Question(["h"], resamples=50))
    name = "gpt[/x] [bold]"
    found["judges"] = {name: found["judges"]["j"]}
    step = found["all"] | {"threshold": 0.5, "coverage": 1.0, "gain": found["all"]["accuracy"]}
    found |= {"judge": name, "filters": {name: [step]}}
    out = io.StringIO()
    show_report(found, Console(file=out, width=400))
    assert f"Verdicts of {name}: what a filter keeps" in out.getvalue()
    assert out.getvalue().count(name) > 4
    narrow = io.StringIO()
    show_report(found, Console(file=narrow, width=60))
    assert "\u2026" not in narrow.getvalue()  # a name goes on in the next line
