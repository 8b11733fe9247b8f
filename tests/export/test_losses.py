"""What published losses make of the columns that are exported: the worked numbers of each.

The losses are the trainers', and stand here as their papers have them. `h` is the scaled
difference of log-probabilities by which the model being trained prefers the chosen answer.
"""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.export.trainer_files import Layout, write_form
from curate.schema import CANDIDATES, JUDGMENTS, PAIRS, PROMPT
from curate.stage import Context
from curate.stages.agreement import RankConsistency


def logistic(h: float) -> float:
    return log(1 + exp(-h))


def soft(p: float, h: float) -> float:
    """The loss of a label that is right with probability p (cDPO, CREAM, OSP)."""
    return p * logistic(h) + (1 - p) * logistic(-h)


def robust(flipped: float, h: float) -> float:
    """Provably robust DPO, for a known share of flipped labels."""
    return ((1 - flipped) * logistic(h) - flipped * logistic(-h)) / (1 - 2 * flipped)


def exported(tmp_path: Path, form: str, table: pa.Table) -> dict[str, Any]:
    path = tmp_path / "rows.jsonl"
    write_form([table], path, form, Layout("jsonl"))
    (line,) = path.read_text().splitlines()
    return dict(json.loads(line))


def row(answers: int, **columns: Any) -> pa.Table:
    said = [{"text": f"answer {k}", "model": "m", "drop": None} for k in range(answers)]
    base = {
        "id": ["r"],
        "prompt": pa.array([[{"role": "user", "content": "Why?"}]], PROMPT),
        "candidates": pa.array([said], CANDIDATES),
    }
    return pa.table(base | columns)


def pair(**fields: Any) -> pa.Array:
    return pa.array([[{"chosen": 0, "rejected": 1, **fields}]], PAIRS)


def test_cream_weighs_by_how_two_rankings_agree(tmp_path: Path) -> None:
    now, before = [5, 4, 3, 2, 1], [4, 5, 3, 2, 1]
    said = [
        {"judge": judge, "aspect": "s", "a": a, "score": float(score), "status": "ok"}
        for judge, scores in (("now", now), ("before", before))
        for a, score in enumerate(scores)
    ]
    view = row(5, judgments=pa.array([said], JUDGMENTS), pairs=pair(margin=4.0))
    stage = RankConsistency(first="now", second="before")
    view = view.set_column(
        view.column_names.index("pairs"), "pairs", stage.apply(view, Context())["pairs"]
    )
    agreement = exported(tmp_path, "preference", view)["p_correct"]
    assert agreement == pytest.approx(0.9)
    assert soft(agreement, 1.0) == pytest.approx(0.413262, abs=1e-6)


@pytest.mark.parametrize(("p", "h", "loss"), [(0.75, 1.0, 0.563262), (0.9, 1.0, 0.413262)])
def test_soft_labels(tmp_path: Path, p: float, h: float, loss: float) -> None:
    found = exported(tmp_path, "preference", row(2, pairs=pair(p_correct=p)))["p_correct"]
    assert soft(found, h) == pytest.approx(loss, abs=1e-6)


def test_the_robust_loss_is_unbiased_for_the_share_that_is_wrong(tmp_path: Path) -> None:
    found = exported(tmp_path, "preference", row(2, pairs=pair(p_correct=0.9)))
    flipped = 1 - found["p_correct"]
    assert robust(flipped, 1.0) == pytest.approx(0.188262, abs=1e-6)
    assert robust(flipped, -1.0) == pytest.approx(1.438262, abs=1e-6)
    mean = (1 - flipped) * robust(flipped, 1.0) + flipped * robust(flipped, -1.0)
    assert mean == pytest.approx(logistic(1.0)) == pytest.approx(0.313262, abs=1e-6)


def test_irepo_aims_at_the_log_odds_of_the_preference(tmp_path: Path) -> None:
    p = exported(tmp_path, "preference", row(2, pairs=pair(p_correct=0.8)))["p_correct"]
    target = log(p / (1 - p))
    assert target == pytest.approx(1.386294, abs=1e-6)
    assert (1.0 - target) ** 2 == pytest.approx(0.149223, abs=1e-6)


def test_pro_reads_ranked_lists_with_their_rewards(tmp_path: Path) -> None:
    view = row(3, scores=pa.array([[1.0, 2.0, 0.0]], pa.list_(pa.float32())))
    answers = exported(tmp_path, "ranked", view)["answers"]
    assert [a["answer"] for a in answers] == ["answer 1", "answer 0", "answer 2"]
    rewards, said, loss = [a["score"] for a in answers], [-0.5, -0.6, -0.9], []
    for i, best in enumerate(rewards[:-1]):
        gaps = [best - lower for lower in rewards[i + 1 :]]
        own = exp(said[i] * max(gaps))
        others = sum(exp(s * gap) for s, gap in zip(said[i + 1 :], gaps, strict=True))
        loss.append(-log(own / (own + others)))
    assert loss == pytest.approx([1.078802, 0.554355], abs=1e-6)
    assert sum(loss) == pytest.approx(1.633157, abs=1e-6)


def test_rdpo_adds_the_likelihood_of_the_rationale(tmp_path: Path) -> None:
    why = pa.array([["It says why."]], pa.list_(pa.string()))
    found = exported(tmp_path, "preference", row(2, pairs=pair(), rationales=why))
    assert found["rationale"] == "It says why."
    log_probability = -200.0  # that of the rationale under the model
    assert logistic(0.001 * log_probability) == pytest.approx(0.798139, abs=1e-6)
