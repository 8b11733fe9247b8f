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
