import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from pydantic import ValidationError

from curate.errors import ConfigError, InputError
from curate.export.catalogue import form_named
from curate.schema import CANDIDATES, PROMPT
from curate.sources import files
from curate.sources.columns import Columns
from curate.sources.contract import source_registry
from curate.sources.files import Arrow, Jsonl, Parquet
from curate.sources.hf import HuggingFace

DATA = Path(__file__).parents[2] / "../shared/data"


def load(source):
    return [row for unit in source.units() for t in source.read(unit) for row in t.to_pylist()]


def write(folder, *rows, name="a.jsonl"):
    path = folder / name
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return str(path)


def jsonl(folder, *rows, **columns):
    return load(Jsonl(path=write(folder, *rows), columns=columns))


def real(name):
    if not (DATA / name).exists():
        pytest.skip(f"no data set {name}")
    return str(DATA / name)


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


def test_wide_candidates_scores_and_ranks(tmp_path):
    rows = [
        {
            "prompt": "p",
            "c": ["a", "", None, {"response": "d", "model": "m", "x": 1}],
            "s": [1, [2.5, None], None, 4],
            "r": [2, 1, None, 3],
        }
    ]
    (row,) = jsonl(tmp_path, *rows, candidates="c", scores="s", ranks="r")
    assert [c["text"] for c in row["candidates"]] == ["a", "", "", "d"]
    assert [c["drop"] for c in row["candidates"]] == [None, "empty", "null", None]
    assert row["candidates"][3]["model"] == "m"
    assert json.loads(row["meta"]) == {"c": [{}, {}, {}, {"x": 1}]}
    got = [(j["judge"], j["a"], j["score"], j["status"]) for j in row["judgments"]]
    assert got == [
        ("s", 0, 1.0, "ok"),
        ("s#0", 1, 2.5, "ok"),
        ("s#1", 1, None, "parse_error"),
        ("s", 2, None, "parse_error"),
        ("s", 3, 4.0, "ok"),
        ("rank", 0, -2.0, "ok"),
        ("rank", 1, -1.0, "ok"),
        ("rank", 2, None, "parse_error"),
        ("rank", 3, -3.0, "ok"),
    ]


def test_scores_within_fields_of_the_candidates_and_as_text(tmp_path):
    """Raw UltraFeedback: each completion's annotations hold a rating, as text."""
    rated = [
        {"response": "a", "annotations": {"help": {"Rating": "4", "Why": "x"}, "n": 1}},
        {"response": "b", "annotations": {"help": {"Rating": " N/A", "Why": None}, "n": 2}},
        {"response": "c", "annotations": None},
        {"response": "d", "annotations": "none"},
        "e",
    ]
    columns = {"candidates": "c", "scores": ["annotations.help.Rating", "annotations.n"]}
    (row,) = jsonl(tmp_path, {"prompt": "p", "c": rated}, **columns)
    judged = [(j["judge"], j["a"], j["score"]) for j in row["judgments"]]
    assert judged == [
        *(("annotations.help.Rating", k, score) for k, score in enumerate([4, *[None] * 4])),
        *(("annotations.n", k, score) for k, score in enumerate([1, 2, *[None] * 3])),
    ]
    assert json.loads(row["meta"]) == {
        "c": [
            {"annotations": {"help": {"Why": "x"}}}, {"annotations": {"help": {"Why": None}}}, {},
            {"annotations": "none"}, {},
        ]
    }  # fmt: skip
    for wrong, said in (
        ("annotations.help.rating", r"did you mean 'annotations.help.Rating'"),
        ("annotations", "must be a number, or one of its fields named, as in 'annotations.help'"),
    ):
        with pytest.raises(InputError, match=said):
            jsonl(tmp_path, {"prompt": "p", "c": rated}, candidates="c", scores=wrong)


@pytest.mark.parametrize(
    ("text", "number"),
    [("4", 4), (" -2.50 ", -2.5), (".5", 0.5), ("+1e2", 100), ("1e999", None), ("", None),
     ("N/A", None), ("na", None), ("nan", None), ("None", None), ("null", None)],
)  # fmt: skip
def test_a_number_as_text_is_one_and_what_says_there_is_none_is_null(tmp_path, text, number):
    (row,) = jsonl(tmp_path, {"prompt": "p", "r": "a", "s": text}, response="r", scores="s")
    assert row["judgments"][0]["score"] == number


@pytest.mark.parametrize("text", ["4/5", "four", "1,5", "1_0", "0x10", "inf", "-", "4 5", "٤"])
def test_other_text_is_no_number(tmp_path, text):
    with pytest.raises(InputError, match="must be a number, or text that is nothing but one"):
        jsonl(tmp_path, {"prompt": "p", "r": "a", "s": text}, response="r", scores="s")


def test_several_rankings_are_a_judge_each(tmp_path):
    row = {"prompt": "p", "c": ["a", "b", "c"], "r": [[1, 2, 3], None, [2, None, 1]]}
    (found,) = jsonl(tmp_path, row, candidates="c", ranks="r")
    got = [(j["judge"], j["a"], j["score"]) for j in found["judgments"]]
    assert got == [
        ("rank#0", 0, -1), ("rank#0", 1, -2), ("rank#0", 2, -3),
        ("rank#1", 0, None), ("rank#1", 1, None), ("rank#1", 2, None),
        ("rank#2", 0, -2), ("rank#2", 1, None), ("rank#2", 2, -1),
    ]  # fmt: skip
    for ranks, error in (
        ([[1, 2]], "has 2 entries for 3 candidates"),
        ([[1, 2, 3], 4], "must be a list aligned with the candidates"),
        ([[1, 2, [3]]], "must be a number"),
    ):
        with pytest.raises(InputError, match=error):
            jsonl(tmp_path, row | {"r": ranks}, candidates="c", ranks="r")


def test_a_ranked_export_is_read_back(tmp_path):
    texts = [("p", ["a", "b", "c"], [1, 3, 3]), ("q", ["d", "e"], [0, 1])]
    table = pa.table(
        {
            "id": [prompt for prompt, _, _ in texts],
            "prompt": pa.array([[{"role": "user", "content": p}] for p, _, _ in texts], PROMPT),
            "candidates": pa.array([[{"text": t} for t in a] for _, a, _ in texts], CANDIDATES),
            "scores": pa.array([scores for _, _, scores in texts], pa.list_(pa.float32())),
        }
    )
    pq.write_table(form_named("ranked").build(table).table, tmp_path / "r.parquet")
    columns = {"id": "id", "candidates": "answers", "ranks": "rank"}
    rows = load(Parquet(path=str(tmp_path / "r.parquet"), columns=columns))
    assert [r["prompt"][0]["content"] for r in rows] == ["p", "q"]
    assert [[c["text"] for c in r["candidates"]] for r in rows] == [["b", "c", "a"], ["e", "d"]]
    assert [[j["score"] for j in r["judgments"]] for r in rows] == [[-1, -1, -3], [-1, -2]]
    assert [list(json.loads(r["meta"])) for r in rows] == [["answers", "messages"]] * 2
    with pytest.raises(InputError, match="no column 'ranq', and no candidate in 'answers'"):
        load(Parquet(path=str(tmp_path / "r.parquet"), columns=columns | {"ranks": "ranq"}))


def test_a_candidate_without_a_field_has_none_and_a_wrong_name_is_said_with_the_fields(tmp_path):
    answers = [{"text": "a", "votes": 3, "best": True}, {"text": "b", "votes": 1}, None]
    row = {"id": "x", "prompt": "p", "answers": answers}
    (found,) = jsonl(tmp_path, row, candidates="answers", scores=["votes", "best"])
    got = [(j["judge"], j["score"], j["status"]) for j in found["judgments"]]
    assert got == [
        ("votes", 3, "ok"), ("votes", 1, "ok"), ("votes", None, "parse_error"),
        ("best", 1, "ok"), ("best", None, "parse_error"), ("best", None, "parse_error"),
    ]  # fmt: skip
    with pytest.raises(
        InputError, match="no candidate in 'answers' has such a field; did you mean 'best'"
    ):
        jsonl(tmp_path, row, candidates="answers", scores="bests")
    with pytest.raises(InputError, match=r"row 1: no column 'q'.*known: best, text, votes"):
        jsonl(tmp_path, row, candidates="answers", scores="q")
    assert jsonl(tmp_path, row | {"answers": []}, candidates="answers", scores="q")


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e300", "null"])
def test_a_score_that_is_no_number_never_becomes_one(tmp_path, score):
    (row,) = jsonl(tmp_path, f'{{"prompt":"p","r":"a","s":{score}}}', response="r", scores="s")
    assert [(j["score"], j["status"]) for j in row["judgments"]] == [(None, "parse_error")]


def test_chosen_and_rejected(tmp_path):
    user, good, bad = (
        {"role": r, "content": c}
        for r, c in (("user", "p"), ("assistant", "g"), ("assistant", "b"))
    )
    labels = {"chosen": "chosen", "rejected": "rejected"}
    (plain,) = jsonl(
        tmp_path, {"prompt": "p", "chosen": "g", "rejected": "b", "m": 2}, **labels, margin="m"
    )
    assert plain["pairs"][0] | {} == {
        "chosen": 0, "rejected": 1, "margin": 2.0, "p_correct": None, "weight": None,
        "source": "label", "drop": None,
    }  # fmt: skip
    both = {"chosen": [user, good], "rejected": [user, bad]}
    (implicit,) = jsonl(tmp_path, both, prompt=None, **labels, label_source="hh")
    (explicit,) = jsonl(tmp_path, {"prompt": "p"} | both, **labels)
    for row in (plain, implicit, explicit):
        assert row["prompt"] == [user]
        assert [c["text"] for c in row["candidates"]] == ["g", "b"]
        assert "drop" not in row
    assert implicit["pairs"][0]["source"] == "hh"
    longer = {"chosen": [user, good, user, good], "rejected": [user, bad]}
    (row,) = jsonl(tmp_path, longer, prompt=None, **labels)
    assert row["drop"] == "chosen and rejected differ before the last answer"


def test_several_peoples_strengths_are_comparisons_by_a_judge_each(tmp_path):
    row = {"prompt": "p", "chosen": "g", "rejected": "b", "m": [2, -1, None]}
    columns = {"chosen": "chosen", "rejected": "rejected", "margins": "m"}
    (found,) = jsonl(tmp_path, row, **columns)
    got = [(j["judge"], j["a"], j["b"], j["score"], j["status"]) for j in found["judgments"]]
    assert got == [
        ("m#0", 0, 1, 2, "ok"), ("m#1", 0, 1, -1, "ok"), ("m#2", 0, 1, None, "parse_error"),
    ]  # fmt: skip
    assert found["pairs"][0]["margin"] is None
    assert jsonl(tmp_path, row | {"m": None}, **columns)[0]["judgments"] == []
    with pytest.raises(InputError, match="must be a list of numbers"):
        jsonl(tmp_path, row | {"m": 3}, **columns)


def test_system_input_reference_and_id(tmp_path):
    row = {"prompt": "p", "i": "more", "s": "sys", "r": "ref", "k": 7}
    (row,) = jsonl(tmp_path, row, input="i", system="s", reference="r", id="k")
    assert [t["content"] for t in row["prompt"]] == ["sys", "p\n\nmore"]
    assert (row["id"], row["reference"], row["meta"]) == ("7", "ref", "{}")


def test_long_format_keeps_what_is_constant_in_meta(tmp_path):
    rows = [{"prompt": p, "t": p, "r": f"{p}{i}", "n": i} for i in range(2) for p in "ab"]
    one, two = jsonl(tmp_path, *rows, group="prompt", response="r")
    assert [c["text"] for c in one["candidates"]] == ["a0", "a1"]
    assert one["meta"] == '{"n":[0,1],"t":"a"}'
    assert two["prompt"][0]["content"] == "b"


@pytest.mark.parametrize(
    "columns",
    [{"group": "a"}, {"chosen": "a"}, {"prompt": None}, {"scores": "s"}, {"candidate": "c"}],
)
def test_columns_that_make_no_sense_are_refused(columns):
    with pytest.raises(ValidationError):
        Columns(**columns)


def test_hf_directory_and_unpinned_name(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"prompt": ["a", "b"]}).save_to_disk(str(tmp_path / "d"))
    source = source_registry.parse({"hf": {"path": str(tmp_path / "d")}}, "source")
    assert [r["prompt"][0]["content"] for r in load(source)] == ["a", "b"]
    assert source.units() == source.units()
    with pytest.raises(ConfigError, match="is no directory here, nor a name on the Hub"):
        HuggingFace(path=str(tmp_path / "nothing")).units()


def test_hf_folders_without_save_to_disk_empty_sets_and_what_cannot_be_loaded(tmp_path, capfd):
    datasets = pytest.importorskip("datasets")
    datasets.enable_progress_bars()
    (tmp_path / "clone" / "data").mkdir(parents=True)
    pq.write_table(
        pa.table({"prompt": ["a"]}), tmp_path / "clone/data/train-00000-of-00001.parquet"
    )
    rows = load(HuggingFace(path=str(tmp_path / "clone")))
    assert capfd.readouterr().err == ""  # no bar where no terminal shows it
    assert not datasets.are_progress_bars_disabled()
    assert [r["prompt"][0]["content"] for r in rows] == ["a"]
    nothing = datasets.Dataset.from_dict({"prompt": pa.array([], pa.string())})
    nothing.save_to_disk(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="the dataset has no rows"):
        load(HuggingFace(path=str(tmp_path / "nothing")))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "train.jsonl").write_text("{nope")
    with pytest.raises(InputError, match="bad:train: cannot be loaded"):
        load(HuggingFace(path=str(tmp_path / "bad")))


def test_real_prometheus_scores():
    path = real("prometheus_gpt4x3/responses.parquet")
    columns = {"group": ["bench", "prompt"], "response": "response", "model": "model"}
    rows = load(Parquet(path=path, columns=columns | {"scores": "gpt4_scores"}))
    vicuna = [r for r in rows if json.loads(r["meta"])["bench"] == "vicuna"]
    assert len(vicuna) == 80
    assert all(len(r["candidates"]) == 4 and len(r["judgments"]) == 12 for r in vicuna)
    assert sum(len(r["candidates"]) for r in rows) == 640


def test_real_long_candidates():
    path = real("selfinstruct_eval/candidates.parquet")
    columns = {"group": "prompt_id", "response": "response", "model": "model"}
    rows = load(Parquet(path=path, columns=columns))
    assert [len(r["candidates"]) for r in rows] == [8] * 252
    path = real("pandalm/candidates.parquet")
    columns = {"prompt": "instruction", "input": "input", "group": ["instruction", "input"]}
    rows = load(Parquet(path=path, columns=columns | {"response": "response", "model": "model"}))
    assert (len(rows), sum(len(r["candidates"]) for r in rows)) == (170, 800)
