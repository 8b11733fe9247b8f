"""Which benchmarks there are by name, and how their items are read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from curate.errors import ConfigError, StageError
from curate.methods.benchmark_list import GROUPS, KNOWN, Benchmark, page, resolve
from curate.methods.benchmarks import load, texts_in
from curate.stage import stage_registry
from curate.stages.decontaminate import Decontaminate


def test_every_kind_of_file_holds_the_same(tmp_path):
    rows = [{"q": "Which river flows through Vienna?", "a": "8"}, {"q": "Hi", "a": None}]
    bench = tmp_path / "b.jsonl"
    bench.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(bench.read_bytes()))
    (tmp_path / "b.txt").write_text("\n".join(row["q"] for row in rows))
    want = load(Benchmark(name="x", path=str(bench), column="q", answers="a"))
    for name in ("b.parquet", "b.jsonl.gz"):
        assert load(Benchmark(name="x", path=str(tmp_path / name), column="q", answers="a")) == want
    lines = load(Benchmark(name="x", path=str(tmp_path / "b.txt")))
    assert lines.questions == want.questions
    assert lines.size == 2


def test_names_groups_and_mistakes():
    assert [b.name for b in resolve(["gsm8k"])] == ["gsm8k"]
    assert [b.name for b in resolve(["reward"])] == list(GROUPS["reward"])
    assert len(KNOWN) == sum(len(names) for names in GROUPS.values()) >= 20
    with pytest.raises(ConfigError, match="did you mean 'gsm8k'"):
        stage_registry.parse({"decontaminate": {"benchmarks": ["gsm8"]}}, "stage 1")
    with pytest.raises(ConfigError, match=r"a file is \{name: mine, path: my/evals\.jsonl, column"):
        resolve(["my/evals.jsonl"])
    with pytest.raises(ConfigError, match="twice"):
        resolve(["tasks", "gsm8k"])
    with pytest.raises(ValidationError, match="either"):
        Benchmark(name="x")
    with pytest.raises(ValidationError):
        Decontaminate(benchmarks=())


def test_known_benchmarks_say_what_to_do_offline(monkeypatch):
    import datasets

    def offline(*args, **fields):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(StageError, match=r"go online.*name: drop, path: FILE"):
        load(KNOWN["drop"])
    with pytest.raises(StageError, match=r"name: gsm8k, .*name: drop, "):  # both may come later
        Decontaminate(benchmarks=["gsm8k", "drop"]).ready()
    none = {"name": "mine", "path": "none.jsonl", "column": "q"}  # which waiting does not help
    with pytest.raises(ConfigError, match=r"name: drop, .*cannot read none\.jsonl"):
        Decontaminate(benchmarks=["drop", none]).ready()

    def gated(*args, **fields):
        raise PermissionError("log in")

    monkeypatch.setattr(datasets, "load_dataset", gated)
    with pytest.raises(ConfigError, match=r"and log in where it is gated"):
        load(KNOWN["drop"])


def test_known_benchmarks_are_read_through_datasets(monkeypatch):
    import datasets

    asked = []

    def load_dataset(**fields):
        asked.append(fields)
        return datasets.Dataset.from_dict({"prompt": [["one", "two"], ["three"]], "x": [1, 2]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    items = load(KNOWN["mt_bench"])
    assert items.size == 2
    assert items.questions.texts.to_pylist() == ["one", "two", "three"]
    assert items.questions.item == [1, 1, 2]
    assert asked[0]["path"] == "HuggingFaceH4/mt_bench_prompts"


def test_texts_in_conversations():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert list(texts_in([turns, "c", None, 4])) == ["a", "c"]
    assert list(texts_in([turns, "c"], "assistant")) == ["b", "c"]
    shared = [{"from": "human", "value": "d"}, {"from": "gpt", "value": "e"}]
    assert list(texts_in(shared)) == ["d"]
    assert list(texts_in([{"role": "system", "content": "f"}, *turns])) == ["a"]
    parts = {"role": "user", "content": [{"type": "text", "text": "g"}, {"type": "image"}]}
    assert list(texts_in(parts)) == ["g"]
    assert list(texts_in("lone \ud800")) == ["lone ?"]


def test_the_page_is_that_of_the_list():
    path = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    assert path.read_text(encoding="utf-8") == page(), "run: make docs"
    assert all(f"| `{name}` |" in page() for name in KNOWN)
