"""Recipes whose answers must be read, on the small local model, a few rows each.

The model is too small for sense; what counts is that every call comes back, that each answer is
read or has a status, and that the books balance.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from curate.engines import local_models
from curate.errors import ConfigError
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.portion import Portion
from curate.recipes import FOLDER

pytestmark = pytest.mark.vllm

SMALL = f"{{vllm: {{model: {local_models.SMOLLM2}, dtype: float32, max_model_len: 1024}}}}"
HELD = ["tag.structured=true", "tag.sampling.max_tokens=96"]
SHORT = ["generate.n=2", "generate.sampling.max_tokens=24", "generate.drop_truncated=false"]
TALKS = [f"engines.{role}={SMALL}" for role in ("policy", "judge")]
AGREED = ["judge_pairs.min_mass=0.01"]
ROUTES = ("to.safety", "to.reasoning", "otherwise")
TABLE = {
    "prompts_benchbuilder": [f"engines.judge={SMALL}", *HELD, "6.at_least=0", "7.at_least=0"],
    "instag": [f"engines.tagger={SMALL}", *HELD, "merge_tags.min_rows=1", "cover.keep=3"],
    "negatives_only": [
        f"engines.policy={SMALL}",
        *SHORT,
        f"rank_models.order=[{local_models.SMOLLM2}, null]",
    ],
    "factuality": [
        f"engines.policy={SMALL}",
        "engines.reader={scripted: {}}",
        "claims.engine=policy",
        "claims.most=2",
        "claims.sampling.max_tokens=160",
        "consistency.n=4",
        "consistency.min_claims=1",
        "consistency.sampling.max_tokens=12",
        *SHORT,
    ],
    "relevance": [f"engines.policy={SMALL}", *HELD, *SHORT],
    "cdr": [
        *(f"engines.{role}={SMALL}" for role in ("policy", "strong")),
        *(f"route.{kind}.likelihood.minus=strong" for kind in ROUTES),
        *(f"route.{kind}.likelihood.minus_system=Answer." for kind in ROUTES),
        "engines.weak={scripted: {}}",
        *HELD,
        *SHORT,
    ],
    "critiques": [
        f"engines.writer={SMALL}",
        "engines.judge={scripted: {replies: ['It counts. [[A]]', 'It does not. [[B]]']}}",
        "engines.reader={scripted: {}}",
        "critique_agreement.engine=writer",
        "critique_agreement.sampling.max_tokens=192",
        "rationale.sampling.max_tokens=48",
    ],
    "hybrid_routing": [f"engines.tagger={SMALL}", *HELD],
    "knowledge_conflict": [
        *TALKS,
        *(f"{place}.sampling.max_tokens=24" for place in (2, 3)),
        *(f"{place}.drop_truncated=false" for place in (2, 3)),
        "judge.min_mass=0.01",
        "margin.at_least=0",
    ],
    "fspo": [*TALKS, *SHORT, *AGREED, "few_shot.n=1"],
    "mapl": [*TALKS, *SHORT, "judge.min_mass=0.01", "min_score.at_least=1"],
    "personas": [
        *TALKS,
        *AGREED,
        "engines.writer={scripted: {replies: ['- Is it short?', '- Is it kind?']}}",
        *(f"{place}.sampling.max_tokens=24" for place in (1, 5)),
        *(f"{place}.drop_truncated=false" for place in (1, 5)),
        "judge.structured=true",
    ],
    "wildfeedback": [
        *TALKS,
        "engines.reader={scripted: {replies: ['3: ignored', '3: style']}}",
        *SHORT[1:],
        "judge_prompts.min_mass=0.01",
        "judge_prompts.at_least=1",
        "judge.structured=true",
        f"rank_models.order=[{local_models.SMOLLM2}, conversation]",
    ],
}
BALANCED = ("fspo", "knowledge_conflict", "mapl", "personas", "wildfeedback")
"""Recipes whose pairs a model that small need not give: that all calls came back is what counts."""
SCORED = {"factuality": "consistency", "relevance": "route", "cdr": "route"}
"""The stage whose scores come of what the model said or thinks."""


FORMS = {
    "self_rewarding": [
        f"engines.policy={SMALL}",
        *SHORT,
        "judge.structured=true",
        "judge.longest_text=40",
        "judge.samples=1",
    ],
    "rationales": [
        f"engines.writer={SMALL}",
        "rationale.structured=true",
        "rationale.longest_text=40",
        "rationale.detail=general",
    ],
}


def test_answers_that_are_held_to_a_form_are_read_each_one(tmp_path: Path) -> None:
    """By themselves this model's answers keep to no form; in these recipes all of them count."""
    needs_the_model()
    executor = Local(workers=1)  # whose child keeps the model
    try:
        for name, changes in FORMS.items():
            pipeline = Pipeline.load(FOLDER / f"{name}.yaml", changes)
            ended = run(pipeline, tmp_path, executor=executor, portion=Portion.parse(3, ""))
            assert ended.finished
    finally:
        executor.close()
    (part,) = (tmp_path / "store/judge").glob("*.arrow")
    rows = pa.ipc.open_file(part).read_all()["judgments"].to_pylist()
    assert [[judgment["status"] for judgment in row] for row in rows] == [["ok"] * 2] * 3
    (record,) = (tmp_path / "store/rationale").glob("*.json")
    counts = json.loads(record.read_text())["counts"]
    assert counts["calls"] == 3
    replies = {name for name in counts if name.startswith("replies: ")}
    assert replies <= {"replies: ok", "replies: contradiction"}


def needs_the_model() -> None:
    """Skip the test where vLLM or the small model is missing."""
    pytest.importorskip("vllm")
    try:
        local_models.resolve(local_models.SMOLLM2)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.long
@pytest.mark.parametrize("name", TABLE)
def test_it_runs_and_balances(tmp_path: Path, name: str) -> None:
    needs_the_model()
    pipeline = Pipeline.load(FOLDER / f"{name}.yaml", TABLE[name])
    ended = run(pipeline, tmp_path, portion=Portion.parse(4, ""))
    books = ended.accounting
    lost = sum(books["dropped"].values()) + sum(books["failed"].values())
    assert ended.finished
    assert books["rows_in"] == 4 == books["rows_exported"] + lost
    assert not books["failed"]
    if name == "negatives_only":
        assert books["rows_exported"] == 4
        return
    if name in BALANCED:
        return
    if name in SCORED:
        assert any(scores(tmp_path / "store" / SCORED[name], "judgments", "score"))
        return
    if name == "critiques":  # it copies the form's dots, which are no arguments and no agreement
        found = scores(tmp_path / "store" / "critique_agreement", "critique_f1")
        assert sum(found) >= books["rows_exported"]
        return
    (part,) = (tmp_path / "store" / "tag").glob("*.arrow")
    found = pa.ipc.open_file(part).read_all().column(0).to_pylist()
    assert name == "instag" or any(tags is not None for tags in found)
    assert sum(tags is None for tags in found) <= sum(books["dropped"].values())


def scores(folder: Path, column: str, field: str = "") -> list[bool]:
    """Return which of the numbers in a column of a stage's parts there are."""
    parts = [pa.ipc.open_file(part).read_all() for part in folder.glob("*.arrow")]
    values = [value for part in parts for row in part[column].to_pylist() for value in row]
    return [(value[field] if field else value) is not None for value in values]
