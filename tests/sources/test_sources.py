"""Prompts of a source: which are errors, which are kept with a reason, and how files are cut."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from pydantic import ValidationError
from reading import jsonl, load, write

from curate.errors import InputError
from curate.sources import files
from curate.sources.columns import Columns
from curate.sources.files import Arrow, Jsonl, Parquet


def test_a_prompt_and_what_is_not_mapped(tmp_path):
    (row,) = jsonl(tmp_path, {"prompt": " naïve e\u0301\x00", "z": 1, "a": {"b": None}})
    assert row["prompt"] == [{"role": "user", "content": " naïve e\u0301\x00"}]
    assert row["meta"] == '{"a":{"b":null},"z":1}'
    assert set(row) == {"id", "prompt", "meta"}
    assert len(row["id"]) == 32


def test_long_prompts_and_big_integers_are_kept(tmp_path):
    big = 123456789012345678901234567890
    (row,) = jsonl(tmp_path, {"prompt": "x" * 100_000, "n": big})
    assert row["prompt"][0]["content"] == "x" * 100_000
    assert json.loads(row["meta"]) == {"n": big}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{nope", "invalid JSON"),
        ("[1]", "expected a JSON object"),
        ('{"prompt": "a", "prompt": "b"}', "'prompt' occurs twice"),
        ('{"prompt": "a", "m": {"k": 1, "k": 2}}', "'k' occurs twice"),
        ('{"promt": "a"}', "no column 'prompt'; did you mean 'promt'?"),
        ('{"prompt": 3}', "column 'prompt' must be text or a list"),
        ('{"prompt": [{"role": "usr", "content": "a"}]}', "did you mean 'user'?"),
        ('{"prompt": [{"role": "user", "content": null}]}', "content must be text"),
    ],
)
def test_bad_rows_are_errors_that_name_the_place(tmp_path, line, said):
    path = write(tmp_path, {"prompt": "fine"}, "", line)
    with pytest.raises(InputError) as caught:
        load(Jsonl(path=path))
    assert said in str(caught.value)
    assert f"{path}, row 3" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "reason", "stored"),
    [
        ('{"prompt": null}', "prompt is null", ""),
        ('{"prompt": ""}', "prompt is empty", ""),
        ('{"prompt": " \\u2003\\n"}', "prompt is empty", " \u2003\n"),
        ('{"prompt": "a\\ud83d"}', "prompt is not valid Unicode", "a\ufffd"),
        ('{"prompt": "a\\ud83d\\ude00"}', None, "a\U0001f600"),
    ],
)
def test_unusable_prompts_are_kept_with_a_reason(tmp_path, line, reason, stored):
    (row,) = jsonl(tmp_path, line)
    assert row.get("drop") == reason
    assert row["prompt"] == [{"role": "user", "content": stored}]


def test_a_files_digest_sees_every_byte_of_every_block(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK", 4)
    texts = ["", "abcdefgh", "abcdefghi", "abcdefghj", "abcdefghijklmnopq", "ijklmnopabcdefghq"]
    found = []
    for number, text in enumerate(texts):
        (tmp_path / str(number)).write_text(text)
        found.append(files.file_digest(str(tmp_path / str(number))))
    assert len(set(found)) == len(texts)
    assert found[4] == files.file_digest(str(tmp_path / "4"))


def test_empty_file_no_file_and_units(tmp_path):
    assert load(Jsonl(path=write(tmp_path))) == []
    write(tmp_path, {"prompt": "b"}, name="b.jsonl")
    units = Jsonl(path=str(tmp_path / "*.jsonl")).units()
    assert [Path(u.name).name for u in units] == ["a.jsonl", "b.jsonl"]
    assert units[1].digest == blake3((tmp_path / "b.jsonl").read_bytes()).hexdigest()
    with pytest.raises(InputError, match="no file matches"):
        Jsonl(path=str(tmp_path / "*.nothing")).units()


def test_shards_never_straddle_files(tmp_path):
    for name in "ab":
        write(tmp_path, *[{"prompt": f"{name}{i}"} for i in range(5)], name=f"{name}.jsonl")
    source = Jsonl(path=str(tmp_path / "*.jsonl"), shard_rows=2)
    assert [[t.num_rows for t in source.read(u)] for u in source.units()] == [[2, 2, 1]] * 2
    whole = Jsonl(path=str(tmp_path / "*.jsonl"))
    assert load(source) == load(whole)
    assert source.identity() != whole.identity()
    assert "path" not in whole.identity()


def test_compressed_lines(tmp_path):
    line = b'{"prompt": "a"}\n'
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line))
    with pa.output_stream(str(tmp_path / "a.jsonl.zst"), compression="zstd") as file:
        file.write(line)
    rows = load(Jsonl(path=[str(tmp_path / "*.gz"), str(tmp_path / "*.zst")]))
    assert [r["prompt"][0]["content"] for r in rows] == ["a", "a"]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line)[:-6])
    with pytest.raises(InputError, match="cannot be read"):
        load(Jsonl(path=str(tmp_path / "*.gz")))


TEXTS = ["x", None, "", " \x1c ", " y", "x"]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_every_format_and_both_paths_agree(tmp_path, kind):
    expected = jsonl(tmp_path, *[{"prompt": t} for t in TEXTS])
    table = pa.table({"prompt": pa.array(TEXTS, pa.string()).cast(kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(str(tmp_path / "b.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert load(Parquet(path=str(tmp_path / "a.parquet"))) == expected
    assert load(Arrow(path=str(tmp_path / "a.arrow"))) == expected
    assert load(Arrow(path=str(tmp_path / "b.arrow"))) == expected
    assert [r["drop"] for r in expected] == [
        None,
        "prompt is null",
        *["prompt is empty"] * 2,
        None,
        None,
    ]


def test_system_input_reference_and_id(tmp_path):
    row = {"prompt": "p", "i": "more", "s": "sys", "r": "ref", "k": 7}
    (row,) = jsonl(tmp_path, row, input="i", system="s", reference="r", id="k")
    assert [t["content"] for t in row["prompt"]] == ["sys", "p\n\nmore"]
    assert (row["id"], row["reference"], row["meta"]) == ("7", "ref", "{}")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"group": "a"}, "group needs response or chosen"),
        ({"chosen": "a"}, "chosen and rejected go together"),
        ({"prompt": None}, "prompt may be left out only where"),
        ({"scores": "s"}, "scores need candidates or response"),
        ({"candidate": "c"}, "Extra inputs are not permitted"),
    ],
)
def test_columns_that_make_no_sense_are_refused(columns, said):
    with pytest.raises(ValidationError, match=said):
        Columns(**columns)
