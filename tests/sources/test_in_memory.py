"""What a run says to rows that are in memory, or to a bare path, and that it does as it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

import curate
from curate.errors import ConfigError
from curate.stages import Margin

ROWS = [{"prompt": f"p{k}", "chosen": "x", "rejected": "y", "m": float(k)} for k in range(3)]
COLUMNS = curate.Columns(chosen="chosen", rejected="rejected", margin="m")


def frame() -> Any:
    return pytest.importorskip("pandas").DataFrame(ROWS)


def dataset() -> Any:
    return pytest.importorskip("datasets").Dataset.from_list(ROWS)


def splits() -> Any:
    return pytest.importorskip("datasets").DatasetDict(train=dataset())


MAKERS: list[Callable[[], Any]] = [
    frame, dataset, splits, lambda: ROWS, lambda: pl.DataFrame(ROWS),
    lambda: pl.DataFrame(ROWS).lazy(), lambda: pa.Table.from_pylist(ROWS),
]  # fmt: skip


def refused(source: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        curate.Pipeline(name="x", source=source, stages=[])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 220  # the rows themselves are not told
    return str(caught.value)


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_advised_for_rows_in_memory_reads_them(
    make: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = make()
    said = refused(source)
    step = re.search(r"it can resume: (.*), then (curate\.\w+\(.*\))$", said)
    assert step, said
    names = {"source": source, "curate": curate, "polars": pl, "pyarrow": pyarrow}
    exec(step[1], names)  # noqa: S102
    reader = eval(step[2], names)  # noqa: S307
    read = reader.model_copy(update={"columns": COLUMNS})
    ended = curate.run(curate.Pipeline(name="x", source=read, stages=[Margin(at_least=1)]))
    assert ended.accounting["rows_in"] == 3
    assert ended.accounting["rows_exported"] == 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a/rows.parquet", "named with its kind, as in curate.Parquet(path='a/rows.parquet')"),
        (Path("rows.jsonl.gz"), "named with its kind, as in curate.Jsonl(path='rows.jsonl.gz')"),
        (None, "is no source but a NoneType; it is an object such as curate.Jsonl(path="),
    ],
)
def test_a_bare_path_is_told_its_kind(source: Any, said: str) -> None:
    assert said in refused(source)


def test_paths_may_be_path_objects_and_begin_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in ("home", "here", "~"):
        (tmp_path / folder).mkdir()
    for name in ("home/a.parquet", "here/b.parquet"):
        pl.DataFrame(ROWS).write_parquet(tmp_path / name)
    for path, found in (
        (tmp_path / "here" / "b.parquet", tmp_path / "here/b.parquet"),
        ([Path("here/b.parquet")], "here/b.parquet"),
        ("~/*.parquet", tmp_path / "home/a.parquet"),
        (Path("~/a.parquet"), tmp_path / "home/a.parquet"),
    ):
        source = curate.Parquet.model_validate({"path": path})
        assert [unit.name for unit in source.units()] == [str(found)]
    pl.DataFrame(ROWS[:1]).write_parquet("./~/a.parquet")
    # A file that is there by its very name is meant.
    assert [unit.name for unit in curate.Parquet(path="~/a.parquet").units()] == ["~/a.parquet"]


def test_the_root_may_be_text(tmp_path: Path) -> None:
    pl.DataFrame(ROWS).write_parquet(tmp_path / "rows.parquet")
    source = curate.Parquet(path=str(tmp_path / "rows.parquet"), columns=COLUMNS)
    ended = curate.run(curate.Pipeline(name="x", source=source, stages=[]), str(tmp_path / "out"))
    assert ended.folder == tmp_path / "out" / "runs" / "x"
    assert len(ended.dataset()["train"]) == 3
