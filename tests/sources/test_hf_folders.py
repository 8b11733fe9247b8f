"""Datasets in folders, saved by `datasets` or only readable by it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import load

from curate.errors import ConfigError, InputError
from curate.sources.contract import source_registry
from curate.sources.hf import HuggingFace


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


def test_several_splits_are_read_one_after_another(tmp_path):
    datasets = pytest.importorskip("datasets")
    splits = {"train": ["a", "b"], "test": ["c"], "other": [1]}
    sets = {n: datasets.Dataset.from_dict({"prompt": rows}) for n, rows in splits.items()}
    datasets.DatasetDict(sets).save_to_disk(str(tmp_path / "d"))

    def source(split):
        return HuggingFace(path=str(tmp_path / "d"), split=split)

    def said(split):
        return [row["prompt"][0]["content"] for row in load(source(split))]

    assert said("train+test") == said("train + test") == ["a", "b", "c"]
    assert said("test+train") == ["c", "a", "b"]
    both, turned = source("train+test").units(), source("test+train").units()
    assert both[0].digest != turned[0].digest
    with pytest.raises(InputError, match="no split 'tst'; did you mean 'test'"):
        load(source("train+tst"))
    with pytest.raises(InputError, match=r"'train\+other' do not go together: .*read one of them"):
        load(source("train+other"))
