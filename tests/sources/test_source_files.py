"""Sources on files: what each kind of bad row does, and that nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import load

from curate.errors import ConfigError, InputError
from curate.sources.contract import Source, source_registry
from curate.sources.files import Jsonl, Parquet

PROMETHEUS = (
    Path(__file__).parents[3] / "shared" / "data" / "prometheus_gpt4x3" / "responses.parquet"
)


def jsonl(path: Path, text: str | bytes, columns: dict[str, object], rows: int = 512) -> Source:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Jsonl.model_validate({"path": str(path), "shard_rows": rows, "columns": columns})


def test_prompts_keep_their_text_and_the_rest_goes_to_meta(tmp_path: Path) -> None:
    long = "x" * 100_000
    lines = [
        {"id": "a", "prompt": "Why?\x00", "topic": "z", "n": 1},
        {"id": "b", "prompt": long, "topic": "🦊 e\u0301 é", "n": None},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    rows = load(jsonl(tmp_path / "p.jsonl", text, {"id": "id", "prompt": "prompt"}))
    assert rows[0]["prompt"] == [{"role": "user", "content": "Why?\x00"}]
    assert rows[1]["prompt"] == [{"role": "user", "content": long}]
    assert [json.loads(str(row["meta"])) for row in rows] == [
        {"n": 1, "topic": "z"},
        {"n": None, "topic": "🦊 e\u0301 é"},
    ]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [("null", "null"), ('""', "empty"), ('"  \\n"', "empty"), ('"a \\ud83d b"', "Unicode")],
)
def test_a_row_without_a_usable_prompt_is_dropped_with_a_reason(
    tmp_path: Path, prompt: str, reason: str
) -> None:
    text = f'{{"id": "a", "prompt": {prompt}}}\n{{"id": "b", "prompt": "fine"}}\n'
    rows = load(jsonl(tmp_path / "p.jsonl", text, {"id": "id", "prompt": "prompt"}))
    assert reason in str(rows[0]["drop"])
    assert rows[1]["drop"] is None


@pytest.mark.parametrize(
    "line",
    ['{"id": "b", "prompt": ', "[1, 2]", '{"id": "b"}', '{"id": "b", "prompt": 7}',
     '{"id": "b", "prompt": "x", "prompt": "y"}',
     '{"id": "b", "prompt": [{"role": "wizard", "content": "x"}]}'],
)  # fmt: skip
def test_a_malformed_row_names_file_and_line(tmp_path: Path, line: str) -> None:
    source = jsonl(
        tmp_path / "p.jsonl",
        f'{{"id": "a", "prompt": "fine"}}\n{line}\n',
        {"id": "id", "prompt": "prompt"},
    )
    with pytest.raises(InputError, match=r"p\.jsonl.*2"):
        load(source)


def test_a_wrong_column_name_gets_a_hint(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "p.jsonl", '{"prompt": "x"}\n', {"prompt": "promt"})
    with pytest.raises(InputError, match="did you mean 'prompt'"):
        load(source)


def test_no_file_is_an_error_and_an_empty_file_is_no_rows(tmp_path: Path) -> None:
    source = Jsonl.model_validate({"path": str(tmp_path / "*.jsonl"), "columns": {"prompt": "p"}})
    with pytest.raises(InputError, match="no file matches"):
        source.units()
    assert load(jsonl(tmp_path / "empty.jsonl", "", {"prompt": "p"})) == []


def test_ids_from_content_do_not_depend_on_order_or_shards(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"question {i}"}) + "\n" for i in range(7)]
    forward = load(jsonl(tmp_path / "a.jsonl", "".join(lines), {"prompt": "prompt"}, rows=2))
    backward = load(jsonl(tmp_path / "b.jsonl", "".join(lines[::-1]), {"prompt": "prompt"}))
    assert [r["id"] for r in forward] == [r["id"] for r in backward][::-1]
    assert len({r["id"] for r in forward}) == 7


def test_shards_are_full_but_for_the_last(tmp_path: Path) -> None:
    text = "".join(json.dumps({"prompt": f"q{i}"}) + "\n" for i in range(7))
    source = jsonl(tmp_path / "a.jsonl", text, {"prompt": "prompt"}, rows=3)
    sizes = [table.num_rows for unit in source.units() for table in source.read(unit)]
    assert sizes == [3, 3, 1]


def test_a_unit_is_known_by_its_content(tmp_path: Path) -> None:
    first = jsonl(tmp_path / "a.jsonl", '{"prompt": "x"}\n', {"prompt": "prompt"}).units()[0]
    moved = jsonl(tmp_path / "b.jsonl", '{"prompt": "x"}\n', {"prompt": "prompt"}).units()[0]
    edited = jsonl(tmp_path / "a.jsonl", '{"prompt": "y"}\n', {"prompt": "prompt"}).units()[0]
    assert first.digest == moved.digest != edited.digest


def test_a_preference_pair_becomes_two_candidates_and_a_pair(tmp_path: Path) -> None:
    ask = [{"role": "user", "content": "2+2?"}]
    row = {
        "chosen": [*ask, {"role": "assistant", "content": "4"}],
        "rejected": [*ask, {"role": "assistant", "content": "5"}],
    }
    source = jsonl(
        tmp_path / "p.jsonl",
        json.dumps(row) + "\n",
        {"prompt": None, "chosen": "chosen", "rejected": "rejected"},
    )
    found = load(source)[0]
    assert found["prompt"] == ask
    assert [c["text"] for c in found["candidates"]] == ["4", "5"]  # type: ignore[attr-defined]
    pair = found["pairs"][0]  # type: ignore[index]
    assert (pair["chosen"], pair["rejected"]) == (0, 1)


def test_a_score_that_is_no_number_is_no_score(tmp_path: Path) -> None:
    table = pa.table({"p": ["q"], "a": [["good", "bad", "ugly"]], "s": [[3.0, None, float("nan")]]})
    pq.write_table(table, tmp_path / "x.parquet")
    source = Parquet.model_validate(
        {
            "path": str(tmp_path / "x.parquet"),
            "columns": {"prompt": "p", "candidates": "a", "scores": "s"},
        }
    )
    judgments = load(source)[0]["judgments"]
    assert [(j["status"], j["score"]) for j in judgments] == [  # type: ignore[attr-defined]
        ("ok", 3.0), ("parse_error", None), ("parse_error", None),
    ]  # fmt: skip


def test_yaml_round_trip_and_unknown_fields() -> None:
    form = {"jsonl": {"path": "a.jsonl", "columns": {"prompt": "text"}}}
    source = source_registry.parse(form, "source")
    assert source_registry.parse(source.to_yaml(), "source") == source
    with pytest.raises(ConfigError, match="did you mean 'prompt'"):
        source_registry.parse({"jsonl": {"path": "a", "columns": {"promt": "x"}}}, "source")


def prometheus(**changes: object) -> Source:
    columns = {
        "prompt": "prompt", "response": "response", "model": "model", "scores": "gpt4_scores",
        "group": ["bench", "idx"], **changes,
    }  # fmt: skip
    return Parquet.model_validate({"path": str(PROMETHEUS), "columns": columns})


@pytest.mark.skipif(not PROMETHEUS.exists(), reason="the Prometheus-Eval set is not here")
def test_the_long_format_is_grouped_by_prompt() -> None:
    rows = load(prometheus(varies="prompt"))
    assert len(rows) == 160
    assert {len(row["candidates"]) for row in rows} == {4}  # type: ignore[arg-type]
    assert {len(row["judgments"]) for row in rows} == {12}  # type: ignore[arg-type]


@pytest.mark.skipif(not PROMETHEUS.exists(), reason="the Prometheus-Eval set is not here")
def test_a_prompt_that_differs_within_a_group_is_an_error_unless_allowed() -> None:
    with pytest.raises(InputError, match="column 'prompt' differs"):
        load(prometheus())
