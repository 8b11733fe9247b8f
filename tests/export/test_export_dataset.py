"""The folder that an export writes, and what of an earlier one stays where it fails."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from export_rows import ROWS, row, say, table

from curate.errors import ConfigError, StageError
from curate.export.card import CardFacts
from curate.export.catalogue import FORMS
from curate.export.dataset import export_dataset
from curate.export.trainer_files import write_form

CARD = CardFacts("demo", "name: demo\n", license="apache-2.0", seed=7)


def bytes_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


@pytest.mark.parametrize("tables", [[], [table([])], [table([row("e", turns=0)])]])
def test_no_record_is_a_valid_empty_dataset(tmp_path, tables):
    import datasets

    out = tmp_path / "out"
    summary = export_dataset(iter(tables), out, form="preference", card=CARD)
    assert (summary.records, summary.splits) == (0, {"train": 0})
    assert len(datasets.load_from_disk(str(out))["train"]) == 0


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
    write_form([table(ROWS)], tmp_path / "plain", "openrlhf")
    write_form([table(ROWS)], tmp_path / "plain", "openrlhf")
    assert pq.read_table(tmp_path / "plain" / "train-00000-of-00001.parquet").num_rows == 2
    export_dataset(iter([table([row("a")])]), tmp_path / "o", form="sharegpt", card=CARD)
    entry = json.loads(Path(tmp_path / "o" / "dataset_info.json").read_text())
    assert entry["demo"]["file_name"] == "data"
    assert entry["demo"]["ranking"] is True
