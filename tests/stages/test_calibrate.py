import numpy as np
import pyarrow as pa
import pytest

from curate.errors import StageError
from curate.schema import CANDIDATES, JUDGMENTS, PAIRS, PROMPT
from curate.stage import Context
from curate.stages.calibrate import Calibrate


def rows(n=600, labelled=400, seed=0, reverse=False):
    """Pairs whose first answer is better; judge `good` is right in 90%, `poor` in 55%."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    columns = {"id": [], "prompt": [], "candidates": [], "judgments": [], "pairs": [], "meta": []}
    for i in range(n):
        judged = []
        for name, skill in (("good", 0.9), ("poor", 0.55)):
            side = 1.0 if truth[i] == (rng.random() < skill) else -1.0
            judged.append(
                {"judge": name, "aspect": "s", "a": 0, "b": 1, "order": "ab", "score": side,
                 "status": "ok"}
            )  # fmt: skip
        columns["id"].append(str(i))
        columns["prompt"].append([{"role": "user", "content": f"ask {i // 2}"}])
        columns["candidates"].append([{"text": "one answer"}, {"text": "two answer"}])
        columns["judgments"].append(judged)
        chosen = 1 if reverse else 0
        columns["pairs"].append(
            [{"chosen": chosen, "rejected": 1 - chosen, "margin": 1.0, "source": "here"}]
        )
        word = "a" if truth[i] else "b"
        columns["meta"].append(f'{{"human": "{word}"}}' if i < labelled else "{}")
    types = {"prompt": PROMPT, "candidates": CANDIDATES, "judgments": JUDGMENTS, "pairs": PAIRS}
    return pa.table({k: pa.array(v, types.get(k, pa.string())) for k, v in columns.items()}), truth


def fitted(stage, table):
    result = stage.apply(table, Context())
    assert result["pairs"].type == PAIRS
    return [p for row in result["pairs"].to_pylist() for p in row], result


def test_p_correct_is_calibrated_on_pairs_without_a_label():
    table, truth = rows(3000, 1500)
    pairs, _ = fitted(Calibrate(labels=("human",)), table)
    p = np.array([pair["p_correct"] for pair in pairs])
    for mask in (np.arange(3000) >= 1500, np.arange(3000) < 1500):
        sure = mask & (p > 0.8)
        assert sure.sum() > 300
        assert truth[sure].mean() == pytest.approx(p[sure].mean(), abs=0.04)


def test_the_other_way_round_is_the_other_probability():
    one, _ = rows()
    two, _ = rows(reverse=True)
    p, q = (
        [pair["p_correct"] for pair in fitted(Calibrate(labels=("human",)), t)[0]]
        for t in (one, two)
    )
    assert all(0 < a < 1 for a in p)
    assert (np.array(p) + np.array(q) <= 1 + 1e-6).all()  # the rest is a tie
    assert np.array(p) + np.array(q) == pytest.approx(np.ones(len(p)), abs=0.1)


def test_relabel_turns_pairs_and_at_least_drops_the_unsure():
    table, truth = rows()
    pairs, result = fitted(Calibrate(labels=("human",), relabel=True, at_least=0.9), table)
    turned = [pair for pair in pairs if pair["chosen"] == 1]
    assert turned
    assert all(pair["rejected"] == 0 and pair["margin"] == -1.0 for pair in turned)
    assert {pair["source"] for pair in turned} == {"here:flipped"}
    assert min(pair["p_correct"] for pair in pairs) >= 0.49
    right = [(pair["chosen"] == 0) == t for pair, t in zip(pairs, truth, strict=True)]
    assert np.mean(right) > 0.85
    assert {pair["drop"] for pair in pairs} == {None, "p_correct below 0.9"}
    assert result["drop"].to_pylist() == [pair["drop"] for pair in pairs]


def test_how_the_rows_are_cut_into_chunks_changes_nothing():
    table, _ = rows(200, 150)
    parts = pa.concat_tables([table.slice(k, 17) for k in range(0, 200, 17)])
    stage = Calibrate(labels=("human",))
    assert stage.apply(parts, Context())["pairs"].equals(stage.apply(table, Context())["pairs"])


def test_too_few_labels_or_an_unknown_one_is_an_error():
    table, _ = rows(60, 40)
    with pytest.raises(StageError, match="40 of 60 pairs have a label of human, fewer than"):
        Calibrate(labels=("human",)).apply(table, Context())
    with pytest.raises(StageError, match="did you mean 'human'"):
        Calibrate(labels=("humen",), min_labels=1).apply(table, Context())


def test_what_cannot_be_learnt_stays_null_and_is_not_kept():
    table, _ = rows(2, 2)  # one prompt: nothing else to learn from
    pairs, _ = fitted(Calibrate(labels=("human",), min_labels=1, at_least=0.1), table)
    assert [pair["p_correct"] for pair in pairs] == [None, None]
    assert {pair["drop"] for pair in pairs} == {"no p_correct"}


def test_people_are_labels_by_their_common_name():
    table, _ = rows(200, 0)
    judged = table["judgments"].to_pylist()
    for i, calls in enumerate(judged[:150]):
        said = dict(calls[0], judge=f"people:{i % 3}")
        calls.append(said)
    table = table.set_column(
        table.column_names.index("judgments"), "judgments", pa.array(judged, JUDGMENTS)
    )
    by_name, _ = fitted(Calibrate(labels=("people",)), table)
    by_person, _ = fitted(Calibrate(labels=("people:0", "people:1", "people:2")), table)
    assert by_name == by_person
    agreed = [calls[0]["score"] > 0 for calls in judged]  # people say what the judge `good` says
    assert [pair["p_correct"] > 0.5 for pair in by_name] == agreed
