"""Self-preference and the other leanings of judges: found where planted, and honest where not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate import history
from curate.executors import Local
from curate.loop import run
from curate.methods.concord import spread_pairs
from curate.pipeline import Pipeline
from curate.report import report
from curate.report.judges import Clustered, Leanings, judge_models, judges_by_step
from curate.schema import CANDIDATES, JUDGMENTS


def duel(judge: str, score: float | None, order: str = "ab") -> dict[str, Any]:
    status = "ok" if score is not None else "parse_error"
    return {"judge": judge, "a": 0, "b": 1, "order": order, "score": score, "status": status}


def made(rows: int = 600, vain: float = 0.8, seed: int = 0) -> dict[str, pa.Array]:
    """Two answers a row, by m1 and m2; `vain` (m1 itself) likes m1's, `fair` decides by lot."""
    draws = np.random.default_rng(seed)
    candidates, judgments = [], []
    for _ in range(rows):
        sizes = draws.integers(1, 50, 2)
        own = int(draws.integers(2))
        models = ["m2", "m2"]
        models[own] = "m1"
        candidates.append(
            [{"text": "x" * n, "model": m} for n, m in zip(sizes, models, strict=True)]
        )
        likes = own if draws.random() < vain else 1 - own
        lot = 1.0 if draws.random() < 0.5 else -1.0
        judgments.append([duel("vain", 1.0 if likes == 0 else -1.0), duel("fair", lot)])
    return {
        "candidates": pa.array(candidates, CANDIDATES),
        "judgments": pa.array(judgments, JUDGMENTS),
    }


def test_planted_self_preference_is_found_and_the_fair_judge_has_none() -> None:
    found = Leanings({"vain": "m1", "fair": "m2"})
    found.add(made())
    vain, fair = found.summary("vain"), found.summary("fair")
    assert vain["own"]["judge"]["share"] == pytest.approx(0.8, abs=0.05)
    assert vain["own"]["others"]["value"] == pytest.approx(0.5, abs=0.06)
    assert vain["own"]["excess"]["low"] > 0.2
    own = fair["own"]["judge"]
    assert own["low"] < 0.5 < own["high"]
    for judge in (vain, fair):
        assert judge["longer"]["judge"]["low"] < 0.5 < judge["longer"]["judge"]["high"]
    (agreed,) = found.agreement()
    assert agreed["judges"] == ("fair", "vain")
    assert agreed["kappa"] == pytest.approx(0.0, abs=0.1)
    halves = Leanings({"vain": "m1", "fair": "m2"})
    for start in (0, 7):
        halves.add({k: v.slice(start, 7 if start == 0 else 1000) for k, v in made().items()})
    assert halves.summary("vain")["own"]["judge"] == pytest.approx(vain["own"]["judge"])


def test_what_is_not_known_is_said() -> None:
    table = made(20)
    reasons = {}
    for name, models in {
        "unknown judge": {}, "wrote none": {"vain": "m9"}, "measured": {"vain": "m1"},
    }.items():  # fmt: skip
        found = Leanings(models)
        found.add(table)
        reasons[name] = found.summary("vain")["own"]
    assert "not known which model this judge is" in reasons["unknown judge"]
    assert "none of the answers is by its model, m9" in reasons["wrote none"]
    assert reasons["measured"]["judge"]["n"] == 20
    for models, why in (([None, None], "which models wrote"), (["m1", "m1"], "all answers are by")):
        rows = [[{"text": "a", "model": models[0]}, {"text": "bb", "model": models[1]}]]
        found = Leanings({"vain": "m1"})
        found.add(
            {
                "candidates": pa.array(rows, CANDIDATES),
                "judgments": pa.array([[duel("vain", 1.0)]], JUDGMENTS),
            }
        )
        assert why in found.summary("vain")["own"]
        assert found.summary("vain")["longer"]["excess"] is None  # no other judge


def test_judges_by_the_same_model_are_no_yardstick_for_each_other() -> None:
    found = Leanings({"vain": "m1", "fair": "m1"})
    found.add(made(50))
    assert found.summary("vain")["own"]["others"] is None


def test_the_error_counts_prompts_and_not_comparisons() -> None:
    draws = np.random.default_rng(0)
    alone, together = Clustered(), Clustered()
    values = (draws.random(100) < 0.5).astype(float)
    alone.add(np.arange(100), values)
    together.add(np.repeat(np.arange(100), 10), np.repeat(values, 10))
    one, two = alone.mean(), together.mean()
    assert two["high"] - two["low"] == pytest.approx(one["high"] - one["low"])
    assert Clustered().share() is None
    held = 0
    for seed in range(200):
        lots = np.random.default_rng(seed)
        found = Clustered()
        chance = np.repeat(lots.beta(2, 2, 80), 5)
        found.add(np.repeat(np.arange(80), 5), (lots.random(400) < chance).astype(float))
        share = found.share()
        held += share["low"] <= 0.5 <= share["high"]
    assert 0.90 <= held / 200 <= 0.99


def test_every_two_answers_or_eight_spread_over_them() -> None:
    pairs = spread_pairs(np.array([3, 0, 1, 20]))
    assert pairs.row.tolist() == [0] * 3 + [3] * 28
    assert list(zip(pairs.a[:3].tolist(), pairs.b[:3].tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 2),
    ]
    assert sorted(set(pairs.a[3:].tolist()) | set(pairs.b[3:].tolist())) == [
        4,
        6,
        9,
        11,
        14,
        16,
        19,
        21,
    ]
    assert (pairs.a < pairs.b).all()


PIPELINE = """
name: leaning
source: {jsonl: {path: PATH, shard_rows: 10, columns: {id: id, prompt: prompt}}}
engines:
  a: {scripted: {model: model-a}}
  b: {scripted: {model: model-b}}
  r: {scripted: {model: reward-c}}
stages:
  - generate: {engine: [a, b], n: 2}
  - judge: {engine: a, score: expected, name: first}
  - likelihood: {engine: a, minus: b, name: two}
  - reward: {engine: r}
export: null
"""


def test_a_run_knows_its_judges_models_and_the_page_says_what_it_cannot_know(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"id": f"r{i}", "prompt": f"Q{i}?"}) + "\n" for i in range(40))
    )
    run(Pipeline.loads(PIPELINE.replace("PATH", str(path))), tmp_path, executor=Local(workers=1))
    store, shards = history.shards(tmp_path, history.manifest(tmp_path, "leaning"))
    steps = judges_by_step(store, shards)
    assert steps == {3: ["first"], 4: ["two"], 5: ["r:reward"]}
    models = judge_models(store, shards)
    assert models == judge_models(store, shards, steps)
    assert models == {"first": "model-a", "two": None, "r:reward": "reward-c"}
    page = report(tmp_path, "leaning")
    assert "not measurable: it is not known which model this judge is" in page
    assert "not measurable: none of the answers is by its model, reward-c" in page
