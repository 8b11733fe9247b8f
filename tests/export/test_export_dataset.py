import json
from pathlib import Path

import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from curate.errors import ConfigError, StageError
from curate.export.card import CardFacts, dataset_card, escape, fenced, size_category
from curate.export.catalogue import FORMS
from curate.export.dataset import export_dataset
from curate.export.records import ExportSummary
from curate.export.trainer_files import Layout, write_form
from curate.schema import COLUMNS

CARD = CardFacts("demo", "name: demo\n", license="apache-2.0", seed=7)


STEPS = [
    {"candidate": c, "text": text, "right": right, "tries": 2, "ended_right": int(right)}
    for c, text, right in [(0, "one", True), (0, "two", False), (2, "three", True)]
]
STEP_PAIR = {
    "prefix": "one\n", "chosen": "two", "rejected": "three", "q_chosen": 1.0, "q_rejected": 0.0,
    "n_chosen": 1, "n_rejected": 4, "confidence": 0.25,
}  # fmt: skip


def candidate(text, drop=None):
    return {"text": text, "model": "m", "finish_reason": "stop", "tokens": 1, "drop": drop}


def pair(chosen, rejected, drop=None):
    return {
        "chosen": chosen, "rejected": rejected, "margin": 1.5, "p_correct": 0.75,
        "weight": None, "source": "s", "drop": drop,
    }  # fmt: skip


def row(key, texts=("good", "bad"), pairs=None, turns=1, split=None):
    roles = ["user", "assistant", "user"]
    return {
        "id": key,
        "prompt": [{"role": r, "content": f"{key}{i}"} for i, r in enumerate(roles[:turns])],
        "candidates": [candidate(t) if isinstance(t, str) else t for t in texts],
        "scores": [float(len(texts) - i) for i in range(len(texts))],
        "pairs": [pair(0, 1)] if pairs is None else pairs,
        "rationales": ["because"],
        "steps": STEPS,
        "step_pairs": [STEP_PAIR],
        "other_prompt": [{"role": "user", "content": f"another {key}"}],
        "goals": [f"worth {len(texts) - i}" for i in range(len(texts))],
        "reference": f"truth of {key}" if turns == 1 else None,
        "split": split,
    }


def table(rows):
    names = ["id", "prompt", "candidates", "scores", "pairs", "rationales", "reference", "split"]
    names += ["steps", "step_pairs", "other_prompt", "goals"]
    return pa.Table.from_pylist(rows, schema=pa.schema([(n, COLUMNS[n]) for n in names]))


def say(role, content):
    return {"role": role, "content": content}


def bytes_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


ROWS = [
    row("a", ("good", "bad", "mid"), [pair(0, 1), pair(0, 2, "margin too small"), pair(2, 1)]),
    row("b", ("x", candidate("y", "too long"))),
    row("c", ("x", None), [pair(0, 5), pair(None, 0), pair(0, 0)])
    | {"candidates": [candidate("x"), candidate(None)]},
    row("d", turns=3, split="test"),
    row("e", turns=0),
]


def test_loads_from_disk_and_as_parquet(tmp_path):
    import datasets

    out = tmp_path / "out"
    summary = export_dataset(iter([table(ROWS)]), out, form="preference", card=CARD)
    assert summary == (
        2,
        {
            "export: no pair left: rejected has no text": 1,
            "export: no pair left: rejected was dropped, too long": 1,
            "export: prompt empty or incomplete": 1,
        },
        3,
        {"train": 2, "test": 1},
        {},
    )
    disk = datasets.load_from_disk(str(out))
    hub = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    for loaded in (disk, hub):
        assert set(loaded) == {"train", "test"}
        assert loaded["train"].to_list()[0] == {
            "id": "a",
            "prompt": [say("user", "a0")],
            "chosen": [say("assistant", "good")],
            "rejected": [say("assistant", "bad")],
            "margin": 1.5, "score_chosen": 3.0, "score_rejected": 2.0, "p_correct": 0.75,
            "weight": None, "source": "s", "rationale": "because",
            "model_chosen": "m", "model_rejected": "m",
        }  # fmt: skip
        assert loaded["train"].to_list()[1]["chosen"] == [say("assistant", "mid")]
        assert loaded["train"].to_list()[1]["rationale"] is None
    assert disk["test"].features == hub["test"].features


@pytest.mark.parametrize("form", sorted(FORMS))
def test_bytes_do_not_depend_on_shards(tmp_path, form):
    rows = [row(f"r{i}", split="test" if i % 7 == 0 else None) for i in range(2500)] + ROWS
    whole = table(rows)
    seen = []
    for size in (len(rows), 997, 333):
        parts = (whole.slice(i, size) for i in range(0, len(rows), size))
        out = tmp_path / str(size)
        summary = export_dataset(parts, out, form=form, card=CARD)
        assert summary.rows_exported + sum(summary.rows_dropped.values()) == len(rows)
        seen.append(bytes_below(out))
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("size", [2600, 333, 7])
def test_verl_knows_each_record_by_its_number_in_its_split(tmp_path, size):
    """Past the rows that are reshaped at once, and those that give no record."""
    rows = [
        row(f"r{i}", turns=1 if i % 5 else 2, split="test" if i % 7 == 0 else None)
        for i in range(2600)
    ]
    whole = table(rows)
    parts = (whole.slice(i, size) for i in range(0, len(rows), size))
    write_form(parts, tmp_path / "all.jsonl", "verl")
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    found = {"train": [], "test": []}
    for line in lines:
        extra = json.loads(line)["extra_info"]
        found[extra["split"]].append((extra["index"], extra["id"]))
    kept = {"train": [], "test": []}
    for made in rows:
        if made["reference"] is not None:
            kept[made["split"] or "train"].append(made["id"])
    assert found == {split: list(enumerate(ids)) for split, ids in kept.items()}


U, A, B = say("user", "a0"), say("assistant", "good"), say("assistant", "bad")
EXPECTED = {
    "preference-text": {"prompt": "a0", "chosen": "good", "rejected": "bad"},
    "implicit": {"chosen": [U, A], "rejected": [U, B], "margin": 1.5},
    "unpaired": {"prompt": [U], "completion": [A], "label": True},
    "prompt-only": {"id": "a", "prompt": [U]},
    "ranked": {
        "id": "a",
        "prompt": "a0",
        "answers": [
            {"answer": "good", "rank": 1, "score": 2.0},
            {"answer": "bad", "rank": 2, "score": 1.0},
        ],
        "messages": [U],
    },
    "best": {"id": "a", "messages": [U, A], "score": 2.0, "model": "m"},
    "scored": {"id": "a", "messages": [U, A], "score": 2.0, "model": "m", "goal": "worth 2"},
    "negatives": {"id": "a", "prompt": [U], "rejected": "bad", "samples": ["good"]},
    "stepwise": {
        "id": "a", "prompt": "a0", "completions": ["one", "two"], "labels": [True, False],
    },
    "step-preference": {
        "id": "a", "prompt": "a0\none\n",
        **{k: v for k, v in STEP_PAIR.items() if k != "prefix"},
    },
    "candidates": {k: v for k, v in row("a").items() if k != "split"},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "a0"}],
        "chosen": {"from": "gpt", "value": "good"},
        "rejected": {"from": "gpt", "value": "bad"},
    },
    "openrlhf": {"prompt": [U], "chosen": [A], "rejected": [B], "margin": 1.5},
    "axolotl": {"messages": [U], "chosen": A, "rejected": B},
    "nemo-rl": {
        "context": [U],
        "completions": [{"rank": 0, "completion": [A]}, {"rank": 1, "completion": [B]}],
    },
    "ultrafeedback": {
        "prompt": "a0", "prompt_id": "a", "chosen": [U, A], "rejected": [U, B],
        "score_chosen": 2.0, "score_rejected": 1.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("form", sorted(EXPECTED))
def test_form_gives_exact_record(tmp_path, form):
    path = tmp_path / "x.jsonl"
    summary = write_form([table([row("a")])], path, form, Layout("jsonl"))
    first = json.loads(path.read_text().splitlines()[0])
    if form == "preference-text":
        first = {k: first[k] for k in EXPECTED[form]}
    assert first == EXPECTED[form]
    assert summary.records == (2 if form in ("unpaired", "scored", "stepwise") else 1)


def test_every_answer_stands_under_both_prompts():
    given = [row("a"), row("e", turns=0), row("b") | {"other_prompt": None}]
    given += [row("c", ("x", candidate("y", "too long")))]
    found = FORMS["prompts"].build(table(given))
    assert found.rows.tolist() == [0, 0, 3]
    one = found.table.to_pylist()[1]
    assert one["prompt_chosen"] == [say("user", "a0")]
    assert one["prompt_rejected"] == [say("user", "another a")]
    assert one["completion"] == [say("assistant", "bad")]
    assert one["chosen"] == [say("user", "a0"), say("assistant", "bad")]
    assert one["rejected"] == [say("user", "another a"), say("assistant", "bad")]


def test_a_prompt_ends_where_the_steps_part(tmp_path):
    begun = row("a") | {"step_pairs": [STEP_PAIR | {"prefix": ""}]}
    assert FORMS["step-preference"].build(table([begun])).table["prompt"].to_pylist() == ["a0\n"]
    lost = row("a", pairs=[pair(0, 1, "margin"), pair(0, 1)])
    lost |= {"step_pairs": [STEP_PAIR | {"chosen": "other"}, STEP_PAIR]}
    assert FORMS["step-preference"].build(table([lost])).table["chosen"].to_pylist() == ["two"]


def test_steps_without_a_prompt_or_label_are_left_out():
    unknown = [STEPS[0] | {"right": None}, *STEPS[1:]]
    given = [row("a") | {"steps": unknown}, row("e", turns=0), row("b") | {"steps": []}]
    found = FORMS["stepwise"].build(table(given))
    assert found.table["completions"].to_pylist() == [["two"], ["three"]]
    assert found.rows.tolist() == [0, 0]


def test_ties_share_a_rank_and_unscored_is_left_out():
    tied = row("a", ("w", "x", "y", "z")) | {"scores": [1.0, 2.0, 2.0, None]}
    answers = FORMS["ranked"].build(table([tied])).table["answers"].to_pylist()[0]
    assert [(a["answer"], a["rank"]) for a in answers] == [("x", 1), ("y", 1), ("w", 3)]
    best = FORMS["best"].build(table([row("b") | {"scores": [None, None, None]}, tied]))
    assert [m[-1]["content"] for m in best.table["messages"].to_pylist()] == ["x"]
    assert best.rows.tolist() == [1]
    each = FORMS["scored"].build(table([row("b") | {"scores": [None, None, None]}, tied]))
    assert [m[-1]["content"] for m in each.table["messages"].to_pylist()] == ["x", "y", "w"]
    assert each.rows.tolist() == [1, 1, 1]


def test_a_negative_stands_once_against_all_that_it_lost_to():
    lost = [pair(3, 2), pair(0, 1), pair(3, 1), pair(1, 2, "margin too small"), pair(0, 2)]
    given = [row("a", ("s", "no", "never", "t"), lost), row("b"), row("c", pairs=[])]
    found = FORMS["negatives"].build(table(given))
    assert found.table.select(["id", "rejected", "samples"]).to_pylist() == [
        {"id": "a", "rejected": "never", "samples": ["t", "s"]},
        {"id": "a", "rejected": "no", "samples": ["s", "t"]},
        {"id": "b", "rejected": "bad", "samples": ["good"]},
    ]
    assert found.rows.tolist() == [0, 0, 1]
    assert FORMS["negatives"].build(table([])).table.num_rows == 0


@pytest.mark.parametrize("tables", [[], [table([])], [table([row("e", turns=0)])]])
def test_no_record_is_a_valid_empty_dataset(tmp_path, tables):
    import datasets

    out = tmp_path / "out"
    summary = export_dataset(iter(tables), out, form="preference", card=CARD)
    assert (summary.records, summary.splits) == (0, {"train": 0})
    assert len(datasets.load_from_disk(str(out))["train"]) == 0


def test_card_resists_hostile_text():
    facts = CardFacts(
        "x\n---\n# evil <script>", "a: |\n  ```\n  ````\n# free", engines=[{"m": "[a](b)|<b>"}],
        stages=[{"stage": "s|t", "rows_in": 2, "rows_out": 1, "dropped": {"a|b\nc": 1}}],
    )  # fmt: skip
    text = dataset_card(facts, "preference", ExportSummary(1, {}, 1, {"train": 1}))
    front = YAML(typ="safe").load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert front["pretty_name"] == "x --- # evil <script>"
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert "`````yaml\n" in text
    body = text.split("\n---\n", 1)[1]
    assert "<script>" not in body
    assert "| s\\|t | 2 | 1 | a\\|b c: 1 |  |" in text
    assert fenced("`" * 9, "").startswith("`" * 10)
    assert "\n" not in escape("a\n\r\u2028b")
    assert [size_category(n) for n in (0, 999, 1000, 10**7)] == [
        "n<1K", "n<1K", "1K<n<10K", "10M<n<100M",
    ]  # fmt: skip


def test_errors_say_what_to_do_and_keep_what_was_there(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="did you mean 'sharegpt'"):
        export_dataset(iter([]), out, form="sharegtp", card=CARD)
    with pytest.raises(ConfigError, match="pairs"):
        export_dataset(iter([table(ROWS).drop(["pairs"])]), out, form="implicit", card=CARD)
    export_dataset(iter([table(ROWS)]), out, form="sharegpt", card=CARD)
    before = bytes_below(out)
    for name in ("../evil", "data", "a b", ""):
        with pytest.raises(StageError, match="split"):
            export_dataset(iter([table([row("a", split=name)])]), out, form="axolotl", card=CARD)
    assert bytes_below(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="not an earlier export"):
        export_dataset(iter([]), tmp_path / "mine", form="axolotl", card=CARD)


def test_the_folder_says_all_that_the_library_itself_would_say(tmp_path):
    """Its format is private: a field that a new version of the library adds must not be missed."""
    import datasets

    export_dataset([table(ROWS)], tmp_path / "ours", form="preference", card=CARD)
    loaded = datasets.load_from_disk(str(tmp_path / "ours"))
    loaded.save_to_disk(str(tmp_path / "theirs"))
    for name in ("dataset_dict.json", "train/state.json", "train/dataset_info.json"):
        ours, theirs = (json.loads((tmp_path / x / name).read_text()) for x in ("ours", "theirs"))
        assert ours.keys() == theirs.keys(), name
        free = ("_fingerprint", "_data_files")
        differing = {k for k in ours if ours[k] != theirs[k] and k not in free}
        assert not differing, name
    info = json.loads((tmp_path / "ours/train/state.json").read_text())
    assert info["_data_files"] == [{"filename": "data-00000-of-00001.arrow"}]


def test_write_form_folder_and_sharegpt_entry(tmp_path):
    import pyarrow.parquet as pq

    write_form([table(ROWS)], tmp_path / "plain", "openrlhf")
    write_form([table(ROWS)], tmp_path / "plain", "openrlhf")
    assert pq.read_table(tmp_path / "plain" / "train-00000-of-00001.parquet").num_rows == 2
    export_dataset(iter([table([row("a")])]), tmp_path / "o", form="sharegpt", card=CARD)
    entry = json.loads(Path(tmp_path / "o" / "dataset_info.json").read_text())
    assert entry["demo"]["file_name"] == "data"
    assert entry["demo"]["ranking"] is True
